package plain

import (
	"strings"
	"unicode"
)

// Line is a text on one line: line breaks, tabs and all spaces but the ordinary one become a space each, however
// many stand together, and what cannot be printed, such as control characters and marks of direction, becomes
// U+FFFD. Two colons at the beginning, which are a command to some CI systems, get a backslash before them.
func Line(s string) string {
	words := strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), func(r rune) bool { return unicode.IsSpace(r) && r != ' ' })
	line := strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, strings.Join(words, " ")))
	if strings.HasPrefix(line, "::") {
		return `\` + line
	}
	return line
}

// Lines is a text with its line breaks, tabs and spaces as they are. What else cannot be printed becomes U+FFFD.
func Lines(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) || r == '\n' || r == '\t' {
			return r
		}
		return unicode.ReplacementChar
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
