package fleet

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	"github.com/holdfast-dev/holdfast/internal/tree/treetest"
)

// outcome is all that a load comes to.
type outcome struct {
	Settings Settings
	Clusters []*Cluster
	Apps     []*App
	Problems []Problem
	Placed   map[string]Placed
	Error    string
}

func outcomeOf(f *Fleet, err error) outcome {
	if err != nil {
		return outcome{Error: err.Error()}
	}
	o := outcome{Settings: f.Settings, Clusters: f.Clusters, Apps: f.Apps, Problems: f.Problems, Placed: map[string]Placed{}}
	for _, a := range f.Apps {
		p, err := f.Place(a)
		if err != nil {
			p.Short = err.Error()
		}
		o.Placed[a.Name] = p
	}
	return o
}

// TestLoaderIsLoad: after whatever edits, a Loader gives what a fresh Load gives.
func TestLoaderIsLoad(t *testing.T) {
	app := func(name, spec string) string {
		return header + "kind: App\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
	}
	cluster := func(name, spec string) string {
		return header + "kind: Cluster\nmetadata: {name: " + name + ", labels: {region: r}}\nspec: {" + spec + "}\n"
	}
	contents := map[string][]string{
		"fleet.yaml":                    {header + "kind: Fleet\nmetadata: {name: f}\n", header + "kind: Fleet\nmetadata: {name: f}\nspec: {drain: [{clusterSelector: {matchLabels: {region: r}}}]}\n", "kind: ["},
		"fleet.yml":                     {"x"},
		"clusters/a/cluster.yaml":       {cluster("a", ""), cluster("a", "weight: 3"), cluster("b", ""), cluster("a", "x: y"), "-> ../b/cluster.yaml"},
		"clusters/b/cluster.yaml":       {cluster("b", ""), cluster("b", "state: Drained")},
		"clusters/b/cluster.yml":        {"x"},
		"clusters/a/kustomization.yaml": {"resources: []\n", "resources: [x.yaml]\n"},
		"clusters/l":                    {"-> a"},
		"apps/one/app.yaml":             {app("one", ""), app("two", ""), app("one", "placement: {clusters: 1}"), app("one", "dependsOn: [two]"), "-> ../../shared/app.yaml", "a: ["},
		"apps/one/base/app.yaml":        {app("base", "dependsOn: [one, gone]")},
		"apps/two/app.yaml":             {app("two", "dependsOn: [one]"), app("two", "replicas: {total: 3}"), app("", "")},
		"apps/team/three/app.yaml":      {app("three", "overlays: [{path: ../../../..}]"), app("three", "")},
		"apps/team/three/other.yaml":    {"x", "y"},
		"apps/team/link":                {"-> ../one"},
		"shared/app.yaml":               {app("shared", ""), app("shared", "suspend: true"), app("one", "")},
	}
	names := slices.Sorted(maps.Keys(contents))
	rapid.Check(t, func(t *rapid.T) {
		m := NewLoader()
		files := map[string]string{}
		for range rapid.IntRange(1, 12).Draw(t, "commits") {
			for range rapid.IntRange(1, 5).Draw(t, "edits") {
				name := rapid.SampledFrom(names).Draw(t, "file")
				text := rapid.SampledFrom(append([]string{""}, contents[name]...)).Draw(t, "content")
				if files[name] = text; text == "" {
					delete(files, name)
				}
			}
			tr := treetest.New(files)
			want, got := outcomeOf(Load(tr)), outcomeOf(m.Load(tr))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("(-Load +Loader):\n%s", diff)
			}
		}
	})
}

// large is a fleet of that many apps in folders of a hundred, and clusters.
func large(apps, clusters int) map[string]string {
	files := map[string]string{"fleet.yaml": header + "kind: Fleet\nmetadata: {name: f}\n"}
	for i := range clusters {
		files[fmt.Sprintf("clusters/c-%d/cluster.yaml", i)] = fmt.Sprintf("%skind: Cluster\nmetadata: {name: c-%d, labels: {region: r%d}}\n", header, i, i%10)
	}
	for i := range apps {
		dir := fmt.Sprintf("apps/team-%d/app-%d", i/100, i)
		files[dir+"/app.yaml"] = fmt.Sprintf("%skind: App\nmetadata: {name: app-%d}\nspec:\n  placement: {clusterSelector: {matchLabels: {region: r%d}}}\n  overlays: [{path: overlays/default}]\n", header, i, i%10)
		files[dir+"/base/kustomization.yaml"] = "resources: []\n"
		files[dir+"/overlays/default/kustomization.yaml"] = "resources: [../../base]\n"
	}
	return files
}

