package render

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

// both builds apps/web on the straight path and with kustomize.
func both(files memTree) (straight, reference []map[string]any, errStraight, errReference error) {
	f := newFiles(files, fleet.Facts{})
	tree, err := f.check("apps/web")
	if err != nil {
		return nil, nil, err, err
	}
	if !tree.plain {
		return nil, nil, errNotPlain, errNotPlain
	}
	a, errStraight := f.plain(tree.list)
	b, errReference := newFiles(files, fleet.Facts{}).kustomize("apps/web", "", false)
	return values(a), values(b), errStraight, errReference
}

func values(nodes []*yaml.Node) (all []map[string]any) {
	for _, n := range nodes {
		m, err := decode(n)
		if err != nil {
			m = map[string]any{"error": err.Error()}
		}
		if !isLocal(m) { // kustomize drops them, prepare does for the straight path
			all = append(all, m)
		}
	}
	return all
}

// TestPlainEqualsKustomize holds the straight path equal to kustomize, on shapes of files that people
// and tools write.
func TestPlainEqualsKustomize(t *testing.T) {
	cm := func(name string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n"
	}
	for name, text := range map[string]string{
		"one":              cm("a"),
		"several":          cm("a") + "---\n" + cm("b") + "--- # comment\n" + cm("c"),
		"empty documents":  "---\n---\n# only a comment\n---\n" + cm("a") + "---\n",
		"null document":    "null\n---\n" + cm("a"),
		"empty":            "",
		"only comments":    "# nothing\n",
		"windows":          strings.ReplaceAll(cm("a")+"---\n"+cm("b"), "\n", "\r\n"),
		"no final newline": strings.TrimSuffix(cm("a"), "\n"),
		"end markers":      cm("a") + "...\n---\n" + cm("b"),
		"directive":        "%YAML 1.1\n---\n" + cm("a"),
		"bom":              "\ufeff" + cm("a"),
		"json":             `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}`,
		"tabs":             cm("a") + "data:\n\tk: v\n",
		"bad separator":    cm("a") + "--- a\n" + cm("b"),
		"list":             "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n",
		"typed list":       "apiVersion: v1\nkind: ConfigMapList\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n",
		"list in list":     "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}]}\n",
		"list and object":  "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}]\n---\n" + cm("b"),
		"empty list":       "apiVersion: v1\nkind: List\nitems: []\n",
		"null list":        "apiVersion: v1\nkind: List\nitems:\n",
		"list of nothing":  "apiVersion: v1\nkind: List\nitems: [{}]\n",
		"list no items":    "apiVersion: v1\nkind: FooList\nmetadata: {name: a}\n",
		"bad list":         "apiVersion: v1\nkind: List\nitems: {a: b}\n",
		"bare sequence":    "- " + strings.ReplaceAll(cm("a"), "\n", "\n  ") + "\n",
		"anchors":          cm("a") + "data: &d {k: v}\nbinaryData: *d\n",
		"merge keys":       cm("a") + "x: &x {k: v, l: w}\ndata: {<<: *x, l: z}\n",
		"merge list":       cm("a") + "x: &x {k: v}\ny: &y {l: w}\ndata:\n  <<: [*x, *y]\n",
		"anchor of key":    cm("a") + "data: {&k k: v, l: *k}\n",
		"anchor redefined": cm("a") + "data: {k: &x v, l: *x, m: &x w, n: *x}\n",
		"unknown anchor":   cm("a") + "data: *x\n",
		"scalars": cm("a") + "data: {int: 1, octal: 0o17, old: 017, hex: 0x1F, float: 1.50, exp: 1e3, big: 12345678901234567890, huge: 123456789012345678901234567890," +
			" yes: yes, on: on, true: true, nil: null, tilde: ~, empty: , date: 2021-01-01, time: 2021-01-01T00:00:00Z, s: '1', under: 1_000, sexagesimal: 1:30, inf: .5, plus: +1}\n",
		"strings":         cm("a") + "data:\n  lit: |\n    a\n     b\n\n  keep: |+\n    a\n\n  fold: >-\n    a\n    b\n\n    c\n  double: \"\\u00e9\\t\\x41\"\n  single: 'it''s'\n  plain: a\n    b\n",
		"tags":            cm("a") + "data: {s: !!str 1, b: !!binary aGVsbG8=, i: !!int '7', c: !custom x}\n",
		"unicode":         cm("a") + "data: {k: \"\\U0001F600 \\u2028\", é: ü}\n",
		"long line":       cm("a") + "data: {k: '" + strings.Repeat("word ", 500) + "'}\n",
		"duplicate key":   cm("a") + "data: {k: v, k: w}\n",
		"duplicate id":    cm("a") + "---\n" + cm("a"),
		"default ns":      cm("a") + "---\n" + cm("a") + "  namespace: default\n",
		"other ns":        cm("a") + "---\n" + cm("a") + "  namespace: other\n",
		"cluster scoped":  "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}\n",
		"two versions":    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\napiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: a}\n",
		"two groups":      "apiVersion: a/v1\nkind: Deployment\nmetadata: {name: a}\n---\napiVersion: b/v1\nkind: Deployment\nmetadata: {name: a}\n",
		"no metadata":     "apiVersion: v1\nkind: ConfigMap\n",
		"no name":         "apiVersion: v1\nkind: ConfigMap\nmetadata: {labels: {a: b}}\n",
		"null name":       "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: null}\n",
		"number as name":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 12}\n",
		"no kind":         "apiVersion: v1\nmetadata: {name: a}\n",
		"no apiVersion":   "kind: ConfigMap\nmetadata: {name: a}\n",
		"scalar":          "hello\n",
		"metadata scalar": "apiVersion: v1\nkind: ConfigMap\nmetadata: hello\n",
		"number labels":   cm("a") + "  labels: {a: 1, b: true}\n  annotations: {c: 2}\n",
		"local":           cm("a") + "  annotations: {config.kubernetes.io/local-config: \"true\"}\n---\n" + cm("b"),
		"local false":     cm("a") + "  annotations: {config.kubernetes.io/local-config: \"false\"}\n",
		"local only":      cm("a") + "  annotations: {config.kubernetes.io/local-config: \"true\"}\n",
		"origin":          cm("a") + "  annotations: {config.kubernetes.io/origin: x, config.kubernetes.io/index: '0', config.kubernetes.io/path: a.yaml}\n",
		"transformations": cm("a") + "  annotations: {alpha.config.kubernetes.io/transformations: x}\n",
		"validated by":    cm("a") + "  labels: {validated-by: x}\n",
		"nulls":           cm("a") + "data: {a: null, b: [null, {c: null}]}\n",
		"patch directive": cm("a") + "$patch: delete\n",
		"binding": "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a, namespace: n}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\n" +
			"metadata: {name: b}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}\nsubjects: [{kind: ServiceAccount, name: a}, {kind: ServiceAccount, name: a, namespace: x}]\n",
		"webhook": "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: n}\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\n" +
			"metadata: {name: b}\nwebhooks: [{name: w, clientConfig: {service: {name: a}}}]\n",
		"kustomization as a resource": "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nmetadata: {name: a}\nresources: [x]\n",
		"resource list":               "apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}]\nfunctionConfig: {a: b}\n",
		"template":                    "{{ if }}\n",
	} {
		t.Run(name, func(t *testing.T) {
			files := memTree{
				"apps/web/kustomization.yaml":  "resources: [../base, a.yaml]\n",
				"apps/web/a.yaml":              text,
				"apps/base/kustomization.yaml": "resources: [z.yaml]\n",
				"apps/base/z.yaml":             cm("z"),
			}
			wantSame(t, files)
		})
	}
}

