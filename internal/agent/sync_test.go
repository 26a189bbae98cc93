package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/holdfast-dev/holdfast/internal/status"
)

// The inventory and the cluster show what the first commit brought.
func TestFirstSync(t *testing.T) {
	e := newEnv(t, bare.Cluster(t))
	sha := e.app("", map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "2")})
	e.start()
	e.waitReady(sha)
	if got := e.value("v1", "ConfigMap", "a", "data", "key"); got != "1" {
		t.Errorf("a is %q", got)
	}
	if got := len(e.inventory()); got != 2 {
		t.Errorf("the inventory lists %d objects: %v", got, e.inventory())
	}
}

// A cluster gets every object of the overlay that its labels choose, and none of another cluster's;
// what is only for tools on the way (local-config) stays out of it.
func TestClusterGetsItsOverlay(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	local := strings.Replace(configMap("tool", "x"), "namespace: NS", `namespace: NS, annotations: {config.kubernetes.io/local-config: "true"}`, 1)
	sha := e.commit(map[string]string{
		"clusters/c2/cluster.yaml": clusterYAML("c2", "env: dev"),
		"apps/shop/app.yaml": appYAML("overlays: [{clusterSelector: {matchLabels: {env: dev}}, path: overlays/dev}, " +
			"{clusterSelector: {matchLabels: {env: prod}}, path: overlays/prod}]"),
		"apps/shop/base/kustomization.yaml":          kustomization("common.yaml", "tool.yaml"),
		"apps/shop/base/common.yaml":                 configMap("common", "base"),
		"apps/shop/base/tool.yaml":                   local,
		"apps/shop/overlays/dev/kustomization.yaml":  kustomization("../../base", "only.yaml"),
		"apps/shop/overlays/dev/only.yaml":           configMap("only-dev", "1"),
		"apps/shop/overlays/prod/kustomization.yaml": kustomization("../../base", "only.yaml") + "patches:\n- target: {name: common}\n  patch: |-\n    - {op: replace, path: /data/key, value: prod}\n",
		"apps/shop/overlays/prod/only.yaml":          configMap("only-prod", "1"),
	})
	e.start()
	e.waitReady(sha)
	want := map[string]string{"common": "prod", "only-prod": "1", "only-dev": "(absent)", "tool": "(absent)"}
	for name, value := range want {
		if got := e.value("v1", "ConfigMap", name, "data", "key"); value == "(absent)" && got != value || got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if got := e.inventoryNames(); !slices.Equal(got, []string{"common", "only-prod"}) {
		t.Errorf("the inventory lists %v", got)
	}
}

// A renamed object is there before the old one goes, also when it is the only one of the cluster.
func TestRenameCreatesFirst(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.waitReadyAt(e.startAt(e.app("", map[string]string{"a.yaml": configMap("old", "1")})))
	mark := e.mark()
	sha := e.commit(map[string]string{"apps/APP/a.yaml": configMap("new", "1")})
	e.waitReady(sha)
	e.waitGone("v1", "ConfigMap", "old")
	e.waitInventory("new")
	var order []string
	for _, r := range e.requests(mark) {
		if r == "patch configmaps "+e.ns+"/new" || r == "delete configmaps "+e.ns+"/old" {
			order = append(order, strings.Fields(r)[0])
		}
	}
	if !slices.Equal(order, []string{"patch", "delete"}) {
		t.Errorf("order of requests: %v", order)
	}
}

// crd is a namespaced kind of the group APP.example.com.
func crd(kind, scope string) string {
	plural := strings.ToLower(kind) + "s"
	return fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[2]s.APP.example.com}
spec:
  group: APP.example.com
  scope: %[3]s
  names: {kind: %[1]s, plural: %[2]s, singular: %[4]s, listKind: %[1]sList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, kind, plural, scope, strings.ToLower(kind))
}

func custom(kind, metadata string) string {
	return fmt.Sprintf("apiVersion: APP.example.com/v1\nkind: %s\nmetadata: {%s}\nspec: {size: 1}\n", kind, metadata)
}

