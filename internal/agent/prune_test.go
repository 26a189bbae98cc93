package agent_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func fleetYAML(spec string) string {
	return "apiVersion: holdfast.dev/v1alpha1\nkind: Fleet\nmetadata: {name: f}\nspec: {" + spec + "}\n"
}

func permit(kinds string, until time.Time) string {
	s := "prune: {permit: [{app: APP, until: " + until.Format(time.RFC3339)
	if kinds != "" {
		s += ", kinds: [" + kinds + "]"
	}
	return fleetYAML(s + "}]}")
}

// many are n ConfigMaps c00, c01, ... by file name.
func many(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("c%02d.yaml", i)] = configMap(fmt.Sprintf("c%02d", i), "1")
	}
	return files
}

// A commit that removes everything deletes nothing: it is held, by name, also after a restart, until a permit;
// a permit whose date is past is none.
func TestBrakeHoldsTheLastObjects(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.waitReadyAt(e.startAt(e.app("", many(3))))
	mark := e.mark()
	e.commit(map[string]string{
		"apps/APP/app.yaml": "", "apps/APP/kustomization.yaml": "",
		"apps/APP/c00.yaml": "", "apps/APP/c01.yaml": "", "apps/APP/c02.yaml": "",
	})
	e.waitHeld("", "Prune", "ConfigMap/NS/c00", "ConfigMap/NS/c01", "ConfigMap/NS/c02", "permit")
	e.stop()
	sha := e.commit(map[string]string{"fleet.yaml": permit("", time.Now().Add(-time.Minute))})
	url := e.restart()
	e.waitFollows(url, sha)
	e.waitHeldAt(url, "", "Prune", "ConfigMap/NS/c00", "ConfigMap/NS/c01", "ConfigMap/NS/c02", "permit")
	e.waitQuiet("")
	e.noDeletions(mark)
	e.commit(map[string]string{"fleet.yaml": permit("", time.Now().Add(time.Hour))})
	e.waitGone("v1", "ConfigMap", "c00")
	e.waitGone("v1", "ConfigMap", "c01")
	e.waitGone("v1", "ConfigMap", "c02")
	e.waitInventory()
}

// A commit that removes more than the limit applies everything else and holds its deletions. What is
// deleted by hand, or put back, is held no more.
func TestBrakeOverTheLimit(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.commit(map[string]string{"fleet.yaml": fleetYAML("prune: {maxPercent: 50, minObjects: 4}")})
	e.waitReadyAt(e.startAt(e.app("", many(8))))
	mark := e.mark()
	files := map[string]string{"apps/APP/kustomization.yaml": kustomization("c00.yaml", "c01.yaml", "c02.yaml", "new.yaml"),
		"apps/APP/new.yaml": configMap("new", "1"), "apps/APP/c00.yaml": configMap("c00", "2")}
	e.commit(files)
	e.waitHeld("", "Prune", "c03", "c04", "c05", "c06", "c07", "permit")
	e.waitValue("1", "v1", "ConfigMap", "new", "data", "key")
	e.waitValue("2", "v1", "ConfigMap", "c00", "data", "key")
	e.noDeletions(mark)
	e.delete("v1", "ConfigMap", "c07")
	e.commit(map[string]string{"apps/APP/kustomization.yaml": kustomization("c00.yaml", "c01.yaml", "c02.yaml", "new.yaml", "c03.yaml")})
	e.waitInventory("c00", "c01", "c02", "c03", "c04", "c05", "c06", "new")
	e.eventually("held", func() string {
		if h := e.status("").held(); strings.Contains(h, "c03") || strings.Contains(h, "c07") || !strings.Contains(h, "c06") {
			return h
		}
		return ""
	})
	e.noDeletions(mark)
}

