package fleet

import (
	"cmp"
	"fmt"
	"path"
	"slices"
)

// Placed says where an app runs.
type Placed struct {
	// Clusters are the names of the clusters, sorted. Apps with the same selector share the slice.
	Clusters []string
	// Replicas is each cluster's share of spec.replicas.total, 0 included; nil without spec.replicas.
	Replicas map[string]int32
	// Short says why there are fewer clusters than asked for, or none at all; "" if all is well.
	Short string
}

// Place decides which clusters run an app, and how its replicas are divided over them. It depends on
// the fleet's files alone, so every agent comes to the same answer from the same commit. The result is
// shared and must not be changed.
//
// An app goes to all Active, undrained clusters that its selector matches, or to `clusters` of them,
// chosen by choose. A Cluster file that cannot be used is not judged; but where the app is placed on a
// number of clusters, or divides replicas, every answer depends on it, and Place returns an error that
// names the file.
func (f *Fleet) Place(a *App) (Placed, error) {
	if err := f.judgeable(a); err != nil {
		return Placed{}, err
	}
	if f.placer.serves(f) {
		return f.placer.place(a), nil
	}
	return newPlacer(f).place(a), nil
}

// counted tells whether the answer for one cluster depends on the others.
func counted(a *App) bool {
	return !a.Implicit && (a.Spec.Placement.Clusters != nil || a.Spec.Replicas != nil)
}

// judgeable returns an error if a broken Cluster file makes the placement of a unknown.
func (f *Fleet) judgeable(a *App) error {
	for _, p := range f.Problems {
		if p.Kind != KindCluster {
			continue
		}
		if counted(a) || a.Implicit && p.Name == path.Base(a.Dir) {
			return fmt.Errorf("app %q: its placement is unknown while a cluster's file cannot be used: %s", a.Name, p)
		}
	}
	return nil
}

// Drained returns the line of fleet.yaml that drains c, if there is one. Of several, one with force counts first.
func (f *Fleet) Drained(c *Cluster) (Drain, bool) { return drained(f.Settings.Spec.Drain, c) }

func drained(drains []Drain, c *Cluster) (Drain, bool) {
	var found *Drain
	for i := range drains {
		drain := &drains[i]
		if (found == nil || drain.Force && !found.Force) && drain.ClusterSelector.Matches(c.Labels) {
			found = drain
		}
	}
	if found == nil {
		return Drain{}, false
	}
	return *found, true
}

// Frozen returns the first line of fleet.yaml that freezes c, if there is one.
func (f *Fleet) Frozen(c *Cluster) (Freeze, bool) {
	for i := range f.Settings.Spec.Freeze {
		if f.Settings.Spec.Freeze[i].ClusterSelector.Matches(c.Labels) {
			return f.Settings.Spec.Freeze[i], true
		}
	}
	return Freeze{}, false
}

// candidate is a free cluster with what decides whether it is chosen.
type candidate struct {
	cluster *Cluster
	tier    int    // the first preference that it matches
	group   string // its value of spreadBy
	score   score
	round   int // how many better candidates of its group come before it
}

// choose picks n of the free clusters: spread first, so that no group of spreadBy gets a second cluster
// while another group has a free one; within that the better tier of prefer; within that rendezvous
// hashing. Clusters without the label form one group of their own.
//
// A cluster more or less changes at most one of the choices: it moves the candidates of its own group
// by one place, and only the last round is chosen from in part.
func choose(a *App, free []*Cluster, n int) []*Cluster {
	prefer := a.Spec.Placement.Prefer
	candidates := make([]candidate, len(free))
	for i, c := range free {
		candidates[i] = candidate{cluster: c, tier: len(prefer), score: rendezvous(a.Name, c)}
		for tier := range prefer {
			if prefer[tier].Matches(c.Labels) {
				candidates[i].tier = tier
				break
			}
		}
		if value, ok := c.Labels[a.Spec.Placement.SpreadBy]; ok {
			candidates[i].group = "=" + value // so that the value "" differs from no value
		}
	}
	better := func(x, y candidate) int {
		return cmp.Or(cmp.Compare(x.round, y.round), cmp.Compare(x.tier, y.tier), x.score.compare(y.score))
	}
	slices.SortFunc(candidates, better)
	if a.Spec.Placement.SpreadBy != "" {
		rounds := map[string]int{}
		for i := range candidates {
			candidates[i].round = rounds[candidates[i].group]
			rounds[candidates[i].group]++
		}
		slices.SortFunc(candidates, better)
	}
	var chosen []*Cluster
	for _, c := range candidates[:min(n, len(candidates))] {
		chosen = append(chosen, c.cluster)
	}
	return chosen
}
