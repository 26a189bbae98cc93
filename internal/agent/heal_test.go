package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/localcluster"
	"github.com/holdfast-dev/holdfast/localcluster/localclustertest"
)

// healed edits and deletes ConfigMaps of which the first has the value, and waits until all is as it was.
func (e *env) healed(value, edited, deleted string) {
	e.t.Helper()
	e.patch("kubectl-edit", "v1", "ConfigMap", edited, `{"data": {"key": "drifted"}}`)
	e.delete("v1", "ConfigMap", deleted)
	e.waitValue(value, "v1", "ConfigMap", edited, "data", "key")
	e.waitValue(value, "v1", "ConfigMap", deleted, "data", "key")
}

// Nothing that goes wrong, or waits, keeps the agent from repairing what is known to be right.
func TestHealingNeverPauses(t *testing.T) {
	files := func(value string) map[string]string {
		return map[string]string{"a.yaml": configMap("a", value), "b.yaml": configMap("b", value)}
	}
	const fleetYAML = "apiVersion: holdfast.dev/v1alpha1\nkind: Fleet\nmetadata: {name: acme}\nspec: "

	t.Run("while an apply waits for health", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, bare.Cluster(t))
		waits := strings.Replace(configMap("waits", "1"), "namespace: NS", "namespace: NS, annotations: {config.kubernetes.io/depends-on: apps/namespaces/NS/Deployment/web}", 1)
		manifests := files("1")
		manifests["web.yaml"], manifests["waits.yaml"] = server, waits
		e.app("", manifests)
		e.start()
		e.waitDeployment("web", "web:1")
		e.waitValue("1", "v1", "ConfigMap", "a", "data", "key")
		e.waitValue("1", "v1", "ConfigMap", "b", "data", "key")
		e.healed("1", "a", "b")
		e.setImage("evil:1") // also that which it waits for
		e.waitDeployment("web", "web:1")
		if e.get("v1", "ConfigMap", "waits") != nil {
			t.Error("the apply did not wait")
		}
	})
	t.Run("while the newest commit is broken", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, bare.Cluster(t))
		e.waitReadyAt(e.startAt(e.app("", files("1"))))
		e.commit(map[string]string{"apps/APP/a.yaml": "{broken", "apps/APP/b.yaml": configMap("b", "2")})
		e.waitErrors("", "a.yaml")
		e.healed("1", "a", "b")
		e.commit(map[string]string{"apps/APP/app.yaml": "kind: Nonsense\n"})
		e.waitErrors("", "app.yaml")
		e.healed("1", "b", "a")
		e.commit(map[string]string{"fleet.yaml": "{broken"})
		e.waitErrors("", "fleet.yaml")
		e.healed("1", "a", "b")
	})
	t.Run("while Git is down, after a restart too", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, bare.Cluster(t))
		log := e.captureLog(zerolog.InfoLevel)
		e.waitReadyAt(e.startAt(e.app("", files("1"))))
		e.server.AddFault(gittest.Fault{Status: http.StatusServiceUnavailable})
		e.waitLog(log, "fetch failed")
		e.healed("1", "a", "b")
		e.stop()
		e.patch("kubectl-edit", "v1", "ConfigMap", "a", `{"data": {"key": "drifted"}}`)
		e.start()
		e.waitValue("1", "v1", "ConfigMap", "a", "data", "key")
		e.healed("1", "b", "a")
	})
	t.Run("while frozen", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t, bare.Cluster(t))
		e.waitReadyAt(e.startAt(e.app("", files("1"))))
		e.commit(map[string]string{"fleet.yaml": fleetYAML + "{freeze: [{clusterSelector: {matchLabels: {env: prod}}, reason: audit}]}\n",
			"apps/APP/a.yaml": configMap("a", "2"), "apps/APP/b.yaml": configMap("b", "2")})
		e.waitHeld("", "Freeze", "audit")
		e.healed("1", "a", "b")
		e.commit(map[string]string{"fleet.yaml": fleetYAML + "{}\n"})
		e.waitValue("2", "v1", "ConfigMap", "a", "data", "key")
		e.waitValue("2", "v1", "ConfigMap", "b", "data", "key")
	})
}