// Namespaces, definitions of kinds, and volume claims leave with nothing but a permit for their kind.
func TestProtectedKinds(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	sha := e.app("", map[string]string{
		"ns.yaml":  "apiVersion: v1\nkind: Namespace\nmetadata: {name: APP-own}\n",
		"crd.yaml": crd("Widget", "Namespaced"),
		"pvc.yaml": "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: NS}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n",
		"a.yaml":   configMap("a", "1"), "b.yaml": configMap("b", "1"),
	})
	e.start()
	e.waitInventory("APP-own", "widgets.APP.example.com", "data", "a", "b")
	e.eventually("applied", func() string {
		if s := e.status(""); s == nil || s.Status.Revision != sha || e.get("v1", "PersistentVolumeClaim", "data") == nil || e.value("v1", "ConfigMap", "b", "data", "key") != "1" {
			return "not yet"
		}
		return ""
	})
	e.commit(map[string]string{"apps/APP/kustomization.yaml": kustomization("b.yaml"), "fleet.yaml": permit("", time.Now().Add(time.Hour))})
	e.waitGone("v1", "ConfigMap", "a")
	e.waitHeld("", "Prune", "Namespace/APP-own", "CustomResourceDefinition/widgets.APP.example.com", "PersistentVolumeClaim/NS/data", "protected kind")
	e.waitInventory("APP-own", "widgets.APP.example.com", "data", "b")
	e.commit(map[string]string{"fleet.yaml": permit("CustomResourceDefinition", time.Now().Add(time.Hour))})
	e.waitInventory("APP-own", "data", "b")
	e.waitHeld("", "Namespace/APP-own", "PersistentVolumeClaim/NS/data")
}

