package render

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\ndata: {k: v}\n"

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: %s, namespace: shop}
spec: {template: {spec: {containers: [{name: c, image: i}]}}}
`

// TestBuildFails: an app that cannot be built has an error that names what is at fault.
func TestBuildFails(t *testing.T) {
	three := func(r *Request) { n := int32(3); r.Share = &n }
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i, prev := 'b', 'a'; i <= 'k'; i, prev = i+1, i {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", i, i, strings.TrimSuffix(strings.Repeat("*"+string(prev)+",", 10), ","))
	}
	for _, tc := range []struct {
		name   string
		files  string
		spec   fleet.AppSpec
		change func(*Request)
		want   []string
	}{
		{name: "no overlay matches", spec: fleet.AppSpec{Overlays: []fleet.Overlay{{Path: "../../.."}}}, want: []string{"../../.."}},
		{name: "overlay does not exist", files: "-- apps/x --\n", want: []string{`overlay "apps/web"`, "does not exist"}},
		{name: "no kustomization", files: "-- apps/web/a.yaml --\n" + configMap, want: []string{"apps/web has no kustomization.yaml"}},
		{name: "two kustomizations", files: "-- apps/web/kustomization.yaml --\nresources: []\n-- apps/web/Kustomization --\nresources: []\n",
			want: []string{"kustomization.yaml", "Kustomization"}},
		{name: "unknown field", files: "-- apps/web/kustomization.yaml --\nresurces: []\n", want: []string{"apps/web/kustomization.yaml", `"resurces"`}},
		{name: "empty result", files: "-- apps/web/kustomization.yaml --\nresources: []\n", want: []string{"renders no objects", "allowEmpty"}},
		{name: "missing file", files: "-- apps/web/kustomization.yaml --\nresources: [gone.yaml]\n",
			want: []string{"apps/web/kustomization.yaml", "resources", `"gone.yaml" does not exist`}},
		{name: "missing patch", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\npatches: [{path: gone.yaml}]\n-- apps/web/a.yaml --\n" + configMap,
			want: []string{"gone.yaml"}},
		{name: "leaves the repository", files: "-- apps/web/kustomization.yaml --\nresources: [../../../etc/passwd]\n",
			want: []string{"../../../etc/passwd", "leaves the fleet repository"}},
		{name: "absolute path", files: "-- apps/web/kustomization.yaml --\nresources: [/etc/passwd]\n",
			want: []string{"/etc/passwd", "leaves the fleet repository"}},
		{name: "a generator reads outside", files: "-- apps/web/kustomization.yaml --\nconfigMapGenerator: [{name: a, files: [/etc/passwd]}]\n",
			want: []string{"/etc/passwd", "leaves the fleet repository"}},
		{name: "a generator climbs out", files: "-- apps/web/kustomization.yaml --\nconfigMapGenerator: [{name: a, files: [x=../../../etc/passwd]}]\n",
			want: []string{"etc/passwd", "leaves the fleet repository"}},
		{name: "link out of the repository", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\n-> /etc/passwd\n",
			want: []string{"apps/web/a.yaml", "leaves the repository"}},
		{name: "kustomization is a link out", files: "-- apps/web/kustomization.yaml --\n-> ../../../x\n", want: []string{"apps/web/kustomization.yaml", "leaves the repository"}},
		{name: "cycle", files: "-- apps/web/kustomization.yaml --\nresources: [../b]\n-- apps/b/kustomization.yaml --\nresources: [../web]\n", want: []string{"cycle detected"}},
		{name: "helm", files: "-- apps/web/kustomization.yaml --\nhelmCharts: [{name: x, repo: https://charts.example.com}]\n",
			want: []string{"apps/web/kustomization.yaml", "helmCharts are not supported"}},
		{name: "helm by a generator", files: "-- apps/web/kustomization.yaml --\ngenerators: [g.yaml]\n-- apps/web/g.yaml --\napiVersion: builtin\nkind: HelmChartInflationGenerator\nmetadata: {name: x}\nname: x\n",
			want: []string{"apps/web/g.yaml", "Helm charts are not supported"}},
		{name: "an exec plugin", files: "-- apps/web/kustomization.yaml --\ngenerators: [g.yaml]\n-- apps/web/g.yaml --\napiVersion: example.com/v1\nkind: Exec\nmetadata: {name: x, annotations: {config.kubernetes.io/function: \"exec: {path: /bin/sh}\"}}\n",
			want: []string{"external plugins disabled"}},
		{name: "a container function", files: "-- apps/web/kustomization.yaml --\ntransformers: [g.yaml]\n-- apps/web/g.yaml --\napiVersion: example.com/v1\nkind: Fn\nmetadata: {name: x, annotations: {config.kubernetes.io/function: \"container: {image: x}\"}}\n",
			want: []string{"external plugins disabled"}},
		{name: "patched plugins", files: "-- apps/web/kustomization.yaml --\ntransformers: [../t]\n-- apps/t/kustomization.yaml --\nresources: [t.yaml]\nnamePrefix: x\n-- apps/t/t.yaml --\napiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: x}\n",
			want: []string{"may only list resources"}},
		{name: "not YAML", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\na: [\n", want: []string{"a.yaml"}},
		{name: "binary YAML", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\n\x00\x01\x7fELF\xff\n", want: []string{"a.yaml"}},
		{name: "binary kustomization", files: "-- apps/web/kustomization.yaml --\n\x00\x01\x7fELF\xff\n", want: []string{"kustomization.yaml"}},
		{name: "scalar YAML", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\nhello\n", want: []string{"a.yaml"}},
		{name: "alias bomb", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\n" + bomb, want: []string{"apps/web/a.yaml", "aliases expand to too much"}},
		{name: "alias bomb in an inline patch", files: "-- apps/web/kustomization.yaml --\nresources: []\npatches:\n- patch: |\n    " + strings.ReplaceAll(bomb, "\n", "\n    ") + "\n",
			want: []string{"kustomization.yaml", "aliases expand to too much"}},
		{name: "alias cycle", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\na: &a [*a]\n", want: []string{"apps/web/a.yaml", "contains itself"}},
		{name: "merge cycle", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\na: &a {<<: *a}\n", want: []string{"apps/web/a.yaml", "contains itself"}},
		{name: "deep nesting", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\na: " + deep + "\n", want: []string{"a.yaml", "depth"}},
		{name: "no name", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x}\n",
			want: []string{"a.yaml", "missing metadata.name"}},
		{name: "no kind", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\napiVersion: v1\nmetadata: {name: x}\n",
			want: []string{"a.yaml", "missing kind"}},
		{name: "no apiVersion", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\nkind: ConfigMap\nmetadata: {name: x}\n",
			want: []string{"without apiVersion", `"x"`}},
		{name: "name of an unknown variable", spec: fleet.AppSpec{Substitute: true}, files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"x${nowhere}\"}\n",
			want: []string{"nowhere", "cannot be known"}},
		{name: "declared in two files", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml, b.yaml]\n-- apps/web/a.yaml --\n" + configMap + "-- apps/web/b.yaml --\n" + configMap,
			want: []string{"ConfigMap/shop/a", "a.yaml", "b.yaml"}},
		{name: "share without a workload", change: three, files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\n" + configMap,
			want: []string{"no Deployment or StatefulSet"}},
		{name: "share with two workloads", change: three, files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml, b.yaml]\n-- apps/web/a.yaml --\n" +
			fmt.Sprintf(deployment, "one") + "-- apps/web/b.yaml --\n" + fmt.Sprintf(deployment, "two"),
			want: []string{"apps/Deployment/shop/one, apps/Deployment/shop/two", "spec.replicas.target"}},
		{name: "target is missing", change: func(r *Request) { three(r); r.Target = &fleet.Target{Kind: "Deployment", Name: "gone"} },
			files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\n-- apps/web/a.yaml --\n" + fmt.Sprintf(deployment, "one"), want: []string{`Deployment "gone"`}},
		{name: "target has an autoscaler", change: three, files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml, b.yaml]\n-- apps/web/a.yaml --\n" +
			fmt.Sprintf(deployment, "one") + "-- apps/web/b.yaml --\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h, namespace: shop}\n" +
			"spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: one}}\n",
			want: []string{"apps/Deployment/shop/one", "HorizontalPodAutoscaler/shop/h"}},
		{name: "panic", files: "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\nopenapi: {path: schema.json}\nnamePrefix: x-\npatches: [{patch: '{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop}}'}]\n-- apps/web/a.yaml --\n" +
			configMap + "-- apps/web/schema.json --\n{\"definitions\": 3}\n", want: []string{"kustomize panicked", "schema"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			res, err := build1(archive(t, tc.files), tc.spec, changes(tc.change)...)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatalf("no error but %d objects, %v", len(res.Objects), res.Errors)
			}
			for _, w := range append(tc.want, `"web"`) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not hold %q", err, w)
				}
			}
			if strings.Contains(err.Error(), mount) || strings.Contains(err.Error(), wrapper) {
				t.Errorf("error %q shows inner paths", err)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 256<<20 {
				t.Errorf("allocated %d MiB", n>>20)
			}
		})
	}
}

func changes(c func(*Request)) []func(*Request) {
	if c == nil {
		return nil
	}
	return []func(*Request){c}
}

// TestRemote: whatever kustomize would clone or fetch is refused, and nothing is tried.
func TestRemote(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	touched := make(chan struct{}, 1000)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			touched <- struct{}{}
			_ = c.Close()
		}
	}()
	t.Setenv("PATH", "") // no git to be found
	url := "http://" + l.Addr().String() + "/x.yaml"
	for name, kustomization := range map[string]string{
		"resource":                "resources: [%s]",
		"resource in capitals":    "Resources: [HTTP%s]",
		"base":                    "bases: [%s]",
		"component":               "components: [%s]",
		"crds":                    "crds: [%s]",
		"openapi":                 "openapi: {path: '%s'}",
		"configurations":          "configurations: [%s]",
		"generator":               "generators: [%s]",
		"transformer":             "transformers: [%s]",
		"validator":               "validators: [%s]",
		"patch":                   "patches: [{path: '%s'}]",
		"json patch":              "patchesJson6902: [{path: '%s', target: {kind: ConfigMap}}]",
		"strategic merge patch":   "patchesStrategicMerge: ['%s']",
		"replacements":            "replacements: [{path: '%s'}]",
		"config map file":         "configMapGenerator: [{name: a, files: ['%s']}]",
		"config map file by key":  "configMapGenerator: [{name: a, files: ['k=%s']}]",
		"secret envs":             "secretGenerator: [{name: a, envs: ['%s']}]",
		"secret env":              "secretGenerator: [{name: a, env: '%s'}]",
		"inline transformer":      "transformers:\n- |\n  apiVersion: builtin\n  kind: PatchTransformer\n  metadata: {name: x}\n  path: %s",
		"inline generator":        "generators:\n- |\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  metadata: {name: x}\n  files: ['k=%s']",
		"aliased transformer":     "transformers:\n- |\n  apiVersion: builtin\n  kind: PatchTransformer\n  metadata: {name: x, annotations: {a: &u '%s'}}\n  Path: *u",
		"transformer in a file":   "transformers: [../t/file.yaml]",
		"transformer in a folder": "transformers: [../t]",
		"nested":                  "resources: [../nested]",
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(kustomization, "HTTP%s") {
				kustomization = strings.Replace(kustomization, "HTTP%s", "HTTP"+strings.TrimPrefix(url, "http"), 1)
			} else {
				kustomization = strings.Replace(kustomization, "%s", url, 1)
			}
			files := memTree{
				"apps/web/kustomization.yaml":    kustomization + "\n",
				"apps/t/kustomization.yaml":      "resources: [file.yaml]\n",
				"apps/t/file.yaml":               "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: x}\npath: " + url + "\n",
				"apps/nested/kustomization.yaml": "resources: [" + url + "]\n",
			}
			wantRemote(t, files)
		})
	}
	for _, entry := range []string{
		"github.com/org/repo", "GitHub.com/org/repo//dir?ref=v1", "git@github.com:org/repo", "git::https://example.com/org/repo",
		"ssh://git@example.com/org/repo.git", "file:///tmp/repo.git", "https://example.com/org/repo.git//path", "user@example.com:org/repo",
	} {
		t.Run(entry, func(t *testing.T) {
			wantRemote(t, memTree{"apps/web/kustomization.yaml": "resources: ['" + entry + "']\n"})
			wantRemote(t, memTree{"apps/web/kustomization.yaml": "components: ['" + entry + "']\n"})
		})
	}
	select {
	case <-touched:
		t.Error("something connected")
	default:
	}
}

func wantRemote(t *testing.T, files memTree) {
	t.Helper()
	_, err := build1(files, fleet.AppSpec{})
	if err == nil || !strings.Contains(err.Error(), "is remote") || !strings.Contains(err.Error(), "apps/") {
		t.Errorf("error %v does not say what is remote", err)
	}
}

const secretURL = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {url: 'user:hunter2'}\n"

// TestSecretsStayOutOfErrors: kustomize quotes its input in some errors.
func TestSecretsStayOutOfErrors(t *testing.T) {
	for name, files := range map[string]string{
		"literal":                   "-- apps/web/kustomization.yaml --\nsecretGenerator: [{name: a, literals: [hunter2]}]\n",
		"generator":                 "-- apps/web/kustomization.yaml --\nsecretGenerator: [{name: a, literals: [p=hunter2, p=hunter2]}]\n",
		"inline patch":              "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\npatches: [{patch: 'hunter2: ['}]\n-- apps/web/a.yaml --\n" + configMap,
		"patch in file":             "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\npatches: [{path: p.yaml}]\n-- apps/web/p.yaml --\nhunter2: [\n-- apps/web/a.yaml --\n" + configMap,
		"env file":                  "-- apps/web/kustomization.yaml --\nsecretGenerator: [{name: a, envs: [e]}]\n-- apps/web/e --\np=\xffhunter2\n",
		"patch no target":           "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\npatches: [{patch: '{apiVersion: v1, kind: Secret, metadata: {name: x}, stringData: {p: hunter2}}'}]\n-- apps/web/a.yaml --\n" + configMap,
		"JSON patch without target": "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\npatches: [{patch: '[{op: add, path: /data/p, value: hunter2}]'}]\n-- apps/web/a.yaml --\n" + configMap,
		"patch and path":            "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\npatches: [{path: a.yaml, patch: '{apiVersion: v1, kind: Secret, metadata: {name: x}, stringData: {p: hunter2}}'}]\n-- apps/web/a.yaml --\n" + configMap,
		"several patches with a target": "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\npatches:\n- target: {kind: ConfigMap}\n  patch: |\n    {apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {p: hunter2}}\n    ---\n" +
			"    {apiVersion: v1, kind: ConfigMap, metadata: {name: y}, data: {p: hunter2}}\n-- apps/web/a.yaml --\n" + configMap,
		"replacement out of bounds": "-- apps/web/kustomization.yaml --\nresources: [a.yaml, s.yaml]\nreplacements: [{source: {kind: Secret, fieldPath: stringData.url, options: {delimiter: ':', index: 2}}, targets: [{select: {kind: ConfigMap}, fieldPaths: [data.key]}]}]\n" +
			"-- apps/web/s.yaml --\n" + secretURL + "-- apps/web/a.yaml --\n" + configMap,
		"replacement in a scalar": "-- apps/web/kustomization.yaml --\nresources: [a.yaml, s.yaml]\nreplacements: [{source: {kind: ConfigMap, fieldPath: metadata.name}, targets: [{select: {kind: Secret}, fieldPaths: [stringData.url.password]}]}]\n" +
			"-- apps/web/s.yaml --\n" + secretURL + "-- apps/web/a.yaml --\n" + configMap,
		"scalar for a map": "-- apps/web/kustomization.yaml --\nresources: [s.yaml]\npatches: [{path: p.yaml}]\n-- apps/web/p.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: hunter2\n" +
			"-- apps/web/s.yaml --\n" + secretURL,
		"scalar for annotations":   "-- apps/web/kustomization.yaml --\nresources: [s.yaml]\ncommonAnnotations: {a: b}\n-- apps/web/s.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: hunter2}\n",
		"tag that does not fit":    "-- apps/web/kustomization.yaml --\nresources: [s.yaml]\n-- apps/web/s.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {url: !!int hunter2}\n",
		"JSON 6902 without target": "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\npatchesJson6902: [{patch: '[{op: add, path: /data/p, value: hunter2}]'}]\n-- apps/web/a.yaml --\n" + configMap,
		"JSON 6902 that is none":   "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\npatchesJson6902: [{target: {version: v1, kind: ConfigMap, name: a}, patch: '{op: [hunter2'}]\n-- apps/web/a.yaml --\n" + configMap,
		"both patches":             "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\npatchesStrategicMerge: ['{apiVersion: v1, kind: Secret, metadata: {name: x}, stringData: {p: hunter2}}']\n-- apps/web/a.yaml --\n" + configMap,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := build1(archive(t, files), fleet.AppSpec{})
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

// TestObjectErrors: what is wrong with one object hides no other, and its ID stays known.
func TestObjectErrors(t *testing.T) {
	files := archive(t, `
