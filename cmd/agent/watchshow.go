package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/internal/overview"
)

// watching shows what is known, again and again.
func (r *statusFlags) watching(only selection, out, stderr io.Writer) shower {
	first := true
	var show func(*overview.Overview) error
	// A terminal is drawn while distances are still being counted; other output tells each change once.
	early := false
	switch {
	case r.output == outputJSON:
		show = (&jsonLines{out: out, warn: func(o *overview.Overview) { r.warn(o, stderr) }}).show
	case isTerminal(out):
		early, show = true, (&screen{out: out, look: lookOf}).show
	default:
		show = (&changes{out: out}).show
	}
	return func(s *sight) (bool, error) {
		if !early && !s.complete() {
			return false, nil
		}
		o := overview.New(s.input(clock(), only))
		if first {
			first = false
			if err := r.known(o, s); err != nil {
				return true, err
			}
		}
		return false, show(o)
	}
}

// changes prints everything once, and then what has changed.
type changes struct {
	out  io.Writer
	last *overview.Overview
}

func (c *changes) show(o *overview.Overview) error {
	change, before := o, ""
	if c.last != nil {
		if change = o.Since(c.last); change == nil {
			return nil
		}
		before = "\n"
	}
	c.last = o
	if _, err := fmt.Fprintf(c.out, "%s%s\n", before, o.Now.UTC().Format(time.RFC3339)); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return printTable(change, c.out)
}

// jsonLines prints a line for each change.
type jsonLines struct {
	out    io.Writer
	warn   func(*overview.Overview)
	last   []byte
	warned []string
}

func (j *jsonLines) show(o *overview.Overview) error {
	if told := slices.Concat(o.Problems, o.Warnings()); !slices.Equal(told, j.warned) {
		j.warned = told
		j.warn(o)
	}
	var b bytes.Buffer
	if err := o.JSON(&b, true); err != nil {
		return err
	}
	if bytes.Equal(b.Bytes(), j.last) {
		return nil
	}
	j.last = b.Bytes()
	if _, err := j.out.Write(j.last); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// screen draws over what it has drawn before, by the codes of ECMA-48.
type screen struct {
	out  io.Writer
	look func(io.Writer) overview.Look

	drawn int // lines
	size  [2]int
}

func (s *screen) show(o *overview.Overview) error {
	look := s.look(s.out)
	size := [2]int{look.Width, look.Height}
	inner := look
	if inner.Height > 0 {
		inner.Height = max(inner.Height-2, 1) // without the footer
	}
	var text, frame bytes.Buffer
	if err := o.Text(&text, inner); err != nil {
		return err
	}
	switch {
	case s.drawn > 0 && size != s.size:
		frame.WriteString("\x1b[2J\x1b[H") // what was drawn is elsewhere now
	case s.drawn > 0:
		fmt.Fprintf(&frame, "\x1b[%dA", s.drawn)
	}
	s.size = size
	lines := bytes.SplitAfter(text.Bytes(), []byte("\n"))
	lines = lines[:len(lines)-1] // what is after the last line break
	lines = append(lines, []byte("\n"), fmt.Appendf(nil, "%s, Ctrl-C ends\n", clock().Format(time.TimeOnly)))
	if over := len(lines) - look.Height; look.Height > 0 && over > 0 {
		keep := max(look.Height-1, 1)
		lines = append(lines[:keep:keep], fmt.Appendf(nil, "%d more lines: make the window taller\n", len(lines)-keep))
	}
	for _, line := range lines {
		frame.WriteString("\r\x1b[2K")
		frame.Write(line)
	}
	frame.WriteString("\x1b[J")
	s.drawn = len(lines)
	if _, err := s.out.Write(frame.Bytes()); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}
