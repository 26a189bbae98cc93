package overview

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/internal/plain"
)

// grid is a table of painted cells. Package text/tabwriter would count the codes of colours.
type grid struct {
	heads  []string
	rows   [][]cell
	widths []int
}

const gap = 2 // between two columns

// omitEmpty leaves out those of the columns that have nothing below their head.
func (g *grid) omitEmpty(heads ...string) {
	for _, head := range heads {
		i := slices.Index(g.heads, head)
		if !slices.ContainsFunc(g.rows, func(row []cell) bool { return row[i].text != "" }) {
			g.drop(head)
		}
	}
}

func (g *grid) drop(head string) {
	i := slices.Index(g.heads, head)
	if i < 0 {
		return
	}
	g.heads = slices.Delete(g.heads, i, i+1)
	for n := range g.rows {
		g.rows[n] = slices.Delete(g.rows[n], i, i+1)
	}
}

// fit makes the table as wide as it has to be, and if that is more than width, narrower: what HELD has no room
// for is said below the table, then DRIFT and REGION can be missed, and then names are cut.
func (g *grid) fit(width int) {
	for n := range g.rows {
		for i := range g.rows[n] {
			g.rows[n][i].text = plain.Line(g.rows[n][i].text)
		}
	}
	over := g.measure() - width
	if width <= 0 || over <= 0 {
		return
	}
	const least = 16
	over = g.narrow(columnHeld, over, least)
	for _, head := range []string{columnDrift, columnRegion} {
		if over > 0 {
			g.drop(head)
			over = g.measure() - width
			over = g.narrow(columnHeld, over, least)
		}
	}
	over = g.narrow(columnCluster, over, least)
	g.narrow(columnHeld, over, len(columnHeld))
}

// measure sets the widths to what the cells need, and returns that of the table.
func (g *grid) measure() (total int) {
	g.widths = make([]int, len(g.heads))
	for i, head := range g.heads {
		g.widths[i] = utf8.RuneCountInString(head)
		for _, row := range g.rows {
			g.widths[i] = max(g.widths[i], utf8.RuneCountInString(row[i].text))
		}
		total += g.widths[i] + gap
	}
	return total - gap
}

// narrow takes up to over characters from a column that keeps at least so many, and returns what is left.
func (g *grid) narrow(head string, over, least int) int {
	i := slices.Index(g.heads, head)
	if i < 0 || over <= 0 {
		return over
	}
	take := min(over, max(g.widths[i]-least, 0))
	g.widths[i] -= take
	return over - take
}

// write prints the table.
func (g *grid) write(p *printer) {
	heads := make([]cell, len(g.heads))
	for i, head := range g.heads {
		heads[i] = cell{head, bold}
	}
	g.line(p, heads)
	for _, row := range g.rows {
		g.line(p, row)
	}
}

// line prints one row. What still is too long for the terminal is cut off.
func (g *grid) line(p *printer, row []cell) {
	left := math.MaxInt
	if p.Width > 0 {
		left = p.Width
	}
	write := func(c cell) {
		text := cut(c.text, left)
		left -= utf8.RuneCountInString(text)
		p.WriteString(p.paint(c.ink, text))
	}
	for i, c := range row {
		c.text = cut(c.text, g.widths[i])
		write(c)
		if i < len(row)-1 {
			write(cell{text: strings.Repeat(" ", g.widths[i]+gap-utf8.RuneCountInString(c.text))})
		}
	}
	p.WriteString("\n")
}