// What happened while the agent was stopped is undone when it starts: each object that drifted costs one
// PATCH, the others none, and each kind is listed once at most.
func TestRestartRepairsOnlyWhatDrifted(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	files := map[string]string{"web.yaml": server,
		"login.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: login, namespace: NS}\nstringData: {password: hunter2}\n"}
	for i := range 10 {
		files[fmt.Sprintf("c%d.yaml", i)] = configMap(fmt.Sprintf("c%d", i), "1")
	}
	e.app("", files)
	e.start()
	e.waitDeployment("web", "web:1")
	e.makeReady("web")
	e.waitReady("")
	e.waitQuiet("")
	e.stop()

	e.patch("kubectl-edit", "v1", "ConfigMap", "c3", `{"data": {"key": "drifted"}}`)
	e.delete("v1", "ConfigMap", "c5")
	e.patch("kubectl-label", "v1", "ConfigMap", "c7", `{"metadata": {"labels": {"holdfast.dev/instance": null}}}`)
	e.patch("team", "v1", "ConfigMap", "c8", `{"metadata": {"labels": {"team": "core"}}}`)
	e.setImage("evil:1")
	mark := e.mark()
	e.start()
	e.waitValue("1", "v1", "ConfigMap", "c3", "data", "key")
	e.waitValue("1", "v1", "ConfigMap", "c5", "data", "key")
	e.waitValue(e.instance, "v1", "ConfigMap", "c7", "metadata", "labels", "holdfast.dev/instance")
	e.waitDeployment("web", "web:1")
	e.waitQuiet("")

	lists := map[string]int{}
	var patches []string
	for _, r := range e.written(mark) {
		verb, rest, _ := strings.Cut(r, " ")
		switch {
		case verb == "list":
			lists[rest]++
		case strings.Contains(rest, e.ns+"/"):
			patches = append(patches, r)
		}
	}
	slices.Sort(patches)
	want := e.fill("[patch configmaps NS/c3 patch configmaps NS/c5 patch configmaps NS/c7 patch deployments NS/web]")
	if fmt.Sprint(patches) != want {
		t.Errorf("requests %v, want %v", patches, want)
	}
	for what, n := range lists {
		if n > 1 {
			t.Errorf("%s was listed %d times", what, n)
		}
	}
	streams, err := e.cluster.Requests(mark)
	if err != nil {
		t.Fatal(err)
	}
	watches := map[string]int{}
	for _, r := range streams {
		if r.UserAgent == "holdfast/"+e.id && r.Verb == "watch" {
			watches[r.Resource.Resource]++
		}
	}
	for what, n := range watches {
		if n > 1 {
			t.Errorf("%s was watched %d times", what, n)
		}
	}
}

// A suspended app is neither changed nor healed, and says so.
func TestSuspendedAppIsLeftAlone(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	files := map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1"), "c.yaml": configMap("c", "1")}
	e.waitReadyAt(e.startAt(e.app("", files)))
	marker := strings.Replace(appYAML(""), "name: APP", "name: APP-marker", 1)
	e.commit(appFiles("apps/marker", marker, map[string]string{"m.yaml": configMap("marker", "1")}))
	e.waitValue("1", "v1", "ConfigMap", "marker", "data", "key")

	files["a.yaml"] = configMap("a", "2")
	delete(files, "c.yaml")
	e.app("suspend: true", files)
	e.eventually("AppStatus says that it is suspended", func() string {
		ready, stalled := e.status("").condition("Ready"), e.status("").condition("Stalled")
		if ready.Status == "False" && ready.Reason == "Suspended" && stalled.Status == "True" && strings.Contains(ready.Message, "suspended in Git") {
			return ""
		}
		return fmt.Sprintf("%+v %+v", ready, stalled)
	})
	e.waitEvent("Suspended", "suspended in Git")
	e.waitQuiet("")
	mark := e.mark()
	e.patch("kubectl-edit", "v1", "ConfigMap", "b", `{"data": {"key": "drifted"}}`)
	e.delete("v1", "ConfigMap", "a")
	e.markerHealed()
	if got := e.unmarked(mark); len(got) > 0 {
		t.Errorf("requests: %v", got)
	}
	if e.get("v1", "ConfigMap", "c") == nil {
		t.Error("c was pruned")
	}
	e.app("", files)
	e.waitValue("1", "v1", "ConfigMap", "b", "data", "key")
	e.waitValue("2", "v1", "ConfigMap", "a", "data", "key")
	e.waitGone("v1", "ConfigMap", "c")
	e.waitEvent("Resumed")
}

