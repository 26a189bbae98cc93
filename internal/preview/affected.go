package preview

import (
	"context"
	"maps"
	"reflect"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// affected finds which apps may differ on which clusters without building any: the names of the apps by the
// name of the cluster, each sorted.
func (c *comparison) affected(ctx context.Context) (map[string][]string, error) {
	a := affected{comparison: c, found: map[string][]string{}, open: map[string][]question{}, facts: map[string]bool{}}
	for _, name := range c.clusterNames() {
		was, _ := c.base.Fleet.Cluster(name)
		is, _ := c.head.Fleet.Cluster(name)
		a.facts[name] = was != nil && is != nil && (was == is || reflect.DeepEqual(was.Facts(), is.Facts()))
	}
	for _, name := range c.appNames() {
		a.app(name)
	}
	if err := a.answer(ctx); err != nil {
		return nil, err
	}
	for name := range a.found {
		slices.Sort(a.found[name])
	}
	return a.found, nil
}

type affected struct {
	*comparison
	found map[string][]string
	// open are the apps on clusters where everything but the files is the same, by the folder that is built.
	open map[string][]question
	// facts tells of each cluster whether its facts are the same.
	facts map[string]bool
}

// question is whether an app's files differ; facts: or whether it uses the cluster's, which do.
type question struct {
	cluster, app string
	facts        bool
}

func (a *affected) add(cluster, app string) { a.found[cluster] = append(a.found[cluster], app) }

// app looks at one app, without its files.
func (a *affected) app(name string) {
	was, placedWas, wasKnown := placed(a.base.Fleet, name)
	is, placedIs, isKnown := placed(a.head.Fleet, name)
	for _, cluster := range union(placedWas.Clusters, placedIs.Clusters) {
		if a.Cluster != "" && cluster != a.Cluster {
			continue
		}
		_, before := slices.BinarySearch(placedWas.Clusters, cluster)
		_, after := slices.BinarySearch(placedIs.Clusters, cluster)
		if !before || !after || !wasKnown || !isKnown || !sameContent(was, is) || shareOf(placedWas, cluster) != shareOf(placedIs, cluster) {
			a.add(cluster, name)
			continue
		}
		from, _ := a.base.Fleet.Cluster(cluster)
		to, _ := a.head.Fleet.Cluster(cluster)
		overlay, err := was.Overlay(from.Labels)
		other, otherErr := is.Overlay(to.Labels)
		if err != nil || otherErr != nil || overlay != other || is.Spec.Substitute && !a.facts[cluster] {
			a.add(cluster, name)
			continue
		}
		a.open[overlay] = append(a.open[overlay], question{cluster, name, !a.facts[cluster]})
	}
}

// placed finds an app and where it is placed; known is false where it cannot be told.
func placed(f *fleet.Fleet, name string) (app *fleet.App, p fleet.Placed, known bool) {
	app, ok := f.App(name)
	if !ok {
		return nil, p, !f.AppUnknown(name)
	}
	p, err := f.Place(app)
	return app, p, err == nil
}

// shareOf is a cluster's share of an app's replicas, -1 if they are not divided.
func shareOf(p fleet.Placed, cluster string) int64 {
	if p.Replicas == nil {
		return -1
	}
	return int64(p.Replicas[cluster])
}

// sameContent compares what an app's definition gives to its build, besides the overlay.
func sameContent(a, b *fleet.App) bool {
	if a == b {
		return true
	}
	if a.Spec.Namespace != b.Spec.Namespace || a.Spec.Substitute != b.Spec.Substitute || a.Spec.AllowEmpty != b.Spec.AllowEmpty {
		return false
	}
	return reflect.DeepEqual(target(a), target(b))
}

func target(a *fleet.App) *fleet.Target {
	if a.Spec.Replicas == nil {
		return nil
	}
	return a.Spec.Replicas.Target
}

// answer looks at the files of what is open, each folder once.
func (a *affected) answer(ctx context.Context) error {
	changes, err := tree.Compare(a.base.Tree, a.head.Tree)
	if err != nil {
		changes = nil // a working directory, of which nothing is known without reading it all
	}
	dirs := slices.Sorted(maps.Keys(a.open))
	type reads struct{ differ, facts bool }
	found := make([]reads, len(dirs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, dir := range dirs {
		group.Go(func() error {
			needsFacts := slices.ContainsFunc(a.open[dir], func(q question) bool { return q.facts })
			if changes != nil && len(changes.Paths) == 0 && !needsFacts {
				return ctx.Err()
			}
			sources, err := render.Sources(a.base.Tree, dir)
			found[i].differ = changes == nil || err != nil || !sources.HoldAfter(changes, a.head.Tree)
			found[i].facts = needsFacts && !found[i].differ && sources.UseFacts(a.base.Tree)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, dir := range dirs {
		for _, q := range a.open[dir] {
			if found[i].differ || q.facts && found[i].facts {
				a.add(q.cluster, q.app)
			}
		}
	}
	return nil
}

// union merges two sorted lists.
func union(a, b []string) []string {
	if slices.Equal(a, b) {
		return a
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
