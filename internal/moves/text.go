package moves

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Figures are one number, or two if it changes.
func Figures[N int | int32 | int64](before, after N) string {
	if before == after {
		return strconv.FormatInt(int64(before), 10)
	}
	return fmt.Sprintf("%d -> %d", before, after)
}

// Count is a number of things, by the words for one and for many.
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// List names at most so many, and says how many more there are; none is the word for an empty list.
func List(names []string, most int, none string) string {
	if len(names) <= most {
		return cmp.Or(strings.Join(names, ", "), none)
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// Table writes rows in columns; the first row is the head. A column without any content is left out.
func Table(b *bytes.Buffer, indent string, rows [][]string) {
	var text strings.Builder
	for _, row := range Filled(rows) {
		for _, cell := range row {
			text.WriteString(cell + "\t")
		}
		text.WriteString("\n")
	}
	var lines bytes.Buffer // a write to memory does not fail
	tw := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', 0)
	_, _ = io.WriteString(tw, text.String())
	_ = tw.Flush()
	for line := range strings.Lines(lines.String()) {
		b.WriteString(indent + strings.TrimRight(line, " \n") + "\n")
	}
}

// Filled returns the rows of a table without the columns that have nothing below their head.
func Filled(rows [][]string) [][]string {
	var filled [][]string
	for _, row := range rows {
		var kept []string
		for i, cell := range row {
			if slices.ContainsFunc(rows[1:], func(r []string) bool { return r[i] != "" }) {
				kept = append(kept, cell)
			}
		}
		filled = append(filled, kept)
	}
	return filled
}
