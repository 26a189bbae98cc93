package agent_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/localcluster"
)

// jsonPatch changes a live object by a JSON patch, as the field manager.
func (e *env) jsonPatch(manager, apiVersion, kind, name, patch string) {
	e.t.Helper()
	_, err := e.in(apiVersion, kind, e.ns).Patch(context.Background(), e.fill(name), types.JSONPatchType, []byte(e.fill(patch)), metav1.PatchOptions{FieldManager: manager})
	if err != nil {
		e.t.Fatal(err)
	}
}

// applyAs applies a manifest server-side with force, as the field manager.
func (e *env) applyAs(manager, manifest string) {
	e.t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(e.fill(manifest)), &u.Object); err != nil {
		e.t.Fatal(err)
	}
	_, err := e.in(u.GetAPIVersion(), u.GetKind(), u.GetNamespace()).
		Apply(context.Background(), u.GetName(), u, metav1.ApplyOptions{FieldManager: manager, Force: true})
	if err != nil {
		e.t.Fatal(err)
	}
}

// waitEvent waits until an Event about the first app has the reason and all the words.
func (e *env) waitEvent(reason string, words ...string) {
	e.t.Helper()
	e.eventually(fmt.Sprintf("Event %s says %v", reason, words), func() string {
		list, err := e.clients.Kubernetes.CoreV1().Events("").List(context.Background(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + e.id})
		if err != nil {
			return err.Error()
		}
		var said []string
		for i := range list.Items {
			if list.Items[i].Reason == reason && containsAll(list.Items[i].Message, words) {
				return ""
			}
			said = append(said, list.Items[i].Reason+": "+list.Items[i].Message)
		}
		return strings.Join(said, "\n")
	})
}