// holdfast.dev/reconcile: disabled, in Git or on the live object, leaves the object alone, whatever happens to it
// and whatever Git says; the rest of the app is Ready.
func TestReconcileDisabled(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	annotated := strings.Replace(configMap("git", "1"), "namespace: NS", "namespace: NS, annotations: {holdfast.dev/reconcile: disabled}", 1)
	e.waitReadyAt(e.startAt(e.app("", map[string]string{
		"git.yaml": annotated, "live.yaml": configMap("live", "1"), "marker.yaml": configMap("marker", "1")})))
	e.waitValue("1", "v1", "ConfigMap", "git", "data", "key") // it is created
	e.patch("operator", "v1", "ConfigMap", "live", `{"metadata": {"annotations": {"holdfast.dev/reconcile": "disabled"}}}`)
	e.markerHealed()
	e.waitQuiet("")
	mark := e.mark()
	for _, name := range []string{"git", "live"} {
		e.patch("operator", "v1", "ConfigMap", name, `{"data": {"key": "mine"}}`)
	}
	e.markerHealed()
	sha := e.commit(map[string]string{
		"apps/APP/git.yaml": strings.Replace(annotated, `"1"`, `"2"`, 1), "apps/APP/live.yaml": configMap("live", "2"), "apps/APP/marker.yaml": configMap("marker", "2")})
	e.waitValue("2", "v1", "ConfigMap", "marker", "data", "key")
	e.waitReady(sha)
	if got := e.unmarked(mark); len(got) > 0 {
		t.Errorf("requests: %v", got)
	}
	for _, name := range []string{"git", "live"} {
		if got := e.value("v1", "ConfigMap", name, "data", "key"); got != "mine" {
			t.Errorf("%s is %q", name, got)
		}
	}
	e.patch("operator", "v1", "ConfigMap", "live", `{"metadata": {"annotations": {"holdfast.dev/reconcile": null}}}`)
	e.waitValue("2", "v1", "ConfigMap", "live", "data", "key")
}

// A change of what is ignored is no drift: the object is applied once, nothing is reported, and what is no
// longer ignored is put back.
func TestOtherFieldsIgnored(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	log := e.captureLog(zerolog.InfoLevel)
	e.app("", map[string]string{"web.yaml": withReplicas(3), "marker.yaml": configMap("marker", "1")})
	e.start()
	e.waitDeployment("web", "web:1")
	e.waitQuiet("")
	mark := e.mark()
	e.commit(map[string]string{"apps/APP/app.yaml": appYAML("drift: {ignore: [{kind: Deployment, fields: [/spec/replicas]}]}")})
	e.eventually("the object is applied", func() string {
		if got := e.unmarked(mark); !slices.Contains(got, e.fill("patch deployments NS/web")) {
			return fmt.Sprint(got)
		}
		return ""
	})
	e.patch("autoscaler", "apps/v1", "Deployment", "web", `{"spec": {"replicas": 9}}`)
	e.waitQuiet("")
	e.markerHealed()
	patches := slices.DeleteFunc(e.unmarked(mark), func(r string) bool { return !strings.HasPrefix(r, "patch") })
	if len(patches) != 1 {
		t.Errorf("requests: %v", patches)
	}
	if got := e.replicas(); got != "9" {
		t.Errorf("replicas is %s", got)
	}
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "drift corrected") && !strings.Contains(line, `"marker"`) {
			t.Errorf("reported: %s", line)
		}
	}
	e.commit(map[string]string{"apps/APP/app.yaml": appYAML("")})
	e.waitValue("3", "apps/v1", "Deployment", "web", "spec", "replicas")
}

// On a cluster with controllers.
func TestDriftAmongControllers(t *testing.T) {
	t.Parallel()
	cluster := localclustertest.Start(t, localcluster.Options{Nodes: localcluster.ZonalNodes("drift", 1)})
	t.Run("are not fought", func(t *testing.T) { controllersAreNotFought(t, cluster) })
	t.Run("delete a whole namespace", func(t *testing.T) { namespaceDeleted(t, cluster) })
}

