package agent_test

import (
	"context"
	"fmt"
	"maps"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/apply"
)

// An inventory of 10,000 objects is stored and read back as it was, in ConfigMaps far below etcd's limit;
// a change of one record is one small request.
func TestLargeInventory(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	ctx := t.Context()
	open := func() *apply.Inventory {
		return apply.NewInventory(e.clients.Kubernetes, e.ns, e.instance, "holdfast")
	}
	id := func(i int) object.ObjMetadata {
		return object.ObjMetadata{
			GroupKind: schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"},
			Namespace: "a-namespace-with-a-rather-long-name", Name: fmt.Sprintf("system:an-object:with-a-rather-long-name-%05d", i),
		}
	}
	const hash = "0123456789abcdef0123456789abcdef"
	want := map[object.ObjMetadata]apply.Record{}
	batch := apply.Batch{}
	for i := range 10_000 {
		r := apply.Record{App: "a-rather-long-app-name", Hash: hash, Fingerprint: hash, Current: true, Commit: hash + "01234567"}
		if i%100 == 0 {
			r.DependsOn = []string{id(i + 1).String()}
			r.Awaited = []string{hash}
		}
		want[id(i)], batch[id(i)] = r, &r
	}
	inv := open()
	if _, err := inv.Load(ctx); err != nil {
		t.Fatal(err)
	}
	inv.SetHead("c0ffee")
	if err := inv.Save(ctx, batch); err != nil {
		t.Fatal(err)
	}
	check := func(commit string) {
		t.Helper()
		got, err := open().Load(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got.Commit != commit {
			t.Errorf("commit is %q, want %q", got.Commit, commit)
		}
		same := func(a, b apply.Record) bool { return fmt.Sprint(a) == fmt.Sprint(b) }
		if !maps.EqualFunc(got.Records, want, same) {
			t.Errorf("%d records came back, not the %d that were stored", len(got.Records), len(want))
		}
	}
	check("c0ffee")
	list, err := e.clients.Kubernetes.CoreV1().ConfigMaps(e.ns).List(ctx, metav1.ListOptions{LabelSelector: "holdfast.dev/inventory=" + e.instance})
	if err != nil {
		t.Fatal(err)
	}
	const limit = 400_000 // etcd's is 1.5 MB
	for i := range list.Items {
		if n := list.Items[i].Size(); n > limit {
			t.Errorf("%s takes %d bytes", list.Items[i].Name, n)
		}
	}

	// One record changes, one goes, one comes: at most three ConfigMaps are written.
	mark := e.mark()
	changed := want[id(1)]
	changed.Current = false
	want[id(1)] = changed
	delete(want, id(2))
	want[id(20_000)] = apply.Record{App: "new"}
	added := want[id(20_000)]
	inv.SetHead("beef")
	if err := inv.Save(context.Background(), apply.Batch{id(1): &changed, id(2): nil, id(20_000): &added}); err != nil {
		t.Fatal(err)
	}
	check("beef")
	all, err := e.cluster.Requests(mark)
	if err != nil {
		t.Fatal(err)
	}
	writes := 0
	for _, r := range all {
		if r.Namespace == e.ns && r.Verb == "patch" {
			writes++
		}
	}
	if writes > 3 {
		t.Errorf("%d requests for three records", writes)
	}
}

// When somebody deletes the inventory, the agent that still knows it writes all of it again with the
// next change.
func TestInventoryDeletedByHand(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.waitQuiet(e.startAt(e.app("", many(5))))
	err := e.clients.Kubernetes.CoreV1().ConfigMaps(e.instance).DeleteCollection(t.Context(), metav1.DeleteOptions{},
		metav1.ListOptions{LabelSelector: "holdfast.dev/inventory"})
	if err != nil {
		t.Fatal(err)
	}
	e.waitInventory()
	e.commit(map[string]string{"apps/APP/c00.yaml": configMap("c00", "2")})
	e.waitInventory("c00", "c01", "c02", "c03", "c04")
}
