package preview

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/moves"
	"github.com/holdfast-dev/holdfast/internal/plain"
)

// Marker begins the Markdown. It is not shown; by it a program finds the comment that it wrote before, and writes
// it anew in its place.
const Marker = "<!-- holdfast diff -->"

// LeastMarkdown is the least limit that Markdown keeps to, whatever there is to say.
const LeastMarkdown = 2000

// Markdown writes a Diff for a comment on a pull request, in at most so many bytes. What is too much is left out,
// the least important first, and it says so: of diffs those of the fewest clusters and the largest, then the
// tables, then the names of what changes; what is deleted or held, warnings and the summary last. flags are those
// that it takes, beside the commits, to make the same comparison again.
func (d *Diff) Markdown(w io.Writer, limit int, flags ...string) error {
	blocks := d.blocks()
	byImportance := flatten(blocks)
	slices.SortStableFunc(byImportance, func(a, b *block) int { return cmp.Compare(a.rank, b.rank) })
	var all []string
	for _, b := range byImportance {
		if !slices.Contains(all, b.what) {
			all = append(all, b.what)
		}
	}
	// The shortest of everything, and then more of it by importance, as long as there is room.
	left := limit - len(Marker) - len("\n") - len(d.leftOut(limit, all, flags))
	for _, b := range blocks {
		left -= len(b.text())
	}
	for _, b := range byImportance {
		for b.more() && b.cost() <= left {
			left -= b.cost()
			b.chosen++
		}
	}
	var text strings.Builder
	text.WriteString(Marker + "\n")
	for _, b := range blocks {
		text.WriteString(b.text())
	}
	var less []string
	for _, b := range byImportance {
		if !b.longest() && !slices.Contains(less, b.what) {
			less = append(less, b.what)
		}
	}
	if len(less) > 0 {
		text.WriteString(d.leftOut(limit, less, flags))
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("write the diff: %w", err)
	}
	return nil
}

// leftOut says what was left out, and how to see it. A command that would be longer than all else is not told.
func (d *Diff) leftOut(limit int, what, flags []string) string {
	const most = 500
	text := fmt.Sprintf("\n**Left out, to stay within %d bytes:** %s.", limit, strings.Join(what, ", "))
	words := append([]string{"holdfast diff --direct --base", short(d.Base), "--head", short(d.Head)}, flags...)
	if command := code(strings.Join(words, " ")); len(command) <= most {
		text += " All of it: " + command
	}
	return text + "\n"
}

// block is a part of the text that can be written at different lengths. The shortest ones of all blocks together
// are always written, so they must have few and bounded words.
type block struct {
	what string // is left out
	rank int    // the lower, the more important
	// sizes are the texts, the shortest first. Only the longest has children in it, and a tail behind them.
	sizes    []string
	children []*block
	tail     string
	parent   *block
	chosen   int
}

func (b *block) add(child *block) {
	child.parent = b
	b.children = append(b.children, child)
}

func (b *block) longest() bool { return b.chosen == len(b.sizes)-1 }

// more tells whether there is a longer text, and a place for it.
func (b *block) more() bool { return !b.longest() && (b.parent == nil || b.parent.longest()) }

// cost is how much longer the next text is. Children begin at their shortest, which is nothing.
func (b *block) cost() int {
	n := len(b.sizes[b.chosen+1]) - len(b.sizes[b.chosen])
	if b.chosen+2 == len(b.sizes) {
		n += len(b.tail)
	}
	return n
}

func (b *block) text() string {
	if !b.longest() {
		return b.sizes[b.chosen]
	}
	var text strings.Builder
	text.WriteString(b.sizes[b.chosen])
	for _, child := range b.children {
		text.WriteString(child.text())
	}
	return text.String() + b.tail
}

// flatten lists blocks and all below them.
func flatten(blocks []*block) (all []*block) {
	for _, b := range blocks {
		all = append(append(all, b), flatten(b.children)...)
	}
	return all
}

// The ranks. Diffs come after, by their own.
const (
	rankSummary = iota
	rankWarnings
	rankHeld
	rankDeleted
	rankImmutable
	rankCauses
	rankClusters
	rankRollout
	rankNames
	rankPlacement
	rankDiffs
)

