package preview

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// large is a fleet of that many apps and clusters. An app has a base of four objects and an overlay for each of
// two environments, with patches; every tenth substitutes facts, so that no two clusters have the same of it.
func large(apps, clusters int) files {
	f := files{}
	for i := range clusters {
		f[fmt.Sprintf("clusters/c%02d/cluster.yaml", i)] = fmt.Sprintf("%skind: Cluster\nmetadata: {name: c%02d, labels: {env: %s, region: r%d}}\nspec: {weight: %d}\n",
			header, i, []string{"prod", "staging"}[i%2], i%5, 1+i%3)
	}
	for i := range apps {
		name := fmt.Sprintf("app-%03d", i)
		dir, spec, value := "apps/team-"+fmt.Sprint(i%7)+"/"+name, "", "hello"
		if i%10 == 0 {
			spec, value = ", substitute: true", "hello from ${CLUSTER_NAME}"
		}
		f[dir+"/app.yaml"] = fmt.Sprintf("%skind: App\nmetadata: {name: %s}\nspec: {overlays: [{clusterSelector: {matchLabels: {env: prod}}, path: overlays/prod}, {path: overlays/staging}]%s}\n", header, name, spec)
		f[dir+"/base/kustomization.yaml"] = "resources: [config.yaml, account.yaml, service.yaml, web.yaml]\n"
		f[dir+"/base/config.yaml"] = configMap(name, "v: \""+value+"\"")
		f[dir+"/base/account.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, namespace: n}\n", name)
		f[dir+"/base/service.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: n}\nspec: {selector: {app: %s}, ports: [{port: 80}]}\n", name, name)
		f[dir+"/base/web.yaml"] = fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %[1]s, namespace: n}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: %[1]s}}\n"+
			"  template:\n    metadata: {labels: {app: %[1]s}}\n    spec: {containers: [{name: main, image: \"registry.example.com/%[1]s:1.4.2\"}]}\n", name)
		for n, env := range []string{"staging", "prod"} {
			f[dir+"/overlays/"+env+"/kustomization.yaml"] = fmt.Sprintf("resources: [../../base]\nlabels: [{pairs: {env: %s}}]\npatches: [{path: replicas.yaml}]\n", env)
			f[dir+"/overlays/"+env+"/replicas.yaml"] = fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s, namespace: n}\nspec: {replicas: %d}\n", name, n+1)
		}
	}
	return f
}

const (
	largeApps     = 300
	largeClusters = 50
)

// oneApp changes one app of a large fleet.
func oneApp(f files) files {
	after := maps.Clone(f)
	web := "apps/team-0/app-007/base/web.yaml"
	after[web] = strings.Replace(after[web], ":1.4.2", ":1.5.0", 1)
	return after
}

// TestOneAppOfManyIsRenderedAlone is behaviour 39: of 300 apps on 50 clusters that one is rendered which changed,
// once for each of its overlays and commits, and the diff of 50 clusters is as short as that of one.
func TestOneAppOfManyIsRenderedAlone(t *testing.T) {
	f := large(largeApps, largeClusters)
	var built, remembered atomic.Int64
	d, err := Compare(t.Context(), commit("base", f), commit("head", oneApp(f)), Options{Now: now, Observe: func(b bool) {
		if b {
			built.Add(1)
		} else {
			remembered.Add(1)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if b, r := built.Load(), remembered.Load(); b != 4 || b+r != 2*largeClusters {
		t.Errorf("%d were built and %d remembered, want 2 overlays of one app at 2 commits built, and asked for on 50 clusters at both", b, r)
	}
	var b bytes.Buffer
	if err := d.Text(&b, false); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); len(d.Clusters) != largeClusters || strings.Count(text, "\n") > 30 || !strings.Contains(text, "app-007 in all 50 clusters") {
		t.Errorf("%d clusters:\n%s", len(d.Clusters), text)
	}
}

// Only the app of which something changed is asked for; the rest of the fleet is what the reference renders too.
func BenchmarkDiffOneApp(b *testing.B) {
	f := large(largeApps, largeClusters)
	repo, err := gittest.InitRepo(filepath.Join(b.TempDir(), "fleet.git"))
	if err != nil {
		b.Fatal(err)
	}
	base, err := repo.Commit(gittest.Files(f))
	if err != nil {
		b.Fatal(err)
	}
	head, err := repo.Commit(gittest.Files(oneApp(f)))
	if err != nil {
		b.Fatal(err)
	}
	var built atomic.Int64
	b.ReportAllocs()
	for b.Loop() {
		built.Store(0)
		var sides [2]Commit
		for i, rev := range []string{base, head} {
			snap, err := gitsource.OpenLocal(repo.Dir, rev)
			if err != nil {
				b.Fatal(err)
			}
			sides[i] = Commit{ID: snap.Commit, Tree: snap}
		}
		d, err := Compare(b.Context(), sides[0], sides[1], Options{Now: now, Observe: func(now bool) {
			if now {
				built.Add(1)
			}
		}})
		if err != nil || len(d.Clusters) != largeClusters {
			b.Fatal(d, err)
		}
	}
	ours := float64(b.Elapsed()) / float64(b.N)
	theirs, what := renderEverything(b, f)
	b.ReportMetric(float64(built.Load()), "builds")
	b.ReportMetric(float64(theirs)/ours, "x-faster-than-"+what)
}

// renderEverything renders every overlay that a cluster uses, for every cluster and both commits, one after the other,
// from files on disk: with the command kustomize if there is one, else with its library in this process. It
// measures a tenth of the clusters, and counts that ten times.
func renderEverything(b *testing.B, f files) (time.Duration, string) {
	b.Helper()
	dir := b.TempDir()
	for name, content := range f {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	overlays, err := filepath.Glob(filepath.Join(dir, "apps/*/*/overlays/prod"))
	if err != nil || len(overlays) != largeApps {
		b.Fatal(overlays, err)
	}
	slices.Sort(overlays)
	what, build := "kustomize-library", func(dir string) error {
		_, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
		return err
	}
	if command, err := exec.LookPath("kustomize"); err == nil {
		what, build = "kustomize", func(dir string) error { return exec.Command(command, "build", dir).Run() }
	}
	begin := time.Now()
	for range largeClusters / 10 {
		for _, overlay := range overlays {
			if err := build(overlay); err != nil {
				b.Fatal(err)
			}
		}
	}
	return time.Since(begin) * 10 * 2, what
}
