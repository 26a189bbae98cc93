package apply

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"
	"sigs.k8s.io/cli-utils/pkg/object/dependson"

	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// Kinds that others depend on by their nature.
var (
	namespaceKind = schema.GroupKind{Kind: "Namespace"}
	crdKind       = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
)

// dependencies returns, for every desired object that has any, the ids it waits for, and for those
// whose wish cannot be met the reason. An object waits for its Namespace and for the
// CustomResourceDefinition of its kind if they are desired too, and for what its depends-on
// annotation names, which has to be desired (the annotation and its form are cli-utils').
func dependencies(objs map[object.ObjMetadata]*render.Object) (deps map[object.ObjMetadata][]object.ObjMetadata, bad map[object.ObjMetadata]error) {
	deps = map[object.ObjMetadata][]object.ObjMetadata{}
	bad = map[object.ObjMetadata]error{}
	crds := map[schema.GroupKind]object.ObjMetadata{}
	for id, o := range objs {
		if id.GroupKind == crdKind {
			if gk, ok := definedKind(o.JSON); ok {
				crds[gk] = id
			}
		}
	}
	for id, o := range objs {
		var on []object.ObjMetadata
		if id.Namespace != "" {
			ns := object.ObjMetadata{GroupKind: namespaceKind, Name: id.Namespace}
			if _, ok := objs[ns]; ok {
				on = append(on, ns)
			}
		}
		if crd, ok := crds[id.GroupKind]; ok {
			on = append(on, crd)
		}
		if text := o.Annotations[live.AnnotationDependsOn]; text != "" {
			set, err := dependson.ParseDependencySet(text)
			if err != nil {
				bad[id] = fmt.Errorf("annotation %s: %w", live.AnnotationDependsOn, err)
			}
			for _, d := range set {
				if _, ok := objs[d]; !ok && bad[id] == nil {
					bad[id] = fmt.Errorf("annotation %s: %s is not in the fleet repository for this cluster", live.AnnotationDependsOn, render.Name(d))
				}
				on = append(on, d)
			}
		}
		if len(on) > 0 {
			deps[id] = on
		}
	}
	for id, err := range cycles(deps) {
		bad[id] = err
	}
	return deps, bad
}

// definedKind reads the kind that a CustomResourceDefinition defines.
func definedKind(crd []byte) (schema.GroupKind, bool) {
	var d struct {
		Spec struct {
			Group string `json:"group"`
			Names struct {
				Kind string `json:"kind"`
			} `json:"names"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(crd, &d); err != nil || d.Spec.Names.Kind == "" {
		return schema.GroupKind{}, false
	}
	return schema.GroupKind{Group: d.Spec.Group, Kind: d.Spec.Names.Kind}, true
}

// cycles returns an error for every object that depends on itself through others. What merely
// depends on a cycle is not among them: it waits, and says for what.
func cycles(deps map[object.ObjMetadata][]object.ObjMetadata) map[object.ObjMetadata]error {
	// Peel off, again and again, what depends on nothing that is left, and then what nothing left
	// depends on: the rest is cycles, and the paths between them.
	left := map[object.ObjMetadata]bool{}
	for id := range deps {
		left[id] = true
	}
	needed := func() map[object.ObjMetadata]bool {
		m := map[object.ObjMetadata]bool{}
		for id := range left {
			for _, d := range deps[id] {
				m[d] = true
			}
		}
		return m
	}
	peel := func(loose func(object.ObjMetadata) bool) bool {
		n := len(left)
		for id := range left {
			if loose(id) {
				delete(left, id)
			}
		}
		return len(left) < n
	}
	for peel(func(id object.ObjMetadata) bool {
		for _, d := range deps[id] {
			if left[d] {
				return false
			}
		}
		return true
	}) {
		continue
	}
	for {
		m := needed()
		if !peel(func(id object.ObjMetadata) bool { return !m[id] }) {
			break
		}
	}
	if len(left) == 0 {
		return nil
	}
	names := make([]string, 0, len(left))
	for id := range left {
		names = append(names, render.Name(id))
	}
	sort.Strings(names)
	errs := map[object.ObjMetadata]error{}
	for id := range left {
		errs[id] = fmt.Errorf("dependency cycle between %s", strings.Join(names, ", "))
	}
	return errs
}
