package multicluster_test

import (
	"context"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// exclusive is the spec of an app that runs on one cluster, best on this one.
func exclusive(home string) string {
	return "placement: {clusters: 1, prefer: [{matchLabels: {name: " + home + "}}]}, failover: {gate: Exclusive}"
}

// An app that may run once stops before it starts elsewhere, there and back, and nobody else starts it meanwhile.
func TestExclusiveStopsBeforeItStarts(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b", "c")
	f.commit(f.app(exclusive("a"), "1"))
	stop := f.sample(f.running)
	f.start()
	f.waitDeployed("web:1 x1, 1 ready", "", "")
	f.commit(f.app(exclusive("b"), "1"))
	f.waitDeployed("", "web:1 x1, 1 ready", "")
	f.commit(f.app(exclusive("c"), "1"), drain("b"))
	f.waitDeployed("", "", "web:1 x1, 1 ready")
	f.commit(f.app(exclusive("a"), "1"), settings(""))
	f.waitDeployed("web:1 x1, 1 ready", "", "")
	w := stop()
	t.Logf("clusters with Pods of it: at most %d %v, in %d samples", w.Most, w.MostAt, w.Samples)
	if w.Most > 1 || w.Samples < 5 {
		t.Errorf("it ran on %d clusters at once: %v", w.Most, w.MostAt)
	}
}

// The cluster that has the app is cut off: for as long as it takes, nobody else starts it, whatever commits come. Only
// a person who declares it Lost ends the wait.
func TestExclusiveWaitsForADeadHolder(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b")
	f.options = func(_ string, o *agent.Options) { o.Heartbeat = 5 * time.Second }
	f.commit(f.app(exclusive("a"), "1"))
	f.start()
	f.waitDeployed("web:1 x1, 1 ready", "")
	stop := f.sample(f.running)
	f.waitReported("a")
	f.stop("a") // its Pods go on
	f.commit(f.app(exclusive("b"), "1"))
	f.waitHeld("b", status.GateExclusive, "a reported that it has", "set its state: Lost")
	f.stop("b")
	f.start("b")
	f.waitFollowed("b", f.commit(map[string]string{"README.md": "Nothing of this is about the app."}))
	f.waitHeld("b", status.GateExclusive, "a reported that it has")
	if w := stop(); w.Most != 1 {
		t.Errorf("it ran on %d clusters at once: %v (%d samples)", w.Most, w.MostAt, w.Samples)
	}
	f.waitDeployed("web:1 x1, 1 ready", "")
	f.commit(clusterFile("a", "state: Lost"))
	f.waitDeployed("web:1 x1, 1 ready", "web:1 x1, 1 ready") // as declared: a is not dead, and a person said that it is
	f.start("a")                                             // it was not: now it learns of it
	f.waitDeployed("", "web:1 x1, 1 ready")
}

// What keeps a workload from being deleted keeps others from starting it, and says so.
func TestExclusiveIsNotHandedOverWhileItIsKept(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b")
	f.commit(f.app(exclusive("a"), "1"))
	f.start()
	f.waitDeployed("web:1 x1, 1 ready", "")
	annotate(f, "a", map[string]string{"holdfast.dev/prune": "disabled"})
	f.commit(f.app(exclusive("b"), "1"))
	f.eventually("a says what is in the way", func() string {
		s := f.status("a")
		if s == nil || len(s.Errors) == 0 {
			return "nothing is said"
		}
		return ""
	})
	f.waitHeld("b", status.GateExclusive, "a reported that it has")
	annotate(f, "a", nil)
	f.waitDeployed("", "web:1 x1, 1 ready")
}

// annotate replaces the Deployment's own annotations.
func annotate(f *fleet, name string, annotations map[string]string) {
	f.t.Helper()
	deployments := f.sites[name].clients.Kubernetes.AppsV1().Deployments(f.ns)
	f.eventually("annotated", func() string {
		d, err := deployments.Get(context.Background(), "web", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		delete(d.Annotations, "holdfast.dev/prune")
		for k, v := range annotations {
			d.Annotations[k] = v
		}
		if _, err := deployments.Update(context.Background(), d, metav1.UpdateOptions{FieldManager: "kubectl-edit"}); err != nil {
			return err.Error()
		}
		return ""
	})
}

// While the cluster that has the app is still deleting it, a mistake in another file makes its placement unknown. It
// goes on saying that it has the app: one that starts the app after the mistake is mended must not take it for gone.
func TestExclusiveIsNotGoneWhilePlacementIsUnknown(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b")
	f.options = func(_ string, o *agent.Options) { o.Heartbeat = 5 * time.Second }
	f.commit(f.app(exclusive("a"), "1"))
	f.start()
	f.waitDeployed("web:1 x1, 1 ready", "")
	finalize(f, "a", `["example.com/slow"]`)
	moved := f.commit(f.app(exclusive("b"), "1"))
	f.eventually("a is deleting it", func() string {
		d, err := f.sites["a"].clients.Kubernetes.AppsV1().Deployments(f.ns).Get(context.Background(), "web", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if d.DeletionTimestamp == nil {
			return "not yet"
		}
		return ""
	})
	f.waitHeld("b", status.GateExclusive, "a reported that it has")
	f.stop("b")
	broken := f.commit(map[string]string{"clusters/c/cluster.yaml": head + "kind: Cluster\nmetadata: {name: c}\nspec: {wieght: 2}\n"})
	report := f.waitReport("a", func(r status.Report) bool { return r.Commit == broken })
	i := slices.IndexFunc(report.Apps, func(a status.App) bool { return a.Name == f.id })
	if i < 0 || report.Apps[i].Objects != 1 || report.Apps[i].Placement != moved {
		t.Errorf("a reports %+v", report.Apps)
	}
	f.stop("a")
	mended := f.commit(map[string]string{"clusters/c/cluster.yaml": ""})
	stop := f.sample(f.present)
	f.start("b")
	f.waitFollowed("b", mended)
	f.waitHeld("b", status.GateExclusive, "a reported that it has")
	f.start("a")
	f.waitFollowed("a", mended)
	if w := stop(); w.Most != 1 {
		t.Errorf("it was on %d clusters at once: %v (%d samples)", w.Most, w.MostAt, w.Samples)
	}
	finalize(f, "a", "null")
	f.waitDeployed("", "web:1 x1, 1 ready")
}

// finalize replaces the Deployment's finalizers, as JSON.
func finalize(f *fleet, name, finalizers string) {
	f.t.Helper()
	_, err := f.sites[name].clients.Kubernetes.AppsV1().Deployments(f.ns).Patch(context.Background(), "web", types.MergePatchType,
		[]byte(`{"metadata":{"finalizers":`+finalizers+`}}`), metav1.PatchOptions{FieldManager: "somebody"})
	must(f.t, err)
}