// A drain empties the cluster without asking the brake; protected kinds stay and are reported.
func TestDrainKeepsProtectedKinds(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	files := many(12)
	files["ns.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: APP-own}\n"
	e.commit(map[string]string{"clusters/c2/cluster.yaml": clusterYAML("c2", "env: dev")})
	e.waitReadyAt(e.startAt(e.app("failover: {gate: None}", files)))
	e.commit(map[string]string{"fleet.yaml": fleetYAML("drain: [{clusterSelector: {matchLabels: {env: prod}}, reason: power}]")})
	e.waitInventory("APP-own")
	e.waitHeld("", "Prune", "Namespace/APP-own", "protected kind")
	e.waitGone("v1", "ConfigMap", "c00")
}

// A deletion that the server refuses is tried again until it is accepted, and one that finalizers hold
// back is waited for; until then the object stays in the inventory.
func TestRefusedDeletion(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.waitReadyAt(e.startAt(e.app("", map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1"), "c.yaml": configMap("c", "1")})))
	e.apply(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: APP-keep}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [DELETE]}]
  validations: [{expression: "oldObject.metadata.name != 'a'", message: "a has to stay"}]
`)
	e.apply("apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: APP-keep}\nspec: {policyName: APP-keep, validationActions: [Deny]}\n")
	e.eventually("the policy is in force", func() string {
		err := e.in("v1", "ConfigMap", e.ns).Delete(context.Background(), "a", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
			return ""
		}
		return fmt.Sprint(err)
	})
	e.patch("somebody", "v1", "ConfigMap", "b", `{"metadata": {"finalizers": ["example.com/hold"]}}`)
	e.commit(map[string]string{"apps/APP/a.yaml": "", "apps/APP/b.yaml": "", "apps/APP/kustomization.yaml": kustomization("c.yaml")})
	e.waitErrors("", "ConfigMap/NS/a", "a has to stay")
	e.eventually("b is being deleted", func() string {
		if e.get("v1", "ConfigMap", "b").GetDeletionTimestamp() == nil {
			return "it is not"
		}
		return ""
	})
	e.waitInventory("a", "b", "c")

	e.patch("somebody", "v1", "ConfigMap", "b", `{"metadata": {"finalizers": null}}`)
	e.waitInventory("a", "c")
	if err := e.in("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "").Delete(context.Background(), e.id+"-keep", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	e.waitInventory("c")
	e.waitGone("v1", "ConfigMap", "a")
	e.waitReady("")
}

// While an aggregated API is down, everything else is synced, and nothing of it is forgotten: not its
// objects that Git still has, and not those that Git dropped meanwhile. The agent starts then, too.
func TestAggregatedAPIDown(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.apply(crd("Widget", "Namespaced"))
	e.waitReadyAt(e.startAt(e.app("", map[string]string{
		"w1.yaml": custom("Widget", "name: w1, namespace: NS"), "w2.yaml": custom("Widget", "name: w2, namespace: NS"),
		"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1"),
	})))
	widgets := e.in(e.id+".example.com/v1", "Widget", e.ns)
	service := "v1." + e.id + ".example.com"
	e.patch("somebody", "apiregistration.k8s.io/v1", "APIService", service, `{"metadata": {"labels": {"kube-aggregator.kubernetes.io/automanaged": null}},
		"spec": {"service": {"name": "nowhere", "namespace": "NS"}, "insecureSkipTLSVerify": true}}`)
	e.eventually("the API is down", func() string {
		if _, err := widgets.Get(context.Background(), "w1", metav1.GetOptions{}); !apierrors.IsServiceUnavailable(err) {
			return fmt.Sprint(err)
		}
		return ""
	})
	e.commit(map[string]string{"apps/APP/a.yaml": configMap("a", "2"), "apps/APP/w2.yaml": "", "apps/APP/kustomization.yaml": kustomization("w1.yaml", "a.yaml", "b.yaml")})
	e.waitValue("2", "v1", "ConfigMap", "a", "data", "key")
	e.stop()
	e.start()
	e.commit(map[string]string{"apps/APP/a.yaml": configMap("a", "3")})
	e.waitValue("3", "v1", "ConfigMap", "a", "data", "key")
	e.waitInventory("a", "b", "w1", "w2")

	e.delete("apiregistration.k8s.io/v1", "APIService", service) // the server makes its own again
	e.waitInventory("a", "b", "w1")
	e.waitReady("")
	if _, err := widgets.Get(context.Background(), "w2", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("w2: %v", err)
	}
	if _, err := widgets.Get(context.Background(), "w1", metav1.GetOptions{}); err != nil {
		t.Errorf("w1: %v", err)
	}
}

// What a live annotation or another owner claims is never deleted; nor is what Git said to keep. It leaves
// the inventory, and the rest goes.
func TestClaimedObjectsAreKept(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	files := many(8)
	files["c05.yaml"] = annotated(configMap("c05", "1"), "holdfast.dev/prune: disabled")
	e.waitReadyAt(e.startAt(e.app("", files)))
	for name, patch := range map[string]string{
		"c01": `{"annotations": {"holdfast.dev/prune": "disabled"}}`,
		"c02": `{"annotations": {"argocd.argoproj.io/sync-options": "Validate=false,Prune=false"}}`,
		"c03": `{"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c00", "uid": "` + e.value("v1", "ConfigMap", "c00", "metadata", "uid") + `", "controller": true}]}`,
		"c06": `{"annotations": {"client.lifecycle.config.k8s.io/deletion": "detach"}}`,
	} {
		e.patch("somebody", "v1", "ConfigMap", name, `{"metadata": `+patch+`}`)
	}
	mark := e.mark()
	// Somebody takes over c04 by its label in the moment in which Git drops it; an agent that still
	// had the commit before would heal it.
	e.stop()
	e.dataDir = t.TempDir()
	e.patch("somebody", "v1", "ConfigMap", "c04", `{"metadata": {"labels": {"holdfast.dev/instance": "another"}}}`)
	e.commit(map[string]string{"apps/APP/kustomization.yaml": kustomization("c00.yaml")})
	e.start()
	e.waitInventory("c00")
	e.waitGone("v1", "ConfigMap", "c07")
	for i := 1; i <= 6; i++ {
		if e.get("v1", "ConfigMap", fmt.Sprintf("c%02d", i)) == nil {
			t.Errorf("c%02d was deleted", i)
		}
	}
	for _, r := range e.requests(mark) {
		if strings.HasPrefix(r, "delete") && !strings.HasSuffix(r, "/c07") {
			t.Errorf("the agent sent: %s", r)
		}
	}
}

// Two agents whose repositories declare the same object: the second says so and writes nothing, and
// neither deletes the other's.
func TestTwoInstances(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	second := newEnv(t, bare.Cluster(t))
	there := func(name, value string) string { return strings.Replace(configMap(name, value), "NS", e.ns, 1) }
	e.waitReadyAt(e.startAt(e.app("", map[string]string{"x.yaml": there("x", "first"), "y.yaml": there("y", "same"), "a.yaml": configMap("a", "1")})))
	mark := e.mark()
	second.app("", map[string]string{"x.yaml": there("x", "second"), "y.yaml": there("y", "same"), "b.yaml": configMap("b", "1")})
	second.start()
	second.waitErrors("", "ConfigMap/"+e.ns+"/x", "ConfigMap/"+e.ns+"/y", "belongs to app", e.id, e.instance)
	second.waitValue("1", "v1", "ConfigMap", "b", "data", "key")
	second.commit(map[string]string{"apps/APP/x.yaml": "", "apps/APP/y.yaml": "", "apps/APP/kustomization.yaml": kustomization("b.yaml")})
	second.waitInventory("b")
	second.waitReady("")
	second.noDeletions(mark)
	e.noDeletions(mark)
	if got := e.value("v1", "ConfigMap", "x", "data", "key"); got != "first" {
		t.Errorf("x is %q", got)
	}
	e.waitReady("")
}

// Two apps that declare the same object: the one that has it keeps it, the other says who has it.
func TestTwoAppsDeclareOneObject(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.waitReadyAt(e.startAt(e.app("", map[string]string{"x.yaml": configMap("x", "first")})))
	// By name the other would come first.
	other := strings.Replace(appYAML(""), "name: APP", "name: a-APP", 1)
	e.commit(appFiles("apps/other", other, map[string]string{"x.yaml": configMap("x", "second"), "y.yaml": configMap("y", "1")}))
	e.waitErrors("a-"+e.id, "ConfigMap/NS/x", `app "APP"`)
	e.waitValue("1", "v1", "ConfigMap", "y", "data", "key")
	if got := e.value("v1", "ConfigMap", "x", "data", "key"); got != "first" {
		t.Errorf("x is %q", got)
	}
	if !e.status("").ready() {
		t.Error("the app that has the object is not Ready")
	}
	e.commit(map[string]string{"apps/APP/x.yaml": configMap("z", "1")})
	e.waitValue("second", "v1", "ConfigMap", "x", "data", "key")
}

// The old object of a rename stays until the new one is Ready: over a restart, over further commits that do not
// make it Ready, and beyond the health timeout, when both are named.
func TestRenameWaitsForItsSuccessor(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.app("health: {timeout: 2s}", map[string]string{"d.yaml": deployment("old", "x:1"), "a.yaml": configMap("a", "1")})
	e.start()
	e.waitDeployment("old", "x:1")
	e.makeReady("old")
	e.waitReady("")
	mark := e.mark()
	e.commit(map[string]string{"apps/APP/d.yaml": deployment("new", "broken:2")})
	e.waitDeployment("new", "broken:2")
	e.waitHeld("", "Prune", "Deployment/NS/old", "Deployment/NS/new")
	e.waitHeldAt(e.restart(), "", "Prune", "Deployment/NS/old", "Deployment/NS/new")
	e.commit(map[string]string{"apps/APP/d.yaml": deployment("new", "broken:3")})
	e.waitDeployment("new", "broken:3")
	e.commit(map[string]string{"apps/APP/a.yaml": configMap("a", "2")})
	e.waitValue("2", "v1", "ConfigMap", "a", "data", "key")
	e.waitHeld("", "Prune", "Deployment/NS/old", "Deployment/NS/new")
	e.noDeletions(mark)
	e.makeReady("new")
	e.waitGone("apps/v1", "Deployment", "old")
	e.waitReady("")
}

// A renamed Service that keeps its nodePort cannot be created beside the old one: both are named. The
// annotation lets the old one go first.
func TestRenameWithTheSameNodePort(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	service := func(name string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: NS}\nspec: {type: NodePort, selector: {app: web}, ports: [{port: 80, nodePort: 30007}]}\n"
	}
	t.Cleanup(func() { // the port is the cluster's, and others use the cluster too
		err := e.clients.Kubernetes.CoreV1().Services(e.ns).Delete(context.Background(), "third", metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	e.waitReadyAt(e.startAt(e.app("health: {timeout: 2s}", map[string]string{"s.yaml": service("old"), "a.yaml": configMap("a", "1")})))
	e.commit(map[string]string{"apps/APP/s.yaml": service("new")})
	e.waitErrors("", "Service/NS/new", "already allocated")
	e.waitHeld("", "Prune", "Service/NS/old", "Service/NS/new")
	e.patch("somebody", "v1", "Service", "old", `{"metadata": {"annotations": {"holdfast.dev/prune": "first"}}}`)
	e.waitGone("v1", "Service", "old")
	e.waitReady("")
	e.waitInventory("a", "new")

	// Said in Git beforehand, it needs no hand.
	e.waitReady(e.commit(map[string]string{"apps/APP/s.yaml": annotated(service("new"), "holdfast.dev/prune: first")}))
	e.waitReady(e.commit(map[string]string{"apps/APP/s.yaml": service("third")}))
	e.waitInventory("a", "third")
}

// When this cluster's file is gone from the fleet, what runs here is healed, the loss is reported, and
// nothing is deleted.
func TestClusterFileDeleted(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.waitReadyAt(e.startAt(e.app("", map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})))
	mark := e.mark()
	e.commit(map[string]string{"clusters/c1/cluster.yaml": "", "apps/APP/b.yaml": "", "apps/APP/kustomization.yaml": kustomization("a.yaml")})
	e.waitErrors("", "clusters/c1/cluster.yaml is not there")
	e.patch("somebody", "v1", "ConfigMap", "a", `{"data": {"key": "changed"}}`)
	e.waitValue("1", "v1", "ConfigMap", "a", "data", "key")
	e.stop()
	e.dataDir = t.TempDir() // what the cluster remembers has to do
	e.waitErrorsAt(e.restart(), "", "clusters/c1/cluster.yaml is not there")
	e.delete("v1", "ConfigMap", "b")
	e.waitValue("1", "v1", "ConfigMap", "b", "data", "key")
	e.noDeletions(mark)
	e.waitInventory("a", "b")
}

// An object that Git goes on declaring under another API group is the same object: it is let go under the
// old group and not deleted.
func TestSameObjectUnderAnotherGroup(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	event := func(api, about, reporter string) string {
		return "apiVersion: " + api + "\nkind: Event\nmetadata: {name: note, namespace: NS}\n" +
			"eventTime: \"2026-01-01T00:00:00.000001Z\"\nreason: Note\naction: Note\ntype: Normal\n" +
			about + ": {apiVersion: v1, kind: Namespace, name: NS, namespace: NS}\n" + reporter + ": example.com/note\nreportingInstance: note-1\n"
	}
	e.waitReadyAt(e.startAt(e.app("", map[string]string{"e.yaml": event("v1", "involvedObject", "reportingComponent"), "a.yaml": configMap("a", "1")})))
	uid := e.value("v1", "Event", "note", "metadata", "uid")
	mark := e.mark()
	e.commit(map[string]string{"apps/APP/e.yaml": event("events.k8s.io/v1", "regarding", "reportingController")})
	e.eventually("the inventory has it under the new group only", func() string {
		keys := e.inventory()
		_, was := keys[e.ns+"_note__Event"]
		_, is := keys[e.ns+"_note_events.k8s.io_Event"]
		if was || !is {
			return fmt.Sprint(keys, e.status("").errors(), e.status("").held())
		}
		return ""
	})
	e.waitReady("")
	if got := e.value("v1", "Event", "note", "metadata", "uid"); got != uid {
		t.Errorf("uid was %s and is %q", uid, got)
	}
	all, err := e.cluster.Requests(mark)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Verb == "delete" && r.Namespace == e.ns {
			t.Errorf("somebody sent: %s", r)
		}
	}
}

// An app that may run on one cluster only is not let go of while it may go on running here: whoever took our label off
// a workload, or made it another's, has not stopped it. What runs nothing is.
func TestExclusiveIsNotLetGoOf(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.commit(map[string]string{"clusters/c2/cluster.yaml": clusterYAML("c2", "env: dev")})
	spec := func(env string) string {
		return "placement: {clusters: 1, prefer: [{matchLabels: {env: " + env + "}}]}, failover: {gate: Exclusive}"
	}
	deployment := func(name string) string {
		return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + ", namespace: NS}\nspec:\n  selector: {matchLabels: {app: " + name + "}}\n" +
			"  template: {metadata: {labels: {app: " + name + "}}, spec: {containers: [{name: web, image: web}]}}\n"
	}
	e.app(spec("prod"), map[string]string{"a.yaml": deployment("a"), "b.yaml": deployment("b"), "c.yaml": deployment("c"), "d.yaml": configMap("d", "1")})
	e.start()
	e.waitInventory("a", "b", "c", "d")
	for _, name := range []string{"a", "b", "c"} {
		e.waitDeployment(name, "web")
		e.makeReady(name)
	}
	e.waitReady("")
	e.stop()
	e.dataDir = t.TempDir() // nothing of the commit before is healed
	for _, name := range []string{"a", "d"} {
		kind, version := "Deployment", "apps/v1"
		if name == "d" {
			kind, version = "ConfigMap", "v1"
		}
		e.patch("somebody", version, kind, name, `{"metadata": {"labels": {"holdfast.dev/instance": null}}}`)
	}
	e.patch("somebody", "apps/v1", "Deployment", "b", `{"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "d", "uid": "`+
		e.value("v1", "ConfigMap", "d", "metadata", "uid")+`", "controller": true}]}}`)
	e.patch("somebody", "apps/v1", "Deployment", "c", `{"metadata": {"labels": {"holdfast.dev/instance": "another"}}}`)
	mark := e.mark()
	e.commit(map[string]string{"apps/APP/app.yaml": appYAML(spec("dev"))})
	e.start()
	e.waitErrors("", "Deployment/NS/a", "does not carry our label", "Deployment/NS/b", "controlled by ConfigMap d", "may go on running here")
	e.waitInventory("a", "b")
	e.eventually("two objects are reported", func() string {
		if s := e.status(""); s == nil || s.Status.Objects != 2 {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	e.noDeletions(mark)
	e.delete("apps/v1", "Deployment", "a")
	e.delete("apps/v1", "Deployment", "b")
	e.waitInventory()
}