// waitCorrected waits until AppStatus counts that many repairs.
func (e *env) waitCorrected(n int) {
	e.t.Helper()
	e.eventually(fmt.Sprintf("AppStatus counts %d repairs", n), func() string {
		if s := e.status(""); s == nil || s.Status.Drift.Corrected != n {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
}

// written lists the agent's requests since the mark, less its inventory.
func (e *env) written(since localcluster.Mark) []string {
	e.t.Helper()
	return slices.DeleteFunc(e.requests(since), func(r string) bool { return strings.Contains(r, " "+e.instance+"/") })
}

// markerHealed edits the ConfigMap "marker" and waits until it is repaired, twice: whatever the agent
// would do about something that happened before is then on record.
func (e *env) markerHealed() {
	e.t.Helper()
	for i := range 2 {
		e.patch("marker", "v1", "ConfigMap", "marker", fmt.Sprintf(`{"data": {"key": "edited %d"}}`, i))
		e.waitValue("1", "v1", "ConfigMap", "marker", "data", "key")
	}
}

// unmarked is written less what is about the marker.
func (e *env) unmarked(since localcluster.Mark) []string {
	return slices.DeleteFunc(e.written(since), func(r string) bool { return strings.HasSuffix(r, "/marker") })
}

// server is a Deployment with fields of many kinds, and no replicas.
const server = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      volumes: [{name: tmp, emptyDir: {}}]
      containers:
      - name: main
        image: "web:1"
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
`

// web reads the Deployment's first container and first volume in short.
func (e *env) web() string {
	u := e.get("apps/v1", "Deployment", "web")
	if u == nil {
		return "(absent)"
	}
	containers, _, err := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	if err != nil {
		e.t.Fatal(err)
	}
	volumes, _, err := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "volumes")
	if err != nil {
		e.t.Fatal(err)
	}
	c := containers[0].(map[string]any)
	return fmt.Sprint(len(containers), c["image"], c["env"], volumes)
}

// Whatever somebody does to a field or an object of ours is undone, with as few requests as it takes,
// and told: by whom and which field, as an Event, in the log and in AppStatus. Values of a Secret never are.
func TestDriftIsRepaired(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	log := e.captureLog(zerolog.DebugLevel)
	const secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: login, namespace: NS}\nstringData: {user: admin, password: hunter2}\n"
	files := map[string]string{"login.yaml": secret, "web.yaml": server}
	for _, name := range []string{"edited", "removed", "vanished", "taken", "disowned", "deleted", "finalized", "unlabelled"} {
		files[name+".yaml"] = configMap(name, "1")
	}
	e.app("", files)
	e.start()
	e.eventually("Deployment", func() string {
		if e.get("apps/v1", "Deployment", "web") == nil {
			return "absent"
		}
		return ""
	})
	e.makeReady("web")
	e.waitReady("")
	e.waitQuiet("")
	good := e.web()
	password := e.value("v1", "Secret", "login", "data", "password")

	data := func(name string) func() string {
		return func() string { return e.value("v1", "ConfigMap", name, "data") }
	}
	label := func() string {
		return e.value("v1", "ConfigMap", "unlabelled", "metadata", "labels", "holdfast.dev/instance")
	}
	healthy := "map[key:1]"
	patched := func(what string) []string { return []string{"patch " + e.fill(what)} }
	tests := []struct {
		name     string
		do       func()
		now      func() string
		want     string
		said     []string // in the Event and in the log
		requests []string // nil: not counted
	}{
		{"edited", func() { e.patch("kubectl-edit", "v1", "ConfigMap", "edited", `{"data": {"key": "2"}}`) },
			data("edited"), healthy, []string{"NS/edited", "kubectl-edit", ".data.key"}, patched("configmaps NS/edited")},
		{"removed for another", func() {
			e.patch("kubectl-edit", "v1", "ConfigMap", "removed", `{"data": {"key": null}, "immutable": false}`)
		}, data("removed"), healthy, []string{"NS/removed", "kubectl-edit", ".data.key"}, patched("configmaps NS/removed")},
		{"removed by nobody known", func() { e.patch("kubectl-edit", "v1", "ConfigMap", "vanished", `{"data": {"key": null}}`) },
			data("vanished"), healthy, []string{"NS/vanished", ".data.key"}, patched("configmaps NS/vanished")},
		{"taken with force", func() { e.applyAs("other-tool", configMap("taken", "2")) },
			data("taken"), healthy, []string{"NS/taken", "other-tool", ".data.key"}, patched("configmaps NS/taken")},
		{"managedFields cleared", func() {
			e.jsonPatch("kubectl-edit", "v1", "ConfigMap", "disowned", `[{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}, {"op": "replace", "path": "/data/key", "value": "2"}]`)
		}, data("disowned"), healthy, []string{"NS/disowned", ".data.key"}, patched("configmaps NS/disowned")},
		{"deleted, behind a finalizer", func() {
			e.patch("holder", "v1", "ConfigMap", "finalized", `{"metadata": {"finalizers": ["example.com/hold"]}}`)
			e.delete("v1", "ConfigMap", "finalized")
			e.patch("holder", "v1", "ConfigMap", "finalized", `{"metadata": {"finalizers": null}}`)
		}, data("finalized"), healthy, []string{"NS/finalized"}, patched("configmaps NS/finalized")},
		{"deleted", func() { e.delete("v1", "ConfigMap", "deleted") },
			data("deleted"), healthy, []string{"NS/deleted"}, patched("configmaps NS/deleted")},
		{"label removed", func() {
			e.patch("kubectl-label", "v1", "ConfigMap", "unlabelled", `{"metadata": {"labels": {"holdfast.dev/instance": null}}}`)
		}, label, e.instance, []string{"NS/unlabelled"}, patched("configmaps NS/unlabelled")},
		{"Secret", func() { e.patch("intruder", "v1", "Secret", "login", `{"stringData": {"password": "letmein"}}`) },
			func() string { return e.value("v1", "Secret", "login", "data", "password") }, password,
			[]string{"NS/login", "intruder", ".data.password"}, patched("secrets NS/login")},
		{"image", func() {
			e.jsonPatch("kubectl-set", "apps/v1", "Deployment", "web", `[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "evil:1"}]`)
		}, e.web, good, []string{"NS/web", "kubectl-set", "image"}, patched("deployments NS/web")},
		{"env in another order", func() {
			e.jsonPatch("kubectl-edit", "apps/v1", "Deployment", "web", `[{"op": "replace", "path": "/spec/template/spec/containers/0/env",
				"value": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]}]`)
		}, e.web, good, []string{"NS/web"}, nil},
		{"emptyDir given a medium", func() {
			e.jsonPatch("kubectl-edit", "apps/v1", "Deployment", "web", `[{"op": "replace", "path": "/spec/template/spec/volumes/0/emptyDir", "value": {"medium": "Memory"}}]`)
		}, e.web, good, []string{"NS/web", "kubectl-edit", "emptyDir.medium"}, nil},
	}
	for _, tt := range tests {
		mark := e.mark()
		tt.do()
		e.eventually(tt.name, func() string {
			if got := tt.now(); got != tt.want {
				return got
			}
			return ""
		})
		said := make([]string, 0, len(tt.said))
		for _, w := range tt.said {
			said = append(said, e.fill(w))
		}
		e.waitEvent("DriftCorrected", said...)
		for j := range said {
			said[j] = strings.TrimPrefix(said[j], e.ns+"/") // a field of its own in the log
		}
		e.waitLog(log, append(said, "drift corrected")...)
		if got := e.written(mark); tt.requests != nil && !slices.Equal(got, tt.requests) {
			t.Errorf("%s: requests %v, want %v", tt.name, got, tt.requests)
		}
	}
	e.waitCorrected(len(tests))
	for _, value := range []string{"hunter2", "letmein", password} {
		if strings.Contains(log.String(), value) {
			t.Errorf("the log has the value %s of a Secret", value)
		}
	}
}

// What is not ours to say costs no request: statuses, others' labels and annotations, and fields that Git
// does not declare, such as the replicas that an autoscaler sets.
func TestForeignChangesCostNoRequest(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.app("", map[string]string{"web.yaml": server, "marker.yaml": configMap("marker", "1"), "a.yaml": configMap("a", "1")})
	e.start()
	e.eventually("Deployment", func() string {
		if e.get("apps/v1", "Deployment", "web") == nil {
			return "absent"
		}
		return ""
	})
	e.makeReady("web")
	e.waitReady("")
	e.waitQuiet("")
	mark := e.mark()

	e.makeReady("web")
	e.patch("team", "apps/v1", "Deployment", "web", `{"metadata": {"labels": {"team": "core"}, "annotations": {"note": "x"}}}`)
	_, err := e.in("apps/v1", "Deployment", e.ns).Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec": {"replicas": 7}}`),
		metav1.PatchOptions{FieldManager: "kube-controller-manager"}, "scale")
	if err != nil {
		t.Fatal(err)
	}
	e.patch("controller", "apps/v1", "Deployment", "web", `{"spec": {"minReadySeconds": 3}}`)
	e.patch("team", "v1", "ConfigMap", "a", `{"metadata": {"labels": {"team": "core"}}, "data": {"more": "x"}}`)
	e.jsonPatch("hacker", "apps/v1", "Deployment", "web", `[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "evil:1"}]`)
	e.waitDeployment("web", "web:1") // a repair of the same kind, which comes after all of it
	e.markerHealed()
	if got, want := e.unmarked(mark), e.fill("[patch deployments NS/web]"); fmt.Sprint(got) != want {
		t.Errorf("requests %v, want %v", got, want)
	}
	if got := e.value("apps/v1", "Deployment", "web", "spec", "replicas"); got != "7" {
		t.Errorf("replicas is %s", got)
	}
	if got := e.value("v1", "ConfigMap", "a", "data", "more"); got != "x" {
		t.Errorf("more is %q", got)
	}
}

