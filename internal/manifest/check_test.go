package manifest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestFaults holds what is said of broken manifests to files: manifests, and the faults of all of them.
func TestFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/faults/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			j := newJudge(t)
			var got strings.Builder
			for _, u := range parse(t, archive.Files[0].Data) {
				got.WriteString(u.GetKind() + " " + u.GetName() + "\n")
				for _, line := range strings.Split(faultTexts(j.check(t, u)), "\n") {
					if line != "" {
						got.WriteString("  " + line + "\n")
					}
				}
			}
			if *update {
				archive.Files[1].Data = []byte(got.String())
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := gocmp.Diff(string(archive.Files[1].Data), got.String()); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKinds(t *testing.T) {
	k, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		apiVersion, kind string
		known            bool
		meant            string
		owned            bool
	}{
		{"apps/v1", "Deployment", true, "apps/v1 Deployment", true},
		{"v1", "Deployment", false, "apps/v1 Deployment", true},
		{"apps/v1beta1", "Deployment", false, "apps/v1 Deployment", true},
		{"apps/v1", "Deploymnet", false, "apps/v1 Deployment", true},
		{"autoscaling/v2beta2", "HorizontalPodAutoscaler", false, "autoscaling/v2 HorizontalPodAutoscaler", true},
		{"extensions/v1beta1", "Ingress", false, "networking.k8s.io/v1 Ingress", true},
		{"storage.k8s.io/v2", "StorageClass", false, "storage.k8s.io/v1 StorageClass", true},
		{"example.com/v1", "Thing", false, "", false},
		{"authentication.k8s.io/v1", "TokenReview", false, "", false}, // cannot be applied
	} {
		gvk := schema.FromAPIVersionAndKind(test.apiVersion, test.kind)
		if _, known := k.Kind(gvk); known != test.known {
			t.Errorf("%v: known %t, want %t", gvk, known, test.known)
		}
		if got := k.Meant(gvk); got != test.meant {
			t.Errorf("%v: meant %q, want %q", gvk, got, test.meant)
		}
		if got := k.Owns(gvk.Group); got != test.owned {
			t.Errorf("%v: owned %t, want %t", gvk, got, test.owned)
		}
	}
	for kind, want := range map[string][2]bool{"Pod": {true, true}, "Node": {false, true}, "Thing": {false, false}} {
		if namespaced, known := k.Namespaced(schema.GroupKind{Kind: kind}); [2]bool{namespaced, known} != want {
			t.Errorf("%s: %t, %t, want %v", kind, namespaced, known, want)
		}
	}
	if k.Minor() != strings.Join(strings.Split(k.Version, ".")[:2], ".") {
		t.Errorf("minor version %q of %q", k.Minor(), k.Version)
	}
}

// TestDefine: what is no definition is refused with a reason, and never panics.
func TestDefine(t *testing.T) {
	k, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	const head = `{"spec":{"group":"example.com","names":{"kind":"Thing"},"versions":[`
	for name, test := range map[string]struct{ crd, want string }{
		"not JSON":              {`{`, "unexpected end"},
		"no kind":               {`{"spec":{"group":"example.com"}}`, "names no kind"},
		"no schema":             {head + `{"name":"v1","served":true}]}}`, "version v1 has no schema"},
		"not served":            {head + `{"name":"v1"}]}}`, ""},
		"properties a list":     {head + `{"name":"v1","served":true,"schema":{"openAPIV3Schema":{"properties":[]}}}]}}`, "within \"/properties\""},
		"minimum is a text":     {head + `{"name":"v1","served":true,"schema":{"openAPIV3Schema":{"minimum":"a"}}}]}}`, "within \"/minimum\""},
		"no regular expression": {head + `{"name":"v1","served":true,"schema":{"openAPIV3Schema":{"properties":{"spec":{"pattern":"["}}}}}]}}`, "pattern cannot be used"},
		"names another file":    {head + `{"name":"v1","served":true,"schema":{"openAPIV3Schema":{"properties":{"spec":{"$ref":"file:///etc/passwd"}}}}}]}}`, "$ref"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := k.Define([]byte(test.crd))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// FuzzDefine: a foreign definition and an object of its kind give faults or an error, and no panic.
func FuzzDefine(f *testing.F) {
	for _, u := range manifests(f) {
		if IsDefinition(u.GroupVersionKind()) {
			data, err := u.MarshalJSON()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data, []byte(`{"spec":{"size":1,"port":"a","tags":["a","a"],"map":{"a":2},"mode":null,"not":"x"}}`))
		}
	}
	k, err := Load()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, definition, data []byte) {
		d, err := k.Define(definition)
		var object map[string]any
		if err != nil || json.Unmarshal(data, &object) != nil {
			return
		}
		for _, version := range d.Versions {
			if kind, ok := d.Kind(version); ok {
				kind.Check(object)
			}
		}
	})
}

// FuzzCheck: an object of a built-in kind, whatever is in it, gives faults and no panic.
func FuzzCheck(f *testing.F) {
	for _, u := range manifests(f) {
		data, err := u.MarshalJSON()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	k, err := Load()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		u := &unstructured.Unstructured{}
		if u.UnmarshalJSON(data) != nil {
			return
		}
		kind, ok := k.Kind(u.GroupVersionKind())
		if !ok {
			return
		}
		before, _ := json.Marshal(u.Object)
		for _, fault := range kind.Check(u.Object) {
			if fault.Message == "" || fault.Rule == "" {
				t.Errorf("an empty fault: %#v", fault)
			}
		}
		if after, _ := json.Marshal(u.Object); string(before) != string(after) {
			t.Error("the object was changed")
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	j := newJudge(b)
	for _, u := range manifests(b) {
		if u.GetName() != "web" && u.GetName() != "c" || u.GetKind() != "Deployment" && u.GetKind() != "ConfigMap" {
			continue
		}
		b.Run(u.GetKind(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				j.check(b, u)
			}
		})
	}
	b.Run("Load", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Load(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
