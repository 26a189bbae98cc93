package manifest

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Path leads to a field: keys of mappings are strings, positions in lists are ints.
type Path []any

// with returns the path of a field below, which shares nothing with p.
func (p Path) with(steps ...any) Path { return slices.Concat(p, Path(steps)) }

// plainKey is a key that can stand in a path as it is.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_$/-]+$`)

// String writes the path as people do: spec.template.spec.containers[0].image, metadata.labels["app.kubernetes.io/name"].
func (p Path) String() string {
	var b strings.Builder
	for _, step := range p {
		switch step := step.(type) {
		case int:
			b.WriteString("[" + strconv.Itoa(step) + "]")
		case string:
			switch {
			case !plainKey.MatchString(step):
				b.WriteString("[" + quote(step) + "]")
			case b.Len() > 0:
				b.WriteString("." + step)
			default:
				b.WriteString(step)
			}
		}
	}
	return b.String()
}

// quote shows a text from a manifest: escaped, and no longer than a line.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}
