package fleet

import (
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// placer places apps on one set of clusters under one set of drains, and remembers the answers: they
// depend on nothing else.
type placer struct {
	clusters []*Cluster
	drain    []Drain

	mu     sync.Mutex
	placed map[*App]Placed
	areas  map[string]*area
}

// area is the clusters that a selector matches.
type area struct {
	matching []*Cluster
	// free are those that may be used, with their names; both are sorted.
	free  []*Cluster
	names []string
}

func newPlacer(f *Fleet) *placer {
	// Clipped, so that who appends to a Fleet's list gets one of his own.
	return &placer{
		clusters: slices.Clip(f.Clusters), drain: slices.Clip(f.Settings.Spec.Drain),
		placed: map[*App]Placed{}, areas: map[string]*area{},
	}
}

// serves tells whether the answers hold for f. Clusters are compared by identity: a Loader keeps it, and
// a Fleet that was changed since it was loaded has lists of its own.
func (p *placer) serves(f *Fleet) bool {
	if p == nil {
		return false
	}
	return (same(p.clusters, f.Clusters) || slices.Equal(p.clusters, f.Clusters)) &&
		(same(p.drain, f.Settings.Spec.Drain) || reflect.DeepEqual(p.drain, f.Settings.Spec.Drain))
}

// same tells whether two slices are one.
func same[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// place answers Fleet.Place for an app that can be judged.
func (p *placer) place(a *App) Placed {
	p.mu.Lock()
	placed, ok := p.placed[a]
	p.mu.Unlock()
	if ok {
		return placed
	}
	placed = p.find(a)
	p.mu.Lock()
	p.placed[a] = placed
	p.mu.Unlock()
	return placed
}

// bound forgets all placements when most must be those of apps that are no more.
func (p *placer) bound(apps int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.placed) > placedPerApp*(apps+100) {
		clear(p.placed)
		clear(p.areas)
	}
}

// placedPerApp is how many placements are kept for each app of the fleet: an app that changes is a new one.
const placedPerApp = 2

// find places an app.
func (p *placer) find(a *App) Placed {
	if a.Implicit {
		return p.implicit(a)
	}
	var (
		all    = p.area(&a.Spec.Placement.ClusterSelector)
		chosen = all.free
		placed = Placed{Clusters: all.names}
	)
	if want := a.Spec.Placement.Clusters; want != nil {
		chosen = choose(a, all.free, *want)
		placed.Clusters = namesOf(chosen)
		if len(chosen) < *want {
			placed.Short = fmt.Sprintf("%d of the %d clusters asked for are free; %s", len(chosen), *want, p.standing(all.matching))
		}
	} else if len(all.free) == 0 {
		placed.Short = "no cluster is free; " + p.standing(all.matching)
	}
	if r := a.Spec.Replicas; r != nil {
		placed.Replicas = divide(a.Name, r.Total, chosen)
	}
	return placed
}

// implicit places the app of one cluster on that cluster.
func (p *placer) implicit(a *App) Placed {
	f := Fleet{Clusters: p.clusters}
	own, ok := f.Cluster(path.Base(a.Dir))
	if !ok {
		return Placed{Short: "no cluster is free; " + p.standing(nil)}
	}
	matching := []*Cluster{own}
	if !p.usable(own) {
		return Placed{Short: "no cluster is free; " + p.standing(matching)}
	}
	return Placed{Clusters: namesOf(matching)}
}

// area returns the clusters that a selector matches: all apps with the same selector share it.
func (p *placer) area(s *Selector) *area {
	b, _ := json.Marshal(s.LabelSelector) // it holds strings alone
	key := string(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.areas[key]; ok {
		return known
	}
	found := &area{}
	for _, c := range p.clusters {
		if !s.Matches(c.Labels) {
			continue
		}
		found.matching = append(found.matching, c)
		if p.usable(c) {
			found.free = append(found.free, c)
		}
	}
	found.names = namesOf(found.free)
	p.areas[key] = found
	return found
}

// usable tells whether apps may be placed on a cluster.
func (p *placer) usable(c *Cluster) bool {
	_, out := drained(p.drain, c)
	return c.State() == Active && !out
}

// namesOf lists the names of clusters, sorted.
func namesOf(clusters []*Cluster) []string {
	var names []string
	for _, c := range clusters {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}

// standing says how many clusters match and what keeps some of them from being used.
func (p *placer) standing(matching []*Cluster) string {
	var out []string
	for _, c := range matching {
		if c.State() != Active {
			out = append(out, c.Name+" is "+string(c.State()))
		} else if _, drained := drained(p.drain, c); drained {
			out = append(out, c.Name+" is drained by "+settingsFile)
		}
	}
	text := fmt.Sprintf("%d clusters match", len(matching))
	if len(matching) == 1 {
		text = "1 cluster matches"
	}
	slices.Sort(out)
	const most = 10
	if extra := len(out) - most; extra > 0 {
		out = append(out[:most], fmt.Sprintf("and %d more", extra))
	}
	if len(out) > 0 {
		text += ": " + strings.Join(out, ", ")
	}
	return text
}
