package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/localcluster"
	"github.com/holdfast-dev/holdfast/localcluster/localclustertest"
)

// The API server is killed in the middle of a sync, and started again: the sync goes on by itself. So it
// does when the agent starts before the API server, and drift that nobody watched is put back.
func TestAPIServerRestarts(t *testing.T) {
	t.Parallel()
	cluster := localclustertest.Start(t, localcluster.Options{Name: "restarts", Bare: true})
	e := newEnv(t, cluster)
	const count = 400
	var b strings.Builder
	for i := range count {
		b.WriteString("---\n" + configMap(fmt.Sprintf("f%03d", i), "1"))
	}
	sha := e.app("", map[string]string{"all.yaml": b.String()})
	e.start()
	applied := 0
	e.eventually("some objects", func() string {
		if applied = len(e.ownedNames()); applied < 5 {
			return "there are none"
		}
		return ""
	})
	if err := cluster.KillAPIServer(); err != nil {
		t.Fatal(err)
	}
	if applied == count {
		t.Error("the API server was killed too late to matter")
	}
	if err := cluster.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.waitReady(sha)
	if got := len(e.ownedNames()); got != count {
		t.Errorf("%d objects are live, want %d", got, count)
	}
	e.patch("kubectl-edit", "v1", "ConfigMap", "f007", `{"data": {"key": "edited"}}`)
	e.waitValue("1", "v1", "ConfigMap", "f007", "data", "key")

	e.stop()
	e.patch("kubectl-edit", "v1", "ConfigMap", "f008", `{"data": {"key": "edited"}}`)
	if err := cluster.KillAPIServer(); err != nil {
		t.Fatal(err)
	}
	log := e.captureLog(zerolog.InfoLevel)
	e.start()
	e.waitLog(log, "reach the API server")
	if err := cluster.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.waitValue("1", "v1", "ConfigMap", "f008", "data", "key")
}

// Watches that are cut are resumed, and what was edited while they were down is put back.
func TestWatchesCut(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	proxy := newAPIProxy(t, e.cluster)
	e.with(func(o *agent.Options) { o.Kubeconfig = proxy.kubeconfig })
	sha := e.app("", map[string]string{"a.yaml": configMap("a", "1"), "d.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: NS}\nspec: {ports: [{port: 80}]}\n"})
	e.start()
	e.waitReady(sha)
	for range 3 {
		if n := proxy.cutWatches(); n == 0 {
			e.eventually("watches", func() string {
				if proxy.cutWatches() == 0 {
					return "there are none"
				}
				return ""
			})
		}
		e.patch("kubectl-edit", "v1", "ConfigMap", "a", `{"data": {"key": "edited"}}`)
		e.waitValue("1", "v1", "ConfigMap", "a", "data", "key")
	}
	e.waitReady(sha)
}

// An API server that answers every request once with 429, 500 or 503 before it does what it is asked
// delays a sync and stops nothing; none of it remains an error.
func TestOverloadedAPIServer(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	proxy := newAPIProxy(t, e.cluster)
	e.with(func(o *agent.Options) { o.Kubeconfig = proxy.kubeconfig })
	codes := []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable}
	var mu sync.Mutex
	seen := map[string]int{}
	total := 0
	proxy.setRule(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		mu.Lock()
		key := r.Method + r.URL.Path
		seen[key]++
		n := seen[key]
		total++
		code := codes[total%len(codes)]
		mu.Unlock()
		if n > 1 {
			next.ServeHTTP(w, r)
			return
		}
		http.Error(w, "the server is busy", code)
	})
	sha := e.app("", map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1"), "c.yaml": configMap("c", "1")})
	e.start()
	e.waitReady(sha)
	if s := e.status(""); len(s.Status.Errors) != 0 {
		t.Errorf("errors: %s", s.errors())
	}
	e.waitInventory("a", "b", "c")
}

// serviceAccount makes a ServiceAccount that may do everything and returns its name.
func (e *env) serviceAccount() string {
	e.t.Helper()
	e.create("v1", "ServiceAccount", e.ns, "agent", nil)
	e.create("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", e.id+"-agent", map[string]any{
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
		"subjects": []any{map[string]any{"kind": "ServiceAccount", "namespace": e.ns, "name": "agent"}},
	})
	return "agent"
}

// An agent whose token has expired says so, and goes on as soon as the file holds a new one: at its
// start, and while it runs.
func TestExpiredToken(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	account := e.serviceAccount()
	file := filepath.Join(t.TempDir(), "token")
	replace := func(ttl time.Duration) {
		t.Helper()
		token, err := e.cluster.ServiceAccountToken(context.Background(), e.ns, account, ttl)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file+".new", []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil { // as a kubelet does, in one step
			t.Fatal(err)
		}
	}
	replace(-time.Minute)
	kubeconfig, err := e.cluster.TokenKubeconfig(file)
	if err != nil {
		t.Fatal(err)
	}
	e.with(func(o *agent.Options) { o.Kubeconfig = kubeconfig })
	url := e.listen()
	log := e.captureLog(zerolog.InfoLevel)
	sha := e.app("", map[string]string{"a.yaml": configMap("a", "1")})
	e.start()
	const expired = "does not accept our credentials: the token or certificate has expired"
	e.waitLog(log, expired)
	if code, body := e.fetch(url + "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, expired) {
		t.Errorf("/readyz answers %d: %s", code, body)
	}
	replace(time.Hour)
	e.waitReady(sha)

	e.stop()
	replace(5 * time.Second)
	e.start()
	before := strings.Count(log.String(), expired)
	value := 1
	e.eventually("the token expires", func() string {
		if strings.Count(log.String(), expired) > before {
			return ""
		}
		if e.value("v1", "ConfigMap", "a", "data", "key") == fmt.Sprint(value) { // give it something to do
			value++
			sha = e.commit(map[string]string{"apps/APP/a.yaml": configMap("a", fmt.Sprint(value))})
		}
		return "the log does not say so"
	})
	replace(time.Hour)
	e.waitReady(sha)
	e.waitValue(fmt.Sprint(value), "v1", "ConfigMap", "a", "data", "key")
}

// A CustomResourceDefinition that somebody else removes under live resources: the loss is reported by
// name, everything else is applied, healed and changed as before, and all is well again when it is back.
func TestDefinitionRemoved(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.apply(crd("Widget", "Namespaced"))
	sha := e.app("", map[string]string{"a.yaml": configMap("a", "1"), "w.yaml": custom("Widget", "name: w, namespace: NS")})
	e.start()
	e.waitReady(sha)
	definitions := e.in("apiextensions.k8s.io/v1", "CustomResourceDefinition", "")
	if err := definitions.Delete(context.Background(), "widgets."+e.id+".example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	e.waitErrors("", "Widget", "does not serve the kind")
	e.patch("kubectl-edit", "v1", "ConfigMap", "a", `{"data": {"key": "edited"}}`)
	e.waitValue("1", "v1", "ConfigMap", "a", "data", "key")
	sha = e.commit(map[string]string{"apps/APP/a.yaml": configMap("a", "2")})
	e.waitValue("2", "v1", "ConfigMap", "a", "data", "key")
	e.waitInventory("a", "w")

	e.apply(crd("Widget", "Namespaced"))
	e.waitReady(sha)
	if _, err := e.in(e.id+".example.com/v1", "Widget", e.ns).Get(t.Context(), "w", getOptions); err != nil {
		t.Error(err)
	}
}
