package agent_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
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

// waitQuiet waits until the first app is Ready at the revision ("": whatever it is) and the agent has sent nothing for a
// moment. More may come: a request is not seen before it ends, and what is not worth a request of its own waits for
// company, up to ten seconds.
func (e *env) waitQuiet(sha string) {
	e.t.Helper()
	if sha != "" {
		e.waitReady(sha)
	}
	e.waitQuietFor(1500 * time.Millisecond)
}

// waitQuietFor waits until the agent has sent nothing for so long.
func (e *env) waitQuietFor(quiet time.Duration) {
	e.t.Helper()
	last, since := -1, time.Now()
	e.eventually("no requests", func() string {
		if n := len(e.requests(e.began)); n != last {
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

// restart starts a new agent in place of the one that runs and returns the address at which it listens: what it says there is
// its own, while an AppStatus may be that of the agent before.
func (e *env) restart() (url string) {
	e.t.Helper()
	e.stop()
	url = e.listen() // another address: that of the one before may be taken by now
	e.start()
	return url
}

// report is what the agent that listens at the address says: its commit, and of an app ("" is the first) what an AppStatus
// says, but for the conditions; nil while it says nothing of it.
func (e *env) report(url, app string) (commit string, s *appStatus) {
	e.t.Helper()
	var report struct {
		Commit string
		Apps   []json.RawMessage
	}
	if code, body := e.fetch(url + "/api/v1/status"); code != http.StatusOK {
		return body, nil
	} else if err := json.Unmarshal([]byte(body), &report); err != nil {
		e.t.Fatal(err)
	}
	for _, raw := range report.Apps {
		var named struct{ Name string }
		var found appStatus
		if err := errors.Join(json.Unmarshal(raw, &named), json.Unmarshal(raw, &found.Status)); err != nil {
			e.t.Fatal(err)
		}
		if named.Name == cmp.Or(app, e.id) {
			return report.Commit, &found
		}
	}
	return report.Commit, nil
}

// waitFollows waits until the agent that listens at the address has the commit.
func (e *env) waitFollows(url, sha string) {
	e.t.Helper()
	e.eventually("the agent follows", func() string {
		if commit, _ := e.report(url, ""); commit != sha {
			return fmt.Sprintf("it is at %q, want %s", commit, sha)
		}
		return ""
	})
}

// waitErrors waits until the errors of an app's AppStatus contain all the words.
func (e *env) waitErrors(app string, words ...string) {
	e.t.Helper()
	e.waitStatus(func() *appStatus { return e.status(app) }, "errors", words, (*appStatus).errors)
}

// waitErrorsAt is waitErrors of what the agent that listens at the address says.
func (e *env) waitErrorsAt(url, app string, words ...string) {
	e.t.Helper()
	e.waitStatus(func() *appStatus { _, s := e.report(url, app); return s }, "errors", words, (*appStatus).errors)
}

// waitHeld waits until what is held of an app is reported with all the words.
func (e *env) waitHeld(app string, words ...string) {
	e.t.Helper()
	e.waitStatus(func() *appStatus { return e.status(app) }, "held", words, (*appStatus).held)
}

// waitHeldAt is waitHeld of what the agent that listens at the address says.
func (e *env) waitHeldAt(url, app string, words ...string) {
	e.t.Helper()
	e.waitStatus(func() *appStatus { _, s := e.report(url, app); return s }, "held", words, (*appStatus).held)
}

func (e *env) waitStatus(read func() *appStatus, what string, words []string, text func(*appStatus) string) {
	e.t.Helper()
	e.eventually(fmt.Sprintf("%s say %v", what, words), func() string {
		s := read()
		if s == nil {
			return "nothing is said of the app"
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
