package config

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// suggest proposes the flag that was probably meant, as " (did you mean ...)", or is empty.
func suggest(name string, flags *pflag.FlagSet) string {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if !skipped(f.Name) && !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if best := Nearest(name, names); best != "" {
		return fmt.Sprintf(" (did you mean %q?)", best)
	}
	return ""
}

// Nearest returns the candidate that name was probably meant to be, "" if none is close: the
// smallest edit distance (Levenshtein) counts, up to a third of the name's length, and case is
// ignored. Of several that are equally near it is the first.
func Nearest(name string, candidates []string) string {
	const longest = 100 // the distance costs the product of the lengths
	if len(name) > longest {
		return ""
	}
	best, bestDistance := "", max(1, len(name)/3)+1
	for _, c := range candidates {
		if len(c) > longest {
			continue
		}
		if d := distance(strings.ToLower(name), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is how many bytes to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
