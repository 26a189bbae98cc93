package agent_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// annotated puts annotations into a manifest that was written with {name: NAME, namespace: NS}.
func annotated(manifest, annotations string) string {
	return strings.Replace(manifest, "namespace: NS}", "namespace: NS, annotations: {"+annotations+"}}", 1)
}

// A change of an immutable field is an error that says so. With the annotation the object is replaced; and
// with it too, an object that is merely wrong is never deleted.
func TestImmutableField(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	relabelled := func(replace string) string {
		d := strings.ReplaceAll(deployment("web", "x:1"), "{app: web}", "{app: other}")
		return annotated(d, "holdfast.dev/replace: "+replace)
	}
	e.app("", map[string]string{"d.yaml": deployment("web", "x:1"), "a.yaml": configMap("a", "1")})
	e.start()
	e.waitDeployment("web", "x:1")
	uid := e.value("apps/v1", "Deployment", "web", "metadata", "uid")

	e.commit(map[string]string{"apps/APP/d.yaml": relabelled("disabled")})
	e.waitErrors("", "Deployment/NS/web", "immutable")
	if got := e.value("apps/v1", "Deployment", "web", "metadata", "uid"); got != uid {
		t.Fatal("the Deployment was replaced though nobody allowed it")
	}

	mark := e.mark()
	e.commit(map[string]string{"apps/APP/d.yaml": strings.Replace(relabelled("enabled"), "spec:\n", "spec:\n  replicas: -1\n", 1)})
	e.waitErrors("", "Deployment/NS/web", "greater than or equal to 0")
	e.noDeletions(mark)

	e.commit(map[string]string{"apps/APP/d.yaml": relabelled("enabled")})
	e.waitValue("map[app:other]", "apps/v1", "Deployment", "web", "spec", "selector", "matchLabels")
	if got := e.value("apps/v1", "Deployment", "web", "metadata", "uid"); got == uid {
		t.Error("the Deployment is the old one")
	}
	e.makeReady("web")
	e.waitReady("")

	// The annotation on the live object counts as well.
	uid = e.value("apps/v1", "Deployment", "web", "metadata", "uid")
	e.commit(map[string]string{"apps/APP/d.yaml": strings.ReplaceAll(deployment("web", "x:1"), "{app: web}", "{app: other}")})
	e.waitValue("", "apps/v1", "Deployment", "web", "metadata", "annotations", "holdfast.dev/replace")
	e.commit(map[string]string{"apps/APP/d.yaml": deployment("web", "x:1")})
	e.waitErrors("", "Deployment/NS/web", "immutable")
	e.patch("somebody", "apps/v1", "Deployment", "web", `{"metadata": {"annotations": {"holdfast.dev/replace": "enabled"}}}`)
	e.waitValue("map[app:web]", "apps/v1", "Deployment", "web", "spec", "selector", "matchLabels")
	if got := e.value("apps/v1", "Deployment", "web", "metadata", "uid"); got == uid {
		t.Error("the Deployment is the old one")
	}
}

// An object that carries our label is ours though the inventory does not know what was applied, as after an agent that
// was killed in its first apply: it may be replaced. One that is nobody's may not.
func TestImmutableFieldOfAnObjectNotApplied(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	secret := func(name, labels, value string) string {
		return e.fill("apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + ", namespace: NS, labels: {" + labels + "}, " +
			"annotations: {holdfast.dev/replace: enabled}}\nimmutable: true\nstringData: {key: " + value + "}\n")
	}
	e.applyAs("somebody", secret("ours", "holdfast.dev/instance: INSTANCE", "old"))
	e.applyAs("somebody", secret("foreign", "", "old"))
	foreign := e.value("v1", "Secret", "foreign", "metadata", "uid")
	e.app("", map[string]string{"ours.yaml": secret("ours", "", "new"), "foreign.yaml": secret("foreign", "", "new")})
	e.start()
	e.waitValue("bmV3", "v1", "Secret", "ours", "data", "key")
	e.waitErrors("", "Secret/NS/foreign", "immutable field", "cannot be replaced: it does not carry our label")
	if got := e.value("v1", "Secret", "foreign", "metadata", "uid"); got != foreign {
		t.Error("the Secret that is nobody's was replaced")
	}
}

