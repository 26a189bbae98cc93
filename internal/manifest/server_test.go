package manifest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/holdfast-dev/holdfast/internal/kube"
)

// manifests reads the good manifests in testdata.
func manifests(t testing.TB) (all []*unstructured.Unstructured) {
	t.Helper()
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, parse(t, data)...)
	}
	return all
}

// parse reads a stream of YAML documents as the renderer hands objects on: numbers are int64 or float64.
func parse(t testing.TB, data []byte) (all []*unstructured.Unstructured) {
	t.Helper()
	d := yaml.NewYAMLToJSONDecoder(bytes.NewReader(data))
	for {
		var raw json.RawMessage
		if err := d.Decode(&raw); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON(raw); err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
}

// judge is what this package says of objects of all kinds, the good manifests' own among them.
type judge struct {
	kubernetes  *Kubernetes
	definitions []*Definition
}

func newJudge(t testing.TB) *judge {
	t.Helper()
	k, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	j := &judge{kubernetes: k}
	for _, u := range manifests(t) {
		if !IsDefinition(u.GroupVersionKind()) {
			continue
		}
		data, err := u.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		d, err := k.Define(data)
		if err != nil {
			t.Fatal(err)
		}
		j.definitions = append(j.definitions, d)
	}
	return j
}

func (j *judge) check(t testing.TB, u *unstructured.Unstructured) []Fault {
	t.Helper()
	gvk := u.GroupVersionKind()
	kind, ok := j.kubernetes.Kind(gvk)
	for _, d := range j.definitions {
		if d.GroupKind == gvk.GroupKind() {
			kind, ok = d.Kind(gvk.Version)
		}
	}
	if !ok {
		t.Fatalf("there is no %v", gvk)
	}
	return kind.Check(u.Object)
}

// TestGoodManifests: what the API server takes has no fault.
func TestGoodManifests(t *testing.T) {
	j := newJudge(t)
	for _, u := range manifests(t) {
		for _, f := range j.check(t, u) {
			t.Errorf("%s %s: %s", u.GetKind(), u.GetName(), f)
		}
	}
}

// TestAgainstServer breaks good manifests in every field, in every way that it knows, and holds what is said of them to
// what a real API server says: what is called a fault here is refused there. How much of what the server refuses is
// found here is held to a bound, for there will always be rules that the schemas do not have.
func TestAgainstServer(t *testing.T) {
	clients := connect(t)
	j := newJudge(t)
	define(t, clients)
	type verdict struct {
		broken
		faults []Fault
		// refused is why the API server did not take the object, or took it for another one.
		refused error
	}
	var all []*verdict
	for _, u := range manifests(t) {
		all = append(all, &verdict{broken: broken{of: u, how: "good", object: u}})
		for _, b := range breakAll(u) {
			all = append(all, &verdict{broken: b, faults: j.check(t, b.object)})
		}
	}
	work := make(chan *verdict)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for v := range work {
				v.refused = v.try(t.Context(), clients)
			}
		})
	}
	for _, v := range all {
		work <- v
	}
	close(work)
	wg.Wait()

	t.Logf("%d manifests, good and broken", len(all))
	found, missed := map[string]int{}, map[string]int{}
	for _, v := range all {
		switch {
		case v.how == "good" && v.refused != nil:
			t.Errorf("%s: the API server refuses it: %v", v, v.refused)
		case v.refused == nil && len(v.faults) > 0:
			t.Errorf("%s: the API server takes it, and here it is said: %v", v, v.faults)
		case v.refused != nil && len(v.faults) > 0:
			found[v.sort]++
		case v.refused != nil:
			missed[v.sort]++
			t.Logf("%s: nothing is said here, and the API server says: %.200v", v, v.refused)
		}
	}
	// In percent. A wrong type that is not found is none: 7 is a quantity too.
	for sort, want := range map[string]int{"unknown field": 99, "wrong type": 98, "missing field": 65, "entry twice": 50, "other value": 35} {
		all := found[sort] + missed[sort]
		t.Logf("%s: the API server refuses %d manifests, of which %d are found", sort, all, found[sort])
		if all == 0 || found[sort]*100 < want*all {
			t.Errorf("%s: %d of %d are found, want %d %%", sort, found[sort], all, want)
		}
	}
}

// broken is a good manifest with one mistake.
type broken struct {
	of     *unstructured.Unstructured
	sort   string
	how    string
	at     Path
	object *unstructured.Unstructured
}

