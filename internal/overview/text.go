package overview

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/moves"
	"github.com/holdfast-dev/holdfast/internal/plain"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// Look is how an overview is printed.
type Look struct {
	// Width is how many characters a line may have; 0 is a table as wide as it needs.
	Width int
	// Height is from how many lines on clusters that are well are folded into one line; 0 is never.
	Height int
	// Colour paints by the codes of ECMA-48.
	Colour bool
}

// ink is a colour, as the code of ECMA-48.
type ink string

const (
	none   ink = ""
	bold   ink = "1"
	dim    ink = "2"
	red    ink = "1;31"
	yellow ink = "33"
)

// printer writes lines.
type printer struct {
	bytes.Buffer
	Look
}

// Text prints the overview for a person.
func (o *Overview) Text(w io.Writer, look Look) error {
	p := printer{Look: look}
	p.headline(o)
	p.problems(o.Problems)
	top := p.take()
	p.sections(o)
	below := p.take()
	t := o.fold(look.Height, lines(top)+lines(below))
	p.table(t.rows)
	p.folded(t)
	for _, part := range [][]byte{top, p.take(), below} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("write the overview: %w", err)
		}
	}
	return nil
}

// folded is a table that fits.
type folded struct {
	rows []*Row
	// So many were left out: that are well, that only are behind, and others.
	well, behind, cut int
}

// fold leaves out the clusters that are well if the rows and so many other lines are more than height, then those
// that only are behind, and then what still is too much. A table of some rows remains in any case.
func (o *Overview) fold(height, others int) (t folded) {
	const (
		around = 4 // lines: the empty one, the heads, and what is said of those that are left out
		least  = 10
	)
	for i := range o.Rows {
		t.rows = append(t.rows, &o.Rows[i])
	}
	most := max(height-others-around, least)
	if height <= 0 || len(t.rows) <= most {
		return t
	}
	leave := func(which func(*Row) bool) int {
		before := len(t.rows)
		t.rows = slices.DeleteFunc(t.rows, which)
		return before - len(t.rows)
	}
	t.well = leave((*Row).Well)
	if len(t.rows) > most {
		t.behind = leave((*Row).onlyBehind)
	}
	t.cut = max(len(t.rows)-most, 0)
	t.rows = t.rows[:len(t.rows)-t.cut]
	return t
}

// folded says what was left out.
func (p *printer) folded(t folded) {
	if t.cut > 0 {
		p.text(bold, "", fmt.Sprintf("and %d more, which `| less` would list", t.cut))
	}
	if t.behind > 0 {
		p.text(yellow, "", fmt.Sprintf("and %s behind, and otherwise well", moves.Count(t.behind, "cluster that is", "clusters that are")))
	}
	if t.well > 0 {
		p.text(dim, "", fmt.Sprintf("and %s well: at head, every app Ready, nothing held", moves.Count(t.well, "cluster that is", "clusters that are")))
	}
}

func lines(b []byte) int { return bytes.Count(b, []byte("\n")) }

// take hands out what was written.
func (p *printer) take() []byte {
	b := bytes.Clone(p.Bytes())
	p.Reset()
	return b
}

func (p *printer) paint(i ink, text string) string {
	if !p.Colour || i == none || text == "" {
		return text
	}
	return "\x1b[" + string(i) + "m" + text + "\x1b[0m"
}

func (p *printer) line(i ink, text string) {
	if p.Width > 0 {
		text = cut(text, p.Width)
	}
	p.WriteString(p.paint(i, text) + "\n")
}

// text writes as many lines as it takes, each indented.
func (p *printer) text(i ink, indent, text string) {
	for _, line := range wrap(plain.Line(text), p.columns()-len(indent)) {
		p.WriteString(indent + p.paint(i, line) + "\n")
	}
}

// columns is how wide text may be.
func (p *printer) columns() int {
	const readable = 100
	if p.Width > 0 {
		return p.Width
	}
	return readable
}

// headline is one line, unless the terminal is too narrow.
func (p *printer) headline(o *Overview) {
	if o.whole != nil {
		o = o.whole
	}
	p.whole(bold, o.headline())
}

func (p *printer) problems(problems []string) {
	for _, text := range problems {
		p.whole(red, text)
	}
}

// whole writes a text on one line where there is no terminal, for those who search it.
func (p *printer) whole(i ink, text string) {
	if p.Width > 0 {
		p.text(i, "", text)
		return
	}
	p.line(i, plain.Line(text))
}

// cell is one cell of the table.
type cell struct {
	text string
	ink  ink
}

// The columns.
const (
	columnCluster = "CLUSTER"
	columnRegion  = "REGION"
	columnState   = "STATE"
	columnCommit  = "COMMIT"
	columnBehind  = "BEHIND"
	columnApps    = "APPS"
	columnDrift   = "DRIFT"
	columnHeld    = "HELD"
	columnSeen    = "SEEN"
)