-- apps/web/kustomization.yaml --
resources: [a.yaml]
-- apps/web/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: good, namespace: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a/b, namespace: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: x, namespace: No_Namespace}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: labels, namespace: shop, labels: {version: 1}}
---
apiVersion: v1
kind: Secret
metadata: {name: base64, namespace: shop}
data: {password: "hunter2!"}
---
apiVersion: v1
kind: Secret
metadata: {name: number, namespace: shop}
stringData: {password: 12345}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: twice, namespace: shop}
---
apiVersion: apps/v1beta1
kind: Deployment
metadata: {name: twice, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: by-default, namespace: default}
---
apiVersion: apps/v1beta1
kind: Deployment
metadata: {name: by-default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "system:good", namespace: dropped}
`)
	res, err := build1(files, fleet.AppSpec{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range res.Errors {
		got = append(got, e.Error())
		if strings.Contains(e.Error(), "hunter2") || strings.Contains(e.Error(), "12345") {
			t.Errorf("an error shows a secret: %v", e)
		}
	}
	want := []string{
		`ConfigMap/No_Namespace/x: metadata.namespace`,
		`ConfigMap/shop/a/b: metadata.name "a/b" may not contain '/'`,
		`ConfigMap/shop/labels: metadata.labels["version"] is not a string`,
		`Secret/shop/base64: data["password"] is not base64`,
		`Secret/shop/number: stringData["password"] is not a string`,
		`apps/Deployment/by-default: declared more than once`,
		`apps/Deployment/shop/twice: declared more than once`,
	}
	if len(got) != len(want) {
		t.Fatalf("got %d errors, want %d: %q", len(got), len(want), got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("error %d is %q, want %q", i, got[i], want[i])
		}
	}
	if len(res.Objects) != 2 || Name(res.Objects[0].ID) != "ConfigMap/shop/good" ||
		Name(res.Objects[1].ID) != "rbac.authorization.k8s.io/ClusterRole/system:good" {
		t.Errorf("good objects: %v", res.Objects)
	}
}

// failing is a tree in which one path cannot be read.
type failing struct {
	memTree
	path string
}

var errDisk = errors.New("object store: input/output error")

func (f failing) Stat(p string) (tree.Entry, error) {
	if p == f.path {
		return tree.Entry{}, errDisk
	}
	return f.memTree.Stat(p)
}

// TestUnknownIsNotAbsent: kustomize takes a file that cannot be read for one that is not there.
func TestUnknownIsNotAbsent(t *testing.T) {
	files := archive(t, "-- apps/web/kustomization.yaml --\nresources: [a.yaml]\nnamePrefix: x-\ncomponents: [../c]\npatches: [{path: p.yaml}]\n-- apps/web/a.yaml --\n"+configMap+"-- apps/web/p.yaml --\n"+configMap+
		"-- apps/c/kustomization.yaml --\napiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnameSuffix: x\n")
	if _, err := build1(files, fleet.AppSpec{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{
		"apps/web", "apps/web/kustomization.yaml", "apps/web/kustomization.yml", "apps/web/Kustomization",
		"apps/web/a.yaml", "apps/web/p.yaml", "apps/c", "apps/c/kustomization.yaml",
	} {
		t.Run(p, func(t *testing.T) {
			_, err := build1(files, fleet.AppSpec{}, func(r *Request) { r.Tree = failing{files, p} })
			if !errors.Is(err, errDisk) {
				t.Errorf("error %v is not the tree's", err)
			}
		})
	}
}

// TestSizes: an app that reads too much is refused, by the file that was too much.
func TestSizes(t *testing.T) {
	files := memTree{}
	content := strings.Repeat("#", tree.MaxFile)
	for i := range maxTotal/tree.MaxFile + 1 {
		files[fmt.Sprintf("%02d.yaml", i)] = content
	}
	f := newFiles(files, fleet.Facts{})
	for i := range len(files) {
		name := fmt.Sprintf("%02d.yaml", i)
		_, err := f.readFile(name)
		if last := i == len(files)-1; last != (err != nil) || last && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
