package vet

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"
	"sigs.k8s.io/cli-utils/pkg/object/dependson"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/manifest"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/spell"
)

// together judges the objects of all apps of one cluster, by each placement.
func (v *vetter) together(c *fleet.Cluster, res *render.ClusterResult, crds definitions) {
	for _, w := range v.views {
		placed := &render.ClusterResult{}
		whole := !v.broken(fleet.KindApp) && !v.broken(fleet.KindCluster)
		for i := range res.Apps {
			a := &res.Apps[i]
			if w.on(a.App.Name, c.Name) {
				placed.Apps = append(placed.Apps, *a)
				whole = whole && a.Err == nil
			}
		}
		v.duplicates(c, placed)
		v.objectDependencies(c, placed, crds, whole)
	}
}

// duplicates reports objects that several apps declare.
func (v *vetter) duplicates(c *fleet.Cluster, res *render.ClusterResult) {
	for _, d := range res.Duplicates() {
		var where []string
		var at position
		for i := range res.Apps {
			a := &res.Apps[i]
			if !slices.Contains(d.Apps, a.App.Name) {
				continue
			}
			at = v.sources.object(a.Overlay, d.ID, manifest.Path{"metadata", "name"}, nil)
			where = append(where, fmt.Sprintf("%s (%s)", a.App.Name, at.file))
		}
		for _, app := range d.Apps {
			v.add(at, found{
				code: DuplicateObject, app: app, object: render.Name(d.ID), cluster: c.Name,
				message: fmt.Sprintf("is declared by several apps, %s: only one can own it, so keep it in one and let the others depend on that", strings.Join(where, " and ")),
			})
		}
	}
}

// dependent is an object that depends on others by its annotation.
type dependent struct {
	app    *render.AppResult
	object *render.Object
	needs  []object.ObjMetadata
}

// objectDependencies judges the annotation by which objects depend on each other. whole tells that all of the
// cluster's objects are known.
func (v *vetter) objectDependencies(c *fleet.Cluster, res *render.ClusterResult, crds definitions, whole bool) {
	var dependents []dependent
	for i := range res.Apps {
		a := &res.Apps[i]
		for j := range a.Objects {
			if o := &a.Objects[j]; o.Annotations[live.AnnotationDependsOn] != "" {
				dependents = append(dependents, dependent{app: a, object: o})
			}
		}
	}
	if len(dependents) == 0 {
		return
	}
	have := map[object.ObjMetadata]bool{}
	for i := range res.Apps {
		for _, id := range res.Apps[i].IDs() {
			have[v.settled(id, crds)] = true
		}
	}
	for i := range dependents {
		d := &dependents[i]
		set, err := dependson.ParseDependencySet(d.object.Annotations[live.AnnotationDependsOn])
		if err != nil {
			v.dependency(c, d, InvalidValue, err.Error())
			continue
		}
		for _, need := range set {
			need = v.settled(need, crds)
			d.needs = append(d.needs, need)
			if whole && !have[need] {
				v.dependency(c, d, UnknownObject, fmt.Sprintf("%s is not in this repository for the cluster, so that the object is never applied%s",
					render.Name(need), v.meant(need, have)))
			}
		}
	}
	needs := v.waits(dependents, have, crds)
	for i := range dependents {
		d := &dependents[i]
		if ring := circle(v.settled(d.object.ID, crds), needs); ring != nil {
			names := make([]string, len(ring))
			for j, id := range ring {
				names[j] = render.Name(id)
			}
			v.dependency(c, d, DependencyCycle, "the objects depend on each other: "+strings.Join(names, " -> "))
		}
	}
}

// dependency reports what is wrong with an object's annotation.
func (v *vetter) dependency(c *fleet.Cluster, d *dependent, code Code, message string) {
	f := found{code: code, message: live.AnnotationDependsOn + ": " + message, app: d.app.App.Name, object: render.Name(d.object.ID), cluster: c.Name}
	v.addAt(func() position {
		return v.sources.object(d.app.Overlay, d.object.ID, manifest.Path{"metadata", "annotations", live.AnnotationDependsOn}, nil)
	}, d.app.Overlay, f)
}

// settled fills in the namespace that an object without one gets.
func (v *vetter) settled(id object.ObjMetadata, crds definitions) object.ObjMetadata {
	if id.Namespace == "" && v.namespaced(id.GroupKind, crds) {
		id.Namespace = "default"
	}
	return id
}

func (v *vetter) namespaced(gk schema.GroupKind, crds definitions) bool {
	if namespaced, known := v.kinds.Namespaced(gk); known {
		return namespaced
	}
	d := crds[gk]
	if d == nil && len(v.repo.definitions[gk]) > 0 {
		d = v.repo.definitions[gk][0]
	}
	if d == nil {
		return false
	}
	kind, ok := d.Kind(d.Versions[0])
	return ok && kind.Namespaced
}

// meant proposes how a dependency that is not there was probably meant.
func (v *vetter) meant(id object.ObjMetadata, have map[object.ObjMetadata]bool) string {
	// kind/namespace/name has three parts, as group/kind/name of what is in no namespace.
	short := object.ObjMetadata{GroupKind: schema.GroupKind{Kind: id.GroupKind.Group}, Namespace: id.GroupKind.Kind, Name: id.Name}
	if have[short] {
		text, err := dependson.FormatObjMetadata(short)
		if err == nil {
			return fmt.Sprintf(" (did you mean %q?)", text)
		}
	}
	var names []string
	for other := range have {
		if other.GroupKind == id.GroupKind {
			names = append(names, render.Name(other))
		}
	}
	slices.Sort(names)
	return spell.DidYouMean(render.Name(id), names)
}

// waits is who waits for whom: for what annotations name, and like every object for its own Namespace.
func (v *vetter) waits(dependents []dependent, have map[object.ObjMetadata]bool, crds definitions) func(object.ObjMetadata) []object.ObjMetadata {
	needs := map[object.ObjMetadata][]object.ObjMetadata{}
	for i := range dependents {
		id := v.settled(dependents[i].object.ID, crds)
		needs[id] = append(needs[id], dependents[i].needs...)
	}
	return func(id object.ObjMetadata) []object.ObjMetadata {
		all := slices.Clone(needs[id])
		if id.Namespace != "" {
			all = append(all, object.ObjMetadata{GroupKind: schema.GroupKind{Kind: "Namespace"}, Name: id.Namespace})
		}
		return slices.DeleteFunc(all, func(need object.ObjMetadata) bool { return !have[need] })
	}
}

// circle returns the shortest way from an object through what it waits for back to itself, both ends named; nil if there
// is none.
func circle(from object.ObjMetadata, needs func(object.ObjMetadata) []object.ObjMetadata) []object.ObjMetadata {
	cameFrom := map[object.ObjMetadata]object.ObjMetadata{}
	for queue := []object.ObjMetadata{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		for _, need := range needs(at) {
			if _, seen := cameFrom[need]; seen {
				continue
			}
			cameFrom[need] = at
			if need == from {
				ring := []object.ObjMetadata{from}
				for step := at; step != from; step = cameFrom[step] {
					ring = append(ring, step)
				}
				ring = append(ring, from)
				slices.Reverse(ring)
				return ring
			}
			queue = append(queue, need)
		}
	}
	return nil
}
