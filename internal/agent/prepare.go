package agent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// prepared is what becomes of one app's rendered objects: their namespaces filled in, and the fields found that
// are left to others. It is made again only if the app is rendered anew, or what else it depends on has changed;
// otherwise the engine gets the very same slice and map, and need not look into them.
type prepared struct {
	rendered []render.Object
	kinds    []kindUse
	// defines are the scopes of the kinds that the app's CustomResourceDefinitions define.
	defines map[schema.GroupKind]bool

	scopes  []scope // of kinds
	objects []render.Object

	ignoring []fleet.DriftIgnore
	ignore   map[object.ObjMetadata][]string
}

// kindUse is a kind of which an app has objects.
type kindUse struct {
	gvk schema.GroupVersionKind
	// bare tells that one of them has no namespace in its manifest.
	bare bool
}

// scope tells whether a kind's objects have a namespace, as far as is known.
type scope int

const (
	unknownScope scope = iota
	namespaced
	clusterWide
)

// prepare finishes the desired objects. It fills in the namespace that a manifest may leave out ("default"), and
// drops the one that a cluster-scoped object must not have, so that ids are those of the live objects; a scope
// that could not be found out makes the list of objects unknown. And it lists the fields that are left to others.
func (c *compiler) prepare(ctx context.Context, out *compilation) {
	if c.prepared == nil {
		c.prepared = map[string]*prepared{}
	}
	s := scopes{defined: map[schema.GroupKind]bool{}, known: map[kindUse]scope{}, resolve: c.resolve, out: out}
	for i := range out.desired.Apps {
		app := &out.desired.Apps[i]
		p := c.prepared[app.Name]
		if p == nil || !same(p.rendered, app.Objects) {
			if p == nil {
				p = &prepared{}
				c.prepared[app.Name] = p
			}
			p.take(app.Objects)
		}
		maps.Copy(s.defined, p.defines)
	}
	ignored, ignoreChanged := 0, c.ignore == nil
	for i := range out.desired.Apps {
		app := &out.desired.Apps[i]
		p := c.prepared[app.Name]
		changed := p.setScopes(ctx, &s)
		if changed || !same(p.ignoring, app.Drift.Ignore) && !reflect.DeepEqual(p.ignoring, app.Drift.Ignore) {
			ignoreChanged = p.setIgnore(app.Drift) || ignoreChanged
		}
		app.Objects, app.Ignore = p.objects, p.ignore
		ignored += len(p.ignore)
		for i := range app.Invalid {
			app.Invalid[i].ID = s.id(ctx, app.Invalid[i].ID)
		}
	}
	claimed := make(map[object.ObjMetadata]string, len(out.desired.Claimed))
	for id, app := range out.desired.Claimed {
		claimed[s.id(ctx, id)] = app
	}
	out.desired.Claimed = claimed
	if ignoreChanged || ignored != len(c.ignore) {
		c.ignore = make(map[object.ObjMetadata][]string, ignored)
		for i := range out.desired.Apps {
			maps.Copy(c.ignore, out.desired.Apps[i].Ignore)
		}
	}
	out.ignore = c.ignore
	if len(c.prepared) > len(out.desired.Apps) {
		maps.DeleteFunc(c.prepared, func(name string, _ *prepared) bool { return !out.declares(name) })
	}
}

