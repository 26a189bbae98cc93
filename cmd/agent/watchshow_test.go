package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/overview"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

// terminal shows what a terminal would, as far as it knows the codes.
type terminal struct {
	lines []string
	row   int
}

var control = regexp.MustCompile("^\x1b\\[([0-9;]*)([A-Za-z])")

func (t *terminal) Write(p []byte) (int, error) {
	for text := string(p); text != ""; {
		for t.row >= len(t.lines) {
			t.lines = append(t.lines, "")
		}
		if at := control.FindStringSubmatch(text); len(at) > 0 {
			n := at[1]
			switch at[2] {
			case "A":
				up, _ := strconv.Atoi(n)
				t.row -= up
			case "K":
				t.lines[t.row] = ""
			case "H":
				t.row = 0
			case "J":
				if n == "2" {
					t.lines, t.row = nil, 0
				} else {
					t.lines = t.lines[:t.row+1]
					t.lines[t.row] = ""
				}
			case "m":
			default:
				return 0, fmt.Errorf("an unknown code %q", at[0])
			}
			text = text[len(at[0]):]
			continue
		}
		switch text[0] {
		case '\n':
			t.row++
		case '\r':
		default:
			t.lines[t.row] += text[:1]
		}
		text = text[1:]
	}
	return len(p), nil
}

// overviewOf is a fleet of clusters of which so many are silent.
func overviewOf(silent int, clusters ...string) *overview.Overview {
	now := time.Now()
	in := overview.Input{Read: true, Now: now, Seen: map[string]statusbus.Seen{}}
	for i, c := range clusters {
		r := &status.Report{Cluster: c, Time: now, Commit: "abcdef0"}
		if i < silent {
			r.Time = now.Add(-time.Hour)
		}
		in.Seen[c] = statusbus.Seen{Report: r}
	}
	return overview.New(in)
}

// However much or little there is to show, and however large the window is, it shows the newest and nothing else.
func TestScreenShowsTheNewestAlone(t *testing.T) {
	term := new(terminal)
	look := overview.Look{Width: 80, Height: 40, Colour: true}
	s := &screen{out: term, look: func(io.Writer) overview.Look { return look }}
	many := []string{"a", "b", "c", "d", "e", "f"}
	for i, step := range []struct {
		o    *overview.Overview
		look overview.Look
	}{
		{overviewOf(0, "a", "b"), look},
		{overviewOf(5, many...), look},
		{overviewOf(0, "a"), look},
		{overviewOf(0, many...), overview.Look{Width: 60, Height: 40}},
		{overviewOf(6, many...), overview.Look{Width: 60, Height: 9}},
		{overviewOf(6, many...), overview.Look{Width: 60, Height: 9}},
		{overviewOf(0, many...), overview.Look{Width: 80}},
	} {
		look = step.look
		if err := s.show(step.o); err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		if err := step.o.Text(&want, overview.Look{Width: look.Width, Height: max(look.Height-2, 0)}); err != nil {
			t.Fatal(err)
		}
		shown := term.lines[:len(term.lines)-1] // the cursor's
		lines := strings.Split(strings.TrimSuffix(want.String(), "\n"), "\n")
		if over := len(lines) + 2 - look.Height; look.Height > 0 && over > 0 {
			if len(shown) != look.Height || !slices.Equal(shown[:look.Height-1], lines[:look.Height-1]) || !strings.Contains(shown[look.Height-1], "more lines") {
				t.Errorf("step %d: it does not fit, and shows\n%s", i, strings.Join(shown, "\n"))
			}
			continue
		}
		if !slices.Equal(shown[:len(shown)-2], lines) || !strings.Contains(shown[len(shown)-1], "Ctrl-C") {
			t.Errorf("step %d shows\n%s", i, strings.Join(shown, "\n"))
		}
	}
}

func TestChangesAreToldOnce(t *testing.T) {
	var out bytes.Buffer
	c := &changes{out: &out}
	tell := func(o *overview.Overview) string {
		out.Reset()
		if err := c.show(o); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got := tell(overviewOf(0, "a", "b")); !strings.Contains(got, "\na ") || !strings.Contains(got, "\nb ") || !strings.HasPrefix(got, "20") {
		t.Errorf("first\n%s", got)
	}
	if got := tell(overviewOf(0, "a", "b")); got != "" {
		t.Errorf("the same again is told as\n%s", got)
	}
	if got := tell(overviewOf(1, "a", "b")); !strings.HasPrefix(got, "\n20") || !strings.Contains(got, "2 clusters") || !strings.Contains(got, "\na ") || strings.Contains(got, "\nb ") {
		t.Errorf("a falls silent:\n%s", got)
	}
}

func TestJSONLinesAreToldOnce(t *testing.T) {
	var out bytes.Buffer
	warned := 0
	j := &jsonLines{out: &out, warn: func(*overview.Overview) { warned++ }}
	now := overviewOf(0, "a", "b")
	for _, o := range []*overview.Overview{now, now, overviewOf(1, "a", "b"), now} {
		if err := j.show(o); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
	if warned != 2 {
		t.Errorf("warned %d times: when one fell silent, and when it was back", warned)
	}
}
