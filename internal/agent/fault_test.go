package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/localcluster"
)

// owned lists the live objects of the kinds that carry the agent's label, as inventory keys.
func (e *env) owned(kinds ...[2]string) []string {
	e.t.Helper()
	var keys []string
	for _, k := range kinds {
		r, _ := e.resource(k[0], k[1])
		var list *unstructured.UnstructuredList
		if err := e.answer(func() (err error) {
			list, err = r.List(context.Background(), metav1.ListOptions{LabelSelector: "holdfast.dev/instance=" + e.instance})
			return err
		}); err != nil {
			e.t.Fatal(err)
		}
		for i := range list.Items {
			u := &list.Items[i]
			id := object.ObjMetadata{GroupKind: u.GroupVersionKind().GroupKind(), Namespace: u.GetNamespace(), Name: u.GetName()}
			keys = append(keys, id.String())
		}
	}
	sort.Strings(keys)
	return keys
}

var plainKinds = [][2]string{{"v1", "ConfigMap"}, {"v1", "Secret"}, {"v1", "Service"}}

// ownedNames are the names of owned.
func (e *env) ownedNames() []string {
	e.t.Helper()
	var names []string
	for _, key := range e.owned(plainKinds...) {
		id, err := object.ParseObjMetadata(key)
		if err != nil {
			e.t.Fatal(err)
		}
		names = append(names, id.Name)
	}
	sort.Strings(names)
	return names
}

// killer kills an agent's process at one of the requests by which it changes something.
type killer struct {
	at    int
	after bool // the server has carried the request out, and the agent does not know

	mu   sync.Mutex
	n    int
	kill func()
}

func (k *killer) rule(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if !mutating(r) {
		next.ServeHTTP(w, r)
		return
	}
	k.mu.Lock()
	k.n++
	hit := k.n == k.at
	kill := k.kill
	k.mu.Unlock()
	switch {
	case !hit:
		next.ServeHTTP(w, r)
	case k.after:
		next.ServeHTTP(&swallow{header: http.Header{}}, r)
		kill()
		abort(w)
	default:
		kill()
		abort(w)
	}
}

// swallow is an answer that nobody gets.
type swallow struct{ header http.Header }

func (s *swallow) Header() http.Header         { return s.header }
func (s *swallow) Write(p []byte) (int, error) { return len(p), nil }
func (s *swallow) WriteHeader(int)             {}

// The agent is killed right before and right after each of its changes to the cluster, of a first sync
// that also adopts an object and of a commit that changes, renames, adds, replaces and removes objects. At no moment is there an object with
// its label that its inventory does not list; after a restart everything is as the commit wants it, and
// nothing else is left.
func TestKilledAtEveryStep(t *testing.T) {
	cluster := bare.Cluster(t)
	steps := killScenario(t, cluster, 0, false)
	t.Logf("%d steps", steps)
	if steps < 8 {
		t.Fatalf("the scenario has only %d changes", steps)
	}
	for step := 1; step <= steps; step++ {
		for _, after := range []bool{false, true} {
			name := fmt.Sprintf("before %d", step)
			if after {
				name = fmt.Sprintf("after %d", step)
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				killScenario(t, cluster, step, after)
			})
		}
	}
}

// killScenario runs the scenario and kills the agent at the step (0: never). It returns how many changes
// the agent that was not killed made.
func killScenario(t *testing.T, cluster *localcluster.Cluster, step int, after bool) int {
	t.Helper()
	e := newEnv(t, cluster)
	proxy := newAPIProxy(t, cluster)
	k := &killer{at: step, after: after}
	proxy.setRule(k.rule)
	e.options = func(o *agent.Options) { o.Kubeconfig = proxy.kubeconfig }

	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: secret, namespace: NS, annotations: {holdfast.dev/replace: enabled}}\n" +
		"immutable: true\nstringData: {key: one}\n"
	// Something to be adopted: another tool has created it, with one key more.
	_, err := e.clients.Kubernetes.CoreV1().ConfigMaps(e.ns).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "b"}, Data: map[string]string{"key": "0", "extra": "x"},
	}, metav1.CreateOptions{FieldManager: "kubectl-client-side-apply"})
	if err != nil {
		t.Fatal(err)
	}
	sha := e.app("", map[string]string{
		"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1"), "renamed.yaml": configMap("old", "1"),
		"gone.yaml": configMap("gone", "1"), "secret.yaml": secret,
	})
	p := e.startProcess()
	k.mu.Lock()
	k.kill = p.kill
	k.mu.Unlock()
	want := []string{"a", "b", "gone", "old", "secret"}
	e.eventually("first sync", e.convergedOr(p, sha, want))
	if !p.isDead() || after {
		// A commit that comes while the agent runs, or while it is down.
		sha = e.commit(map[string]string{
			"apps/APP/a.yaml": configMap("a", "2"), "apps/APP/renamed.yaml": configMap("new", "1"), "apps/APP/gone.yaml": "",
			"apps/APP/secret.yaml": strings.Replace(secret, "one", "two", 1), "apps/APP/added.yaml": configMap("added", "1"),
			"apps/APP/kustomization.yaml": kustomization("a.yaml", "b.yaml", "renamed.yaml", "secret.yaml", "added.yaml"),
		})
		want = []string{"a", "added", "b", "new", "secret"}
		e.eventually("second sync", e.convergedOr(p, sha, want))
	}
	if step == 0 {
		e.waitQuiet(sha)
	}
	p.kill()
	proxy.passing.Wait() // what was on its way when the agent died
	listed := e.inventory()
	for _, key := range e.owned(plainKinds...) {
		if _, ok := listed[key]; !ok {
			t.Errorf("%s is live with the agent's label, and not in its inventory", key)
		}
	}
	if step == 0 {
		return k.n
	}
	e.options = nil
	e.start()
	e.waitReady(sha)
	e.eventually("after the restart", e.convergedOr(nil, sha, want))
	if got := e.value("v1", "ConfigMap", "b", "data"); got != "map[key:1]" {
		t.Errorf("what was adopted holds %s", got)
	}
	password := map[bool]string{true: "b25l", false: "dHdv"}[slices.Contains(want, "old")]
	if got := e.value("v1", "Secret", "secret", "data", "key"); got != password {
		t.Errorf("what was replaced holds %s", got)
	}
	return 0
}

// convergedOr waits until exactly these objects are live and in the inventory and the app is Ready at
// the commit, or the process has ended.
func (e *env) convergedOr(p *process, sha string, want []string) func() string {
	return func() string {
		if p != nil && p.isDead() {
			return ""
		}
		s := e.status("")
		if !s.ready() || s.Status.Revision != sha {
			return "is not Ready at the commit"
		}
		if got := e.ownedNames(); !slices.Equal(got, want) {
			return fmt.Sprintf("live are %v, want %v", got, want)
		}
		if got := e.inventoryNames(); !slices.Equal(got, want) {
			return fmt.Sprintf("the inventory lists %v, want %v", got, want)
		}
		return ""
	}
}
