package vet

import (
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/moves"
)

// everywhere is the fleet with every app on every cluster that it could ever run on: as if nothing were drained or
// lost, and no app kept to a number of clusters. What does not build on the cluster that is to take over is found here,
// and not in the night of the failover. Replicas are divided to nothing, so that clusters differ in nothing else.
func everywhere(f *fleet.Fleet) *fleet.Fleet {
	e := restored(f)
	e.Problems = nil // an app is built where it can be, whatever else is broken
	e.Apps = make([]*fleet.App, len(f.Apps))
	for i, a := range f.Apps {
		free := *a
		free.Spec.Placement.Clusters = nil
		if r := a.Spec.Replicas; r != nil {
			free.Spec.Replicas = &fleet.Replicas{Target: r.Target}
		}
		e.Apps[i] = &free
	}
	return e
}

// restored is the fleet as if nothing were drained or lost.
func restored(f *fleet.Fleet) *fleet.Fleet {
	r := *f
	r.Settings.Spec.Drain = nil
	r.Clusters = make([]*fleet.Cluster, len(f.Clusters))
	for i, c := range f.Clusters {
		active := *c
		active.Spec.State = fleet.Active
		r.Clusters[i] = &active
	}
	return &r
}

// view is one placement of all apps: by app, the clusters, and why there are too few.
type view struct {
	placed map[string]fleet.Placed
}

// views are the placements in which apps are judged together: today's, and that after all drains have ended.
func views(f *fleet.Fleet) []view {
	var all []view
	for _, fl := range []*fleet.Fleet{f, restored(f)} {
		w := view{placed: map[string]fleet.Placed{}}
		for _, a := range fl.Apps {
			// An error is of a broken cluster's file, which is reported: then nothing is known of the app's place.
			if p, err := fl.Place(a); err == nil {
				w.placed[a.Name] = p
			}
		}
		all = append(all, w)
	}
	return all
}

// on tells whether an app runs on a cluster.
func (w view) on(app, cluster string) bool {
	_, ok := slices.BinarySearch(w.placed[app].Clusters, cluster)
	return ok
}

// app judges where an app goes, and with which overlay.
func (v *vetter) app(a *fleet.App) {
	if a.Implicit || v.broken(fleet.KindCluster) {
		return // a cluster whose file is broken may be the one that is meant
	}
	v.placement(a)
	v.selectors(a)
	v.overlays(a)
}

// placement reports an app that has too few clusters. A drain counts: an app that has nowhere left to go is what a
// person should see before the drain is merged.
func (v *vetter) placement(a *fleet.App) {
	if len(v.fleet.Clusters) == 0 {
		return
	}
	placed, err := v.fleet.Place(a)
	if err != nil || placed.Short == "" {
		return
	}
	f := found{code: NotPlaced, app: a.Name, message: "runs nowhere: " + placed.Short}
	at := []any{"spec", "placement"}
	if len(placed.Clusters) > 0 {
		f.code, f.message = TooFewClusters, placed.Short
		at = append(at, "clusters")
	} else if why := v.nobody(&a.Spec.Placement.ClusterSelector); why != "" {
		f.message = "runs nowhere: " + why
		at = append(at, "clusterSelector")
	}
	v.add(v.sources.field(appFile(a), at...), f)
}

// dependencies reports apps that run where an app that they depend on does not: there, new content is never adopted.
func (v *vetter) dependencies() {
	for _, a := range v.fleet.Apps {
		for i, name := range a.Spec.DependsOn {
			if _, ok := v.fleet.App(name); !ok {
				continue // reported, or in a file that is broken
			}
			missing := map[string]bool{}
			for _, w := range v.views {
				if _, known := w.placed[name]; !known {
					continue
				}
				for _, c := range w.placed[a.Name].Clusters {
					if !w.on(name, c) {
						missing[c] = true
					}
				}
			}
			for _, c := range slices.Sorted(maps.Keys(missing)) {
				v.add(v.sources.field(appFile(a), "spec", "dependsOn", i), found{
					code: DependencyNotPlaced, app: a.Name, cluster: c,
					message: fmt.Sprintf("app %q is not placed on every cluster of this one, which would wait there for ever: place it there too, or take the dependency out", name),
				})
			}
		}
	}
}

// noClusters reports a fleet without clusters.
func (v *vetter) noClusters() {
	if len(v.fleet.Clusters) > 0 || v.broken(fleet.KindCluster) {
		return
	}
	v.add(position{file: "clusters"}, found{
		code: NoClusters, severity: Warning,
		message: fmt.Sprintf("there is no clusters/<name>/cluster.yaml: %s placed nowhere, and no overlay was built",
			moves.Count(len(v.fleet.Apps), "app is", "apps are")),
	})
}