// A namespace that somebody deletes, with all that is in it, comes back with all that was in it, soon after the
// last of it is gone.
func namespaceDeleted(t *testing.T, cluster *localcluster.Cluster) {
	t.Helper()
	e := newEnv(t, cluster)
	inside := func(s string) string { return strings.ReplaceAll(s, "NS", "APP-own") }
	e.waitReadyAt(e.startAt(e.app("", map[string]string{
		"ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: APP-own}\n",
		"a.yaml":  inside(configMap("a", "1")), "b.yaml": inside(configMap("b", "1")), "web.yaml": inside(server),
	})))
	namespaces := e.clients.Kubernetes.CoreV1().Namespaces()
	before, err := namespaces.Get(t.Context(), e.id+"-own", getOptions)
	if err != nil {
		t.Fatal(err)
	}
	if err := namespaces.Delete(t.Context(), e.id+"-own", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	e.eventually("all is back", func() string {
		now, err := namespaces.Get(t.Context(), e.id+"-own", getOptions)
		if err != nil || now.UID == before.UID {
			return "the namespace is not back"
		}
		for _, name := range []string{"a", "b"} {
			if _, err := e.clients.Kubernetes.CoreV1().ConfigMaps(now.Name).Get(t.Context(), name, getOptions); err != nil {
				return err.Error()
			}
		}
		return ""
	})
	e.eventually("Ready", func() string { // not before, since the last status may still be the old one
		if s := e.status(""); !s.ready() {
			return s.condition("Ready").Message + s.errors()
		}
		return ""
	})
}

// What controllers write into our objects is theirs. An aggregated ClusterRole gets its
// rules, a rollout its annotations and statuses, and none of it costs a request.
func controllersAreNotFought(t *testing.T, cluster *localcluster.Cluster) {
	t.Helper()
	e := newEnv(t, cluster)
	role := func(name, metadata, rest string) string {
		return fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: APP-%s%s}\n%s\n", name, metadata, rest)
	}
	const rule = "rules: [{apiGroups: [''], resources: [%s], verbs: [get]}]"
	selects := "aggregationRule: {clusterRoleSelectors: [{matchLabels: {APP/part: 'yes'}}]}\n"
	part := ", labels: {APP/part: 'yes'}"
	sha := e.app("", map[string]string{
		"all.yaml":   role("all", "", selects+"rules: []"),
		"stale.yaml": role("stale", "", selects+fmt.Sprintf(rule, "nodes")),
		"part.yaml":  role("part", part, fmt.Sprintf(rule, "pods")),
		"web.yaml":   server, "marker.yaml": configMap("marker", "1"),
	})
	e.start()
	e.waitReady(sha)
	aggregated := func(want string) {
		t.Helper()
		for _, name := range []string{"APP-all", "APP-stale"} {
			e.waitValue(want, "rbac.authorization.k8s.io/v1", "ClusterRole", name, "rules")
		}
	}
	pods := "map[apiGroups:[] resources:[pods] verbs:[get]]"
	aggregated("[" + pods + "]")
	e.waitQuiet("")
	mark := e.mark()

	e.apply(role("foreign", part, fmt.Sprintf(rule, "services")))
	both := func() string {
		return e.value("rbac.authorization.k8s.io/v1", "ClusterRole", "APP-all", "rules")
	}
	e.eventually("aggregated", func() string {
		if got := both(); !strings.Contains(got, "services") || !strings.Contains(got, "pods") {
			return got
		}
		return ""
	})
	e.patch("kubectl-edit", "rbac.authorization.k8s.io/v1", "ClusterRole", "APP-all", `{"rules": []}`)
	e.eventually("aggregated again", func() string {
		if got := both(); !strings.Contains(got, "services") {
			return got
		}
		return ""
	})
	if _, err := e.in("apps/v1", "Deployment", e.ns).Patch(t.Context(), "web", "application/merge-patch+json", []byte(`{"spec": {"replicas": 3}}`),
		metav1.PatchOptions{FieldManager: "autoscaler"}, "scale"); err != nil {
		t.Fatal(err)
	}
	e.patch("kubectl-rollout", "apps/v1", "Deployment", "web",
		`{"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}}}}}`)
	e.eventually("rolled out", func() string {
		u := e.get("apps/v1", "Deployment", "web")
		n, _, err := unstructured.NestedInt64(u.Object, "status", "availableReplicas")
		if err != nil {
			t.Fatal(err)
		}
		if seen := e.value("apps/v1", "Deployment", "web", "status", "observedGeneration"); n != 3 || seen != fmt.Sprint(u.GetGeneration()) {
			return fmt.Sprintf("%d available, generation %s of %d", n, seen, u.GetGeneration())
		}
		return ""
	})
	e.markerHealed()
	if got := e.unmarked(mark); len(got) > 0 {
		t.Errorf("requests: %v", got)
	}
	e.patch("intruder", "rbac.authorization.k8s.io/v1", "ClusterRole", "APP-part", `{"rules": []}`)
	e.waitValue("["+pods+"]", "rbac.authorization.k8s.io/v1", "ClusterRole", "APP-part", "rules")
	if err := e.clients.Kubernetes.RbacV1().ClusterRoles().Delete(context.Background(), e.id+"-foreign", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	aggregated("[" + pods + "]")
}
