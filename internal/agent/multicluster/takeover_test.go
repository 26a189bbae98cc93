package multicluster_test

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// sixReplicas is the spec of an app whose six replicas are divided.
const sixReplicas = "replicas: {total: 6}, failover: {soak: 1s}"

// Two of six replicas are on each of three clusters.
func divided(f *fleet) {
	f.waitDeployed("web:1 x2, 2 ready", "web:1 x2, 2 ready", "web:1 x2, 2 ready")
}

// A takeover that never becomes healthy: the drained cluster keeps serving and says why; it goes on healing, also
// after a restart and without Git; a commit in between changes nothing. When the others have recovered, it goes. It runs
// beside no other test, since it takes a cluster's nodes away.
func TestABrokenTakeoverHoldsTheDrain(t *testing.T) {
	f := newFleet(t, "a", "b", "c")
	f.options = func(_ string, o *agent.Options) { o.Heartbeat = 5 * time.Second }
	f.commit(f.app(sixReplicas, "1"))
	f.start()
	divided(f)
	stop := f.sample(f.ready)
	f.cordon("c", true)
	t.Cleanup(func() { f.cordon("c", false) })
	f.commit(drain("a"))
	f.waitHeld("a", status.GateTakeoverHealthy, "keeps running here until the others have taken over", "c has 2 of its 3 replicas ready")
	f.waitDeployed("web:1 x2, 2 ready", "web:1 x3, 3 ready", "web:1 x3, 2 ready")

	f.commit(map[string]string{"README.md": "Nothing of this is about the app."})
	f.stop("a")
	must(t, f.server.Stop())
	f.start("a")
	scale(f, "a", 1)
	f.waitDeployed("web:1 x2, 2 ready", "web:1 x3, 3 ready", "web:1 x3, 2 ready")
	f.waitHeld("a", status.GateTakeoverHealthy, "status reports cannot be read")
	must(t, f.server.Resume())
	f.waitHeld("a", status.GateTakeoverHealthy, "c has 2 of its 3 replicas ready")

	f.cordon("c", false)
	f.waitDeployed("", "web:1 x3, 3 ready", "web:1 x3, 3 ready")
	f.neverBelow(5, stop()) // one was taken away by hand, and came back
}

// scale changes the Deployment's replicas by hand.
func scale(f *fleet, name string, replicas int) {
	f.t.Helper()
	_, err := f.sites[name].clients.Kubernetes.AppsV1().Deployments(f.ns).Patch(context.Background(), "web", types.MergePatchType,
		[]byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{FieldManager: "kubectl-edit"})
	must(f.t, err)
}

// Six replicas over three clusters. A region is drained and comes back, one line of Git each: the others rise first,
// and at no moment are fewer than six ready.
func TestDrainAndRestore(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b", "c")
	f.commit(f.app(sixReplicas, "1"))
	f.start()
	divided(f)
	stop := f.sample(f.ready)
	f.commit(drain("a"))
	f.waitDeployed("", "web:1 x3, 3 ready", "web:1 x3, 3 ready")
	f.commit(settings(""))
	divided(f)
	for _, name := range f.names {
		f.waitFree(name)
	}
	f.neverBelow(6, stop())
}

// One drain after the other, before the first is through, and then one that leaves nobody.
func TestDrainsOneAfterAnother(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b", "c")
	f.commit(f.app(sixReplicas, "1"))
	f.start()
	divided(f)
	stop := f.sample(f.ready)
	f.commit(drain("a"))
	f.commit(drain("b"))
	f.waitDeployed("web:1 x3, 3 ready", "", "web:1 x3, 3 ready")
	f.commit(drain("a", "b"))
	f.waitDeployed("", "", "web:1 x6, 6 ready")
	f.commit(drain("a", "b", "c"))
	f.waitHeld("c", status.GateTakeoverHealthy, "no cluster is left to take it over", "force: true")
	f.commit(settings(""))
	divided(f)
	f.neverBelow(6, stop())
}

// A cluster that is frozen takes its share over, with the content that it has.
func TestDrainOntoFrozenClusters(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b")
	f.commit(f.app(sixReplicas, "1"))
	f.start()
	f.waitDeployed("web:1 x3, 3 ready", "web:1 x3, 3 ready")
	stop := f.sample(f.ready)
	f.commit(f.app(sixReplicas, "2"), settings("freeze: [{clusterSelector: {}, reason: quarter end}], drain: [{clusterSelector: {matchLabels: {name: a}}}]"))
	f.waitDeployed("", "web:1 x6, 6 ready")
	f.waitHeld("b", status.GateFreeze, "quarter end")
	f.neverBelow(6, stop())
	f.commit(settings(""))
	f.waitDeployed("web:2 x3, 3 ready", "web:2 x3, 3 ready")
}

// What a person asks for at once happens at once, whatever the others say: a forced drain, and an app that is gone
// from Git. Neither cluster b is there to be asked, nor anybody at all.
func TestWhatDoesNotWait(t *testing.T) {
	t.Parallel()
	t.Run("a forced drain", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, "a", "b")
		f.commit(f.app(sixReplicas, "1"))
		f.start("a")
		f.waitDeployed("web:1 x3, 3 ready", "")
		f.commit(drain("a"))
		f.waitHeld("a", status.GateTakeoverHealthy, "b has never reported", "force: true")
		f.commit(forceDrain("a"))
		f.waitDeployed("", "")
	})
	t.Run("an app that is gone from Git", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, "a", "b")
		f.commit(f.app(sixReplicas, "1"), map[string]string{
			"apps/other/app.yaml":           head + "kind: App\nmetadata: {name: " + f.id + "-other}\n",
			"apps/other/kustomization.yaml": "resources: [a.yaml]\n",
			"apps/other/a.yaml":             "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: " + f.ns + "}\n",
		})
		f.start("a")
		f.waitDeployed("web:1 x3, 3 ready", "")
		f.commit(map[string]string{"apps/web/app.yaml": "", "apps/web/kustomization.yaml": "", "apps/web/web.yaml": ""})
		f.waitDeployed("", "")
	})
	t.Run("a takeover by a cluster that is Lost", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, "a", "b", "c")
		f.commit(f.app(sixReplicas, "1"))
		f.start("a", "c")
		f.waitDeployed("web:1 x2, 2 ready", "", "web:1 x2, 2 ready")
		f.commit(drain("a"))
		f.waitHeld("a", status.GateTakeoverHealthy, "b has never reported", "Lost")
		f.commit(clusterFile("b", "state: Lost"))
		f.waitDeployed("", "", "web:1 x6, 6 ready")
	})
}
