package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"

	"github.com/holdfast-dev/holdfast/internal/spell"
)

// The values of --log-format.
const (
	formatAuto    = "auto"
	formatJSON    = "json"
	formatConsole = "console"
)

var logFormats = []string{formatAuto, formatJSON, formatConsole}

var logLevels = []string{"debug", "info", "warn", "error"}

// newLogger builds the program's only logger. "auto" is for people when w is a terminal, and JSON
// otherwise.
func newLogger(w io.Writer, format, level string) (zerolog.Logger, error) {
	lvl, err := zerolog.ParseLevel(level)
	if err != nil || lvl == zerolog.NoLevel {
		return zerolog.Nop(), fmt.Errorf("--log-level %q: want debug, info, warn or error%s", level, spell.DidYouMean(level, logLevels))
	}
	terminal := isTerminal(w)
	switch format {
	case formatConsole:
	case formatJSON:
		terminal = false
	case formatAuto:
		if !terminal {
			format = formatJSON
		}
	default:
		return zerolog.Nop(), fmt.Errorf("--log-format %q: want json, console or auto%s", format, spell.DidYouMean(format, logFormats))
	}
	if format != formatJSON {
		w = zerolog.ConsoleWriter{Out: w, NoColor: !terminal, TimeFormat: time.TimeOnly}
	}
	return zerolog.New(w).Level(lvl).With().Timestamp().Logger(), nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
