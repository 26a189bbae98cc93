package render

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/tree"
	"github.com/holdfast-dev/holdfast/internal/tree/treetest"
)

const cachedApp = `
-- apps/web/app.yaml --
-- apps/web/kustomization.yaml --
resources: [../base]
namePrefix: x-
-- apps/base/kustomization.yaml --
resources: [a.yaml]
configMapGenerator: [{name: g, files: [file.txt]}]
-- apps/base/file.txt --
text
-- apps/base/a.yaml --
` + configMap + `-- apps/base/unread.txt --
-- apps/other/file.yaml --
`

// TestRendererBuildsWhatChanged: a result is used again exactly as long as nothing it read changed.
func TestRendererBuildsWhatChanged(t *testing.T) {
	files := archive(t, cachedApp)
	request := func(m tree.Tree) Request {
		return Request{
			Tree: m, App: &fleet.App{Metadata: fleet.Metadata{Name: "web"}, Dir: "apps/web"},
			Facts: fleet.Facts{Name: "one"}, Instance: "i",
		}
	}
	without := func(name string) memTree {
		m := maps.Clone(files)
		delete(m, name)
		return m
	}
	two := int32(2)
	for name, tc := range map[string]struct {
		request Request
		built   bool
	}{
		"same":                  {request(files), false},
		"unread file":           {request(files.with("apps/base/unread.txt", "x")), false},
		"other app":             {request(files.with("apps/other/file.yaml", "x")), false},
		"file":                  {request(files.with("apps/base/file.txt", "x")), true},
		"resource":              {request(files.with("apps/base/a.yaml", configMap+"x: y\n")), true},
		"kustomization":         {request(files.with("apps/base/kustomization.yaml", "resources: [a.yaml]\n")), true},
		"a second one appears":  {request(files.with("apps/web/kustomization.yml", "resources: []\n")), true},
		"folder becomes a link": {request(link(files)), true},
		"file vanishes":         {request(without("apps/base/file.txt")), true},
		"no hashes":             {request(hashless{files}), true},
		"facts it does not use": {change(request(files), func(r *Request) { r.Facts.Name = "two" }), false},
		"namespace":             {change(request(files), func(r *Request) { r.App.Spec.Namespace = "n" }), true},
		"substitute":            {change(request(files), func(r *Request) { r.App.Spec.Substitute = true }), true},
		"share":                 {change(request(files), func(r *Request) { r.Share = &two }), true},
		"instance":              {change(request(files), func(r *Request) { r.Instance = "j" }), true},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRenderer()
			if _, built, err := r.Build(t.Context(), request(files)); err != nil || !built {
				t.Fatal(built, err)
			}
			res, built, err := r.Build(t.Context(), tc.request)
			if built != tc.built {
				t.Errorf("built is %t (%v)", built, err)
			}
			if fresh, errFresh := Build(t.Context(), tc.request); (err == nil) != (errFresh == nil) || fresh.Content != res.Content {
				t.Errorf("not what a fresh build gives: %v, %v", err, errFresh)
			}
		})
	}
}

func change(r Request, c func(*Request)) Request {
	c(&r)
	return r
}

// link moves a folder and leaves a link in its place: same bytes, other relative paths.
func link(files memTree) memTree {
	m := memTree{}
	for k, v := range files {
		if rest, ok := strings.CutPrefix(k, "apps/base/"); ok {
			k = "apps/deep/er/base/" + rest
		}
		m[k] = v
	}
	m["apps/base"] = "-> deep/er/base"
	return m
}

// hashless is a tree like a working directory.
type hashless struct{ memTree }

func (h hashless) Stat(p string) (tree.Entry, error) {
	e, err := h.memTree.Stat(p)
	e.Hash = tree.Hash{}
	return e, err
}

// TestRendererFacts: what uses the facts is built for each cluster, and back from the cache for each.
func TestRendererFacts(t *testing.T) {
	files := archive(t, `
-- apps/web/kustomization.yaml --
resources: [a.yaml]
-- apps/web/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shop}
data: {cluster: "${CLUSTER_NAME}"}
`)
	r := NewRenderer()
	for round, wantBuilt := range []bool{true, false} {
		for _, cluster := range []string{"one", "two"} {
			req := Request{
				Tree: files, App: &fleet.App{Metadata: fleet.Metadata{Name: "web"}, Dir: "apps/web", Spec: fleet.AppSpec{Substitute: true}},
				Facts: fleet.Facts{Name: cluster},
			}
			res, built, err := r.Build(t.Context(), req)
			if err != nil || built != wantBuilt || !strings.Contains(string(res.Objects[0].JSON), `"cluster":"`+cluster+`"`) {
				t.Errorf("round %d, %s: built %t, %v, %s", round, cluster, built, err, res.Objects[0].JSON)
			}
		}
	}
	r.Retain(map[string]bool{"other": true})
	if len(r.cache) != 0 {
		t.Error("a forgotten app is still in the cache")
	}
}

