package preview

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

const header = "apiVersion: holdfast.dev/v1alpha1\n"

// files are a fleet in memory, by path; "-> target" is a symbolic link.
type files map[string]string

// drawFleet makes a fleet of some clusters and apps, with most that a kustomization may have: bases that apps
// share, components, links, generators, patches, replacements, facts.
func drawFleet(t *rapid.T) files {
	f := files{
		"shared/base/kustomization.yaml":       "resources: [shared.yaml, nested]\n",
		"shared/base/shared.yaml":              configMap("shared", "v: \"1\""),
		"shared/base/nested/kustomization.yml": "resources: [n.yaml]\n",
		"shared/base/nested/n.yaml":            configMap("nested", "v: \"1\""),
		"shared/component/kustomization.yaml":  "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches: [{path: p.yaml, target: {kind: ConfigMap}}]\n",
		"shared/component/p.yaml":              "- op: add\n  path: /data/component\n  value: a\n",
		"shared/plugin/p.yaml":                 "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: x}\npath: ../../shared/plugin/patch.yaml\ntarget: {kind: ConfigMap}\n",
		"shared/plugin/patch.yaml":             "- op: add\n  path: /data/plugin\n  value: a\n",
		"shared/values.env":                    "a=1\n",
		"shared/link":                          "-> base",
	}
	f["fleet.yaml"] = drawSettings(t)
	for i := range rapid.IntRange(1, 4).Draw(t, "clusters") {
		f.drawCluster(t, fmt.Sprintf("c%d", i))
	}
	for i := range rapid.IntRange(1, 5).Draw(t, "apps") {
		f.drawApp(t, fmt.Sprintf("a%d", i))
	}
	return f
}

func drawSettings(t *rapid.T) string {
	drain, freeze := "", ""
	if rapid.IntRange(0, 3).Draw(t, "drain") == 0 {
		drain = fmt.Sprintf("{clusterSelector: {matchLabels: {region: %s}}, force: %t}", drawRegion(t), rapid.Bool().Draw(t, "force"))
	}
	if rapid.IntRange(0, 3).Draw(t, "freeze") == 0 {
		freeze = fmt.Sprintf("{clusterSelector: {matchLabels: {region: %s}}}", drawRegion(t))
	}
	prune := fmt.Sprintf("{minObjects: %d, maxPercent: %d}", rapid.IntRange(0, 6).Draw(t, "minObjects"), rapid.SampledFrom([]int{0, 20, 50, 100}).Draw(t, "maxPercent"))
	return fmt.Sprintf("%skind: Fleet\nmetadata: {name: f}\nspec: {drain: [%s], freeze: [%s], prune: %s}\n", header, drain, freeze, prune)
}

func drawRegion(t *rapid.T) string {
	return rapid.SampledFrom([]string{"east", "west"}).Draw(t, "region")
}

func (f files) drawCluster(t *rapid.T, name string) {
	f["clusters/"+name+"/cluster.yaml"] = fmt.Sprintf("%skind: Cluster\nmetadata: {name: %s, labels: {region: %s, env: %s}}\nspec: {state: %s, weight: %d, vars: {domain: %s}}\n",
		header, name, drawRegion(t), rapid.SampledFrom([]string{"prod", "prod", "test"}).Draw(t, "env"),
		rapid.SampledFrom([]string{"Active", "Active", "Active", "Drained"}).Draw(t, "state"), rapid.IntRange(1, 3).Draw(t, "weight"),
		rapid.SampledFrom([]string{"a.example.com", "b.example.com"}).Draw(t, "domain"))
	if rapid.IntRange(0, 3).Draw(t, "own folder") == 0 {
		f["clusters/"+name+"/kustomization.yaml"] = "resources: [own.yaml]\n"
		f["clusters/"+name+"/own.yaml"] = configMap("own-"+name, "v: a")
	}
}

