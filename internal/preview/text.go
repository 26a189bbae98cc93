package preview

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/moves"
)

// Text writes a Diff for a person at a terminal, with colour if it is to have some.
func (d *Diff) Text(w io.Writer, colour bool) error {
	p := printer{d: d, style: style(colour)}
	r := d.report()
	p.line("%s", p.bold(fmt.Sprintf("Base %s, head %s", short(d.Base), short(d.Head))))
	for _, cause := range r.causes {
		p.line("  %-11s %s", causesWord, cause)
	}
	for _, f := range r.facts {
		p.line("  %-11s %s", f[0], f[1])
	}
	if d.Empty() {
		p.line("No cluster is affected.")
	}
	p.notes("Warnings", r.warnings)
	p.notes("Immutable fields", r.immutable)
	p.notes("Not deleted", r.stuck)
	p.groups("Deleted", r.deletes)
	p.held(r.held)
	if !d.Empty() {
		p.title("Clusters")
		moves.Table(&p.Buffer, "  ", r.clusters)
	}
	if len(r.moves) > 0 {
		p.title("Placement")
	}
	for i, s := range r.moves {
		if i > 0 {
			p.line("")
		}
		p.line("  %s", strings.ReplaceAll(s.Title, "\n", "\n  "))
		moves.Table(&p.Buffer, "    ", s.Rows)
	}
	if len(r.rollouts) > 0 {
		p.title("Rollout")
	}
	for _, o := range r.rollouts {
		p.line("  %s", listed(o.apps))
		for _, text := range o.lines {
			p.line("    %s", text)
		}
	}
	p.groups("Changed", r.changes)
	if _, err := w.Write(p.Bytes()); err != nil {
		return fmt.Errorf("write the diff: %w", err)
	}
	return nil
}

// printer writes text.
type printer struct {
	bytes.Buffer
	style

	d *Diff
}

func (p *printer) line(format string, args ...any) { fmt.Fprintf(&p.Buffer, format+"\n", args...) }

func (p *printer) title(text string) { p.line("\n%s", p.bold(text)) }

// causesWord stands before what changes in the settings.
const causesWord = "Fleet"

// notes are what somebody has to look at.
func (p *printer) notes(title string, notes []note) {
	if len(notes) == 0 {
		return
	}
	p.line("\n%s", p.code("1;33", title))
	for _, n := range notes {
		p.line("  %s", p.d.in(n.clusters))
		p.line("    %s", n.text)
	}
}

// held lists permits as they are pasted, each with what it releases behind it.
func (p *printer) held(all []release) {
	if len(all) == 0 {
		return
	}
	p.line("\n%s", p.code("1;33", "Held deletions"))
	p.line("  %s", heldText)
	shown := all[:min(len(all), mostPermits)]
	width := 0
	for _, r := range shown {
		width = max(width, len(r.String()))
	}
	for _, r := range shown {
		p.line("  %-*s  # %s %s", width, r.String(), r.what(), p.d.briefly(r.clusters))
	}
	if more := len(all) - mostPermits; more > 0 {
		p.line("  and %d more, which -o json has", more)
	}
}

// mostPermits are listed at a glance.
const mostPermits = 12

// heldText says what to do with permits.
const heldText = "Each waits until a permit under spec.prune.permit of fleet.yaml releases it:"

func (p *printer) groups(title string, groups []group) {
	if len(groups) == 0 {
		return
	}
	p.title(title)
	for _, g := range groups {
		p.line("  %s", p.d.title(&g))
		for i := range g.changes {
			c := &g.changes[i]
			p.line("    %s", p.signed(c.sign()+" "+c.heading()))
			if !c.shown {
				continue
			}
			for line := range c.lines() {
				p.line("        %s", p.signed(strings.TrimSuffix(line, "\n")))
			}
		}
	}
}

// style colours text by the codes of ECMA-48, if at all.
type style bool

func (s style) code(code, text string) string {
	if !s {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(text string) string { return s.code("1", text) }

// signed colours a line of a diff by how it begins.
func (s style) signed(line string) string {
	switch {
	case strings.HasPrefix(line, "+"):
		return s.code("32", line)
	case strings.HasPrefix(line, "-"):
		return s.code("31", line)
	case strings.HasPrefix(line, "~"):
		return s.code("33", line)
	case strings.HasPrefix(line, "@@"):
		return s.code("36", line)
	}
	return line
}

// short is the beginning of a commit id, for people.
func short(commit string) string {
	if commit == "" {
		return "(files on disk)"
	}
	return commit[:min(len(commit), 12)]
}