// A CustomResourceDefinition and its resources, a Namespace and what is in it, converge from one commit.
func TestKindsAndNamespacesOfOneCommit(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	sha := e.app("", map[string]string{
		"crd.yaml":    crd("Widget", "Namespaced"),
		"widget.yaml": custom("Widget", "name: w, namespace: APP-own"),
		"ns.yaml":     "apiVersion: v1\nkind: Namespace\nmetadata: {name: APP-own}\n",
		"inside.yaml": strings.Replace(configMap("inside", "1"), "NS", "APP-own", 1),
		"global.yaml": strings.Replace(crd("Gadget", "Cluster"), "Widget", "Gadget", 1),
		"gadget.yaml": custom("Gadget", "name: APP-g"),
	})
	e.start()
	e.waitReady(sha)
	for kind, ns := range map[string]string{"Widget": e.id + "-own", "Gadget": ""} {
		name := map[string]string{"Widget": "w", "Gadget": e.id + "-g"}[kind]
		if _, err := e.in(e.id+".example.com/v1", kind, ns).Get(t.Context(), name, getOptions); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// A kind that somebody else installs later: its objects converge without a commit, whether their
// manifests name the namespace or leave it out, and everything else does not wait for it.
func TestKindInstalledLater(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	sha := e.app("", map[string]string{
		"a.yaml": configMap("a", "1"),
		"w.yaml": custom("Widget", "name: w, namespace: NS"),
		"d.yaml": custom("Widget", "name: APP-implicit"),
	})
	e.start()
	e.waitErrors("", "Widget", "does not serve the kind")
	e.waitValue("1", "v1", "ConfigMap", "a", "data", "key")
	e.apply(crd("Widget", "Namespaced"))
	e.waitReady(sha)
	if _, err := e.in(e.id+".example.com/v1", "Widget", "default").Get(t.Context(), e.id+"-implicit", getOptions); err != nil {
		t.Error(err)
	}
}

// Invalid objects are reported by name, all of them, and keep nobody waiting; the fix clears each.
func TestInvalidObjectsBlockNobody(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	bad := func(name string) string {
		return strings.Replace(configMap(name, "1"), "data: {key", "data: {\"not a key!\"", 1)
	}
	e.app("", map[string]string{
		"a.yaml": configMap("a", "1"), "z.yaml": configMap("z", "1"),
		"b1.yaml": bad("bad-1"), "b2.yaml": bad("bad-2"),
		"b3.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: bad-3, namespace: NS}\nspec: {ports: [{port: 99999}]}\n",
	})
	e.start()
	e.waitErrors("", "bad-1", "bad-2", "bad-3", "99999")
	e.waitValue("1", "v1", "ConfigMap", "a", "data", "key")
	e.waitValue("1", "v1", "ConfigMap", "z", "data", "key")
	s := e.status("")
	if s.ready() || len(s.Status.Errors) != 3 {
		t.Errorf("ready %v, errors:\n%s", s.ready(), s.errors())
	}
	e.waitReady(e.commit(map[string]string{
		"apps/APP/b1.yaml": configMap("bad-1", "1"), "apps/APP/b2.yaml": configMap("bad-2", "1"),
		"apps/APP/b3.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: bad-3, namespace: NS}\nspec: {ports: [{port: 80}]}\n",
	}))
	if s := e.status(""); len(s.Status.Errors) != 0 {
		t.Errorf("errors stay: %s", s.errors())
	}
}

// An object whose namespace is missing is applied as soon as a commit brings the namespace, however
// long it has failed.
func TestMissingNamespaceArrives(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.app("", map[string]string{"in.yaml": strings.Replace(configMap("in", "1"), "NS", "APP-later", 1)})
	e.start()
	e.waitErrors("", "in", "not found")
	e.waitReady(e.commit(map[string]string{
		"apps/APP/ns.yaml":            "apiVersion: v1\nkind: Namespace\nmetadata: {name: APP-later}\n",
		"apps/APP/kustomization.yaml": kustomization("in.yaml", "ns.yaml"),
	}))
}

// deployment never becomes Ready on a control plane without controllers.
func deployment(name, image string) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: NS}
spec:
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec: {containers: [{name: main, image: "%[2]s"}]}
`, name, image)
}

// A commit that never becomes healthy does not delay the next one.
func TestFixIsAppliedAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.app("", map[string]string{"d.yaml": deployment("web", "broken:1"), "a.yaml": configMap("a", "1")})
	e.start()
	e.waitDeployment("web", "broken:1")
	e.eventually("not Ready", func() string {
		if s := e.status(""); s == nil || s.condition("Ready").Status != "False" {
			return "Ready is not False"
		}
		return ""
	})
	e.commit(map[string]string{"apps/APP/d.yaml": deployment("web", "fixed:2")})
	e.waitDeployment("web", "fixed:2")
}

// An object that moves to another app is handed over, and so are all objects of a renamed app: no
// deletion, not even while the new owner is held back by what it depends on.
func TestHandOverWithoutDeletion(t *testing.T) {
	appNamed := func(name, spec string) string {
		return strings.Replace(appYAML(spec), "name: APP", "name: "+name, 1)
	}
	two := func(first, second string, firstFiles, secondFiles map[string]string) map[string]string {
		files := appFiles("apps/one", first, firstFiles)
		for k, v := range appFiles("apps/two", second, secondFiles) {
			files[k] = v
		}
		return files
	}
	a, b, stays := configMap("a", "1"), configMap("b", "1"), configMap("stays", "1")

	t.Run("object moves", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, bare.Cluster(t))
		e.waitReadyAt(e.startAt(e.commit(two(appNamed("APP", ""), appNamed("APP-two", ""),
			map[string]string{"a.yaml": a, "stays.yaml": stays}, map[string]string{"b.yaml": b}))))
		mark := e.mark()
		e.commit(map[string]string{
			"apps/one/a.yaml": "", "apps/one/kustomization.yaml": kustomization("stays.yaml"),
			"apps/two/a.yaml": a, "apps/two/kustomization.yaml": kustomization("a.yaml", "b.yaml"),
		})
		e.waitValue(e.id+"-two", "v1", "ConfigMap", "a", "metadata", "labels", "holdfast.dev/app")
		e.waitInventory("a", "b", "stays")
		e.noDeletions(mark)
	})
	t.Run("app renamed", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, bare.Cluster(t))
		e.waitReadyAt(e.startAt(e.app("", map[string]string{"a.yaml": a, "b.yaml": b})))
		mark := e.mark()
		e.commit(map[string]string{"apps/APP/app.yaml": appNamed("APP-renamed", "")})
		e.waitValue(e.id+"-renamed", "v1", "ConfigMap", "a", "metadata", "labels", "holdfast.dev/app")
		e.waitValue(e.id+"-renamed", "v1", "ConfigMap", "b", "metadata", "labels", "holdfast.dev/app")
		e.waitInventory("a", "b")
		e.noDeletions(mark)
		e.eventually("the old AppStatus goes", func() string {
			if e.status("") != nil {
				return "it is there"
			}
			return ""
		})
	})
	t.Run("new owner is held", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, bare.Cluster(t))
		e.waitReadyAt(e.startAt(e.app("", map[string]string{"a.yaml": a, "stays.yaml": stays})))
		mark := e.mark()
		// The new owner depends on an app that never becomes Ready.
		files := two(appNamed("APP", ""), appNamed("APP-two", "dependsOn: [APP-slow]"),
			map[string]string{"stays.yaml": stays}, map[string]string{"a.yaml": configMap("a", "2")})
		for k, v := range appFiles("apps/slow", appNamed("APP-slow", ""), map[string]string{"d.yaml": deployment("slow", "x:1")}) {
			files[k] = v
		}
		for _, f := range []string{"app.yaml", "kustomization.yaml", "a.yaml", "stays.yaml"} {
			files["apps/APP/"+f] = ""
		}
		e.commit(files)
		e.waitHeld(e.id+"-two", "DependsOn", e.id+"-slow")
		e.waitQuiet("")
		if got := e.value("v1", "ConfigMap", "a", "data", "key"); got != "1" {
			t.Errorf("a is %q while its new owner is held", got)
		}
		e.waitHeldAt(e.restart(), e.id+"-two", "DependsOn", e.id+"-slow") // it is not lost by a restart either
		e.makeReady("slow")
		e.waitValue("2", "v1", "ConfigMap", "a", "data", "key")
		e.waitInventory("a", "slow", "stays")
		e.noDeletions(mark)
	})
	t.Run("app renamed while frozen", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, bare.Cluster(t))
		e.waitReadyAt(e.startAt(e.app("", map[string]string{"a.yaml": a, "b.yaml": b})))
		mark := e.mark()
		e.commit(map[string]string{
			"fleet.yaml":        "apiVersion: holdfast.dev/v1alpha1\nkind: Fleet\nmetadata: {name: f}\nspec: {freeze: [{clusterSelector: {}}]}\n",
			"apps/APP/app.yaml": appNamed("APP-renamed", ""),
		})
		e.waitValue(e.id+"-renamed", "v1", "ConfigMap", "a", "metadata", "labels", "holdfast.dev/app")
		e.waitValue(e.id+"-renamed", "v1", "ConfigMap", "b", "metadata", "labels", "holdfast.dev/app")
		e.waitInventory("a", "b")
		e.noDeletions(mark)
	})
	t.Run("new owner is frozen", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, bare.Cluster(t))
		e.waitReadyAt(e.startAt(e.commit(two(appNamed("APP", ""), appNamed("APP-two", ""),
			map[string]string{"a.yaml": a, "stays.yaml": stays}, map[string]string{"b.yaml": b}))))
		mark := e.mark()
		e.commit(map[string]string{
			"fleet.yaml":      "apiVersion: holdfast.dev/v1alpha1\nkind: Fleet\nmetadata: {name: f}\nspec: {freeze: [{clusterSelector: {}, reason: quarter end}]}\n",
			"apps/one/a.yaml": "", "apps/one/kustomization.yaml": kustomization("stays.yaml"),
			"apps/two/a.yaml": a, "apps/two/kustomization.yaml": kustomization("a.yaml", "b.yaml"),
		})
		e.waitHeld(e.id+"-two", "Freeze", "quarter end")
		e.waitHeld("", "Freeze", "quarter end")
		e.commit(map[string]string{"fleet.yaml": ""})
		e.waitValue(e.id+"-two", "v1", "ConfigMap", "a", "metadata", "labels", "holdfast.dev/app")
		e.waitInventory("a", "b", "stays")
		e.noDeletions(mark)
	})
}

// Where replicas are divided, those of the workload that divides them are reported, of whatever kind it is, and no
// others; and that it lacks some is said, whatever its conditions are.
func TestReplicasOfTheTargetAreReported(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.app("replicas: {total: 4, target: {kind: Rollout, name: web}}, failover: {gate: None}", map[string]string{
		"crd.yaml": crd("Rollout", "Namespaced"), "web.yaml": custom("Rollout", "name: web, namespace: NS"),
		"worker.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: worker, namespace: NS}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: worker}}\n" +
			"  template: {metadata: {labels: {app: worker}}, spec: {containers: [{name: web, image: web}]}}\n",
	})
	e.start()
	e.waitDeployment("worker", "web")
	e.makeReady("worker")
	reported := func(desired, ready int32, words string) {
		t.Helper()
		e.eventually("replicas", func() string {
			s := e.status("")
			if s == nil || s.Status.Replicas != (status.Replicas{Desired: desired, Ready: ready}) || !strings.Contains(s.condition("Ready").Message, words) {
				return fmt.Sprintf("%+v", s)
			}
			return ""
		})
	}
	reported(4, 0, "0 of 4 replicas are ready by its status.readyReplicas")
	e.eventually("the kind is served", func() string { // which the test's client has to notice too
		if _, err := e.clients.Mapper.Resolve(t.Context(), schema.GroupVersionKind{Group: e.id + ".example.com", Version: "v1", Kind: "Rollout"}); err != nil {
			return err.Error()
		}
		return ""
	})
	e.patch("controller", e.id+".example.com/v1", "Rollout", "web", `{"status": {"readyReplicas": 4}}`)
	e.waitReady("")
	reported(4, 4, "")
	e.commit(map[string]string{"apps/APP/app.yaml": appYAML("failover: {gate: None}")})
	reported(1, 1, "")
}