// drawApp makes one app, or another version of it.
func (f files) drawApp(t *rapid.T, name string) {
	dir := "apps/" + name
	chance := func(what string, of int) bool { return rapid.IntRange(1, of).Draw(t, what) == 1 }
	var spec []string
	switch {
	case chance("selector", 3):
		spec = append(spec, "placement: {clusterSelector: {matchLabels: {region: "+drawRegion(t)+"}}}")
	case chance("one cluster", 4):
		spec = append(spec, "placement: {clusters: 1}")
		if chance("exclusive", 2) {
			spec = append(spec, "failover: {gate: Exclusive}")
		}
	case chance("no gate", 4):
		spec = append(spec, "failover: {gate: None}")
	}
	overlays := chance("overlays", 2)
	if overlays {
		spec = append(spec, "overlays: [{clusterSelector: {matchLabels: {env: test}}, path: overlays/test}, {path: overlays/prod}]")
	}
	if chance("replicas", 3) {
		spec = append(spec, fmt.Sprintf("replicas: {total: %d}", rapid.IntRange(0, 7).Draw(t, "total")))
	}
	if chance("substitute", 3) {
		spec = append(spec, "substitute: true")
	}
	if chance("namespace", 4) {
		// The Namespace that an app may have is given that name, so it is no other app's.
		spec = append(spec, "namespace: "+name+rapid.SampledFrom([]string{"-x", "-y"}).Draw(t, "namespace"))
	}
	if chance("suspend", 8) {
		spec = append(spec, "suspend: true")
	}
	if chance("waves", 3) {
		spec = append(spec, "rollout: {waves: [{clusterSelector: {matchLabels: {env: test}}, soak: 1m}, {clusterSelector: {matchLabels: {region: east}}}]}")
	}
	if chance("depends", 4) {
		spec = append(spec, "dependsOn: [a0]")
	}
	if name == "a0" {
		spec = slices.DeleteFunc(spec, func(s string) bool { return strings.HasPrefix(s, "dependsOn") })
	}
	f[dir+"/app.yaml"] = fmt.Sprintf("%skind: App\nmetadata: {name: %s}\nspec: {%s}\n", header, name, strings.Join(spec, ", "))

	base := dir
	if overlays {
		base = dir + "/base"
		for _, env := range []string{"test", "prod"} {
			f[dir+"/overlays/"+env+"/kustomization.yaml"] = "resources: [../../base]\npatches: [{path: patch.yaml}]\n"
			f[dir+"/overlays/"+env+"/patch.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: n}\ndata: {env: %s}\n", name, env)
		}
	}
	value := "a"
	if strings.Contains(f[dir+"/app.yaml"], "substitute: true") {
		value = rapid.SampledFrom([]string{"a", "${CLUSTER_NAME}", "${domain}"}).Draw(t, "value")
	}
	f[base+"/config.yaml"] = configMap(name, "v: \""+value+"\"")
	f[base+"/web.yaml"] = fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web-%s, namespace: n}\nspec: {replicas: 2, template: {spec: {containers: [{name: c, image: \"i:1\"}]}}}\n", name)
	f[base+"/secret.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: n}\nstringData: {p: %s}\n", name, rapid.SampledFrom([]string{"hunter2", "hunter3"}).Draw(t, "secret"))
	f[base+"/namespace.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: ns-%s}\n", name)
	f[base+"/x.txt"] = "x\n"
	resources := []string{"config.yaml", "web.yaml"}
	for _, r := range []string{"secret.yaml", "namespace.yaml"} {
		if chance(r, 2) {
			resources = append(resources, r)
		}
	}
	root := strings.Repeat("../", strings.Count(base, "/")+1)
	extra := ""
	// What is shared is renamed, so that no two apps declare one object.
	prefix := func() { extra += "namePrefix: " + name + "-\n" }
	switch rapid.IntRange(0, 9).Draw(t, "form") {
	case 0:
		resources = append(resources, root+"shared/base")
		prefix()
	case 1:
		resources = append(resources, root+"shared/link")
		prefix()
	case 2:
		extra += "components: [" + root + "shared/component]\n"
	case 3:
		extra += "transformers: [" + root + "shared/plugin/p.yaml]\n"
	case 4:
		extra += "configMapGenerator: [{name: g-" + name + ", namespace: \"n\", envs: [" + root + "shared/values.env], files: [k=x.txt]}]\n"
	case 5:
		f[base+"/facts.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: holdfast-cluster, annotations: {config.kubernetes.io/local-config: \"true\"}}\ndata: {var.domain: x}\n"
		resources = append(resources, "facts.yaml")
		extra += "replacements: [{source: {kind: ConfigMap, name: holdfast-cluster, fieldPath: \"data.[var.domain]\"}, targets: [{select: {kind: ConfigMap, name: " + name + "}, fieldPaths: [data.v]}]}]\n"
	case 6:
		f[base+"/linked.yaml"] = "-> config.yaml"
		resources[0] = "linked.yaml"
	}
	f[base+"/kustomization.yaml"] = "resources: [" + strings.Join(resources, ", ") + "]\n" + extra
}

func configMap(name, data string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: n}\ndata: {%s}\n", name, data)
}

// edit changes a fleet in a way that a person might, rightly or wrongly.
func (f files) edit(t *rapid.T) files {
	after := maps.Clone(f)
	names := func(keep func(path string) bool) []string {
		var kept []string
		for path := range after {
			if keep(path) {
				kept = append(kept, path)
			}
		}
		slices.Sort(kept)
		return kept
	}
	pick := func(what string, from []string) string {
		if len(from) == 0 {
			return ""
		}
		return rapid.SampledFrom(from).Draw(t, what)
	}
	apps := names(func(p string) bool { return strings.HasSuffix(p, "/app.yaml") })
	clusters := names(func(p string) bool { return strings.HasSuffix(p, "/cluster.yaml") })
	for range rapid.IntRange(0, 3).Draw(t, "edits") {
		switch rapid.IntRange(0, 12).Draw(t, "edit") {
		case 0, 1, 2: // a value in any manifest
			old := rapid.SampledFrom([]string{"\"1\"", "\"i:1\"", "value: a", "x\n", "a=1", "hunter2", "v: \"a\"", "replicas: 2", "domain: a", "domain: a"}).Draw(t, "old")
			p := pick("manifest", names(func(p string) bool { return strings.Contains(after[p], old) }))
			if p == "" {
				continue
			}
			after[p] = strings.Replace(after[p], old, map[string]string{
				"\"1\"": "\"2\"", "\"i:1\"": "\"i:2\"", "value: a": "value: b", "x\n": "y\n", "a=1": "a=2", "hunter2": "hunter4", "v: \"a\"": "v: \"b\"", "replicas: 2": "replicas: 3", "domain: a": "domain: b",
			}[old], 1)
		case 3: // an app is made anew
			if p := pick("app", apps); p != "" && after[p] != "" {
				after.drawApp(t, strings.TrimSuffix(strings.TrimPrefix(p, "apps/"), "/app.yaml"))
			}
		case 4:
			after.drawApp(t, "new")
		case 5: // an app is deleted
			if p := pick("app", apps); p != "" {
				dir := strings.TrimSuffix(p, "app.yaml")
				maps.DeleteFunc(after, func(p, _ string) bool { return strings.HasPrefix(p, dir) })
			}
		case 6:
			if p := pick("cluster", clusters); p != "" && after[p] != "" {
				after.drawCluster(t, strings.TrimSuffix(strings.TrimPrefix(p, "clusters/"), "/cluster.yaml"))
			}
		case 7:
			after.drawCluster(t, "cnew")
		case 8:
			if p := pick("cluster", clusters); p != "" {
				delete(after, p)
			}
		case 9:
			after["fleet.yaml"] = drawSettings(t)
		case 10: // a file is broken
			p := pick("file", names(func(p string) bool { return p != "fleet.yaml" }))
			after[p] = rapid.SampledFrom([]string{"a: [\n", "kind: App\n", "resources: [nowhere.yaml]\n"}).Draw(t, "broken")
		case 11: // a file goes
			delete(after, pick("file", names(func(p string) bool { return p != "fleet.yaml" })))
		case 12: // a link leads elsewhere
			after["shared/link"] = rapid.SampledFrom([]string{"-> base", "-> base/nested", "-> nowhere"}).Draw(t, "link")
		}
	}
	return after
}
