package fleet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/spell"
)

// dependencies reports a dependsOn that names no app, and cycles. The apps stay in the fleet: they
// are placed and healed, and only the adoption of new content waits, for ever or until it is mended.
func (l *loader) dependencies() {
	if !slices.ContainsFunc(l.found, func(f foundApp) bool { return len(f.app.Spec.DependsOn) > 0 }) {
		return // as in most fleets, at every commit
	}
	byName := map[string]*foundApp{}
	var names []string
	nameless := false
	for i := range l.found {
		f := &l.found[i]
		nameless = nameless || f.app.Name == ""
		byName[f.app.Name] = f
		names = append(names, f.app.Name)
	}
	for i := range l.found {
		f := &l.found[i]
		if f.bad {
			continue
		}
		for j, name := range f.app.Spec.DependsOn {
			// A file whose name cannot be read may be the one that is meant.
			if byName[name] == nil && !nameless {
				l.dependProblem(f, j, UnknownApp, "there is no app %q%s", name, spell.DidYouMean(name, names))
			}
		}
	}
	l.cycles(byName)
}

func (l *loader) dependProblem(f *foundApp, index int, fault Fault, format string, args ...any) {
	r := &report{lines: f.lines}
	r.failAs(fault, fmt.Sprintf("spec.dependsOn[%d]", index), format, args...)
	l.fleet.Problems = append(l.fleet.Problems, r.problems(f.path, KindApp, f.app.Name)...)
}

// cycles walks the dependencies depth first, each app once. An app met again while it is still on the
// path closes a cycle, which is reported for each of its apps.
func (l *loader) cycles(byName map[string]*foundApp) {
	const onPath, done = 1, 2
	state := map[string]int{}
	var trail []string
	var visit func(name string)
	visit = func(name string) {
		f := byName[name]
		if f == nil || f.bad || len(f.app.Spec.DependsOn) == 0 || state[name] == done {
			return
		}
		if state[name] == onPath {
			l.cycle(byName, trail[slices.Index(trail, name):])
			return
		}
		state[name] = onPath
		trail = append(trail, name)
		for _, next := range f.app.Spec.DependsOn {
			visit(next)
		}
		trail = trail[:len(trail)-1]
		state[name] = done
	}
	for i := range l.found {
		visit(l.found[i].app.Name)
	}
}

// cycle reports one cycle for each of its members.
func (l *loader) cycle(byName map[string]*foundApp, members []string) {
	for i, name := range members {
		f := byName[name]
		round := slices.Concat(members[i:], members[:i], []string{name})
		next := slices.Index(f.app.Spec.DependsOn, round[1])
		l.dependProblem(f, next, DependencyCycle, "the apps depend on each other: %s", strings.Join(round, " -> "))
	}
}