// blocks are the parts in the order in which they are read.
func (d *Diff) blocks() (all []*block) {
	r := d.report()
	add := func(what string, rank int, sizes ...string) {
		if sizes[len(sizes)-1] != "" {
			all = append(all, &block{what: what, rank: rank, sizes: sizes})
		}
	}
	add("the summary", rankSummary, d.head(r))
	add("changes of settings", rankCauses, markCauses(r.causes)...)
	add("the summary", rankSummary, markSummary(r.facts)...)
	add("warnings", rankWarnings, d.markNotes("⚠️ Warnings", r.warnings)...)
	add("immutable fields", rankImmutable, d.markNotes("⚠️ Immutable fields", r.immutable)...)
	add("held deletions", rankHeld, d.markNotes("Not deleted", r.stuck)...)
	all = append(all, d.markGroups("Deleted", "deletions", rankDeleted, r.deletes))
	add("permits", rankHeld, d.markHeld(r.held)...)
	if !d.Empty() {
		add("the table of clusters", rankClusters, "", "\n#### Clusters\n\n"+markTable(r.clusters))
	}
	if len(r.moves) > 0 {
		text := "\n#### Placement\n"
		for _, s := range r.moves {
			title := strings.ReplaceAll(strings.TrimSuffix(s.Title, ":"), "\n", " ")
			text += details(html.EscapeString(title), markTable(s.Rows))
		}
		add("placement", rankPlacement, "", text)
	}
	if len(r.rollouts) > 0 {
		text := "\n#### Rollout\n\n"
		for _, o := range r.rollouts {
			text += "- **" + listed(o.apps) + "**\n"
			for _, line := range o.lines {
				text += "  - " + code(line) + "\n"
			}
		}
		add("rollout", rankRollout, "", text)
	}
	return append(all, d.markGroups("Changed", "names of changed objects", rankNames, r.changes))
}

// head is the title, and how the table of the summary begins.
func (d *Diff) head(r *report) string {
	title := fmt.Sprintf("%d of %d clusters are affected", len(d.Clusters), d.of)
	if d.Empty() {
		title = "no cluster is affected"
	}
	text := fmt.Sprintf("### Holdfast: %s\n\n%s to %s\n", title, code(short(d.Base)), code(short(d.Head)))
	if len(r.causes)+len(r.facts) > 0 {
		text += "\n| | |\n|---|---|\n"
	}
	return text
}

// markCauses are rows of the summary, all behind one word.
func markCauses(causes []string) []string {
	var rows []string
	word := causesWord
	for _, text := range causes {
		rows = append(rows, factRow(word, text))
		word = ""
	}
	return lengths("", rows, "|  | and %d more changes of settings |\n")
}

// markSummary are the rows that follow.
func markSummary(facts [][2]string) []string {
	var rows []string
	for _, f := range facts {
		rows = append(rows, factRow(f[0], f[1]))
	}
	return lengths("", rows, "|  | and %d more |\n")
}

// The most characters of a fact and of a note. What is cut off, the text for a terminal has.
const (
	mostFact = 300
	mostNote = 2000
)

func factRow(word, text string) string {
	return "| " + word + " | " + cell(cut(text, mostFact)) + " |\n"
}

// cut shortens a text, and shows that it did.
func cut(text string, most int) string {
	n := 0
	for i := range text {
		if n++; n > most {
			return text[:i] + "…"
		}
	}
	return text
}

func (d *Diff) markNotes(title string, notes []note) []string {
	if len(notes) == 0 {
		return []string{""}
	}
	head := "\n#### " + title + "\n\n"
	var lines []string
	for _, n := range notes {
		lines = append(lines, "- "+d.where(n.clusters, coded)+": "+code(cut(n.text, mostNote))+"\n")
	}
	return lengths(head, lines, "- and %d more\n")
}

// coded is listed, each as code: a name of a folder may be anything.
func coded(names []string) string {
	marked := make([]string, len(names))
	for i, name := range names {
		marked[i] = code(name)
	}
	return moves.List(marked, mostNamed, "none")
}

// lengths are a list cut ever shorter, the shortest first.
func lengths(head string, lines []string, more string) (sizes []string) {
	for n := len(lines); ; n /= 2 {
		text := head + strings.Join(lines[:n], "")
		if n < len(lines) {
			text += fmt.Sprintf(more, len(lines)-n)
		}
		sizes = append(sizes, text)
		if n == 0 {
			slices.Reverse(sizes)
			return sizes
		}
	}
}