// Objects are created after what they depend on and deleted before it.
func TestDependsOnOrder(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	on := func(name, dep string) string {
		return annotated(configMap(name, "1"), "config.kubernetes.io/depends-on: /namespaces/NS/ConfigMap/"+dep)
	}
	mark := e.mark()
	// The order is against that of the names.
	sha := e.app("", map[string]string{"a.yaml": on("a", "b"), "b.yaml": on("b", "c"), "c.yaml": configMap("c", "1"), "d.yaml": configMap("d", "1")})
	e.start()
	e.waitReady(sha)
	verbs := func(verb string) []string {
		var names []string
		for _, r := range e.requests(mark) {
			name, ok := strings.CutPrefix(r, verb+" configmaps "+e.ns+"/")
			if ok && name != "d" {
				names = append(names, name)
			}
		}
		return names
	}
	if got := verbs("patch"); !slices.Equal(got, []string{"c", "b", "a"}) {
		t.Errorf("created in the order %v", got)
	}
	e.commit(map[string]string{
		"apps/APP/a.yaml": "", "apps/APP/b.yaml": "", "apps/APP/c.yaml": "", "apps/APP/kustomization.yaml": kustomization("d.yaml"),
	})
	e.waitInventory("d")
	if got := verbs("delete"); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("deleted in the order %v", got)
	}
}

// A cycle is an error that names it, and nothing of it is touched; so is a dependency on what Git does not
// have. Others are not held up, and objects that were caught in a cycle can be deleted.
func TestDependsOnMistakes(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	on := func(name, value, dep string) string {
		return annotated(configMap(name, value), "config.kubernetes.io/depends-on: /namespaces/NS/ConfigMap/"+dep)
	}
	e.waitReadyAt(e.startAt(e.app("", map[string]string{
		"a.yaml": configMap("a", "1"), "b.yaml": on("b", "1", "a"), "c.yaml": configMap("c", "1"), "d.yaml": configMap("d", "1"),
	})))
	mark := e.mark()
	e.commit(map[string]string{
		"apps/APP/a.yaml": on("a", "2", "b"), "apps/APP/b.yaml": on("b", "2", "a"),
		"apps/APP/c.yaml": on("c", "2", "elsewhere"), "apps/APP/d.yaml": configMap("d", "2"),
	})
	e.waitErrors("", "dependency cycle between ConfigMap/NS/a, ConfigMap/NS/b", "ConfigMap/NS/elsewhere is not in the fleet repository")
	e.waitValue("2", "v1", "ConfigMap", "d", "data", "key")
	for _, r := range e.requests(mark) {
		for _, name := range []string{"a", "b", "c"} {
			if strings.HasSuffix(r, " "+e.ns+"/"+name) {
				t.Errorf("the agent sent: %s", r)
			}
		}
	}
	e.commit(map[string]string{
		"apps/APP/a.yaml": "", "apps/APP/b.yaml": "", "apps/APP/c.yaml": configMap("c", "3"), "apps/APP/kustomization.yaml": kustomization("c.yaml", "d.yaml"),
	})
	e.waitInventory("c", "d")
	e.waitReady("")
}

// applyClientSide creates an object as a client-side kubectl apply does.
func (e *env) applyClientSide(manifest string) *unstructured.Unstructured {
	e.t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(e.fill(manifest)), &u.Object); err != nil {
		e.t.Fatal(err)
	}
	last, err := u.MarshalJSON()
	if err != nil {
		e.t.Fatal(err)
	}
	annotations := u.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations["kubectl.kubernetes.io/last-applied-configuration"] = string(last)
	u.SetAnnotations(annotations)
	out, err := e.in(u.GetAPIVersion(), u.GetKind(), u.GetNamespace()).
		Create(context.Background(), u, metav1.CreateOptions{FieldManager: "kubectl-client-side-apply"})
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}