// TestPlainShapes: which trees take the straight path, and that it gives what kustomize gives.
func TestPlainShapes(t *testing.T) {
	for name, tc := range map[string]struct {
		files string
		plain bool
	}{
		"resources":       {"-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n", true},
		"bases":           {"-- apps/web/kustomization.yaml --\nresources: [a.yaml]\nbases: [../base]\n", true},
		"header":          {"-- apps/web/kustomization.yaml --\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nmetadata: {name: x}\nresources: [a.yaml]\n", true},
		"sorted":          {"-- apps/web/kustomization.yaml --\nresources: [a.yaml]\nsortOptions: {order: fifo}\n", true},
		"file of a link":  {"-- apps/web/kustomization.yaml --\nresources: [l.yaml]\n-- apps/web/l.yaml --\n-> a.yaml\n", true},
		"folder by link":  {"-- apps/web/kustomization.yaml --\nresources: [l]\n-- apps/web/l --\n-> ../base\n", true},
		"twice":           {"-- apps/web/kustomization.yaml --\nresources: [../base, ../base]\n", false},
		"diamond":         {"-- apps/web/kustomization.yaml --\nresources: [../base, ../mid]\n-- apps/mid/kustomization.yaml --\nresources: [../base]\n", false},
		"prefix":          {"-- apps/web/kustomization.yaml --\nresources: [a.yaml]\nnamePrefix: x\n", false},
		"prefix below":    {"-- apps/web/kustomization.yaml --\nresources: [a.yaml, ../mid]\n-- apps/mid/kustomization.yaml --\nresources: [../base]\nnamePrefix: x\n", false},
		"empty lists":     {"-- apps/web/kustomization.yaml --\nresources: [a.yaml]\npatches: []\n", false},
		"build metadata":  {"-- apps/web/kustomization.yaml --\nresources: [a.yaml]\nbuildMetadata: [originAnnotations]\n", false},
		"component":       {"-- apps/web/kustomization.yaml --\napiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [a.yaml]\n", false},
		"other version":   {"-- apps/web/kustomization.yaml --\napiVersion: kustomize.config.k8s.io/v1\nresources: [a.yaml]\n", false},
		"component below": {"-- apps/web/kustomization.yaml --\nresources: [../mid]\n-- apps/mid/kustomization.yaml --\napiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [../base]\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			files := archive(t, tc.files+"-- apps/web/a.yaml --\n"+configMap+"-- apps/base/kustomization.yaml --\nresources: [z.yaml]\n-- apps/base/z.yaml --\n"+strings.Replace(configMap, "name: a", "name: z", 1))
			got, err := newFiles(files, fleet.Facts{}).check("apps/web")
			if err != nil {
				t.Fatal(err)
			}
			if got.plain != tc.plain {
				t.Errorf("plain is %t, want %t", got.plain, tc.plain)
			}
			if tc.plain {
				wantSame(t, files)
			}
		})
	}
}

