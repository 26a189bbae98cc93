package apply

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

func TestDependencies(t *testing.T) {
	const on = live.AnnotationDependsOn + "="
	crdOf := func(kind, group string) render.Object {
		o := obj("x", "apiextensions.k8s.io/CustomResourceDefinition/"+strings.ToLower(kind)+"s."+group+"=1")
		o.JSON = []byte(`{"spec": {"group": "` + group + `", "names": {"kind": "` + kind + `"}}}`)
		return o
	}
	tests := []struct {
		name    string
		objects []render.Object
		deps    map[string]string // by name, what it waits for
		bad     map[string]string // by name, words of the error
	}{
		{
			name:    "nothing",
			objects: []render.Object{obj("x", "a=1"), obj("x", "b=1")},
		},
		{
			name:    "the namespace, if it is desired",
			objects: []render.Object{obj("x", "a=1"), obj("x", "Namespace/ns=1"), obj("x", "Namespace/other=1")},
			deps:    map[string]string{"a": "ns"},
		},
		{
			name:    "the definition of its kind, also from another app",
			objects: []render.Object{obj("x", "g.io/Widget/w=1"), crdOf("Widget", "g.io"), crdOf("Gadget", "g.io"), crdOf("Widget", "other.io")},
			deps:    map[string]string{"w": "widgets.g.io"},
		},
		{
			name:    "what the annotation names",
			objects: []render.Object{obj("x", "a=1 after:b"), obj("y", "b=1")},
			deps:    map[string]string{"a": "b"},
		},
		{
			name: "several",
			objects: []render.Object{
				obj("x", "a=1 "+on+"/namespaces/ns/ConfigMap/b,apps/namespaces/ns/Deployment/d"), obj("x", "b=1"), obj("x", "apps/Deployment/d=1"),
			},
			deps: map[string]string{"a": "b d"},
		},
		{
			name:    "outside the set",
			objects: []render.Object{obj("x", "a=1 after:b")},
			bad:     map[string]string{"a": "ConfigMap/ns/b is not in the fleet repository for this cluster"},
		},
		{
			name:    "an annotation that cannot be read",
			objects: []render.Object{obj("x", "a=1 "+on+"b")},
			bad:     map[string]string{"a": live.AnnotationDependsOn},
		},
		{
			name:    "itself",
			objects: []render.Object{obj("x", "a=1 after:a")},
			deps:    map[string]string{"a": "a"},
			bad:     map[string]string{"a": "dependency cycle between ConfigMap/ns/a"},
		},
		{
			name: "a cycle, what it needs and what needs it",
			objects: []render.Object{
				obj("x", "before=1 after:a"), obj("x", "a=1 after:b"), obj("x", "b=1 "+on+"/namespaces/ns/ConfigMap/a,/namespaces/ns/ConfigMap/after"), obj("x", "after=1"),
			},
			deps: map[string]string{"before": "a", "a": "b", "b": "a after"},
			bad: map[string]string{
				"a": "dependency cycle between ConfigMap/ns/a, ConfigMap/ns/b", "b": "dependency cycle between ConfigMap/ns/a, ConfigMap/ns/b",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := NewEngine(instance, nil)
			apps := map[string]App{}
			for _, o := range tt.objects {
				a := apps[o.App]
				a.Name, a.Objects = o.App, append(a.Objects, o)
				apps[o.App] = a
			}
			e.SetDesired(Desired{Commit: "1", Apps: slices.Collect(maps.Values(apps))}, time.Time{})
			got := map[string]string{}
			bad := map[object.ObjMetadata]error{}
			for id, o := range e.objs {
				var names []string
				for _, d := range o.deps {
					names = append(names, d.id.Name)
				}
				if len(names) > 0 {
					slices.Sort(names)
					got[id.Name] = strings.Join(names, " ")
				}
				if o.bad != nil {
					bad[id] = o.bad
				}
			}
			for name, want := range tt.deps {
				if got[name] != want {
					t.Errorf("%s waits for %q, want %q", name, got[name], want)
				}
				delete(got, name)
			}
			if len(got) > 0 {
				t.Errorf("waits besides: %v", got)
			}
			for o, err := range bad {
				if want := tt.bad[o.Name]; want == "" || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", o.Name, err, want)
				}
			}
			if len(bad) != len(tt.bad) {
				t.Errorf("%d errors, want %d", len(bad), len(tt.bad))
			}
		})
	}
}
