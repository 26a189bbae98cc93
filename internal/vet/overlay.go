package vet

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

// overlays judges which clusters use which overlay of an app: none of it for a cluster is an error, and an overlay that
// nobody uses is nearly always meant for somebody.
func (v *vetter) overlays(a *fleet.App) {
	list := a.Spec.Overlays
	if len(list) == 0 {
		return
	}
	used, somewhere := make([]bool, len(list)), false
	for _, c := range v.fleet.Clusters {
		if !a.Spec.Placement.ClusterSelector.Matches(c.Labels) {
			continue
		}
		somewhere = true
		i := slices.IndexFunc(list, func(o fleet.Overlay) bool { return o.ClusterSelector.Matches(c.Labels) })
		if i < 0 {
			v.add(v.sources.field(appFile(a), "spec", "overlays"), found{
				code: NoOverlay, app: a.Name, cluster: c.Name,
				message: "none of the overlays matches: add one that does, such as a last one without a clusterSelector, or keep the app from the cluster by spec.placement",
			})
			continue
		}
		used[i] = true
	}
	for i := range list {
		if somewhere && !used[i] {
			v.unusedOverlay(a, i)
		}
	}
}

// unusedOverlay says why no cluster uses an overlay. A last one for everybody else is as it should be.
func (v *vetter) unusedOverlay(a *fleet.App, i int) {
	list := a.Spec.Overlays
	selector := &list[i].ClusterSelector
	at := v.sources.field(appFile(a), "spec", "overlays", i)
	for j := range i {
		if covers(&list[j].ClusterSelector, selector) {
			v.add(at, found{code: UnreachableOverlay, app: a.Name, message: fmt.Sprintf(
				"%s is never used: %s comes first and matches every cluster that this one matches; put the narrower one first", list[i].Path, list[j].Path)})
			return
		}
	}
	if everybody(selector) || len(v.fleet.Clusters) == 0 {
		return
	}
	why := v.nobody(selector)
	if why == "" {
		why = "an earlier overlay is used on every cluster that it matches"
		if !slices.ContainsFunc(v.fleet.Clusters, func(c *fleet.Cluster) bool {
			return selector.Matches(c.Labels) && a.Spec.Placement.ClusterSelector.Matches(c.Labels)
		}) {
			why = "spec.placement selects none of the clusters that it matches"
		}
	}
	v.add(at, found{code: UnusedOverlay, severity: Warning, app: a.Name, message: fmt.Sprintf("%s is not used: %s", list[i].Path, why)})
}

// unusedKustomizations reports folders with a kustomization that nothing leads to. Of folders that lead to each other
// only the first is named.
func (v *vetter) unusedKustomizations() {
	if v.broken(fleet.KindApp) || v.broken(fleet.KindCluster) {
		return // what a broken file leads to is unknown
	}
	reached := map[string]bool{}
	for _, a := range v.fleet.Apps {
		dirs := []string{a.Dir}
		if len(a.Spec.Overlays) > 0 {
			dirs = nil
			for _, o := range a.Spec.Overlays {
				dirs = append(dirs, path.Join(a.Dir, o.Path))
			}
		}
		for _, dir := range dirs {
			v.reach(dir, reached)
		}
	}
	var unused []string
	led := map[string]bool{}
	for _, dir := range v.repo.kustomizations {
		if reached[dir] {
			continue
		}
		unused = append(unused, dir)
		for _, to := range v.leadsTo(dir) {
			led[to] = true
		}
	}
	for _, dir := range unused {
		if led[dir] {
			continue
		}
		why := "no app, cluster or other kustomization refers to it"
		if parent := path.Dir(dir); parent == "clusters" {
			why = "the folder has no cluster.yaml, and so is no cluster"
		}
		v.add(position{file: v.sources.kustomization(dir)}, found{code: UnusedKustomization, severity: Warning, message: "is not used: " + why})
	}
}

// reach marks a folder and all that its kustomization leads to.
func (v *vetter) reach(dir string, reached map[string]bool) {
	if e, err := v.tree.Stat(dir); err == nil {
		dir = e.Path // behind a link
	}
	if reached[dir] {
		return
	}
	reached[dir] = true
	for _, to := range v.leadsTo(dir) {
		v.reach(to, reached)
	}
}

// leadsTo lists the folders that any text of a kustomization names.
func (v *vetter) leadsTo(dir string) (dirs []string) {
	docs := v.sources.documents(v.sources.kustomization(dir))
	if len(docs) == 0 {
		return nil
	}
	for n := range scalars(docs[0].node) {
		if strings.ContainsAny(n.Value, " \n:") {
			continue
		}
		e, err := v.tree.Stat(path.Join(dir, n.Value))
		if err == nil && e.IsDir() && e.Path != dir {
			dirs = append(dirs, e.Path)
		}
	}
	return dirs
}
