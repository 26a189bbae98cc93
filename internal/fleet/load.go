package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/tree"
)

// The names that Load looks for.
const (
	settingsFile = "fleet.yaml"
	clustersDir  = "clusters"
	clusterFile  = "cluster.yaml"
	appsDir      = "apps"
	appFile      = "app.yaml"
	implicitApp  = "cluster-" // followed by the cluster's name
)

// kustomizationFiles are the names that kustomize accepts for a folder's kustomization.
var kustomizationFiles = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// Load reads the fleet that t declares.
//
// It returns ErrNoFleet if there is none, a *BrokenError if fleet.yaml cannot be used, and the tree's
// own error, wrapped, if a folder cannot be listed. In all three cases nothing is known about any
// placement. Every other fault is a Problem of its file and touches no other file.
func Load(t tree.Tree) (*Fleet, error) {
	l := &loader{tree: t, fleet: &Fleet{}}
	root, err := l.list(".")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load fleet: %w: %w", ErrNoFleet, err)
	}
	if err != nil {
		return nil, fmt.Errorf("load fleet: %w", err)
	}
	found := false
	for _, entry := range root {
		switch entry.Name {
		case settingsFile:
			l.settings(entry)
		case "fleet.yml":
			// To pass over it would be to pass over a drain.
			l.fleet.Problems = append(l.fleet.Problems, Problem{Path: entry.Name, Message: "must be named " + settingsFile, Kind: KindFleet})
		case clustersDir:
			err = l.clusters(entry)
		case appsDir:
			err = l.apps(entry)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("load fleet: %w", err)
		}
		found = true
	}
	if !found {
		return nil, fmt.Errorf("load fleet: %w", ErrNoFleet)
	}
	l.uniqueNames()
	l.dependencies()
	return l.finish()
}

// loader collects a Fleet.
type loader struct {
	tree  tree.Tree
	fleet *Fleet
	found []foundApp
}

// foundApp is an app that has been found, good or broken.
type foundApp struct {
	app    *App // Name is empty if it could not be read
	path   string
	report *report
	bad    bool
}

// list lists a folder.
func (l *loader) list(dir string) ([]tree.Entry, error) {
	entries, err := l.tree.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	return entries, nil
}

// decode reads and decodes one file; the report says what is wrong, a failure to read included.
func (l *loader) decode(file string, doc document) *report {
	failed := func(format string, args ...any) *report {
		r := &report{}
		r.failAt(0, "", format, args...)
		return r
	}
	entry, err := l.tree.Stat(file)
	switch {
	case err != nil:
		return failed("cannot be read: %v", err)
	case !entry.Mode.IsRegular():
		return failed("is not a regular file")
	case entry.Size > maxFileSize:
		return failed("is larger than %d bytes", maxFileSize)
	}
	data, err := l.tree.ReadFile(file)
	if err != nil {
		return failed("cannot be read: %v", err)
	}
	return decode(data, doc)
}

// problems turns a report into Problems of a file.
func (l *loader) problems(r *report, file, kind, name string) {
	for _, issue := range r.issues {
		l.fleet.Problems = append(l.fleet.Problems, Problem{Path: file, Line: issue.line, Message: issue.message, Kind: kind, Name: name})
	}
}

func (l *loader) settings(entry tree.Entry) {
	s := &l.fleet.Settings
	l.problems(l.decode(entry.Name, s), entry.Name, KindFleet, s.Name)
}

// folder refuses a clusters or apps that is no real folder: to skip it would make everything below it absent.
func folder(entry tree.Entry) error {
	if !entry.IsDir() {
		return fmt.Errorf("%s is not a folder", entry.Name)
	}
	return nil
}

// clusters loads clusters/*/cluster.yaml. A folder without that file is no cluster.
func (l *loader) clusters(top tree.Entry) error {
	if err := folder(top); err != nil {
		return err
	}
	entries, err := l.list(clustersDir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		dir := path.Join(clustersDir, entry.Name)
		switch {
		case entry.IsDir():
			files, err := l.list(dir)
			if err != nil {
				return err
			}
			l.cluster(dir, entry.Name, files)
		case entry.Mode&fs.ModeSymlink != 0:
			if target, err := l.tree.Stat(dir); err != nil || target.IsDir() {
				l.clusterProblem(dir, entry.Name, "is a symbolic link: a cluster's folder must be a real one")
			}
		}
	}
	return nil
}

