package live

import (
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

func TestCheckPointer(t *testing.T) {
	for pointer, good := range map[string]bool{
		"/spec/replicas":                      true,
		"/metadata/annotations/example.com~1": true,
		"/spec/template/spec/containers/0":    true,
		"":                                    false,
		"spec/replicas":                       false,
		"/a~2b":                               false,
		"/a~":                                 false,
		"/kind":                               false,
		"/metadata":                           false,
		"/metadata/name":                      false,
	} {
		if err := CheckPointer(pointer); (err == nil) != good {
			t.Errorf("CheckPointer(%q) = %v", pointer, err)
		}
	}
}

func entry(manager string, op metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: op, APIVersion: "apps/v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
}

// objectWith is a Deployment with that spec, owned as the entries say.
func objectWith(t *testing.T, spec string, entries ...metav1.ManagedFieldsEntry) *unstructured.Unstructured {
	t.Helper()
	u := parse(t, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, resourceVersion: "7"}, spec: `+spec+`}`)
	if entries != nil {
		u.SetManagedFields(entries)
	}
	return u
}

func TestBody(t *testing.T) {
	const (
		apply  = metav1.ManagedFieldsOperationApply
		update = metav1.ManagedFieldsOperationUpdate
	)
	item := func(name, rest string) string {
		return `{"f:spec":{"f:items":{"k:{\"name\":\"` + name + `\"}":` + rest + `}}}`
	}
	tests := []struct {
		name    string
		desired string
		live    string
		managed []metav1.ManagedFieldsEntry
		ignore  string
		want    string
	}{
		{"another owns it", `{replicas: 3}`, `{replicas: 5}`,
			[]metav1.ManagedFieldsEntry{entry("x", update, `{"f:spec":{"f:replicas":{}}}`)}, "/spec/replicas", `null`},
		{"both own it", `{replicas: 3, a: 1}`, `{replicas: 3}`,
			[]metav1.ManagedFieldsEntry{entry(manager, apply, `{"f:spec":{"f:replicas":{}}}`), entry("x", update, `{"f:spec":{"f:replicas":{}}}`)}, "/spec/replicas", `{"a":1}`},
		{"we alone own it", `{replicas: 3}`, `{replicas: 5}`,
			[]metav1.ManagedFieldsEntry{entry(manager, apply, `{"f:spec":{"f:replicas":{}}}`)}, "/spec/replicas", `{"replicas":5}`},
		{"we alone own it and Git dropped it", `{a: 1}`, `{replicas: 5}`,
			[]metav1.ManagedFieldsEntry{entry(manager, apply, `{"f:spec":{"f:replicas":{}}}`)}, "/spec/replicas", `{"a":1,"replicas":5}`},
		{"nobody owns it", `{replicas: 3, a: 1}`, `{replicas: 5}`, nil, "/spec/replicas", `{"a":1}`},
		{"it was removed", `{replicas: 3, a: 1}`, `{a: 1}`,
			[]metav1.ManagedFieldsEntry{entry(manager, apply, `{"f:spec":{"f:a":{}}}`)}, "/spec/replicas", `{"a":1}`},
		{"parts of a map have different owners", `{m: {a: 1, b: 1, c: 1}}`, `{m: {a: 2, b: 2, c: 2}}`,
			[]metav1.ManagedFieldsEntry{entry(manager, apply, `{"f:spec":{"f:m":{"f:a":{},"f:b":{}}}}`), entry("x", update, `{"f:spec":{"f:m":{"f:b":{},"f:c":{}}}}`)}, "/spec/m", `{"m":{"a":2}}`},
		{"a whole item of ours stays in its place", `{items: [{name: a, v: 1}, {name: b, v: 1}]}`, `{items: [{name: a, v: 2}, {name: b, v: 2}]}`,
			[]metav1.ManagedFieldsEntry{entry(manager, apply, item("a", `{".":{},"f:name":{},"f:v":{}}`))}, "/spec/items/0", `{"items":[{"name":"a","v":2},{"name":"b","v":1}]}`},
		{"the item of the field was dropped", `{items: [{name: b, v: 1}]}`, `{items: [{name: a, v: 2}, {name: b, v: 2}]}`,
			[]metav1.ManagedFieldsEntry{entry(manager, apply, item("a", `{".":{},"f:name":{},"f:v":{}}`))}, "/spec/items/0/v", `{"items":[{"name":"b","v":1}]}`},
		{"an item of an atomic list", `{items: [x, y]}`, `{items: [p, q]}`,
			[]metav1.ManagedFieldsEntry{entry("x", update, `{"f:spec":{"f:items":{}}}`)}, "/spec/items/1", `{"items":["x","q"]}`},
		{"a position that is not there", `{items: [x]}`, `{items: [x]}`, nil, "/spec/items/5", `{"items":["x"]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			desired := objectWith(t, tt.desired)
			before, _ := json.Marshal(desired.Object)
			body := Body(desired, objectWith(t, tt.live, tt.managed...), manager, []string{tt.ignore})
			got, err := json.Marshal(body.Object["spec"])
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if after, _ := json.Marshal(desired.Object); string(after) != string(before) {
				t.Error("the desired object was changed")
			}
		})
	}
	desired := objectWith(t, `{replicas: 3}`)
	if Body(desired, nil, manager, []string{"/spec/replicas"}) != desired {
		t.Error("an object that is to be created is not left as it is")
	}
}