// replicas is the number of replicas of web.
func (e *env) replicas() string { return e.value("apps/v1", "Deployment", "web", "spec", "replicas") }

func withReplicas(n int) string {
	return strings.Replace(server, "spec:\n", fmt.Sprintf("spec:\n  replicas: %d\n", n), 1)
}

func (e *env) setImage(image string) {
	e.t.Helper()
	e.jsonPatch("kubectl-set", "apps/v1", "Deployment", "web", fmt.Sprintf(`[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": %q}]`, image))
}

// A field that is ignored is left as it was edited, also when something else in the object is
// repaired, and when a commit changes the object.
func TestIgnoredFieldIsLeft(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.app("drift: {ignore: [{kind: Deployment, name: web, fields: [/spec/replicas]}]}",
		map[string]string{"web.yaml": withReplicas(3), "marker.yaml": configMap("marker", "1")})
	e.start()
	e.waitDeployment("web", "web:1")
	e.waitQuiet("")
	if got := e.replicas(); got != "3" {
		t.Fatalf("created with %s replicas", got)
	}
	mark := e.mark()
	e.patch("autoscaler", "apps/v1", "Deployment", "web", `{"spec": {"replicas": 9}}`)
	e.setImage("evil:1")
	e.waitDeployment("web", "web:1")
	e.markerHealed()
	if got := e.replicas(); got != "9" {
		t.Errorf("after the repair: %s replicas", got)
	}
	if got := len(e.unmarked(mark)); got > 2 {
		t.Errorf("requests: %v", e.unmarked(mark))
	}
	e.commit(map[string]string{"apps/APP/web.yaml": strings.Replace(withReplicas(4), "web:1", "web:2", 1)})
	e.waitDeployment("web", "web:2")
	if got := e.replicas(); got != "9" {
		t.Errorf("after the commit: %s replicas", got)
	}
}

