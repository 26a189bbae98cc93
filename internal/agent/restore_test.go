package agent_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-dev/holdfast/internal/agent"
)

// frozen is a fleet.yaml that lets no cluster adopt new content.
const frozen = "apiVersion: holdfast.dev/v1alpha1\nkind: Fleet\nmetadata: {name: f}\nspec: {freeze: [{clusterSelector: {}, reason: quarter end}]}\n"

// What was adopted is asked for until there is an answer: an API server that is overloaded while the
// agent starts does not make it forget that it is frozen.
func TestFreezeOutlastsAStartUnderLoad(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.waitReadyAt(e.startAt(e.app("", map[string]string{"a.yaml": configMap("a", "1")})))
	e.waitQuiet("")
	e.stop()
	proxy := newAPIProxy(t, e.cluster)
	var mu sync.Mutex
	failed := 0
	proxy.setRule(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		mu.Lock()
		fail := strings.HasSuffix(r.URL.Path, "/appstatuses") && failed < 3
		if fail {
			failed++
		}
		mu.Unlock()
		if !fail {
			next.ServeHTTP(w, r)
			return
		}
		http.Error(w, "etcdserver: request timed out", http.StatusInternalServerError)
	})
	e.with(func(o *agent.Options) { o.Kubeconfig = proxy.kubeconfig })
	e.commit(map[string]string{"fleet.yaml": frozen, "apps/APP/a.yaml": configMap("a", "2")})
	e.start()
	e.waitHeld("", "Freeze", "quarter end")
	e.heals("1")
}