// TestLoaderReadsWhatChanged: a commit costs its own files and the folders above them, and everything
// else stays what it was.
func TestLoaderReadsWhatChanged(t *testing.T) {
	files := large(300, 20)
	m := NewLoader()
	before, err := m.Load(treetest.New(files))
	if err != nil {
		t.Fatal(err)
	}
	files["apps/team-1/app-142/app.yaml"] += "  suspend: true\n"
	files["clusters/c-7/kustomization.yaml"] = "resources: []\n"
	tr := treetest.New(files)
	after, err := m.Load(tr)
	if err != nil {
		t.Fatal(err)
	}
	if n := tr.Files.Load(); n != 1 {
		t.Errorf("%d files read, want the one that changed", n)
	}
	// The root, apps, the team, the app and the three folders in it; clusters and the cluster.
	if n := tr.Folders.Load(); n != 9 {
		t.Errorf("%d folders listed, want 9", n)
	}
	for _, a := range after.Apps {
		old, ok := before.App(a.Name)
		if same := ok && old == a; same != (a.Name != "app-142" && a.Name != "cluster-c-7") {
			t.Errorf("app %s is the same: %t", a.Name, same)
		}
	}
	if !slices.Equal(before.Clusters, after.Clusters) {
		t.Error("the clusters are not the same")
	}
	a, _ := after.App("app-0")
	first, err := before.Place(a)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := after.Place(a); err != nil || !same(first.Clusters, second.Clusters) {
		t.Errorf("app-0 was placed anew: %v", err)
	}
}

// TestLoaderIsBounded: what nobody asks for any more is forgotten.
func TestLoaderIsBounded(t *testing.T) {
	m := NewLoader()
	files := large(1, 1)
	for i := range 3000 {
		files["apps/team-0/app-0/app.yaml"] = fmt.Sprintf("%skind: App\nmetadata: {name: app-%d}\n", header, i)
		f, err := m.Load(treetest.New(files))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Place(f.Apps[0]); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(m.memo.young) + len(m.memo.old); n > 2000 {
		t.Errorf("%d files and folders are remembered", n)
	}
	if n := len(m.placer.placed); n > 300 {
		t.Errorf("%d placements are remembered", n)
	}
}

// TestSelectorIsKubernetes: selectors match as the Kubernetes library's do.
func TestSelectorIsKubernetes(t *testing.T) {
	word := rapid.SampledFrom([]string{"a", "b", "c"})
	rapid.Check(t, func(t *rapid.T) {
		s := Selector{LabelSelector: metav1.LabelSelector{MatchLabels: rapid.MapOfN(word, word, 0, 1).Draw(t, "labels")}}
		for range rapid.IntRange(0, 3).Draw(t, "expressions") {
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{
				Key:      word.Draw(t, "key"),
				Operator: metav1.LabelSelectorOperator(rapid.SampledFrom([]string{"In", "NotIn", "Exists", "DoesNotExist", "Bogus"}).Draw(t, "operator")),
				Values:   rapid.SliceOfN(word, 0, 2).Draw(t, "values"),
			})
		}
		on := rapid.MapOf(word, word).Draw(t, "cluster")
		compiled, err := metav1.LabelSelectorAsSelector(&s.LabelSelector)
		want := err == nil && compiled.Matches(labels.Set(on))
		if got := s.Matches(on); got != want {
			t.Errorf("%v on %v: %t, want %t (%v)", s, on, got, want, err)
		}
	})
}

// BenchmarkLoader loads 2,500 apps and 100 clusters and places all: at first, and then a commit that
// changes one app.
func BenchmarkLoader(b *testing.B) {
	files := large(2500, 100)
	trees := []*treetest.Tree{treetest.New(files)}
	files["apps/team-1/app-142/app.yaml"] += "  suspend: true\n"
	trees = append(trees, treetest.New(files))
	load := func(b *testing.B, m *Loader, tr *treetest.Tree) {
		b.Helper()
		f, err := m.Load(tr)
		if err != nil || len(f.Apps) != 2500 {
			b.Fatal(err)
		}
		for _, a := range f.Apps {
			if _, err := f.Place(a); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			load(b, NewLoader(), trees[0])
		}
	})
	b.Run("one-changed", func(b *testing.B) {
		b.ReportAllocs()
		m := NewLoader()
		load(b, m, trees[0])
		for i := 1; b.Loop(); i++ {
			load(b, m, trees[i%2])
		}
	})
}
