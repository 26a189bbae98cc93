package fleet

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// issue is one thing that is wrong, before it is known in which file.
type issue struct {
	field   string // its path, "" for the whole file
	line    int
	message string
	fault   Fault
}

// report collects what is wrong with one file, and remembers on which line each field stands.
type report struct {
	issues []issue
	lines  map[string]int // by field path, such as spec.overlays[1].path
	// wrong holds the fields that an earlier check found wrong.
	wrong map[string]bool
}

// fail records what is wrong with the value of the field at that path. The line is the field's, or that of the
// nearest field around it.
func (r *report) fail(field, format string, args ...any) {
	r.failAs(InvalidValue, field, format, args...)
}

// failAs is fail for another sort of mistake.
func (r *report) failAs(fault Fault, field, format string, args ...any) {
	line := 0
	for at := field; at != ""; at = parent(at) {
		if r.wrong[at] {
			return
		}
		if line == 0 {
			line = r.lines[at]
		}
	}
	r.add(fault, line, field, format, args...)
}

func (r *report) failAt(line int, field, format string, args ...any) {
	r.add(InvalidValue, line, field, format, args...)
}

func (r *report) add(fault Fault, line int, field, format string, args ...any) {
	if len(r.issues) >= maxIssues {
		return
	}
	message := fmt.Sprintf(format, args...)
	if field != "" {
		message = field + ": " + message
	}
	r.issues = append(r.issues, issue{field: field, line: line, message: message, fault: fault})
}

// judgeValues ends one check and begins the next: a field that is wrong already is not judged again.
func (r *report) judgeValues() {
	r.wrong = map[string]bool{}
	for _, i := range r.issues {
		r.wrong[i.field] = true
	}
}

// parent is the path of the field around a field: spec.overlays[1].path, spec.overlays[1], spec.overlays, spec.
func parent(field string) string { return field[:max(strings.LastIndexAny(field, ".["), 0)] }

// plainKey is a key that can stand in a path as it is.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_/-]{1,80}$`)

// join appends a key to the path of a field.
func join(field, key string) string {
	switch {
	case !plainKey.MatchString(key):
		return field + "[" + quote(key) + "]"
	case field == "":
		return key
	}
	return field + "." + key
}

// quote shows a value from a file: escaped, and no longer than a line.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}

// oneLine joins the lines of a message.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
