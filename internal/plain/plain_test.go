package plain_test

import (
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/holdfast-dev/holdfast/internal/plain"
)

func TestPlain(t *testing.T) {
	for name, tc := range map[string]struct{ text, line, lines string }{
		"nothing":              {"", "", ""},
		"words":                {"ConfigMap/n/é  (held: brake)", "ConfigMap/n/é  (held: brake)", "ConfigMap/n/é  (held: brake)"},
		"lines":                {"a\n\n### b\r\n\tc\n", "a ### b c", "a\n\n### b�\n\tc\n"},
		"spaces that break":    {"a\u2028b\u0085c\vd", "a b c d", "a�b�c�d"},
		"a space of its own":   {"a\u00a0b", "a b", "a\u00a0b"},
		"an escape code":       {"\x1b[2Ja\u009b31m\x00", "�[2Ja�31m�", "�[2Ja�31m�"},
		"a mark of direction":  {"a\u202eb\u2066c\u200b", "a�b�c�", "a�b�c�"},
		"not a text":           {"a\xff\xfeb", "a�b", "a�b"},
		"nothing but a break":  {"\n", "", "\n"},
		"a workflow command":   {"\n ::error::x", `\::error::x`, "\n ::error::x"},
		"spaces at both sides": {"  a  ", "a", "  a  "},
	} {
		t.Run(name, func(t *testing.T) {
			if got := plain.Line(tc.text); got != tc.line {
				t.Errorf("line %q, want %q", got, tc.line)
			}
			if got := plain.Lines(tc.text); got != tc.lines {
				t.Errorf("lines %q, want %q", got, tc.lines)
			}
		})
	}
}

// TestOfAnything: whatever the text, one line can be printed, and is the same when it is made plain again.
func TestOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "text")
		line := plain.Line(s)
		if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%q is not plain at %d", line, i)
		}
		if again := plain.Line(line); again != line {
			t.Errorf("%q, and again %q", line, again)
		}
		if n := strings.Count(plain.Lines(s), "\n"); n != strings.Count(s, "\n") {
			t.Errorf("%d line breaks of %q", n, s)
		}
	})
}
