package render

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/tree/treetest"
)

const apiHeader = "apiVersion: holdfast.dev/v1alpha1\n"

// scaled is a fleet of that many apps and clusters. Each app has four objects in its base and an overlay
// that kustomize has to build.
func scaled(apps, clusters int) map[string]string {
	files := map[string]string{}
	for i := range clusters {
		files[fmt.Sprintf("clusters/c-%d/cluster.yaml", i)] = fmt.Sprintf("%skind: Cluster\nmetadata: {name: c-%d, labels: {env: prod, region: r%d}}\n", apiHeader, i, i%5)
	}
	for i := range apps {
		dir, name := fmt.Sprintf("apps/app-%d", i), fmt.Sprintf("app-%d", i)
		files[dir+"/app.yaml"] = fmt.Sprintf("%skind: App\nmetadata: {name: %s}\nspec: {overlays: [{path: overlays/default}]}\n", apiHeader, name)
		files[dir+"/overlays/default/kustomization.yaml"] = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n" +
			"namespace: shop\nresources: [../../base]\nlabels: [{pairs: {team: a}}]\npatches: [{path: replicas.yaml}]\n"
		files[dir+"/overlays/default/replicas.yaml"] = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + "}\nspec: {replicas: 0}\n"
		files[dir+"/base/kustomization.yaml"] = "resources: [config.yaml, account.yaml, service.yaml, deployment.yaml]\n"
		files[dir+"/base/config.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {key: value}\n"
		files[dir+"/base/account.yaml"] = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: " + name + "}\n"
		files[dir+"/base/service.yaml"] = "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + "}\nspec: {selector: {app: " + name + "}, ports: [{port: 80, targetPort: http}]}\n"
		files[dir+"/base/deployment.yaml"] = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: " + name + "\n  labels: {app: " + name + "}\nspec:\n" +
			"  replicas: 1\n  selector: {matchLabels: {app: " + name + "}}\n  template:\n    metadata: {labels: {app: " + name + "}}\n    spec:\n      containers:\n" +
			"      - name: main\n        image: example.com/image:1\n        ports: [{containerPort: 8080, name: http}]\n" +
			"        resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 32Mi}}\n"
	}
	return files
}

// changed edits one app of scaled.
func changed(files map[string]string) map[string]string {
	files = maps.Clone(files)
	files["apps/app-7/base/config.yaml"] += "immutable: true\n"
	return files
}

// renderCluster renders a tree as one cluster's agent does.
func renderCluster(t testing.TB, m *fleet.Loader, r *Renderer, tr *treetest.Tree, name string) *ClusterResult {
	t.Helper()
	fl, err := m.Load(tr)
	if err != nil {
		t.Fatal(err)
	}
	res, err := Cluster(t.Context(), ClusterRequest{Head: tr, HeadCommit: "h", Fleet: fl, Name: name, Instance: "i", Renderer: r})
	if err != nil {
		t.Fatal(err)
	}
	for i := range res.Apps {
		if err := res.Apps[i].Err; err != nil {
			t.Fatal(err)
		}
	}
	return res
}

// TestCommitCostsWhatItChanged: a commit that changes one app builds it, shares what did not change in it,
// hands out every other app's objects as they are, and looks at nothing else.
func TestCommitCostsWhatItChanged(t *testing.T) {
	const apps = 60
	files := scaled(apps, 1)
	m, r := fleet.NewLoader(), NewRenderer()
	before := renderCluster(t, m, r, treetest.New(files), "c-0")
	tr := treetest.New(changed(files))
	after := renderCluster(t, m, r, tr, "c-0")
	for i := range after.Apps {
		a, b := &before.Apps[i], &after.Apps[i]
		if a.App.Name == "app-7" {
			if !b.Built || a.Content == b.Content || len(b.Objects) != 4 {
				t.Errorf("%s: built %t, %d objects", b.App.Name, b.Built, len(b.Objects))
			}
			for j := range b.Objects {
				if same := &a.Objects[j].JSON[0] == &b.Objects[j].JSON[0]; same == (b.Objects[j].ID.GroupKind.Kind == "ConfigMap") {
					t.Errorf("%s: %s is shared: %t", b.App.Name, Name(b.Objects[j].ID), same)
				}
			}
			continue
		}
		if b.Built || &a.Objects[0] != &b.Objects[0] {
			t.Errorf("%s: built %t, or its objects were copied", b.App.Name, b.Built)
		}
	}
	// The app's seven files; the root, apps, the app and its base to compare, and those with the two other
	// folders of the app to find its app.yaml.
	if files, folders := tr.Files.Load(), tr.Folders.Load(); files > 7 || folders > 10 {
		t.Errorf("%d files and %d folders were read", files, folders)
	}
}

