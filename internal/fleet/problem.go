package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with one file.
type Problem struct {
	// Path of the file, relative to the fleet root.
	Path string
	// Line in the file, from 1; 0 if the whole file is meant.
	Line int
	// Message names the field and says what is wrong with it.
	Message string
	// Kind is the kind that the file should hold: KindFleet, KindCluster or KindApp.
	Kind string
	// Name is the app's name, "" if it could not be read, or the name of the cluster's folder.
	Name string
	// Fault says what sort of mistake it is.
	Fault Fault
}

// Fault is a sort of mistake in a fleet file, for who groups Problems.
type Fault string

// The sorts of mistakes.
const (
	Unreadable      Fault = "unreadable"       // the file cannot be read, or is not one YAML document
	Misplaced       Fault = "misplaced-file"   // a name or a link under which the file is not looked for
	UnknownField    Fault = "unknown-field"    // a field that the kind does not have
	MissingField    Fault = "missing-field"    // a field that the kind must have
	InvalidValue    Fault = "invalid-value"    // a wrong type, or a value that is not allowed
	NameTaken       Fault = "name-taken"       // an app's name that another app has
	UnknownApp      Fault = "unknown-app"      // a dependsOn that names no app
	DependencyCycle Fault = "dependency-cycle" // apps that depend on each other
)

// String has the form of a compiler's message: apps/web/app.yaml:12: spec.placment: unknown field.
func (p Problem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.Path, p.Message)
	}
	return fmt.Sprintf("%s:%d: %s", p.Path, p.Line, p.Message)
}

// ErrNoFleet is what Load returns for a tree that holds none of fleet.yaml, clusters/ and apps/: an
// empty repository, or a path that has vanished. It must never be taken for a fleet without apps.
var ErrNoFleet = errors.New("no fleet here: found none of fleet.yaml, clusters/ and apps/")

// BrokenError is what Load returns when fleet.yaml cannot be used: no placement is known then.
type BrokenError struct {
	// Problems of fleet.yaml first, then those of every other file.
	Problems []Problem
}

// Error lists the problems of fleet.yaml.
func (e *BrokenError) Error() string {
	var lines []string
	for _, p := range e.Problems {
		if p.Kind == KindFleet {
			lines = append(lines, p.String())
		}
	}
	return strings.Join(lines, "\n")
}

var (
	errEmptyPath        = errors.New("must not be empty")
	errLeavesRepository = errors.New("must be a relative path that stays in the repository")
)

// sortProblems orders problems by file, then line; fleet.yaml comes first.
func sortProblems(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			-cmp.Compare(boolToInt(a.Kind == KindFleet), boolToInt(b.Kind == KindFleet)),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Line, b.Line),
		)
	})
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