// TestSchemaIsContained: an app with a schema of its own changes no other app, at whatever time it
// is built. Run with the race detector.
func TestSchemaIsContained(t *testing.T) {
	// The merge key of the list decides whether the patch adds a container or replaces the list.
	files := archive(t, `
-- apps/own/kustomization.yaml --
resources: [../base]
openapi: {path: schema.json}
patches: [{path: ../base/patch.yaml}]
-- apps/own/schema.json --
{"definitions": {"v1.Deployment": {"type": "object", "x-kubernetes-group-version-kind": [{"group": "apps", "kind": "Deployment", "version": "v1"}]}}}
-- apps/web/kustomization.yaml --
resources: [../base]
patches: [{path: ../base/patch.yaml}]
-- apps/base/kustomization.yaml --
resources: [a.yaml]
-- apps/base/patch.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {template: {spec: {containers: [{name: second, image: b}]}}}
-- apps/base/a.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {template: {spec: {containers: [{name: first, image: a}]}}}
`)
	build := func(dir string) string {
		res, err := build1(files, fleet.AppSpec{}, func(r *Request) { r.App.Dir = dir })
		if err != nil {
			t.Error(err)
			return ""
		}
		return string(res.Objects[0].JSON)
	}
	own, plain := build("apps/own"), build("apps/web")
	if strings.Contains(own, "first") || !strings.Contains(plain, "first") {
		t.Fatalf("the schema makes no difference: %s, %s", own, plain)
	}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			dir, want := "apps/web", plain
			if i%4 == 0 {
				dir, want = "apps/own", own
			}
			if got := build(dir); got != want {
				t.Errorf("%s gives %s", dir, got)
			}
		})
	}
	wg.Wait()
}

// TestManyClusters: what kustomize made of an app serves for clusters with other facts, unless it depends on them, and
// comes to what a build by itself comes to.
func TestManyClusters(t *testing.T) {
	files := scaled(1, 0)
	files["apps/app-0/base/config.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {cluster: \"${CLUSTER_NAME}\"}\n"
	files["apps/facts/kustomization.yaml"] = "resources: [a.yaml]\nnamePrefix: x-\nreplacements:\n" +
		"- source: {kind: ConfigMap, name: holdfast-cluster, fieldPath: data.name}\n  targets: [{select: {name: a}, fieldPaths: [data.cluster]}]\n"
	files["apps/facts/a.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {cluster: x}\n---\n" +
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: holdfast-cluster, annotations: {config.kubernetes.io/local-config: \"true\"}}\ndata: {name: x}\n"
	for name, tc := range map[string]struct {
		app    fleet.App
		remade bool
	}{
		"substituted": {fleet.App{Dir: "apps/app-0/overlays/default", Spec: fleet.AppSpec{Substitute: true}}, false},
		"replaced":    {fleet.App{Dir: "apps/facts"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			tr := treetest.New(files)
			r := NewRenderer()
			r.ManyClusters = true
			for i, cluster := range []string{"one", "two", "three"} {
				req := Request{Tree: tr, App: &tc.app, Facts: fleet.Facts{Name: cluster}, Instance: "i"}
				before := tr.Files.Load()
				got, built, err := r.Build(t.Context(), req)
				if err != nil || !built {
					t.Fatalf("built %t, %v", built, err)
				}
				if read := tr.Files.Load() > before; read != (i == 0 || tc.remade) {
					t.Errorf("%s: files were read: %t", cluster, read)
				}
				want, err := Build(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-by itself +shared):\n%s", cluster, diff)
				}
				if !strings.Contains(fmt.Sprintf("%s", got.Objects), `"cluster":"`+cluster+`"`) {
					t.Errorf("%s: %s", cluster, got.Objects)
				}
			}
			// Another commit is another build.
			changed := maps.Clone(files)
			changed["apps/app-0/base/account.yaml"] += "automountServiceAccountToken: false\n"
			next := Request{Tree: treetest.New(changed), App: &tc.app, Facts: fleet.Facts{Name: "four"}, Instance: "i"}
			got, _, err := r.Build(t.Context(), next)
			if err != nil {
				t.Fatal(err)
			}
			if want, err := Build(t.Context(), next); err != nil || cmp.Diff(want, got) != "" {
				t.Errorf("%v, of another tree: %s", err, cmp.Diff(want, got))
			}
		})
	}
}
