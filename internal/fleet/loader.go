package fleet

import (
	"sync"

	"github.com/holdfast-dev/holdfast/internal/tree"
)

// Loader loads one commit after the other and remembers what each file declared, by its path and its
// Git object id. So a commit costs a walk down the folders that it changed and the decoding of the
// files in them; what is unchanged keeps its *App or *Cluster, and an App its placement as long as
// clusters and drains are the same. The result is that of Load. It is safe for concurrent use.
//
// Trees without object ids (working directories) are read in full.
type Loader struct {
	mu     sync.Mutex
	memo   memo
	placer *placer
}

// NewLoader returns a Loader that remembers nothing.
func NewLoader() *Loader { return &Loader{} }

// Load is the function Load. The values that the Fleet points to are shared and must not be changed.
func (m *Loader) Load(t tree.Tree) (*Fleet, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &loader{tree: t, memo: &m.memo, fleet: &Fleet{}}
	f, err := l.load()
	if err != nil {
		return nil, err
	}
	m.memo.bound(rememberedPerFile * (len(f.Apps) + len(f.Clusters) + 100))
	if !m.placer.serves(f) {
		m.placer = newPlacer(f)
	}
	m.placer.bound(len(f.Apps))
	f.Clusters, f.Settings.Spec.Drain = m.placer.clusters, m.placer.drain
	f.placer = m.placer
	return f, nil
}

// rememberedPerFile is how much is remembered for each app and cluster before what was not asked for
// of late is forgotten: itself and the folders around it, of several commits.
const rememberedPerFile = 8

// declared is what a file, or a folder and all below it, declares.
type declared struct {
	settings *Settings
	clusters []*Cluster
	apps     []foundApp
	problems []Problem
	// passing is set if it does not follow from the object id alone: a link to elsewhere, a failed read.
	passing bool
}

func (d *declared) add(e declared) {
	d.clusters = append(d.clusters, e.clusters...)
	d.apps = append(d.apps, e.apps...)
	d.problems = append(d.problems, e.problems...)
	d.passing = d.passing || e.passing
}

// empty tells whether nothing is declared: to find that out again, within what changed, costs less than
// to remember every folder of every app.
func (d *declared) empty() bool {
	return d.settings == nil && len(d.clusters)+len(d.apps)+len(d.problems) == 0
}

// memo remembers what was declared in two generations; the older one is dropped when the younger is full.
type memo struct{ young, old map[blob]declared }

// blob is a file or folder at its place.
type blob struct {
	path string
	hash tree.Hash
}

// once returns what is remembered of a path and object id, or finds it.
func (m *memo) once(path string, hash tree.Hash, find func() (declared, error)) (declared, error) {
	k := blob{path, hash}
	if d, ok := m.young[k]; ok {
		return d, nil
	}
	d, ok := m.old[k]
	if !ok {
		var err error
		if d, err = find(); err != nil || hash.IsZero() || d.passing || d.empty() {
			return d, err
		}
	}
	if m.young == nil {
		m.young = map[blob]declared{}
	}
	m.young[k] = d
	return d, nil
}

// bound drops the older generation if the younger has more than limit.
func (m *memo) bound(limit int) {
	if len(m.young) > limit {
		m.young, m.old = nil, m.young
	}
}
