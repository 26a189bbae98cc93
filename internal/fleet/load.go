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
func Load(t tree.Tree) (*Fleet, error) { return NewLoader().Load(t) }

// loader collects a Fleet.
type loader struct {
	tree  tree.Tree
	memo  *memo
	fleet *Fleet
	found []foundApp
}

// foundApp is an app that has been found, good or broken.
type foundApp struct {
	app  *App // Name is empty if it could not be read
	path string
	// lines are those of the fields that are judged once all apps are known.
	lines map[string]int
	bad   bool
}

// load reads the whole fleet.
func (l *loader) load() (*Fleet, error) {
	root, err := l.list(".")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load fleet: %w: %w", ErrNoFleet, err)
	}
	if err != nil {
		return nil, fmt.Errorf("load fleet: %w", err)
	}
	found := false
	for _, entry := range root {
		var d declared
		switch entry.Name {
		case settingsFile:
			d = l.settings(entry)
			l.fleet.Settings = *d.settings
		case "fleet.yml":
			// To pass over it would be to pass over a drain.
			d.problems = []Problem{{Path: entry.Name, Message: "must be named " + settingsFile, Kind: KindFleet, Fault: Misplaced}}
		case clustersDir:
			if err = folder(entry); err == nil {
				d, err = l.memo.once(clustersDir, entry.Hash, l.clusters)
			}
		case appsDir:
			if err = folder(entry); err == nil {
				d, err = l.apps(entry)
			}
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("load fleet: %w", err)
		}
		l.fleet.Clusters = append(l.fleet.Clusters, d.clusters...)
		l.fleet.Problems = append(l.fleet.Problems, d.problems...)
		l.found = append(l.found, d.apps...)
		found = true
	}
	if !found {
		return nil, fmt.Errorf("load fleet: %w", ErrNoFleet)
	}
	l.uniqueNames()
	l.dependencies()
	return l.finish()
}

// AcceptHistory reads which lost commit the fleet that t declares acknowledges; "" is none. It is what
// gitsource.Options.AcceptHistory is to answer, of a branch that was rewritten.
func AcceptHistory(t tree.Tree) (string, error) {
	f, err := Load(t)
	if err != nil {
		return "", err
	}
	return f.Settings.Spec.AcceptHistory, nil
}

// ParseSettings decodes the content of a fleet.yaml as Load does. All that is wrong with it is in a
// *BrokenError.
func ParseSettings(data []byte) (Settings, error) {
	var s Settings
	r := decode(data, &s)
	if problems := r.problems(settingsFile, KindFleet, s.Name); len(problems) > 0 {
		return Settings{}, &BrokenError{Problems: problems}
	}
	return s, nil
}

// list lists a folder.
func (l *loader) list(dir string) ([]tree.Entry, error) {
	entries, err := l.tree.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	return entries, nil
}

// file finds what one file declares. entry is the file's in its folder; declare is given a function that
// decodes the content, or reports why there is none.
func (l *loader) file(file string, entry tree.Entry, declare func(decode func(document) *report) declared) declared {
	failed := func(format string, args ...any) declared {
		d := declare(func(document) *report {
			r := &report{}
			r.add(Unreadable, 0, "", format, args...)
			return r
		})
		d.passing = true
		return d
	}
	link := !entry.Mode.IsRegular()
	if link {
		var err error
		if entry, err = l.tree.Stat(file); err != nil {
			return failed("cannot be read: %v", err)
		}
		if !entry.Mode.IsRegular() {
			return failed("is not a regular file")
		}
	}
	d, _ := l.memo.once(file, entry.Hash, func() (declared, error) {
		data, err := l.tree.ReadFile(file)
		if err != nil {
			return failed("cannot be read: %v", err), nil
		}
		return declare(func(doc document) *report { return decode(data, doc) }), nil
	})
	d.passing = d.passing || link
	return d
}

// problems turns a report into Problems of a file.
func (r *report) problems(file, kind, name string) []Problem {
	var ps []Problem
	for _, issue := range r.issues {
		ps = append(ps, Problem{Path: file, Line: issue.line, Message: issue.message, Kind: kind, Name: name, Fault: issue.fault})
	}
	return ps
}

func (l *loader) settings(entry tree.Entry) declared {
	return l.file(entry.Name, entry, func(decode func(document) *report) declared {
		s := &Settings{}
		r := decode(s)
		return declared{settings: s, problems: r.problems(entry.Name, KindFleet, s.Name)}
	})
}

// folder refuses a clusters or apps that is no real folder: to skip it would make everything below it absent.
func folder(entry tree.Entry) error {
	if !entry.IsDir() {
		return fmt.Errorf("%s is not a folder", entry.Name)
	}
	return nil
}

