package fleet

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// Placed says where an app runs.
type Placed struct {
	// Clusters are the names of the clusters, sorted.
	Clusters []string
	// Replicas is each cluster's share of spec.replicas.total, 0 included; nil without spec.replicas.
	Replicas map[string]int32
	// Short says why there are fewer clusters than asked for, or none at all; "" if all is well.
	Short string
}

// Place decides which clusters run an app, and how its replicas are divided over them. It depends on
// the fleet's files alone, so every agent comes to the same answer from the same commit.
//
// An app goes to all Active, undrained clusters that its selector matches, or to `clusters` of them,
// chosen by choose. A Cluster file that cannot be used is not judged; but where the app is placed on a
// number of clusters, or divides replicas, every answer depends on it, and Place returns an error that
// names the file.
func (f *Fleet) Place(a *App) (Placed, error) {
	if err := f.judgeable(a); err != nil {
		return Placed{}, err
	}
	var placed Placed
	free, matching := f.free(a)
	chosen := free
	if want := a.Spec.Placement.Clusters; want != nil && !a.Implicit {
		chosen = choose(a, free, *want)
		if len(chosen) < *want {
			placed.Short = fmt.Sprintf("%d of the %d clusters asked for are free; %s", len(chosen), *want, f.standing(matching))
		}
	} else if len(free) == 0 {
		placed.Short = "no cluster is free; " + f.standing(matching)
	}
	for _, c := range chosen {
		placed.Clusters = append(placed.Clusters, c.Name)
	}
	slices.Sort(placed.Clusters)
	if r := a.Spec.Replicas; r != nil && !a.Implicit {
		placed.Replicas = divide(a.Name, r.Total, chosen)
	}
	return placed, nil
}

// PlacedOn is Place for one cluster: whether it runs the app, and its share of the replicas, nil if
// they are not divided. It is an error if that cluster's own file cannot be used, or is not there. For
// an app that is neither counted nor divided it looks at that cluster alone.
func (f *Fleet) PlacedOn(a *App, cluster string) (placed bool, share *int32, err error) {
	c, ok := f.Cluster(cluster)
	if !ok {
		return false, nil, f.noCluster(cluster)
	}
	if !counted(a) {
		alone := &Fleet{Settings: f.Settings, Clusters: []*Cluster{c}}
		free, _ := alone.free(a)
		return len(free) == 1, nil, nil
	}
	all, err := f.Place(a)
	if err != nil {
		return false, nil, err
	}
	if _, placed = slices.BinarySearch(all.Clusters, cluster); placed && all.Replicas != nil {
		n := all.Replicas[cluster]
		share = &n
	}
	return placed, share, nil
}

// noCluster says why a cluster is not among the good ones.
func (f *Fleet) noCluster(name string) error {
	for _, p := range f.Problems {
		if p.Kind == KindCluster && p.Name == name {
			return fmt.Errorf("cluster %q: its file cannot be used: %s", name, p)
		}
	}
	return fmt.Errorf("cluster %q: there is no %s", name, path.Join(clustersDir, name, clusterFile))
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

// free lists the clusters that may run a, and all that its selector matches, both sorted by name.
func (f *Fleet) free(a *App) (free, matching []*Cluster) {
	selector := a.Spec.Placement.ClusterSelector.compile()
	drains := make([]labels.Selector, len(f.Settings.Spec.Drain))
	for i := range f.Settings.Spec.Drain {
		drains[i] = f.Settings.Spec.Drain[i].ClusterSelector.compile()
	}
	for _, c := range f.Clusters {
		set := labels.Set(c.Labels)
		if a.Implicit && c.Name != path.Base(a.Dir) || !selector.Matches(set) {
			continue
		}
		matching = append(matching, c)
		drained := slices.ContainsFunc(drains, func(s labels.Selector) bool { return s.Matches(set) })
		if c.State() == Active && !drained {
			free = append(free, c)
		}
	}
	return free, matching
}

// standing says how many clusters match and what keeps some of them from being used.
func (f *Fleet) standing(matching []*Cluster) string {
	var out []string
	for _, c := range matching {
		if c.State() != Active {
			out = append(out, c.Name+" is "+string(c.State()))
		} else if _, drained := f.Drained(c); drained {
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

// Drained returns the line of fleet.yaml that drains c, if there is one. Of several, one with force counts first.
func (f *Fleet) Drained(c *Cluster) (Drain, bool) {
	var found *Drain
	for i := range f.Settings.Spec.Drain {
		drain := &f.Settings.Spec.Drain[i]
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
	prefer := make([]labels.Selector, len(a.Spec.Placement.Prefer))
	for i := range prefer {
		prefer[i] = a.Spec.Placement.Prefer[i].compile()
	}
	candidates := make([]candidate, len(free))
	for i, c := range free {
		candidates[i] = candidate{cluster: c, tier: len(prefer), score: rendezvous(a.Name, c)}
		for tier, selector := range prefer {
			if selector.Matches(labels.Set(c.Labels)) {
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