// cluster loads one cluster and its implicit app, if there is one.
func (l *loader) cluster(dir, name string, files []tree.Entry) {
	has := func(names ...string) bool {
		return slices.ContainsFunc(files, func(e tree.Entry) bool { return slices.Contains(names, e.Name) && !e.IsDir() })
	}
	file := path.Join(dir, clusterFile)
	if !has(clusterFile) {
		if has("cluster.yml") {
			l.clusterProblem(path.Join(dir, "cluster.yml"), name, "must be named "+clusterFile)
		}
		return
	}
	c := &Cluster{}
	r := l.decode(file, c)
	r.judgeValues()
	if c.Name != "" && c.Name != name {
		r.fail("metadata.name", "must be the name of the folder, %s, is %s", quote(name), quote(c.Name))
	}
	if len(r.issues) == 0 {
		l.fleet.Clusters = append(l.fleet.Clusters, c)
	}
	l.problems(r, file, KindCluster, name)
	if has(kustomizationFiles...) {
		l.found = append(l.found, foundApp{path: file, report: &report{}, app: &App{
			TypeMeta: TypeMeta{APIVersion: APIVersion, Kind: KindApp},
			Metadata: Metadata{Name: implicitApp + name},
			Dir:      dir,
			Implicit: true,
		}})
	}
}

func (l *loader) clusterProblem(file, name, message string) {
	l.fleet.Problems = append(l.fleet.Problems, Problem{Path: file, Message: message, Kind: KindCluster, Name: name})
}

// apps loads every app.yaml below apps, in apps' own folders too. Links to folders are not followed:
// what they lead to is found where it really is.
func (l *loader) apps(top tree.Entry) error {
	if err := folder(top); err != nil {
		return err
	}
	pending := []string{appsDir}
	for len(pending) > 0 {
		dir := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		entries, err := l.list(dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			switch {
			case entry.IsDir():
				pending = append(pending, path.Join(dir, entry.Name))
			case entry.Name == appFile:
				l.app(dir)
			}
		}
	}
	return nil
}

// app loads one app.
func (l *loader) app(dir string) {
	file := path.Join(dir, appFile)
	a := &App{}
	r := l.decode(file, a)
	a.Dir = dir
	r.judgeValues()
	for i, overlay := range a.Spec.Overlays {
		if _, err := resolve(dir, overlay.Path); err != nil {
			r.fail(fmt.Sprintf("spec.overlays[%d].path", i), "%s", err)
		}
	}
	l.problems(r, file, KindApp, a.Name)
	l.found = append(l.found, foundApp{app: a, path: file, report: r, bad: len(r.issues) > 0})
}

// uniqueNames refuses apps that share a name: neither wins, since the loser's objects would be pruned.
func (l *loader) uniqueNames() {
	slices.SortFunc(l.found, func(a, b foundApp) int { return cmp.Compare(a.path, b.path) })
	byName := map[string][]int{}
	for i := range l.found {
		if name := l.found[i].app.Name; name != "" {
			byName[name] = append(byName[name], i)
		}
	}
	for name, same := range byName {
		for k, i := range same {
			if len(same) == 1 {
				break
			}
			other := l.found[same[(k+1)%len(same)]]
			where := other.path
			if other.app.Implicit {
				where = "the app that " + other.app.Dir + " makes"
			}
			f := &l.found[i]
			f.bad = true
			r := &report{lines: f.report.lines}
			r.fail("metadata.name", "the name %s is also that of %s", quote(name), where)
			l.problems(r, f.path, KindApp, name)
		}
	}
}

// finish sorts what was found.
func (l *loader) finish() (*Fleet, error) {
	f := l.fleet
	for _, found := range l.found {
		if !found.bad {
			f.Apps = append(f.Apps, found.app)
		}
	}
	slices.SortFunc(f.Clusters, func(a, b *Cluster) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(f.Apps, func(a, b *App) int { return strings.Compare(a.Name, b.Name) })
	sortProblems(f.Problems)
	if len(f.Problems) > 0 && f.Problems[0].Kind == KindFleet {
		return nil, fmt.Errorf("load fleet: %w", &BrokenError{Problems: f.Problems})
	}
	return f, nil
}