// clusters loads clusters/*/cluster.yaml. A folder without that file is no cluster.
func (l *loader) clusters() (declared, error) {
	var all declared
	entries, err := l.list(clustersDir)
	if err != nil {
		return all, err
	}
	for _, entry := range entries {
		dir := path.Join(clustersDir, entry.Name)
		switch {
		case entry.IsDir():
			d, err := l.memo.once(dir, entry.Hash, func() (declared, error) { return l.cluster(dir, entry.Name) })
			if err != nil {
				return all, err
			}
			all.add(d)
		case entry.Mode&fs.ModeSymlink != 0:
			all.passing = true
			if target, err := l.tree.Stat(dir); err != nil || target.IsDir() {
				all.add(clusterProblem(dir, entry.Name, "is a symbolic link: a cluster's folder must be a real one"))
			}
		}
	}
	return all, nil
}

// cluster loads one cluster and its implicit app, if there is one.
func (l *loader) cluster(dir, name string) (declared, error) {
	files, err := l.list(dir)
	if err != nil {
		return declared{}, err
	}
	find := func(names ...string) int {
		return slices.IndexFunc(files, func(e tree.Entry) bool { return slices.Contains(names, e.Name) && !e.IsDir() })
	}
	file, i := path.Join(dir, clusterFile), find(clusterFile)
	if i < 0 {
		if find("cluster.yml") >= 0 {
			return clusterProblem(path.Join(dir, "cluster.yml"), name, "must be named "+clusterFile), nil
		}
		return declared{}, nil
	}
	d := l.file(file, files[i], func(decode func(document) *report) declared {
		c := &Cluster{}
		r := decode(c)
		r.judgeValues()
		if c.Name != "" && c.Name != name {
			r.fail("metadata.name", "must be the name of the folder, %s, is %s", quote(name), quote(c.Name))
		}
		d := declared{problems: r.problems(file, KindCluster, name)}
		if len(r.issues) == 0 {
			d.clusters = []*Cluster{c}
		}
		d.apps = []foundApp{{path: file, app: &App{
			TypeMeta: TypeMeta{APIVersion: APIVersion, Kind: KindApp},
			Metadata: Metadata{Name: implicitApp + name},
			Dir:      dir,
			Implicit: true,
		}}}
		return d
	})
	if find(kustomizationFiles...) < 0 {
		d.apps = nil
	}
	return d, nil
}

func clusterProblem(file, name, message string) declared {
	return declared{problems: []Problem{{Path: file, Message: message, Kind: KindCluster, Name: name, Fault: Misplaced}}}
}

// apps loads every app.yaml in and below a folder, in apps' own folders too. Links to folders are not
// followed: what they lead to is found where it really is.
func (l *loader) apps(dir tree.Entry) (declared, error) {
	return l.memo.once(dir.Path, dir.Hash, func() (declared, error) {
		var all declared
		entries, err := l.list(dir.Path)
		if err != nil {
			return all, err
		}
		for _, entry := range entries {
			switch {
			case entry.IsDir():
				d, err := l.apps(entry)
				if err != nil {
					return all, err
				}
				all.add(d)
			case entry.Name == appFile:
				all.add(l.app(dir.Path, entry))
			}
		}
		return all, nil
	})
}

// app loads one app.
func (l *loader) app(dir string, entry tree.Entry) declared {
	file := path.Join(dir, appFile)
	return l.file(file, entry, func(decode func(document) *report) declared {
		a := &App{}
		r := decode(a)
		a.Dir = dir
		r.judgeValues()
		for i, overlay := range a.Spec.Overlays {
			if _, err := resolve(dir, overlay.Path); err != nil {
				r.fail(fmt.Sprintf("spec.overlays[%d].path", i), "%s", err)
			}
		}
		return declared{
			problems: r.problems(file, KindApp, a.Name),
			apps:     []foundApp{{app: a, path: file, lines: judgedLater(r.lines), bad: len(r.issues) > 0}},
		}
	})
}

// judgedLater keeps the lines of the fields that are judged once all apps are known, and of those
// around them.
func judgedLater(lines map[string]int) map[string]int {
	kept := map[string]int{}
	for field, line := range lines {
		if field == "metadata" || field == "metadata.name" || field == "spec" || strings.HasPrefix(field, "spec.dependsOn") {
			kept[field] = line
		}
	}
	return kept
}

// uniqueNames refuses apps that share a name: neither wins, since the loser's objects would be pruned.
func (l *loader) uniqueNames() {
	slices.SortFunc(l.found, func(a, b foundApp) int { return cmp.Compare(a.path, b.path) })
	count := make(map[string]int, len(l.found))
	for i := range l.found {
		count[l.found[i].app.Name]++
	}
	shared := map[string][]int{}
	for i := range l.found {
		if name := l.found[i].app.Name; name != "" && count[name] > 1 {
			shared[name] = append(shared[name], i)
		}
	}
	for name, same := range shared {
		for k, i := range same {
			other := l.found[same[(k+1)%len(same)]]
			where := other.path
			if other.app.Implicit {
				where = "the app that " + other.app.Dir + " makes"
			}
			f := &l.found[i]
			f.bad = true
			r := &report{lines: f.lines}
			r.failAs(NameTaken, "metadata.name", "the name %s is also that of %s", quote(name), where)
			l.fleet.Problems = append(l.fleet.Problems, r.problems(f.path, KindApp, name)...)
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
