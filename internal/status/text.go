package status

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// clip shortens a text to at most limit bytes, on a rune boundary, and marks the cut. Invalid UTF-8,
// which the API server refuses, is replaced.
func clip(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	const mark = "…"
	cut := limit - len(mark)
	if cut < 0 {
		return ""
	}
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + mark
}

// Short is the part of a commit that people read.
func Short(commit string) string {
	if len(commit) > 12 {
		return commit[:12]
	}
	return commit
}

// more says how many others there are beside the first of total, in a message.
func more(total int) string {
	if total <= 1 {
		return ""
	}
	return fmt.Sprintf("; and %d more", total-1)
}

// join writes "a: b", or the one that is not empty.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ": " + b
}