// same tells whether two slices are one.
func same[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// take starts anew with the objects as they were rendered.
func (p *prepared) take(rendered []render.Object) {
	p.rendered, p.kinds, p.defines, p.scopes, p.objects = rendered, nil, nil, nil, nil
	for i := range rendered {
		o := &rendered[i]
		gvk, bare := o.GVK(), o.ID.Namespace == ""
		if k := slices.IndexFunc(p.kinds, func(k kindUse) bool { return k.gvk == gvk }); k >= 0 {
			p.kinds[k].bare = p.kinds[k].bare || bare
		} else {
			p.kinds = append(p.kinds, kindUse{gvk, bare})
		}
		if o.ID.GroupKind.Kind == "CustomResourceDefinition" {
			p.define(o)
		}
	}
}

// define notes the scope of the kind that a CustomResourceDefinition defines.
func (p *prepared) define(crd *render.Object) {
	u, err := crd.Unstructured()
	if err != nil {
		return
	}
	spec, _ := u.Object["spec"].(map[string]any)
	names, _ := spec["names"].(map[string]any)
	group, _ := spec["group"].(string)
	kind, _ := names["kind"].(string)
	if p.defines == nil {
		p.defines = map[schema.GroupKind]bool{}
	}
	p.defines[schema.GroupKind{Group: group, Kind: kind}] = spec["scope"] == "Namespaced"
}

// setScopes makes objects of what was rendered, unless it has been and the scopes are still the same.
func (p *prepared) setScopes(ctx context.Context, s *scopes) (changed bool) {
	changed = p.objects == nil
	if changed {
		p.scopes = make([]scope, len(p.kinds))
	}
	for i, k := range p.kinds {
		if is := s.of(ctx, k); is != p.scopes[i] {
			p.scopes[i], changed = is, true
		}
	}
	if !changed {
		return false
	}
	p.objects = p.rendered
	for i := range p.rendered {
		o := &p.rendered[i]
		gvk := o.GVK()
		is := p.scopes[slices.IndexFunc(p.kinds, func(k kindUse) bool { return k.gvk == gvk })]
		if is == unknownScope || (is == namespaced) == (o.ID.Namespace != "") {
			continue
		}
		if same(p.objects, p.rendered) {
			p.objects = slices.Clone(p.rendered) // the renderer has them too
		}
		p.objects[i] = rescoped(*o, is)
	}
	return true
}

// rescoped gives an object the namespace "default", or none.
func rescoped(o render.Object, is scope) render.Object {
	if is == namespaced {
		o.ID.Namespace = metav1.NamespaceDefault
		return o
	}
	o.ID.Namespace = ""
	if u, err := o.Unstructured(); err == nil {
		u.SetNamespace("")
		if b, err := u.MarshalJSON(); err == nil {
			o.JSON = b
		}
	}
	return o
}

// setIgnore lists the fields that are left to others: those that the app's drift policy names, and the
// replicas of what an autoscaler scales. The map stays the same one as long as it says the same.
func (p *prepared) setIgnore(policy fleet.DriftPolicy) (changed bool) {
	var ignore map[object.ObjMetadata][]string
	for i := range p.objects {
		o := &p.objects[i]
		fields := policy.IgnoredFields(o.ID.GroupKind.Group, o.ID.GroupKind.Kind, o.ID.Namespace, o.ID.Name)
		if live.Scaled(o.ID.GroupKind) {
			if u, err := o.Unstructured(); err == nil {
				fields = append(fields, live.Implied(u)...)
			}
		}
		if len(fields) == 0 {
			continue
		}
		if ignore == nil {
			ignore = map[object.ObjMetadata][]string{}
		}
		ignore[o.ID] = fields
	}
	p.ignoring = policy.Ignore
	if maps.EqualFunc(p.ignore, ignore, slices.Equal[[]string]) {
		return false
	}
	p.ignore = ignore
	return true
}

// scopes finds out the scopes of kinds, each once, and notes in out what could not be found out.
type scopes struct {
	// defined are those of the kinds that desired CustomResourceDefinitions define.
	defined map[schema.GroupKind]bool
	known   map[kindUse]scope
	resolve func(ctx context.Context, gvk schema.GroupVersionKind) (kube.Resource, error)
	out     *compilation
}

func (s *scopes) of(ctx context.Context, k kindUse) scope {
	is, ok := s.known[k]
	if !ok {
		is = s.find(ctx, k)
		s.known[k] = is
	}
	return is
}

// id makes the id of a manifest that of the live object, of which no more than the id is known.
func (s *scopes) id(ctx context.Context, id object.ObjMetadata) object.ObjMetadata {
	switch s.of(ctx, kindUse{gvk: id.GroupKind.WithVersion(""), bare: id.Namespace == ""}) {
	case namespaced:
		id.Namespace = cmp.Or(id.Namespace, metav1.NamespaceDefault)
	case clusterWide:
		id.Namespace = ""
	case unknownScope:
	}
	return id
}

func (s *scopes) find(ctx context.Context, k kindUse) scope {
	is, ok := s.defined[k.gvk.GroupKind()]
	if !ok {
		res, err := s.resolve(ctx, k.gvk)
		if err != nil {
			s.unresolved(k, err)
			return unknownScope
		}
		is = res.Namespaced
	}
	if is {
		return namespaced
	}
	return clusterWide
}

func (s *scopes) unresolved(k kindUse, err error) {
	s.out.uncertain = s.out.uncertain || !meta.IsNoMatchError(err)
	if s.out.unresolved == nil {
		s.out.unresolved = map[schema.GroupKind]bool{}
	}
	s.out.unresolved[k.gvk.GroupKind()] = true
	if !meta.IsNoMatchError(err) || k.bare {
		s.out.desired.Incomplete = append(s.out.desired.Incomplete, fmt.Sprintf("the scope of kind %s is not known: %s", k.gvk.Kind, kube.Explain(err)))
	}
}