func TestBeforeFirstApply(t *testing.T) {
	all := entry(beforeFirstApply, metav1.ManagedFieldsOperationUpdate, `{"f:metadata":{"f:finalizers":{},"f:labels":{"f:foreign":{}}},"f:spec":{"f:replicas":{},"f:paused":{}}}`)
	ours := entry(manager, metav1.ManagedFieldsOperationApply, `{"f:spec":{"f:replicas":{}}}`)
	u := objectWith(t, `{replicas: 1, paused: true}`, all, ours)
	if patch, err := Takeover(u, manager, "apps/v1", nil, Adopted(u)); err != nil || patch != nil {
		t.Errorf("without a manifest it is not known what was declared: %s, %v", patch, err)
	}
	u.SetAnnotations(map[string]string{lastApplied: `{"spec":{"paused":true}}`})
	patch, err := Takeover(u, manager, "apps/v1", nil, Adopted(u))
	if err != nil {
		t.Fatal(err)
	}
	text := string(patch)
	if !strings.Contains(text, `"f:spec":{"f:paused":{},"f:replicas":{}}`) || !strings.Contains(text, `"f:labels":{"f:foreign":{}}`) || !strings.Contains(text, `"value":"7"`) {
		t.Errorf("got %s", text)
	}
	if patch, err := Takeover(u, manager, "apps/v1", []string{"/spec/paused"}, Adopted(u)); err != nil || patch != nil {
		t.Errorf("an ignored field is taken: %s, %v", patch, err)
	}
}

func TestIsHuman(t *testing.T) {
	for name, want := range map[string]bool{
		"kubectl": true, "kubectl-edit": true, "kubectl-client-side-apply": true, "Mozilla": true, "k9s": true, "Lens": true,
		"kubectl-rollout": false, "kube-controller-manager": false, "node-fetch": false, "holdfast": false, "helm": false,
	} {
		if got := IsHuman(name); got != want {
			t.Errorf("IsHuman(%q) = %v", name, got)
		}
	}
}

func TestBlameIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range 50 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"f:k` + string(rune('a'+i/10)) + string(rune('a'+i%10)) + `":{}`)
	}
	after := entry(manager, metav1.ManagedFieldsOperationApply, `{"f:data":{`+b.String()+`}}`)
	r := Blame(nil, []metav1.ManagedFieldsEntry{after}, manager)
	if len(r.Fields) != maxFields || r.Fields[maxFields-1] != "and 31 more" || len(r.Managers) != 0 {
		t.Errorf("got %d fields, the last %q, by %q", len(r.Fields), r.Fields[len(r.Fields)-1], r.Managers)
	}
}

// Owning a map that all write into is no claim to what is in it.
func TestEmptyAnnotations(t *testing.T) {
	ours := entry(manager, metav1.ManagedFieldsOperationApply, `{"f:metadata":{"f:annotations":{}},"f:spec":{"f:replicas":{}}}`)
	theirs := entry("x", metav1.ManagedFieldsOperationUpdate, `{"f:metadata":{"f:annotations":{"f:a":{}}}}`)
	before := Observe(objectWith(t, `{replicas: 1}`, ours), manager, nil)
	u := objectWith(t, `{replicas: 1}`, ours, theirs)
	u.SetAnnotations(map[string]string{"a": "b"})
	if got := Observe(u, manager, nil); got.Fingerprint != before.Fingerprint {
		t.Error("an annotation of somebody else is drift")
	}
	if patch, err := Takeover(u, manager, "apps/v1", nil, Inside(u, manager)); err != nil || patch != nil {
		t.Errorf("it is taken: %s, %v", patch, err)
	}
}

func FuzzManagedFields(f *testing.F) {
	f.Add(`{"f:spec":{"f:replicas":{},"f:items":{"k:{\"name\":\"a\"}":{".":{},"f:name":{}},"v:\"x\"":{},"i:0":{}}}}`, "/spec/items/0/name", `{"items":[{"name":"a"},"x",1],"replicas":3}`)
	f.Add(`{}`, "/", `{}`)
	f.Add(`{".":{}}`, "/spec/~0~1", `[]`)
	f.Add(`null`, "x", `null`)
	f.Add(`{"k:{}":{}}`, "/spec/0", `[[1],{"a":null}]`)
	f.Fuzz(func(t *testing.T, managed, pointer, spec string) {
		var content any
		if err := json.Unmarshal([]byte(spec), &content); err != nil {
			return
		}
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Thing", "spec": content}}
		e := metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "example.com/v1", FieldsV1: metav1.NewFieldsV1(managed)}
		other := e
		other.Manager = "kubectl-edit"
		live := u.DeepCopy()
		observe := func() string {
			return fingerprint(decodeOr(&e), []metav1.ManagedFieldsEntry{e, other}, true, live.Object, []string{pointer})
		}
		if a, b := observe(), observe(); a != b {
			t.Errorf("%q, then %q", a, b)
		}
		HumanFields([]metav1.ManagedFieldsEntry{e, other}, manager, live.Object, []string{pointer})
		Blame([]metav1.ManagedFieldsEntry{other}, []metav1.ManagedFieldsEntry{e}, manager)
		sets := decodeAll([]metav1.ManagedFieldsEntry{e})
		if p, ok := resolve(pointer, live.Object, sets); ok {
			body := u.DeepCopy()
			leave(body.Object, live.Object, p, sets[0], nil)
			leave(body.Object, live.Object, p, fieldpath.NewSet(), sets)
		}
	})
}

func TestTaken(t *testing.T) {
	ours := entry(manager, metav1.ManagedFieldsOperationApply, `{"f:spec":{"f:paused":{},"f:both":{}}}`)
	theirs := entry("kubectl-edit", metav1.ManagedFieldsOperationUpdate, `{"f:spec":{".":{},"f:replicas":{},"f:both":{},"f:foreign":{}}}`)
	status := entry("controller", metav1.ManagedFieldsOperationUpdate, `{"f:spec":{"f:replicas":{}}}`)
	status.Subresource = "status"
	desired := objectWith(t, `{replicas: 1, paused: true, both: 2}`)
	got := Taken([]metav1.ManagedFieldsEntry{ours, theirs, status}, manager, desired)
	if strings.Join(got.Managers, ",") != "kubectl-edit" || strings.Join(got.Fields, ",") != ".spec.replicas" {
		t.Errorf("got %v", got)
	}
	if got := Taken([]metav1.ManagedFieldsEntry{ours}, manager, desired); len(got.Managers) != 0 || len(got.Fields) != 0 {
		t.Errorf("a field that nobody owns is blamed on %v", got)
	}
}

func TestOnlyImplied(t *testing.T) {
	tests := []struct {
		name, spec string
		ignore     []string
		want       bool
	}{
		{"an autoscaler's", `{paused: true}`, []string{"/spec/replicas"}, true},
		{"said twice", `{paused: true}`, []string{"/spec/replicas", "/spec/replicas"}, true},
		{"another too", `{paused: true}`, []string{"/spec/paused", "/spec/replicas"}, false},
		{"ignored, but declared", `{replicas: 3}`, []string{"/spec/replicas"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := OnlyImplied(objectWith(t, tt.spec), tt.ignore); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestOwnsReplicas(t *testing.T) {
	ours := entry(manager, metav1.ManagedFieldsOperationApply, `{"f:spec":{"f:replicas":{}}}`)
	theirs := ours
	theirs.Manager = "kube-controller-manager"
	if !Observe(objectWith(t, `{replicas: 1}`, ours, theirs), manager, nil).OwnsReplicas {
		t.Error("ours are not seen")
	}
	if Observe(objectWith(t, `{replicas: 1}`, theirs), manager, []string{"/spec/replicas"}).OwnsReplicas {
		t.Error("another's are ours")
	}
}

// A field that Takeover would leave must not be found either: it would be repaired for ever.
func TestHumanFieldsOfAnotherVersion(t *testing.T) {
	ours := entry(manager, metav1.ManagedFieldsOperationApply, `{"f:spec":{"f:a":{}}}`)
	theirs := entry("kubectl-edit", metav1.ManagedFieldsOperationUpdate, `{"f:spec":{"f:b":{}}}`)
	for version, want := range map[string]int{"apps/v1": 1, "apps/v1beta1": 0} {
		theirs.APIVersion = version
		u := objectWith(t, `{a: 1, b: 1}`, ours, theirs)
		if got := HumanFields(u.GetManagedFields(), manager, u.Object, nil).Fields; len(got) != want {
			t.Errorf("%s: found %v", version, got)
		}
		patch, err := Takeover(u, manager, "apps/v1", nil, Human)
		if err != nil || (patch != nil) != (want == 1) {
			t.Errorf("%s: takes %s, %v", version, patch, err)
		}
	}
}
