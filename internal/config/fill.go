package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// EnvPrefix starts the name of every environment variable.
const EnvPrefix = "HOLDFAST_"

// Env returns the environment variable of a flag: HOLDFAST_DATA_DIR for data-dir.
func Env(flag string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Sources are where settings come from that were not given on the command line.
type Sources struct {
	// LookupEnv is os.LookupEnv. A variable that is empty counts as not set, so that a template
	// may leave one blank.
	LookupEnv func(string) (string, bool)
	// File is the configuration file; nil = none.
	File *File
}

// Fill sets every flag that was not given on the command line from the environment, else from the
// file. What is wrong is returned for all of them together, each error naming the variable or the
// file and line. A key of the file that is overruled must exist, but its value is not looked at.
func Fill(flags *pflag.FlagSet, src Sources) error {
	var errs []error
	set := map[string]bool{}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			set[f.Name] = true
			return
		}
		if src.LookupEnv == nil || skipped(f.Name) {
			return
		}
		value, ok := src.LookupEnv(Env(f.Name))
		if !ok || value == "" {
			return
		}
		set[f.Name] = true
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", Env(f.Name), plain(err)))
		}
	})
	if src.File != nil {
		errs = append(errs, src.File.fill(flags, set)...)
	}
	return errors.Join(errs...)
}

// skipped are flags that are no settings.
func skipped(name string) bool { return name == "help" || name == "version" }

// plain leaves out what pflag says of the flag, since the value came from elsewhere.
func plain(err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return fmt.Errorf("%q is not valid: %w", invalid.GetValue(), invalid.Unwrap())
	}
	return err
}