// An item of a list may be ignored too, such as the certificate that an injector writes into a webhook.
func TestIgnoredListItem(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	const kind, version = "ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1"
	hook := func(name string) string {
		return fmt.Sprintf(`
- name: %s.example.com
  failurePolicy: Ignore
  sideEffects: None
  timeoutSeconds: 5
  admissionReviewVersions: [v1]
  namespaceSelector: {matchLabels: {none: such}}
  rules: [{apiGroups: [APP.example.com], apiVersions: [v1], operations: [CREATE], resources: [things]}]
  clientConfig: {url: "https://localhost:1/x", caBundle: Cg==}`, name)
	}
	hooks := "apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: APP-hooks}\nwebhooks:" + hook("b") + hook("a") + "\n"
	e.waitReadyAt(e.startAt(e.app("drift: {ignore: [{kind: "+kind+", fields: [/webhooks/0/clientConfig/caBundle]}]}",
		map[string]string{"hooks.yaml": hooks, "marker.yaml": configMap("marker", "1")})))
	e.waitQuiet("")
	mark := e.mark()
	set := func(manager string, i int, field, value string) {
		t.Helper()
		e.jsonPatch(manager, version, kind, "APP-hooks", fmt.Sprintf(`[{"op": "replace", "path": "/webhooks/%d/%s", "value": %s}]`, i, field, value))
	}
	webhook := func(i int) string {
		list, _, err := unstructured.NestedSlice(e.get(version, kind, "APP-hooks").Object, "webhooks")
		if err != nil {
			t.Fatal(err)
		}
		m := list[i].(map[string]any)
		return fmt.Sprint(m["timeoutSeconds"], m["clientConfig"].(map[string]any)["caBundle"])
	}
	set("cainjector", 0, "clientConfig/caBundle", `"SW5qZWN0ZWQ="`)
	e.markerHealed()
	if got := e.unmarked(mark); len(got) > 0 {
		t.Errorf("requests: %v", got)
	}
	set("kubectl-edit", 0, "timeoutSeconds", "9")
	set("kubectl-edit", 1, "clientConfig/caBundle", `"T3RoZXI="`)
	for i, want := range []string{"5 SW5qZWN0ZWQ=", "5 Cg=="} {
		e.eventually("webhook", func() string {
			if got := webhook(i); got != want && got != strings.Replace(want, " ", "", 1) {
				return fmt.Sprintf("%d is %s, want %s", i, got, want)
			}
			return ""
		})
	}
}

