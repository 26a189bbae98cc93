package apply

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

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

// link lays the edges between entries anew where they may be others, and records them where deletion
// will need them.
func (e *Engine) link(c *change, now time.Time) {
	rewired := false
	for o := range c.edges {
		deps, err := e.dependencies(o)
		o.wish = err
		if slices.Equal(deps, o.deps) {
			continue
		}
		rewired = true
		for _, d := range o.deps {
			delete(d.rdeps, o)
		}
		o.deps = deps
		for _, d := range deps {
			if d.rdeps == nil {
				d.rdeps = entries{}
			}
			d.rdeps.add(o)
		}
		e.touch(o)
	}
	if rewired {
		was := e.cyclic
		e.cyclic = cycles(e.wanting)
		for _, m := range []map[*entry]error{was, e.cyclic} {
			for o := range m {
				c.edges.add(o)
			}
		}
	}
	for o := range c.edges {
		bad := o.wish
		if err := e.cyclic[o]; err != nil {
			bad = err
		}
		if (bad == nil) != (o.bad == nil) || bad != nil && bad.Error() != o.bad.Error() {
			e.touch(o)
		}
		o.bad = bad
		e.recordDependencies(o, now)
	}
}

// dependencies returns what an entry waits for, and the reason if its wish cannot be met. An object waits for
// its Namespace and for the CustomResourceDefinition of its kind if they are desired too, and for what its
// depends-on annotation names, which has to be desired (the annotation and its form are cli-utils').
func (e *Engine) dependencies(o *entry) (deps []*entry, err error) {
	for _, id := range o.wants {
		outOf(e.wanting, id, o)
	}
	o.wants = nil
	if !o.linked {
		return nil, nil
	}
	if ns := e.objs[object.ObjMetadata{GroupKind: namespaceKind, Name: o.id.Namespace}]; o.id.Namespace != "" && ns != nil && ns.linked {
		deps = append(deps, ns)
	}
	for crd := range e.definitions[o.id.GroupKind] {
		if crd != o {
			deps = append(deps, crd)
		}
	}
	text := o.desired.Annotations[live.AnnotationDependsOn]
	if text == "" {
		return deps, nil
	}
	set, err := dependson.ParseDependencySet(text)
	if err != nil {
		err = fmt.Errorf("annotation %s: %w", live.AnnotationDependsOn, err)
	}
	o.wants = object.ObjMetadataSet(set)
	for _, id := range o.wants {
		into(e.wanting, id, o)
		d := e.objs[id]
		switch {
		case d != nil && d.linked:
			deps = append(deps, d)
		case err == nil:
			err = fmt.Errorf("annotation %s: %s is not in the fleet repository for this cluster", live.AnnotationDependsOn, render.Name(id))
		}
	}
	return deps, err
}

// recordDependencies notes in an entry's record what will have to be deleted after it. A cycle could never be.
func (e *Engine) recordDependencies(o *entry, now time.Time) {
	if !o.linked || o.bad != nil {
		return
	}
	var keys []string
	for _, d := range o.deps {
		if d.id.GroupKind != namespaceKind && d.id.GroupKind != crdKind {
			keys = append(keys, d.id.String())
		}
	}
	if !slices.Equal(keys, o.rec.DependsOn) {
		e.setDependsOn(o, keys)
		e.save(o, now)
	}
}

// relied marks what may depend on an entry that came or went.
func (e *Engine) relied(o *entry, c *change) {
	for d := range e.wanting[o.id] {
		c.edges.add(d)
	}
	if o.id.GroupKind == namespaceKind {
		for d := range e.byNamespace[o.id.Name] {
			c.edges.add(d)
		}
	}
}

// define notes which kind a CustomResourceDefinition defines, and marks the objects of that kind.
func (e *Engine) define(o *entry, c *change) {
	var gk schema.GroupKind
	if o.linked {
		gk, _ = definedKind(o.desired.JSON)
	}
	var before schema.GroupKind
	if o.defines != nil {
		before = *o.defines
	}
	if gk == before {
		return
	}
	for _, kind := range []schema.GroupKind{before, gk} {
		for d := range e.byKind[kind] {
			c.edges.add(d)
		}
	}
	outOf(e.definitions, before, o)
	o.defines = nil
	if gk != (schema.GroupKind{}) {
		kind := gk // so that no other call needs memory
		o.defines = &kind
		into(e.definitions, gk, o)
	}
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

// cycles returns, for every entry that depends on itself through others, an error that names them. What
// merely depends on a cycle is not among them: it waits, and says for what. Every cycle has an edge that an
// annotation wanted: the search starts there.
func cycles(wanting map[object.ObjMetadata]entries) map[*entry]error {
	// Tarjan's algorithm: the strongly connected components of more than one entry, or with an edge to itself.
	s := search{index: map[*entry]int{}, low: map[*entry]int{}, errs: map[*entry]error{}}
	for _, from := range wanting {
		for o := range from {
			if s.index[o] == 0 {
				s.visit(o)
			}
		}
	}
	return s.errs
}

type search struct {
	index, low map[*entry]int // from 1; low is 0 once the component is known
	path       []*entry
	errs       map[*entry]error
}

func (s *search) visit(o *entry) {
	n := len(s.index) + 1
	s.index[o], s.low[o] = n, n
	s.path = append(s.path, o)
	for _, d := range o.deps {
		if s.index[d] == 0 {
			s.visit(d)
		}
		if s.low[d] != 0 {
			s.low[o] = min(s.low[o], s.low[d])
		}
	}
	if s.low[o] != n {
		return
	}
	i := slices.Index(s.path, o)
	component := s.path[i:]
	s.path = s.path[:i]
	var names []string
	for _, d := range component {
		s.low[d] = 0
		names = append(names, render.Name(d.id))
	}
	if len(component) == 1 && !slices.Contains(o.deps, o) {
		return
	}
	slices.Sort(names)
	err := fmt.Errorf("dependency cycle between %s", strings.Join(names, ", "))
	for _, d := range component {
		s.errs[d] = err
	}
}
