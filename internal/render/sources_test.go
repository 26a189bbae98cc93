package render

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

// TestSourcesHoldAllReads: whatever a build looks at, the walk without a build has looked at before, and found
// the same.
func TestSourcesHoldAllReads(t *testing.T) {
	trees := map[string]memTree{
		"every field that loads": archive(t, everyField),
		"linked": {
			"apps/web/kustomization.yaml":    "resources: [link, file.yaml]\npatches: [{path: link/patch.yaml}]\n",
			"apps/web/link":                  "-> ../../shared/deep",
			"apps/web/file.yaml":             "-> ../../shared/a.yaml",
			"shared/deep/kustomization.yaml": "resources: [../b]\nconfigMapGenerator: [{name: g, files: [../x.txt]}]\n",
			"shared/deep/patch.yaml":         configMap,
			"shared/b/kustomization.yaml":    "resources: [b.yaml]\nnamePrefix: x-\n",
			"shared/b/b.yaml":                strings.Replace(configMap, "name: a", "name: b", 1),
			"shared/a.yaml":                  configMap,
			"shared/x.txt":                   "x",
			// The overlay is a link itself: what it names is relative to where it really is.
			"apps/overlay": "-> ../shared/deep",
		},
	}
	for _, pattern := range []string{"testdata/kustomize/*.txtar", "testdata/golden/*.txtar"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			m := memTree{}
			for _, f := range txtar.Parse(b).Files {
				m[f.Name] = string(f.Data)
			}
			trees[name] = m
		}
	}
	for name, m := range trees {
		t.Run(name, func(t *testing.T) {
			built := 0
			for file := range m {
				dir := path.Dir(file)
				if file == "apps/overlay" {
					dir = file
				} else if !isKustomization(path.Base(file)) {
					continue
				}
				for _, namespace := range []string{"", "shop"} {
					app := &fleet.App{Metadata: fleet.Metadata{Name: "web"}, Spec: fleet.AppSpec{AllowEmpty: true, Namespace: namespace}, Dir: dir}
					facts := fleet.Facts{Name: "c", Labels: map[string]string{"region": "us"}}
					res, err := Build(context.Background(), Request{Tree: m, App: app, Facts: facts, Instance: "i"})
					if err != nil {
						if strings.HasPrefix(dir, "apps/") && dir != "apps/component" && dir != "apps/plugins" && !strings.HasPrefix(name, "testdata") {
							t.Errorf("%s: %v", dir, err)
						}
						continue
					}
					built++
					sources, err := Sources(m, dir)
					if err != nil {
						t.Errorf("%s: %v", dir, err)
						continue
					}
					for _, r := range res.Reads {
						if !slices.Contains(sources, r) {
							t.Errorf("%s: a build looks at %+v, which is not among the sources", dir, r)
						}
					}
					if res.UsesFacts && !sources.UseFacts(m) {
						t.Errorf("%s: a build uses facts, and the sources do not say so", dir)
					}
				}
			}
			if built == 0 {
				t.Error("nothing could be built")
			}
		})
	}
}

// everyField names a file in every field of a kustomization that loads one.
const everyField = `
-- apps/web/kustomization.yaml --
resources: [a.yaml, ../base]
components: [../component]
crds: [crd.json]
configurations: [config.yaml]
openapi: {path: schema.json}
patches: [{path: patch.yaml}, {patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop}, data: {p: inline}}'}]
replacements: [{path: replacement.yaml}]
configMapGenerator: [{name: g, files: [one.txt, key=two.txt], envs: [three.env]}]
secretGenerator: [{name: s, files: [../../files/four.txt], env: five.env}]
generators:
- gen.yaml
- |
  apiVersion: builtin
  kind: ConfigMapGenerator
  metadata: {name: h}
  files: [k=six.txt]
transformers: [../plugins]
validators: []
-- apps/legacy/kustomization.yaml --
bases: [../base]
patchesStrategicMerge:
- patch-base.yaml
- |
  apiVersion: v1
  kind: ConfigMap
  metadata: {name: base, namespace: shop}
  data: {q: inline}
patchesJson6902: [{target: {version: v1, kind: ConfigMap, name: base}, path: json.yaml}]
-- apps/legacy/patch-base.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: base, namespace: shop}
data: {p: file}
-- apps/legacy/json.yaml --
- {op: add, path: /data/x, value: y}
-- apps/web/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shop}
data: {k: v}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: holdfast-cluster, annotations: {config.kubernetes.io/local-config: "true"}}
data: {name: x}
-- apps/base/kustomization.yaml --
resources: [b.yaml]
-- apps/base/b.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: base, namespace: shop}
data: {k: v}
-- apps/component/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
patches: [{path: p.yaml, target: {kind: ConfigMap, name: a}}]
-- apps/component/p.yaml --
- {op: add, path: /data/component, value: y}
-- apps/web/crd.json --
{}
-- apps/web/config.yaml --
namePrefix: []
-- apps/web/schema.json --
{"definitions": {}}
-- apps/web/patch.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shop}
data: {p: q}
-- apps/web/replacement.yaml --
source: {kind: ConfigMap, name: a, fieldPath: data.k}
targets: [{select: {kind: ConfigMap, name: base}, fieldPaths: [data.k]}]
-- apps/web/one.txt --
1
-- apps/web/two.txt --
2
-- apps/web/three.env --
three=3
-- files/four.txt --
4
-- apps/web/five.env --
five=5
-- apps/web/gen.yaml --
apiVersion: builtin
kind: ConfigMapGenerator
metadata: {name: i}
envs: [three.env]
-- apps/web/six.txt --
6
-- apps/plugins/kustomization.yaml --
resources: [patch.yaml, prefix.yaml]
-- apps/plugins/patch.yaml --
apiVersion: builtin
kind: PatchTransformer
metadata: {name: x}
path: plugged.yaml
target: {kind: ConfigMap, name: a}
-- apps/plugins/prefix.yaml --
apiVersion: builtin
kind: PrefixTransformer
metadata: {name: x}
prefix: x-
fieldSpecs: [{path: metadata/name}]
-- apps/web/plugged.yaml --
- {op: add, path: /data/plugged, value: y}
`

// TestLinkedOverlayIsChecked: behind a link the check looks where kustomize does, not where the link is.
func TestLinkedOverlayIsChecked(t *testing.T) {
	wantRemote(t, memTree{
		"apps/web/kustomization.yaml":        "resources: [../../link]\n",
		"link":                               "-> apps/deep/er/overlay",
		"apps/deep/er/overlay/x":             "",
		"y/kustomization.yaml":               "resources: []\n",
		"apps/deep/er/y/x":                   "",
		"apps/deep/er/y/a.yaml":              configMap,
		"apps/deep/er/y/Kustomization":       "resources: [a.yaml, 'https://example.com/org/repo']\n",
		"apps/deep/er/overlay/Kustomization": "resources: [../y]\n",
	})
	m := memTree{
		"apps/web":                                "-> deep/er/overlay",
		"apps/y/kustomization.yaml":               "resources: []\n", // where the path leads if the link is not followed
		"apps/deep/er/y/kustomization.yaml":       "resources: ['https://example.com/org/repo']\n",
		"apps/deep/er/overlay/kustomization.yaml": "resources: [../y]\n",
	}
	wantRemote(t, m)
}