// What has not been looked at yet is unknown, and not "not Ready": until the lists are in an agent that was started anew
// leaves what AppStatus says, and tells nobody of a change: of an app that is Ready and of one that has stalled. Its own
// report claims no more than it has seen. A kind that may not be listed ends the silence.
func TestStartSaysNothingOfWhatItHasNotSeen(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	proxy := newAPIProxy(t, e.cluster)
	e.with(func(o *agent.Options) { o.Kubeconfig = proxy.kubeconfig })
	log := e.captureLog(zerolog.DebugLevel)
	url := e.listen()
	service := func(name string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: NS}\nspec: {ports: [{port: 80}]}\n"
	}
	files := appFiles("apps/APP", appYAML(""), map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": service("b")})
	maps.Copy(files, appFiles("apps/stuck", strings.Replace(appYAML("health: {timeout: 1s}"), "APP", "APP-stuck", 1), map[string]string{
		"d.yaml": deployment("web", "broken:1"), "c.yaml": service("c"),
	}))
	e.waitReadyAt(e.startAt(e.commit(files)))
	e.eventually("stalled", func() string {
		if s := e.status(e.id + "-stuck"); s == nil || s.condition("Stalled").Status != metav1.ConditionTrue {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	e.waitServing(url)
	e.waitQuiet("")
	e.stop()

	held := make(chan struct{})
	proxy.setWatchRule(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Path == "/api/v1/services" {
			select {
			case <-held:
			case <-r.Context().Done():
				return
			}
		}
		next.ServeHTTP(w, r)
	})
	mark, began := e.mark(), time.Now()
	log.reset()
	url = e.restart()
	e.waitLog(log, "desired state set")
	e.eventually("the report", func() string {
		_, body := e.fetch(url + "/api/v1/status")
		for _, words := range []string{`"objects":2`, `"ready":false`, `"errors":[]`} {
			if strings.Count(body, words) != 2 {
				return body
			}
		}
		return ""
	})
	e.eventually("/readyz", func() string { // all other lists are in
		if code, body := e.fetch(url + "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "1 kinds are not watched yet") {
			return fmt.Sprint(code, body)
		}
		return ""
	})
	e.stop() // which writes whatever it still had to say
	if _, told := e.sent(mark, began); len(told) > 0 {
		t.Errorf("of what it had not seen the agent said: %v", told)
	}

	url = e.listen()
	e.start()
	close(held)
	e.waitServing(url)
	e.eventually("the report", func() string {
		if _, body := e.fetch(url + "/api/v1/status"); !strings.Contains(body, `"ready":true`) {
			return body
		}
		return ""
	})
	e.stop()
	if _, told := e.sent(mark, began); len(told) > 0 {
		t.Errorf("nothing had changed, and the agent said: %v", told)
	}

	forbid := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.URL.Path != "/api/v1/services" {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		if _, err := w.Write([]byte(`{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "services is forbidden"}`)); err != nil {
			t.Log(err)
		}
	}
	proxy.setWatchRule(forbid)
	proxy.setRule(forbid)
	e.listen()
	e.start()
	e.waitErrors("", "Service", "watch: ", "forbidden")
}

// Without the right to read AppStatus an agent says what is missing and works on. What was adopted
// is unknown to it then, so a cluster that is frozen when it starts stays as it is; the end of the freeze ends that too.
// What was adopted when a freeze came is on record elsewhere.
func TestWithoutAppStatus(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	proxy := newAPIProxy(t, e.cluster)
	proxy.setRule(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !strings.Contains(r.URL.Path, "/appstatuses") {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		if _, err := w.Write([]byte(`{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": ` +
			`"appstatuses.holdfast.dev is forbidden: User \"system:serviceaccount:holdfast:agent\" cannot list resource \"appstatuses\" in API group \"holdfast.dev\" at the cluster scope"}`)); err != nil {
			t.Log(err)
		}
	})
	e.with(func(o *agent.Options) { o.Kubeconfig = proxy.kubeconfig })
	log := e.captureLog(zerolog.InfoLevel)
	url := e.listen()
	e.app("", map[string]string{"a.yaml": configMap("a", "1")})
	e.start()
	e.waitLog(log, `lacks {apiGroups: [\"holdfast.dev\"], resources: [\"appstatuses\"], verbs: [\"list\"]}`)
	e.waitValue("1", "v1", "ConfigMap", "a", "data", "key")
	e.heals("1")
	e.waitInventory("a")
	e.waitQuiet("")

	mark := e.mark()
	reported := func(words ...string) {
		t.Helper()
		e.eventually("the freeze is reported", func() string {
			_, body := e.fetch(url + "/api/v1/status")
			if !containsAll(body, words) {
				return body
			}
			return ""
		})
	}
	e.stop()
	e.commit(map[string]string{"fleet.yaml": frozen, "apps/APP/a.yaml": configMap("a", "2")})
	e.dataDir = t.TempDir() // the commit before would be there, and adopted first
	e.start()
	reported(`"Freeze"`, "quarter end", "is not known")
	if got := e.value("v1", "ConfigMap", "a", "data", "key"); got != "1" {
		t.Errorf("a is %q though the cluster is frozen", got)
	}
	e.noDeletions(mark)
	e.commit(map[string]string{"fleet.yaml": ""})
	e.waitValue("2", "v1", "ConfigMap", "a", "data", "key")
	e.commit(map[string]string{"fleet.yaml": frozen, "apps/APP/a.yaml": configMap("a", "3")})
	reported(`"Freeze"`, "quarter end")
	e.heals("2")
	e.stop()
	e.start()
	reported(`"Freeze"`, "quarter end")
	e.heals("2")
	e.noDeletions(mark)
}

// /healthz tells whether the loop turns: an idle loop turns only now and then, so with a limit far
// below that it counts as stuck, until something makes it turn.
func TestHealthzFollowsTheLoop(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	e.with(func(o *agent.Options) { o.StuckAfter, o.Poll = time.Second, time.Hour })
	url := e.listen()
	sha := e.app("", map[string]string{"a.yaml": configMap("a", "1")})
	e.start()
	e.waitReady(sha)
	e.eventually("/healthz fails", func() string {
		code, body := e.fetch(url + "/healthz")
		if code != http.StatusServiceUnavailable || !strings.Contains(body, "stuck") {
			return body
		}
		return ""
	})
	e.eventually("/healthz is well", func() string {
		e.heals("1")
		if code, body := e.fetch(url + "/healthz"); code != http.StatusOK {
			return body
		}
		return ""
	})
}
