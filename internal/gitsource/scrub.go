package gitsource

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"sort"
	"strings"
)

// userinfo is the part of a URL that may hold a password.
var userinfo = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s"'@]*(?:@[^/\s"'@]*)*@`)

// authorization is a header line as a server may echo it.
var authorization = regexp.MustCompile(`(?i)(authorization:?\s*(?:basic|bearer)\s+)\S+`)

// scrub takes every secret, and every user part of a URL, out of a text that others wrote.
func scrub(text string, secrets []string) string {
	sorted := append([]string(nil), secrets...)
	sort.Slice(sorted, func(i, j int) bool { return len(sorted[i]) > len(sorted[j]) })
	for _, s := range sorted {
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s), base64.StdEncoding.EncodeToString([]byte(s))} {
			if form != "" {
				text = strings.ReplaceAll(text, form, "***")
			}
		}
	}
	text = authorization.ReplaceAllString(text, "${1}***")
	return userinfo.ReplaceAllString(text, "${1}")
}

// oneLine shortens what a server said to something that fits a log line.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	const limit = 300
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "..."
	}
	return text
}