// TestBuildsOnce: what several ask for at the same time is built once, and once for each facts where they count.
func TestBuildsOnce(t *testing.T) {
	files := scaled(1, 0)
	files["apps/facts/kustomization.yaml"] = "resources: [a.yaml]\nnamePrefix: x-\n"
	files["apps/facts/a.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: holdfast-cluster, annotations: {config.kubernetes.io/local-config: \"true\"}}\n"
	files["apps/broken/kustomization.yaml"] = "resources: [gone.yaml]\nnamePrefix: x-\n"
	tr := treetest.New(files)
	for name, tc := range map[string]struct {
		app    fleet.App
		builds int64
	}{
		"without facts":   {fleet.App{Dir: "apps/app-0/overlays/default"}, 1},
		"with facts":      {fleet.App{Dir: "apps/facts", Spec: fleet.AppSpec{AllowEmpty: true}}, 3},
		"with substitute": {fleet.App{Dir: "apps/app-0/overlays/default", Spec: fleet.AppSpec{Substitute: true}}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRenderer()
			var builds atomic.Int64
			var wg sync.WaitGroup
			for i := range 24 {
				wg.Go(func() {
					_, built, err := r.Build(t.Context(), Request{Tree: tr, App: &tc.app, Facts: fleet.Facts{Name: fmt.Sprint(i % 3)}})
					if err != nil {
						t.Error(err)
					}
					if built {
						builds.Add(1)
					}
				})
			}
			wg.Wait()
			if n := builds.Load(); n != tc.builds {
				t.Errorf("%d builds, want %d", n, tc.builds)
			}
		})
	}
	t.Run("who gives up takes nobody along", func(t *testing.T) {
		r := NewRenderer()
		var wg sync.WaitGroup
		for i := range 24 {
			ctx, cancel := context.WithCancel(t.Context())
			if i%2 == 0 {
				cancel()
			}
			wg.Go(func() {
				defer cancel()
				_, _, err := r.Build(ctx, Request{Tree: tr, App: &fleet.App{Dir: "apps/app-0/overlays/default"}})
				if err != nil && i%2 == 1 {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("an error is everybody's", func(t *testing.T) {
		r := NewRenderer()
		var wg sync.WaitGroup
		for range 24 {
			wg.Go(func() {
				if _, _, err := r.Build(t.Context(), Request{Tree: tr, App: &fleet.App{Dir: "apps/broken"}}); err == nil {
					t.Error("no error")
				}
			})
		}
		wg.Wait()
		if len(r.flights) != 0 {
			t.Error("builds are left over")
		}
	})
}

// BenchmarkCluster is what a commit costs an agent after it was loaded: one app of 2,500 changed.
func BenchmarkCluster(b *testing.B) {
	files := scaled(2500, 1)
	trees := []*treetest.Tree{treetest.New(files), treetest.New(changed(files))}
	m, r := fleet.NewLoader(), NewRenderer()
	var fleets []*fleet.Fleet
	for _, tr := range trees {
		renderCluster(b, m, r, tr, "c-0")
		fl, err := m.Load(tr)
		if err != nil {
			b.Fatal(err)
		}
		fleets = append(fleets, fl)
	}
	b.Run("one-of-2500-changed", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			r.Retain(allBut(fleets[0], "app-7"))
			b.StartTimer()
			if _, err := Cluster(b.Context(), ClusterRequest{
				Head: trees[i%2], HeadCommit: "h", Fleet: fleets[i%2], Name: "c-0", Instance: "i", Renderer: r,
			}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func allBut(f *fleet.Fleet, name string) map[string]bool {
	apps := map[string]bool{}
	for _, a := range f.Apps {
		apps[a.Name] = a.Name != name
	}
	return apps
}

// BenchmarkFleet renders 300 overlays: with kustomize's API alone in series, which is the reference; as an
// agent does at its start; and after a commit that changed one app.
func BenchmarkFleet(b *testing.B) {
	const apps = 300
	files := scaled(apps, 1)
	trees := []*treetest.Tree{treetest.New(files), treetest.New(changed(files))}
	b.Run("kustomize-in-series", func(b *testing.B) {
		disk := filesys.MakeFsInMemory()
		for name, text := range files {
			if err := disk.WriteFile(name, []byte(text)); err != nil {
				b.Fatal(err)
			}
		}
		opts := krusty.MakeDefaultOptions()
		opts.LoadRestrictions = types.LoadRestrictionsNone
		b.ReportAllocs()
		for b.Loop() {
			for i := range apps {
				if _, err := krusty.MakeKustomizer(opts).Run(disk, fmt.Sprintf("apps/app-%d/overlays/default", i)); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("full", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			renderCluster(b, fleet.NewLoader(), NewRenderer(), trees[0], "c-0")
		}
	})
	b.Run("one-changed", func(b *testing.B) {
		b.ReportAllocs()
		m, r := fleet.NewLoader(), NewRenderer()
		renderCluster(b, m, r, trees[0], "c-0")
		for i := 1; b.Loop(); i++ {
			b.StopTimer()
			r.Retain(allBut(mustLoad(b, m, trees[0]), "app-7"))
			b.StartTimer()
			renderCluster(b, m, r, trees[i%2], "c-0")
		}
	})
}

func mustLoad(b *testing.B, m *fleet.Loader, tr *treetest.Tree) *fleet.Fleet {
	b.Helper()
	fl, err := m.Load(tr)
	if err != nil {
		b.Fatal(err)
	}
	return fl
}

// BenchmarkRestart renders 1,250 apps of four objects that only list their resources, of a real
// repository: what an agent with 5,000 objects does once when it starts.
func BenchmarkRestart(b *testing.B) {
	files := scaled(1250, 1)
	for i := range 1250 {
		delete(files, fmt.Sprintf("apps/app-%d/overlays/default/replicas.yaml", i))
		files[fmt.Sprintf("apps/app-%d/overlays/default/kustomization.yaml", i)] = "resources: [../../base]\n"
	}
	tr := treetest.New(files)
	b.ReportAllocs()
	for b.Loop() {
		renderCluster(b, fleet.NewLoader(), NewRenderer(), tr, "c-0")
	}
}

// BenchmarkPreview renders 300 apps for 50 clusters in one process, keeping all that comes out.
func BenchmarkPreview(b *testing.B) {
	files := scaled(300, 50)
	tr := treetest.New(files)
	b.ReportAllocs()
	for b.Loop() {
		m, r := fleet.NewLoader(), NewRenderer()
		var all []*ClusterResult
		for i := range 50 {
			all = append(all, renderCluster(b, m, r, tr, fmt.Sprintf("c-%d", i)))
		}
		if len(all) != 50 {
			b.Fatal(len(all))
		}
	}
}
