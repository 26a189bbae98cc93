package vet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/moves"
	"github.com/holdfast-dev/holdfast/internal/plain"
)

// Severity says whether a Finding should stop a merge.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing that is wrong. What is wrong for several clusters, apps or objects in one place is one Finding.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	// File is relative to the top of the repository, slash-separated; Line counts from 1, and is 0 if the whole file is
	// meant.
	File string `json:"file"`
	Line int    `json:"line"`
	// Message says what is wrong, and what to do where that is known.
	Message string `json:"message"`
	// Apps, Objects and Clusters are those that are concerned, sorted; empty where that is not the question.
	Apps     []string `json:"apps,omitempty"`
	Objects  []string `json:"objects,omitempty"`
	Clusters []string `json:"clusters,omitempty"`
}

// Report is what Run found.
type Report struct {
	// Commit that was looked at, "" for files on disk.
	Commit string
	// Kubernetes is the version whose schemas the manifests were held to.
	Kubernetes string
	// Clusters and Apps are how many the fleet has; Objects, how many different ones were checked.
	Clusters, Apps, Objects int
	// Findings in the order of files and lines.
	Findings []Finding
}

// Count returns the number of errors and of warnings.
func (r *Report) Count() (errors, warnings int) {
	for i := range r.Findings {
		if r.Findings[i].Severity == Error {
			errors++
		} else {
			warnings++
		}
	}
	return errors, warnings
}

// concern says on one line which objects, apps and clusters a finding concerns, "" if none.
func (r *Report) concern(f *Finding) string {
	const most = 3
	var parts []string
	if len(f.Objects) > 0 {
		parts = append(parts, moves.List(f.Objects, most, ""))
	}
	switch len(f.Apps) {
	case 0:
	case 1:
		parts = append(parts, "app "+f.Apps[0])
	default:
		parts = append(parts, "apps "+moves.List(f.Apps, most, ""))
	}
	switch n := len(f.Clusters); {
	case n == 0:
	case n <= most:
		parts = append(parts, strings.Join(f.Clusters, ", "))
	case n == r.Clusters:
		parts = append(parts, fmt.Sprintf("all %d clusters", n))
	default:
		parts = append(parts, fmt.Sprintf("%d clusters: %s", n, moves.List(f.Clusters, most, "")))
	}
	return plain.Line(strings.Join(parts, "; "))
}

// position is a place in a file of the fleet.
type position struct {
	file string
	line int
}

// findings collects what is found.
type findings struct {
	byKey map[string]*Finding
	// placed remembers where a thing was found, by what is said of it.
	placed map[string]position
}

// found is what is wrong, before it is known in which places else it is wrong too.
type found struct {
	code     Code
	severity Severity
	message  string
	app      string
	object   string
	cluster  string
}

// add records a finding. What is equal in code, place and message is one finding of several clusters, apps and objects.
func (fs *findings) add(at position, f found) {
	if fs.byKey == nil {
		fs.byKey = map[string]*Finding{}
	}
	if f.severity == "" {
		f.severity = Error
	}
	key := fmt.Sprintf("%s\x00%d\x00%s\x00%s\x00%s", at.file, at.line, f.code, f.severity, f.message)
	known := fs.byKey[key]
	if known == nil {
		known = &Finding{Code: f.code, Severity: f.severity, File: at.file, Line: at.line, Message: f.message}
		fs.byKey[key] = known
	}
	insert(&known.Apps, f.app)
	insert(&known.Objects, f.object)
	insert(&known.Clusters, f.cluster)
}

// addAt is add for a place that is looked for only once, since what is said is said for many clusters.
func (fs *findings) addAt(where func() position, overlay string, f found) {
	key := fmt.Sprintf("%s\x00%s\x00%s\x00%s\x00%s", overlay, f.app, f.object, f.code, f.message)
	at, ok := fs.placed[key]
	if !ok {
		if fs.placed == nil {
			fs.placed = map[string]position{}
		}
		at = where()
		fs.placed[key] = at
	}
	fs.add(at, f)
}

// insert puts a name into a sorted list without repetitions.
func insert(names *[]string, name string) {
	if name == "" {
		return
	}
	if i, ok := slices.BinarySearch(*names, name); !ok {
		*names = slices.Insert(*names, i, name)
	}
}

// list returns all findings in order; files are put below a folder.
func (fs *findings) list(below func(string) string) []Finding {
	all := make([]Finding, 0, len(fs.byKey))
	for _, f := range fs.byKey {
		f.File = below(f.File)
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message),
		)
	})
	return all
}
