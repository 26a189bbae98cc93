package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/object"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-dev/holdfast/localcluster"
)

var getOptions = metav1.GetOptions{}

// startAt starts the agent and passes the commit on.
func (e *env) startAt(sha string) string {
	e.t.Helper()
	e.start()
	return sha
}

// waitReadyAt is waitReady that reads well behind startAt.
func (e *env) waitReadyAt(sha string) { e.t.Helper(); e.waitReady(sha) }

// waitQuiet waits until the first app is Ready at the revision ("": whatever it is) and the agent has
// sent nothing for longer than it keeps bookkeeping back.
func (e *env) waitQuiet(sha string) {
	e.t.Helper()
	if sha != "" {
		e.waitReady(sha)
	}
	const quiet = 1500 * time.Millisecond
	last, since := -1, time.Now()
	e.eventually("no requests", func() string {
		if n := len(e.requests(0)); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) < quiet {
			return "still busy"
		}
		return ""
	})
}

// waitServing waits until the agent that listens at the address says that it watches everything.
func (e *env) waitServing(url string) {
	e.t.Helper()
	e.eventually("/readyz", func() string {
		if code, body := e.fetch(url + "/readyz"); code != http.StatusOK {
			return fmt.Sprintf("%d: %s", code, body)
		}
		return ""
	})
}

// waitErrors waits until the errors of an app's AppStatus contain all the words.
func (e *env) waitErrors(app string, words ...string) {
	e.t.Helper()
	e.waitStatus(app, "errors", words, (*appStatus).errors)
}

// waitHeld waits until what is held of an app is reported with all the words.
func (e *env) waitHeld(app string, words ...string) {
	e.t.Helper()
	e.waitStatus(app, "held", words, (*appStatus).held)
}

func (e *env) waitStatus(app, what string, words []string, text func(*appStatus) string) {
	e.t.Helper()
	e.eventually(fmt.Sprintf("AppStatus says %v", words), func() string {
		s := e.status(app)
		if s == nil {
			return "there is no AppStatus"
		}
		got := text(s)
		for _, w := range words {
			if !strings.Contains(got, e.fill(w)) {
				return fmt.Sprintf("%s: %q lacks %q", what, got, w)
			}
		}
		return ""
	})
}

// inventoryNames lists the names of the objects in the inventory.
func (e *env) inventoryNames() []string {
	e.t.Helper()
	var names []string
	for key, value := range e.inventory() {
		var hashed struct{ I []string } // namespace, name, group and kind of what makes no key
		if err := json.Unmarshal([]byte(value), &hashed); err != nil {
			e.t.Fatal(err)
		}
		if len(hashed.I) > 1 {
			names = append(names, hashed.I[1])
			continue
		}
		id, err := object.ParseObjMetadata(key)
		if err != nil {
			e.t.Fatal(err)
		}
		names = append(names, id.Name)
	}
	sort.Strings(names)
	return names
}

// waitInventory waits until the inventory lists exactly these names.
func (e *env) waitInventory(names ...string) {
	e.t.Helper()
	for i := range names {
		names[i] = e.fill(names[i])
	}
	sort.Strings(names)
	e.eventually("inventory", func() string {
		if got := e.inventoryNames(); !slices.Equal(got, names) {
			return fmt.Sprintf("lists %v, want %v", got, names)
		}
		return ""
	})
}

// noDeletions fails if the agent sent a DELETE since the mark.
func (e *env) noDeletions(since localcluster.Mark) {
	e.t.Helper()
	for _, r := range e.requests(since) {
		if strings.HasPrefix(r, "delete") {
			e.t.Errorf("the agent sent: %s", r)
		}
	}
}

// apply applies a manifest by server-side apply as an administrator.
func (e *env) apply(manifest string) *unstructured.Unstructured {
	e.t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(e.fill(manifest)), &u.Object); err != nil {
		e.t.Fatal(err)
	}
	out, err := e.in(u.GetAPIVersion(), u.GetKind(), u.GetNamespace()).
		Apply(context.Background(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "admin", Force: true})
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}

// waitDeployment waits until a live Deployment has the image.
func (e *env) waitDeployment(name, image string) {
	e.t.Helper()
	e.eventually("image of "+name, func() string {
		u := e.get("apps/v1", "Deployment", name)
		if u == nil {
			return "absent"
		}
		list, _, err := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
		if err != nil {
			e.t.Fatal(err)
		}
		if got := fmt.Sprint(list[0].(map[string]any)["image"]); got != image {
			return "is " + got
		}
		return ""
	})
}

// makeReady writes the status of a Deployment as its controller would when all is well.
func (e *env) makeReady(name string) {
	e.t.Helper()
	u := e.get("apps/v1", "Deployment", name)
	if u == nil {
		e.t.Fatalf("Deployment %s is absent", name)
	}
	patch := fmt.Sprintf(`{"status": {"observedGeneration": %d, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
		"conditions": [{"type": "Available", "status": "True"}, {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]}}`, u.GetGeneration())
	_, err := e.in("apps/v1", "Deployment", e.ns).Patch(context.Background(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "controller"}, "status")
	if err != nil {
		e.t.Fatal(err)
	}
}