// try asks the API server to apply the object, as the agent does, and to write nothing. An error is why it refuses.
func (b *broken) try(ctx context.Context, clients *kube.Clients) error {
	resource, err := clients.Mapper.Resolve(ctx, b.object.GroupVersionKind())
	if err != nil {
		return err
	}
	data, err := json.Marshal(b.object.Object)
	if err != nil {
		return err
	}
	c := clients.Dynamic.Resource(resource.GVR()).Namespace(b.object.GetNamespace())
	got, err := c.Patch(ctx, b.object.GetName(), types.ApplyPatchType, data, metav1.PatchOptions{
		FieldManager: "test", Force: new(true), DryRun: []string{metav1.DryRunAll},
	})
	if err != nil {
		return err
	}
	// A number that does not fit is cut to size, without a word.
	if sent, ok := get(b.object.Object, b.at).(int64); ok && fmt.Sprint(get(got.Object, b.at)) != fmt.Sprint(sent) {
		return fmt.Errorf("%d becomes %v", sent, get(got.Object, b.at))
	}
	return nil
}

// get returns the value at a path, nil if there is none.
func get(v any, at Path) any {
	for _, step := range at {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

// define creates the CustomResourceDefinitions among the good manifests, and waits until their kinds are served.
func define(t *testing.T, clients *kube.Clients) {
	t.Helper()
	crds, err := clients.Mapper.Resolve(t.Context(), crdGVK)
	if err != nil {
		t.Fatal(err)
	}
	c := clients.Dynamic.Resource(crds.GVR())
	for _, u := range manifests(t) {
		if !IsDefinition(u.GroupVersionKind()) {
			continue
		}
		if _, err := c.Apply(t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "test", Force: true}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Delete(context.Background(), u.GetName(), metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		for done := false; !done; {
			w, err := c.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + u.GetName()})
			if err != nil {
				t.Fatal(err)
			}
			for e := range w.ResultChan() { // until the server ends the watch, which it may at any time
				if done = established(e); done {
					break
				}
			}
			w.Stop()
		}
		cancel()
	}
}

var crdGVK = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

func established(e watch.Event) bool {
	u, ok := e.Object.(*unstructured.Unstructured)
	if !ok {
		return false
	}
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		m, _ := c.(map[string]any)
		return m["type"] == "Established" && m["status"] == "True"
	})
}

func (b *broken) String() string {
	return fmt.Sprintf("%s %s: %s", b.of.GetKind(), b.of.GetName(), b.how)
}

// breakAll makes every mistake in every place.
func breakAll(u *unstructured.Unstructured) (all []broken) {
	var visit func(at Path, v any)
	change := func(at Path, sort, how string, edit func(holder any, last any)) {
		object := runtime.DeepCopyJSON(u.Object)
		edit(get(object, at[:len(at)-1]), at[len(at)-1])
		all = append(all, broken{of: u, sort: sort, how: at.String() + ": " + how, at: at, object: &unstructured.Unstructured{Object: object}})
	}
	set := func(at Path, sort string, value any) {
		change(at, sort, fmt.Sprintf("set to %v (%T)", value, value), func(holder, last any) {
			switch h := holder.(type) {
			case map[string]any:
				h[fmt.Sprint(last)] = value
			case []any:
				i, _ := last.(int)
				h[i] = value
			}
		})
	}
	visit = func(at Path, v any) {
		where := at.String()
		if where == "apiVersion" || where == "kind" || where == "metadata.name" || where == "metadata.namespace" {
			return
		}
		switch v := v.(type) {
		case map[string]any:
			if len(at) > 0 && where != "metadata" {
				set(at, "wrong type", "text")
				set(at, "wrong type", []any{"text"})
				set(at, "other value", map[string]any{})
			}
			set(at.with("notThere"), "unknown field", "text")
			for _, key := range slices.Sorted(maps.Keys(v)) {
				visit(at.with(key), v[key])
				if where != "metadata" && key != keyAPIVersion && key != keyKind && key != keyMetadata {
					change(at.with(key), "missing field", "removed", func(holder, last any) {
						m, _ := holder.(map[string]any)
						delete(m, fmt.Sprint(last))
					})
				}
			}
		case []any:
			set(at, "wrong type", "text")
			set(at, "wrong type", map[string]any{"a": "b"})
			set(at, "other value", []any{})
			for i := range v {
				visit(at.with(i), v[i])
			}
			set(at, "entry twice", append(slices.Clone(v), runtime.DeepCopyJSONValue(v[0])))
		case string:
			set(at, "wrong type", int64(7))
			set(at, "wrong type", true)
			set(at, "wrong type", map[string]any{"a": "b"})
			set(at, "other value", "No/Such: Thing!")
			set(at, "other value", "")
		case int64:
			set(at, "wrong type", "text")
			set(at, "wrong type", 1.5)
			set(at, "wrong type", true)
			set(at, "other value", int64(-7))
			set(at, "other value", int64(1)<<40)
		case float64:
			set(at, "wrong type", "text")
		case bool:
			set(at, "wrong type", "true")
			set(at, "wrong type", int64(1))
		}
	}
	visit(nil, u.Object)
	return all
}

// strings that a test looks for in a list of faults.
func faultTexts(faults []Fault) string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&b, "%s [%s]\n", f, f.Rule)
	}
	return b.String()
}