// Git drops the replicas, for an autoscaler to set them: the number that is live stays, in every version of the
// object, before and after the autoscaler's first write.
func TestReplicasStayWhenGitDropsThem(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.app("", map[string]string{"web.yaml": withReplicas(4)})
	e.start()
	e.waitDeployment("web", "web:1")
	e.waitQuiet("")
	w, err := e.in("apps/v1", "Deployment", e.ns).Watch(t.Context(), metav1.ListOptions{
		ResourceVersion: e.get("apps/v1", "Deployment", "web").GetResourceVersion(), FieldSelector: "metadata.name=web"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()

	e.commit(map[string]string{"apps/APP/web.yaml": strings.Replace(server, "web:1", "web:2", 1)})
	e.waitDeployment("web", "web:2")
	e.setImage("evil:1")
	e.waitDeployment("web", "web:2")
	e.patch("kube-controller-manager", "apps/v1", "Deployment", "web", `{"spec": {"replicas": 6}}`)
	e.setImage("evil:2")
	e.waitDeployment("web", "web:2")
	e.commit(map[string]string{"apps/APP/web.yaml": strings.Replace(server, "web:1", "web:3", 1)})
	e.waitDeployment("web", "web:3")

	last := e.get("apps/v1", "Deployment", "web").GetResourceVersion()
	var seen []string
	for event := range w.ResultChan() {
		u, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			t.Fatalf("watch: %v", event)
		}
		n, _, err := unstructured.NestedInt64(u.Object, "spec", "replicas")
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, fmt.Sprint(n))
		if u.GetResourceVersion() == last {
			break
		}
	}
	if got := slices.Compact(seen); !slices.Equal(got, []string{"4", "6"}) {
		t.Errorf("replicas went through %v", seen)
	}
}

// Objects that another tool applied are adopted: what that tool had declared and Git has not goes, be it
// that the tool wrote with updates or with server-side apply. A restart of a rollout is not undone.
func TestFieldsOfTheToolBeforeUsGo(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	managers := map[string]bool{ // whether it applies server-side
		"kubectl-client-side-apply": false, "helm": false, "helm-server": true, "kustomize-controller": true, "argocd-controller": true, "argocd-old": false, "kubectl": true,
	}
	names := map[string]string{"helm-server": "helm", "argocd-old": "argocd-controller"}
	files := map[string]string{}
	for m, apply := range managers {
		manager := m
		if n := names[m]; n != "" {
			manager = n
		}
		manifest := strings.ReplaceAll(strings.Replace(server, "      volumes", "      priorityClassName: old\n      volumes", 1), "name: web,", "name: "+m+",")
		manifest = strings.Replace(manifest, "spec:\n", "spec:\n  replicas: 5\n", 1)
		files[m+".yaml"] = strings.Replace(server, "name: web,", "name: "+m+",", 1)
		switch {
		case apply:
			e.applyAs(manager, manifest)
		case m == "kubectl-client-side-apply":
			e.applyClientSide(manifest)
		default:
			u := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(e.fill(manifest)), &u.Object); err != nil {
				t.Fatal(err)
			}
			if _, err := e.in("apps/v1", "Deployment", e.ns).Create(t.Context(), u, metav1.CreateOptions{FieldManager: manager}); err != nil {
				t.Fatal(err)
			}
		}
		e.patch("kubectl-rollout", "apps/v1", "Deployment", m,
			`{"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}}}}}`)
	}
	e.app("", files)
	e.start()
	for m := range managers {
		e.waitValue("", "apps/v1", "Deployment", m, "spec", "template", "spec", "priorityClassName")
		e.waitValue(e.instance, "apps/v1", "Deployment", m, "metadata", "labels", "holdfast.dev/instance")
		if got := e.value("apps/v1", "Deployment", m, "spec", "template", "metadata", "annotations"); got != "map[kubectl.kubernetes.io/restartedAt:2026-01-01T00:00:00Z]" {
			t.Errorf("%s: annotations %s", m, got)
		}
		if got := e.value("apps/v1", "Deployment", m, "spec", "replicas"); got != "5" { // which Git leaves out
			t.Errorf("%s: %s replicas", m, got)
		}
	}
	// A restart later on is nobody's drift either.
	mark := e.mark()
	e.patch("kubectl-rollout", "apps/v1", "Deployment", "helm",
		`{"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-02-02T00:00:00Z"}}}}}`)
	e.jsonPatch("kubectl-set", "apps/v1", "Deployment", "helm", `[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "evil:1"}]`)
	e.waitDeployment("helm", "web:1")
	if got := e.value("apps/v1", "Deployment", "helm", "spec", "template", "metadata", "annotations"); !strings.Contains(got, "2026-02-02") {
		t.Errorf("restarted at %s after the repair (%v)", got, e.written(mark))
	}
}

