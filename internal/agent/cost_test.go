package agent_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The fleet of TestRequestsOfEachWorkload.
const (
	costApps    = 40
	costObjects = 4 * costApps
)

// costFiles are apps of a ConfigMap, a ServiceAccount, a Service and a Deployment without replicas.
func costFiles() map[string]string {
	files := map[string]string{}
	for i := range costApps {
		name := fmt.Sprintf("x%02d", i)
		maps.Copy(files, appFiles("apps/"+name, strings.Replace(appYAML(""), "name: APP", "name: APP-"+name, 1), map[string]string{
			"config.yaml":  configMap(name, "1"),
			"account.yaml": fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, namespace: NS}\n", name),
			"service.yaml": fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %[1]s, namespace: NS}\nspec: {selector: {app: %[1]s}, ports: [{port: 80}]}\n", name),
			"web.yaml":     strings.Replace(deployment(name, "web:1"), "spec:\n", "spec:\n  replicas: 0\n", 1),
		}))
	}
	return files
}

// What each workload costs in requests, by the audit log; AppStatus, Events, Leases and watches are not counted, but that
// a restart writes none of them. A step goes on from where the one before has left the cluster.
func TestRequestsOfEachWorkload(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.commit(costFiles())
	live := func() {
		t.Helper()
		e.eventually("all is live", func() string {
			n := 0
			for _, kind := range [][2]string{{"v1", "ConfigMap"}, {"v1", "ServiceAccount"}, {"v1", "Service"}, {"apps/v1", "Deployment"}} {
				list, err := e.in(kind[0], kind[1], e.ns).List(context.Background(), metav1.ListOptions{LabelSelector: "holdfast.dev/instance=" + e.instance})
				if err != nil {
					return err.Error()
				}
				n += len(list.Items)
			}
			if n != costObjects {
				return fmt.Sprintf("%d of %d objects", n, costObjects)
			}
			return ""
		})
	}
	edited := func(n int) []string {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("x%02d", i))
		}
		return names
	}
	edit := func(names ...string) {
		for _, name := range names {
			e.patch("kubectl-edit", "v1", "ConfigMap", name, `{"data": {"key": "edited"}}`)
		}
		for _, name := range names {
			e.waitValue("1", "v1", "ConfigMap", name, "data", "key")
		}
	}

	// A request that takes longer than this would be counted with the next step.
	const quiet = 5 * time.Second
	// again starts a new agent where nothing has changed and lets it end, which writes whatever it still had to say.
	again := func() {
		e.stop()
		mark, began := e.mark(), time.Now()
		e.waitServing(e.restart())
		live()
		e.waitQuietFor(quiet)
		e.stop()
		if _, told := e.sent(mark, began); len(told) > 0 {
			t.Errorf("a restart where nothing has changed wrote %d AppStatus objects and Events: %.1000s", len(told), fmt.Sprint(told))
		}
	}

	workloads := []struct {
		name string
		do   func()
		// objects is how many requests may be sent to the fleet's objects, each of them a PATCH; books bounds those for
		// everything else that writes: the inventory. Nothing is ever sent but these and, where starts is set, reads.
		objects, books int
		starts         bool
	}{
		{name: "cold sync", do: func() { e.start(); live() }, objects: costObjects, books: costObjects / 5, starts: true},
		{name: "idle", do: func() {
			e.server.ResetRequests()
			e.eventually("several polls", func() string {
				if n := len(e.server.Requests()); n < 3 {
					return fmt.Sprintf("%d requests", n)
				}
				return ""
			})
		}},
		{name: "one object changed", do: func() {
			e.commit(map[string]string{"apps/x39/config.yaml": configMap("x39", "2")})
			e.waitValue("2", "v1", "ConfigMap", "x39", "data", "key")
		}, objects: 1, books: 2},
		{name: "drift of one field", do: func() { edit("x03") }, objects: 1},
		{name: "one object deleted", do: func() {
			e.delete("v1", "Service", "x05")
			live()
		}, objects: 1},
		{name: "all of a kind edited at once", do: func() { edit(edited(costApps - 1)...) }, objects: costApps - 1},
		{name: "restart", do: again, starts: true},
		{name: "restart with an empty data dir", do: func() { e.dataDir = t.TempDir(); again() }, starts: true},
	}
	for _, w := range workloads {
		t.Run(w.name, func(t *testing.T) {
			mark := e.mark()
			w.do()
			e.waitQuietFor(quiet)
			var objects, books, reads []string
			for _, r := range e.requests(mark) {
				verb, _, _ := strings.Cut(r, " ")
				switch {
				case verb == "patch" && strings.Contains(r, " "+e.ns+"/"):
					objects = append(objects, r)
				case verb == "get" || verb == "list":
					reads = append(reads, r)
				default:
					books = append(books, r)
				}
			}
			t.Logf("%d requests to objects, %d for bookkeeping, %d reads", len(objects), len(books), len(reads))
			if len(objects) != w.objects {
				t.Errorf("%d requests to objects, want %d: %.2000s", len(objects), w.objects, fmt.Sprint(objects))
			}
			if len(books) > w.books {
				t.Errorf("%d requests for bookkeeping, at most %d are expected: %v", len(books), w.books, books)
			}
			if len(reads) > 0 && !w.starts {
				t.Errorf("reads: %v", reads)
			}
			slices.Sort(reads)
			for i, r := range reads[:max(0, len(reads)-1)] {
				if strings.HasPrefix(r, "list ") && r == reads[i+1] {
					t.Errorf("sent twice: %s", r)
				}
			}
		})
	}
}