// markHeld lists permits as they are pasted.
func (d *Diff) markHeld(held []release) []string {
	if len(held) == 0 {
		return []string{""}
	}
	var lines []string
	for _, r := range held {
		lines = append(lines, fmt.Sprintf("%s  # %s %s\n", r.Permit, r.what(), d.briefly(r.clusters)))
	}
	sizes := lengths("", lines, "# and %d more\n")
	for i := range sizes {
		text := heldText + "\n\n" + fence("yaml", sizes[i])
		if len(held) > mostPermits {
			text = details(moves.Count(len(held), "permit", "permits"), text)
		}
		sizes[i] = "\n#### Held deletions\n\n" + strings.TrimPrefix(text, "\n")
	}
	return sizes
}

// markGroups writes groups: at its shortest each is how many objects it has, then their names, then their diffs
// one by one.
func (d *Diff) markGroups(title, what string, rank int, groups []group) *block {
	section := &block{what: what, rank: rank, sizes: []string{"", "\n#### " + title + "\n\n"}}
	if len(groups) == 0 {
		section.sizes = []string{""}
	}
	for i := range groups {
		g := &groups[i]
		head := d.title(g) + ": " + moves.Count(len(g.changes), "object", "objects")
		one := &block{what: what, rank: rank, sizes: []string{"", "- " + head + "\n"}}
		section.add(one)
		if !slices.ContainsFunc(g.changes, func(c change) bool { return c.shown }) {
			text := "- " + d.title(g) + "\n"
			for j := range g.changes {
				text += "  - " + code(g.changes[j].heading()) + "\n"
			}
			one.sizes = append(one.sizes, text)
			continue
		}
		one.sizes = append(one.sizes, "<details><summary>"+html.EscapeString(head)+"</summary>\n\n")
		one.tail = "</details>\n\n" // what follows on the next line would not be read as Markdown
		for j := range g.changes {
			c := &g.changes[j]
			name := &block{what: what, rank: rank, sizes: []string{"", code(c.sign()+" "+c.heading()) + "\n\n"}}
			one.add(name)
			if c.shown {
				var lines strings.Builder
				for line := range c.lines() {
					lines.WriteString(line)
				}
				name.add(&block{what: "diffs", rank: rankDiffs + d.importance(g, c), sizes: []string{"", fence("diff", lines.String()) + "\n"}})
			}
		}
	}
	return section
}

// importance orders diffs: those of fields that cannot be changed first, then what changes, then what is new; in
// that what happens on more clusters, and then the shorter.
func (d *Diff) importance(g *group, c *change) int {
	const most = 1 << 20
	kind := 2
	switch {
	case len(c.Immutable) > 0:
		kind = 0
	case c.Action == Configure, c.Was != "":
		kind = 1
	}
	return (kind*(len(d.names)+1)+max(0, len(d.names)-len(g.clusters)))*most + min(len(c.Content), most-1)
}

func details(summary, text string) string {
	return "\n<details><summary>" + summary + "</summary>\n\n" + text + "\n</details>\n"
}

// fence is a block of code; its fence is longer than any in the text.
func fence(language, text string) string {
	marks := strings.Repeat("`", max(3, longestRun(text)+1))
	return marks + language + "\n" + strings.TrimSuffix(text, "\n") + "\n" + marks + "\n"
}

// code is text on one line that means nothing but itself: no formatting, no mention, no link.
func code(text string) string {
	text = cmp.Or(plain.Line(text), " ")
	n := longestRun(text)
	if n == 0 {
		return "`" + text + "`"
	}
	marks := strings.Repeat("`", n+1)
	return marks + " " + text + " " + marks
}

// longestRun is how many backticks stand together in a text at most.
func longestRun(text string) (longest int) {
	n := 0
	for _, r := range text {
		if n++; r != '`' {
			n = 0
		}
		longest = max(longest, n)
	}
	return longest
}

// cell is text of a table that may hold what people wrote.
func cell(text string) string {
	text = plain.Line(text)
	if strings.ContainsAny(text, "`|<&*_[]#@\\~!") || strings.Contains(text, "://") || strings.Contains(text, "www.") {
		return code(pipes.Replace(text))
	}
	return text
}

// pipes writes the sign that ends a cell so that it does not. A backslash before it would take that back.
var pipes = strings.NewReplacer(`\|`, `\ \|`, `|`, `\|`)

// markTable writes rows; the first one is the head.
func markTable(rows [][]string) string {
	var b strings.Builder
	for i, row := range moves.Filled(rows) {
		b.WriteString("|")
		for _, text := range row {
			if i == 0 && text != "" {
				text = text[:1] + strings.ToLower(text[1:])
			}
			b.WriteString(" " + cell(text) + " |")
		}
		b.WriteString("\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	return b.String()
}