// Strict: what a person adds is removed again, what a controller adds is not.
func TestStrictRemovesWhatPeopleAdd(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	log := e.captureLog(zerolog.InfoLevel)
	e.app("drift: {mode: Strict}", map[string]string{"web.yaml": server, "a.yaml": configMap("a", "1")})
	e.start()
	e.waitDeployment("web", "web:1")
	e.waitQuiet("")
	good := e.web()
	e.jsonPatch("injector", "apps/v1", "Deployment", "web", `[{"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "sidecar", "image": "s:1"}}]`)
	e.jsonPatch("kubectl-edit", "apps/v1", "Deployment", "web", `[
		{"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "debug", "image": "d:1"}},
		{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "DEBUG", "value": "1"}},
		{"op": "add", "path": "/metadata/labels/debugged", "value": "yes"}]`)
	e.patch("kubectl-edit", "v1", "ConfigMap", "a", `{"data": {"more": "x"}}`)
	e.waitValue("map[key:1]", "v1", "ConfigMap", "a", "data")
	e.eventually("Deployment", func() string {
		if got := e.web(); got != strings.Replace(good, "1web:1", "2web:1", 1) { // with the injected container
			return got
		}
		return ""
	})
	if got := e.value("apps/v1", "Deployment", "web", "metadata", "labels"); strings.Contains(got, "debugged") {
		t.Errorf("labels %s", got)
	}
	e.waitEvent("DriftCorrected", e.ns+"/a", "kubectl-edit", ": .data.more")
	e.waitEvent("DriftCorrected", e.ns+"/web", "kubectl-edit", `containers[name="debug"]`)
	e.waitLog(log, "drift corrected", "kubectl-edit", ".data.more")
	// Nothing is left to be taken over: the repairs have ended.
	e.waitQuiet("")
	e.waitCorrected(2)
}

// Detect: what drifted is told and left as it is.
func TestDetectLeavesDrift(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.waitReadyAt(e.startAt(e.app("drift: {mode: Detect}", map[string]string{
		"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1"), "c.yaml": configMap("c", "1")})))
	e.waitQuiet("")
	mark := e.mark()
	e.patch("kubectl-edit", "v1", "ConfigMap", "a", `{"data": {"key": "2"}}`)
	e.delete("v1", "ConfigMap", "b")
	e.waitEvent("DriftDetected", e.ns+"/a", "kubectl-edit", ".data.key")
	e.waitEvent("DriftDetected", e.ns+"/b")
	e.eventually("AppStatus tells of the drift", func() string {
		c := e.status("").condition("Ready")
		if c.Status == "False" && containsAll(c.Message, []string{"a", "drifted"}) {
			return ""
		}
		return c.Message
	})
	e.commit(map[string]string{"apps/APP/c.yaml": configMap("c", "2")}) // Git's changes still count
	e.waitValue("2", "v1", "ConfigMap", "c", "data", "key")
	e.eventually("requests", func() string { // the server records one after it has taken effect
		if got, want := e.written(mark), e.fill("[patch configmaps NS/c]"); fmt.Sprint(got) != want {
			return fmt.Sprintf("%v, want %v", got, want)
		}
		return ""
	})
	if got := e.value("v1", "ConfigMap", "a", "data", "key"); got != "2" {
		t.Errorf("a is %q", got)
	}
}