func wantSame(t interface {
	Helper()
	Errorf(string, ...any)
}, files memTree) {
	t.Helper()
	a, b, errA, errB := both(files)
	if errors.Is(errA, errNotPlain) {
		return // kustomize builds it
	}
	if (errA == nil) != (errB == nil) {
		t.Errorf("the straight path says %v, kustomize %v", errA, errB)
		return
	}
	if diff := cmp.Diff(b, a); diff != "" {
		t.Errorf("differs (-kustomize +straight):\n%s", diff)
	}
}

// TestPlainProperty compares both paths over random trees.
func TestPlainProperty(t *testing.T) {
	doc := rapid.Custom(func(t *rapid.T) string {
		kind := rapid.SampledFrom([]string{"v1 ConfigMap", "v1 Namespace", "apps/v1 Deployment", "example.com/v1 Foo", "v1 List"}).Draw(t, "kind")
		version, k, _ := strings.Cut(kind, " ")
		s := "apiVersion: " + version + "\nkind: " + k + "\n"
		if k == "List" {
			s += "items: [{apiVersion: v1, kind: Secret, metadata: {name: n" + fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "item")) + "}}]\n"
			return s
		}
		s += "metadata:\n  name: n" + fmt.Sprint(rapid.IntRange(0, 20).Draw(t, "name")) + "\n"
		if ns := rapid.SampledFrom([]string{"", "default", "shop"}).Draw(t, "namespace"); ns != "" {
			s += "  namespace: " + ns + "\n"
		}
		value := rapid.SampledFrom([]string{"1", "'1'", "yes", "null", "[a, {b: c}]", "|\n  text\n  more", "1.5", "{x: {y: z}}", "\"a\\nb\""}).Draw(t, "value")
		return s + "data: " + value + "\n"
	})
	rapid.Check(t, func(t *rapid.T) {
		files := memTree{}
		n := rapid.IntRange(1, 4).Draw(t, "folders")
		for i := range n {
			dir := fmt.Sprintf("apps/f%d/", i)
			if i == 0 {
				dir = "apps/web/"
			}
			var list []string
			for j := range rapid.IntRange(0, 3).Draw(t, "files") {
				name := fmt.Sprintf("%d.yaml", j)
				list = append(list, name)
				files[dir+name] = strings.Join(rapid.SliceOfN(doc, 0, 3).Draw(t, "docs"), "---\n")
			}
			if i+1 < n {
				list = append(list, fmt.Sprintf("../f%d", i+1))
			}
			files[dir+"kustomization.yaml"] = "resources: [" + strings.Join(list, ", ") + "]\n"
		}
		wantSame(t, files)
	})
}