// What kubectl applied before is adopted: fields that Git does not have go, what others put there
// (labels, finalizers) and what the server chose (clusterIP, nodePort) stays.
func TestAdoption(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NS%s}\nspec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: %d}]}\n"
	before := e.applyClientSide(fmt.Sprintf(service, ", labels: {old: 'yes'}", 80))
	e.applyClientSide("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf, namespace: NS}\ndata: {key: old, gone: x}\n")
	e.applyClientSide("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: same, namespace: NS}\ndata: {key: same, gone: x}\n")
	e.patch("somebody", "v1", "Service", "web", `{"metadata": {"labels": {"team": "core"}, "finalizers": ["example.com/hold"]}}`)

	e.waitReadyAt(e.startAt(e.app("", map[string]string{
		"s.yaml": fmt.Sprintf(service, "", 81), "c.yaml": configMap("conf", "new"), "same.yaml": configMap("same", "same"),
	})))
	after := e.get("v1", "Service", "web")
	path := func(u *unstructured.Unstructured, fields ...string) string {
		v, _, err := unstructured.NestedFieldNoCopy(u.Object, fields...)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(v)
	}
	ports := func(u *unstructured.Unstructured) map[string]any {
		list, _, err := unstructured.NestedSlice(u.Object, "spec", "ports")
		if err != nil || len(list) != 1 {
			t.Fatalf("ports: %v %v", list, err)
		}
		return list[0].(map[string]any)
	}
	if after.GetUID() != before.GetUID() || path(after, "spec", "clusterIP") != path(before, "spec", "clusterIP") {
		t.Error("the Service is not the one it was")
	}
	if got := fmt.Sprint(ports(after)["port"]); got != "81" {
		t.Errorf("port is %s", got)
	}
	if a, b := ports(before)["nodePort"], ports(after)["nodePort"]; a != b && fmt.Sprint(ports(before)["port"]) == fmt.Sprint(ports(after)["port"]) {
		t.Errorf("nodePort went from %v to %v", a, b)
	}
	if l := after.GetLabels(); l["team"] != "core" || l["old"] != "" || l["holdfast.dev/instance"] != e.instance {
		t.Errorf("labels: %v", l)
	}
	if f := after.GetFinalizers(); !slices.Equal(f, []string{"example.com/hold"}) {
		t.Errorf("finalizers: %v", f)
	}
	for name, value := range map[string]string{"conf": "new", "same": "same"} {
		if got := e.value("v1", "ConfigMap", name, "data"); got != "map[key:"+value+"]" {
			t.Errorf("%s has %s", name, got)
		}
	}
	e.patch("somebody", "v1", "Service", "web", `{"metadata": {"finalizers": null}}`)
}

// A NodePort that the server chose survives the adoption of its Service, and applies after it.
func TestAdoptionKeepsNodePort(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NS}\nspec: {type: NodePort, selector: {app: %s}, ports: [{name: http, port: 80}]}\n"
	nodePort := func(u *unstructured.Unstructured) any {
		list, _, err := unstructured.NestedSlice(u.Object, "spec", "ports")
		if err != nil || len(list) != 1 {
			t.Fatalf("ports: %v %v", list, err)
		}
		return list[0].(map[string]any)["nodePort"]
	}
	before := nodePort(e.applyClientSide(fmt.Sprintf(service, "old")))
	e.waitReadyAt(e.startAt(e.app("", map[string]string{"s.yaml": fmt.Sprintf(service, "web")})))
	if got := nodePort(e.get("v1", "Service", "web")); got != before {
		t.Errorf("nodePort went from %v to %v", before, got)
	}
	e.commit(map[string]string{"apps/APP/s.yaml": fmt.Sprintf(service, "web2")})
	e.waitValue("map[app:web2]", "v1", "Service", "web", "spec", "selector")
	if got := nodePort(e.get("v1", "Service", "web")); got != before {
		t.Errorf("nodePort went from %v to %v", before, got)
	}
}