// mostRepairs is how many repairs of one object a fight since then may have cost: six at once, then one in ten
// seconds.
func mostRepairs(since time.Time) int { return 7 + int(time.Since(since)/(10*time.Second)) }

// Somebody who overwrites a field ten times a second is reported by name, and answered at a bounded rate,
// while everything else is repaired at once.
func TestFightIsBounded(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.waitReadyAt(e.startAt(e.app("", map[string]string{"a.yaml": configMap("a", "1"), "marker.yaml": configMap("marker", "1")})))
	e.waitQuiet("")
	mark, since := e.mark(), time.Now()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	writes := 0
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		var err error
		for i := 0; err == nil; i++ {
			select {
			case <-ctx.Done():
				done <- nil
				return
			case <-tick.C:
			}
			_, err = e.in("v1", "ConfigMap", e.ns).Patch(context.Background(), "a", types.MergePatchType,
				fmt.Appendf(nil, `{"data": {"key": "mine %d"}}`, i), metav1.PatchOptions{FieldManager: "rival"})
			writes++
		}
		done <- err
	}()
	e.waitEvent("Fight", e.ns+"/a", "rival")
	e.waitErrors("", e.ns+"/a", "overwriting", "rival")
	e.markerHealed()
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := e.unmarked(mark); len(got) > mostRepairs(since) {
		t.Errorf("%d requests in %s against %d writes: %v", len(got), time.Since(since), writes, got)
	}
	e.waitValue("1", "v1", "ConfigMap", "a", "data", "key")
}

// An admission policy that takes our label off again, each time, is a fight too: told, and bounded.
func TestAdmissionThatUndoesRepairs(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.waitReadyAt(e.startAt(e.app("", map[string]string{"a.yaml": configMap("a", "1"), "marker.yaml": configMap("marker", "1")})))
	e.waitQuiet("")
	e.apply(`apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: APP-undo}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps], resourceNames: [a]}]
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >
        has(object.metadata.labels) && 'holdfast.dev/instance' in object.metadata.labels
        ? [JSONPatch{op: 'remove', path: '/metadata/labels/' + jsonpatch.escapeKey('holdfast.dev/instance')}] : []
`)
	e.apply(`apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: APP-undo}
spec: {policyName: APP-undo}
`)
	t.Cleanup(func() {
		e.delete("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding", "APP-undo")
		e.delete("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy", "APP-undo")
	})
	mark, since := e.mark(), time.Now()
	e.eventually("the policy is in force", func() string {
		e.patch("somebody", "v1", "ConfigMap", "a", `{"data": {"other": "x"}}`)
		return e.value("v1", "ConfigMap", "a", "metadata", "labels", "holdfast.dev/instance")
	})
	e.waitErrors("", e.ns+"/a", "keeps overwriting")
	e.markerHealed()
	if got := e.unmarked(mark); len(got) > mostRepairs(since) {
		t.Errorf("%d requests in %s: %v", len(got), time.Since(since), got)
	}
}

// A dry run tells of no change to a field that is left to others.
func TestDryRunLeavesIgnoredFields(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.app("drift: {ignore: [{kind: Deployment, name: web, fields: [/spec/replicas]}]}", map[string]string{
		"web.yaml": strings.Replace(withReplicas(3), "web:1", "web:2", 1)})
	e.applyClientSide(withReplicas(3))
	e.patch("autoscaler", "apps/v1", "Deployment", "web", `{"spec": {"replicas": 9}}`)
	var plan strings.Builder
	e.with(func(o *agent.Options) { o.DryRun, o.Out = true, &plan })
	if err := agent.Run(t.Context(), e.agentOptions()); err != nil {
		t.Logf("dry run: %v", err)
	}
	if got := plan.String(); !strings.Contains(got, "image") || strings.Contains(got, "replicas") {
		t.Errorf("the plan:\n%s", got)
	}
	if got := e.replicas(); got != "9" {
		t.Errorf("%s replicas", got)
	}
}
