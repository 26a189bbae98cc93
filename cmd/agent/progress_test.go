package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestDrawnIsWrittenOverItself: what a terminal shows after each text, and that nothing is written elsewhere.
func TestDrawnIsWrittenOverItself(t *testing.T) {
	var out bytes.Buffer
	d := drawn{w: &out}
	d.draw("")
	if out.Len() > 0 {
		t.Errorf("%q", out.String())
	}
	for _, text := range []string{"10 of 12 clusters", "9 é", "", "a longer one"} {
		d.draw(text)
		if got := shows(out.String()); got != text {
			t.Errorf("after %q it shows %q", text, got)
		}
	}
	out.Reset()
	elsewhere := newDrawn(&out)
	elsewhere.draw("a")
	elsewhere.draw("")
	if out.Len() > 0 {
		t.Errorf("%q", out.String())
	}
}

// shows is the line that a terminal shows, without the spaces at its end.
func shows(written string) string {
	var line []rune
	at := 0
	for _, r := range written {
		switch r {
		case '\r':
			at = 0
		case '\b':
			at--
		default:
			for at >= len(line) {
				line = append(line, ' ')
			}
			line[at] = r
			at++
		}
	}
	return strings.TrimRight(string(line), " ")
}