// table writes the rows.
func (p *printer) table(rows []*Row) {
	if len(rows) == 0 {
		return
	}
	t := grid{heads: []string{columnCluster, columnRegion, columnState, columnCommit, columnBehind, columnApps, columnDrift, columnHeld, columnSeen}}
	for _, r := range rows {
		t.rows = append(t.rows, []cell{r.cluster(), {text: r.Region}, r.state(), r.commit(), r.behind(), r.ready(), r.drift(), r.heldBy(), r.seen()})
	}
	t.omitEmpty(columnRegion, columnState)
	t.fit(p.Width)
	p.WriteString("\n")
	t.write(p)
}

func (r *Row) cluster() cell {
	c := cell{text: r.Cluster}
	if r.Attention() {
		c.ink = red
	}
	return c
}

// state says in which way a cluster is not an ordinary one.
func (r *Row) state() cell {
	var words []string
	i := yellow
	switch r.Declared {
	case DeclaredNot:
		words, i = append(words, "NOT IN GIT"), red
	case DeclaredBroken:
		words, i = append(words, "BROKEN FILE"), red
	case DeclaredUnknown, DeclaredWell:
	}
	switch {
	case r.State == fleet.Lost:
		words, i = append(words, "lost"), red
	case r.State == fleet.Drained || r.Drain != nil:
		words = append(words, "drained")
	}
	if r.Freeze != nil {
		words = append(words, "frozen")
	}
	return cell{strings.Join(words, ", "), i}
}

const nothing = "-"

func (r *Row) commit() cell {
	switch {
	case r.Report == nil:
		return cell{nothing, dim}
	case r.Report.Commit == "":
		return cell{"none", red}
	}
	return cell{text: short(r.Report.Commit)}
}

func (r *Row) behind() cell {
	switch {
	case r.Report == nil || r.Report.Commit == "":
		return cell{nothing, dim}
	case r.Lag == nil:
		return cell{"...", dim}
	}
	switch r.Lag.Standing {
	case gitsource.Apart:
		return cell{"off branch", red}
	case gitsource.Ahead:
		return cell{text: "ahead"}
	case gitsource.Behind:
		if r.Lag.Commits == 0 {
			return cell{text: "at head"}
		}
		return cell{fmt.Sprintf("%d behind", r.Lag.Commits), yellow}
	case gitsource.Unsettled:
	}
	return cell{"unknown", yellow}
}

func (r *Row) ready() cell {
	if r.Report == nil || r.Apps == 0 {
		return cell{nothing, dim}
	}
	c := cell{text: fmt.Sprintf("%d/%d", r.Ready, r.Apps)}
	switch {
	case r.uncertain():
		c = cell{c.text + "?", yellow}
	case r.failing() > 0:
		c.ink = red
	case r.Ready < r.Apps:
		c.ink = yellow
	}
	return c
}

func (r *Row) drift() cell {
	if r.Corrected == 0 {
		return cell{nothing, dim}
	}
	c := cell{text: fmt.Sprint(r.Corrected)}
	if r.Last != nil {
		// Both times are the reporter's: its clock may be wrong.
		c.text += ", " + duration.ShortHumanDuration(max(r.Age+r.Report.Time.Sub(*r.Last), 0)) + " ago"
	}
	return c
}

// heldBy names the gates that hold, and some apps of each.
func (r *Row) heldBy() cell {
	if r.held() == 0 {
		return cell{nothing, dim}
	}
	var gates []status.Gate
	held := map[status.Gate][]string{}
	for i := range r.Report.Apps {
		a := &r.Report.Apps[i]
		for _, h := range a.Held {
			if held[h.Gate] == nil {
				gates = append(gates, h.Gate)
			}
			held[h.Gate] = append(held[h.Gate], a.Name)
		}
	}
	texts := make([]string, len(gates))
	for i, gate := range gates {
		const most = 2
		names := held[gate]
		texts[i] = fmt.Sprintf("%s: %s", gate, strings.Join(names[:min(len(names), most)], ", "))
		if more := len(names) - most; more > 0 {
			texts[i] += fmt.Sprintf(" +%d", more)
		}
	}
	return cell{strings.Join(texts, "; "), yellow}
}

func (r *Row) seen() cell {
	switch r.Heard {
	case Never:
		if r.State == fleet.Lost {
			return cell{text: "never"}
		}
		return cell{"NEVER", red}
	case Refused:
		return cell{"REFUSED", red}
	case Silent:
		if r.State == fleet.Lost {
			return cell{text: ago(r.Age)}
		}
		return cell{"SILENT " + ago(r.Age), red}
	case Fresh:
		return cell{text: ago(r.Age)}
	case Unread:
	}
	return cell{"unknown", yellow}
}