// TestEqualsKustomizeOnDisk: an app that uses nothing of ours renders as `kustomize build` does.
func TestEqualsKustomizeOnDisk(t *testing.T) {
	archives, err := filepath.Glob("testdata/kustomize/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range archives {
		t.Run(filepath.Base(name), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files, dir := archive(t, string(b)), t.TempDir()
			for p, content := range files {
				full := filepath.Join(dir, p)
				if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			opts := krusty.MakeDefaultOptions()
			opts.LoadRestrictions = types.LoadRestrictionsNone
			m, err := krusty.MakeKustomizer(opts).Run(filesys.MakeFsOnDisk(), filepath.Join(dir, "apps/web"))
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for _, r := range m.Resources() {
				y, err := r.AsYAML()
				if err != nil {
					t.Fatal(err)
				}
				var v map[string]any
				if err := yaml.Unmarshal(y, &v); err != nil {
					t.Fatal(err)
				}
				want[r.GetKind()+"/"+r.GetNamespace()+"/"+r.GetName()] = asJSON(t, v)
			}
			res, err := build1(files, fleet.AppSpec{})
			if err != nil || len(res.Errors) > 0 {
				t.Fatal(err, res.Errors)
			}
			got := map[string]string{}
			for i := range res.Objects {
				u, err := res.Objects[i].Unstructured()
				if err != nil {
					t.Fatal(err)
				}
				labels := u.GetLabels()
				delete(labels, LabelApp)
				delete(labels, LabelInstance)
				if len(labels) == 0 {
					labels = nil
				}
				u.SetLabels(labels)
				got[u.GetKind()+"/"+u.GetNamespace()+"/"+u.GetName()] = asJSON(t, u.Object)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("differs (-kustomize +ours):\n%s", diff)
			}
		})
	}
}

func asJSON(t *testing.T, v map[string]any) string {
	t.Helper()
	b, err := canonical(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// many makes an app of n objects that only lists them, in files of ten.
func many(n int) memTree {
	files := memTree{}
	var list []string
	for i := 0; i < n; i += 10 {
		name := fmt.Sprintf("%d.yaml", i)
		list = append(list, name)
		var b strings.Builder
		for j := i; j < min(i+10, n); j++ {
			fmt.Fprintf(&b, "---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d-%d\n  namespace: shop\n  labels: {app: d-%d}\nspec:\n"+
				"  replicas: 0\n  selector: {matchLabels: {app: d-%d}}\n  template:\n    metadata: {labels: {app: d-%d}}\n    spec:\n      containers:\n"+
				"      - name: main\n        image: example.com/image:%d\n        ports: [{containerPort: 8080, name: http}]\n"+
				"        resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 32Mi}}\n", j, j, j, j, rand.IntN(9))
		}
		files["apps/web/"+name] = b.String()
	}
	files["apps/web/kustomization.yaml"] = "resources:\n- " + strings.Join(list, "\n- ") + "\n"
	return files
}

// TestManyObjects: 5,000 objects of one app come out, on the path that takes linear time.
func TestManyObjects(t *testing.T) {
	files := many(5000)
	if tree, err := newFiles(files, fleet.Facts{}).check("apps/web"); err != nil || !tree.plain {
		t.Fatalf("plain %t, %v", tree.plain, err)
	}
	res, err := build1(files, fleet.AppSpec{})
	if err != nil || len(res.Objects) != 5000 || len(res.Warnings) > 0 {
		t.Fatalf("%d objects, %v, %v", len(res.Objects), res.Warnings, err)
	}
}

// BenchmarkOverlay is a usual app: four objects, a base and an overlay, built by kustomize; and the
// same again from the cache.
func BenchmarkOverlay(b *testing.B) {
	files := many(4)
	files["apps/o/kustomization.yaml"] = "namespace: shop\nresources: [../web]\nlabels: [{pairs: {a: b}}]\n"
	req := Request{Tree: files, App: &fleet.App{Metadata: fleet.Metadata{Name: "web"}, Dir: "apps/o"}}
	b.Run("build", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Build(b.Context(), req); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		r := NewRenderer()
		for b.Loop() {
			if _, _, err := r.Build(b.Context(), req); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPlain(b *testing.B) {
	for _, n := range []int{500, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			files := many(n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := build1(files, fleet.AppSpec{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkParse is the floor of BenchmarkPlain: parsing the YAML and nothing else.
func BenchmarkParse(b *testing.B) {
	for _, n := range []int{500, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			files := many(n)
			b.ReportAllocs()
			for b.Loop() {
				for name, text := range files {
					if strings.HasSuffix(name, "kustomization.yaml") {
						continue
					}
					d := yaml.NewDecoder(strings.NewReader(text))
					for {
						var v any
						if d.Decode(&v) != nil {
							break
						}
					}
				}
			}
		})
	}
}
