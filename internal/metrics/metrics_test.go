package metrics

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetrics(t *testing.T) {
	m := New("v1.2.3")
	m.Stage(StageApply, 30*time.Millisecond)
	m.Objects(ObjectCounts{StateCurrent: 3, StateFailed: 1})
	m.Objects(ObjectCounts{StateCurrent: 4})
	m.DriftCorrected("Deployment", "kubectl-edit")
	m.DriftCorrected("Deployment", "kubectl-edit")
	m.DriftCorrected("ConfigMap", "")
	m.Polled(time.Unix(1700000000, 0), 500*time.Millisecond, false, 0)
	m.PollFailed("auth")
	m.Rendered(true)
	m.Rendered(false)
	m.Rendered(false)
	m.Synced(time.Unix(1700000001, 0))
	m.App("shop", 2, "Freeze", "Prune")
	m.App("shop", 0, "Prune")
	m.App("gone", 1, "Wave")
	m.Forget("gone")
	m.App("bad", 3)

	want := `
# HELP holdfast_drift_corrected_total Corrections of foreign changes, by the kind of the object and the field manager that made the change.
# TYPE holdfast_drift_corrected_total counter
holdfast_drift_corrected_total{kind="ConfigMap",manager="unknown"} 1
holdfast_drift_corrected_total{kind="Deployment",manager="kubectl-edit"} 2
# HELP holdfast_errors Objects of an app that failed, for every app that has any.
# TYPE holdfast_errors gauge
holdfast_errors{app="bad"} 3
# HELP holdfast_fetch_failures_total Failed polls of the Git repository, by reason.
# TYPE holdfast_fetch_failures_total counter
holdfast_fetch_failures_total{reason="auth"} 1
# HELP holdfast_fetch_last_timestamp_seconds When the Git repository last answered, in Unix time. 0 if never.
# TYPE holdfast_fetch_last_timestamp_seconds gauge
holdfast_fetch_last_timestamp_seconds 1.7000000005e+09
# HELP holdfast_held_gates 1 for each gate that holds an app.
# TYPE holdfast_held_gates gauge
holdfast_held_gates{app="shop",gate="Prune"} 1
# HELP holdfast_objects Objects in the inventory of this cluster, by state.
# TYPE holdfast_objects gauge
holdfast_objects{state="current"} 4
holdfast_objects{state="failed"} 0
holdfast_objects{state="held"} 0
holdfast_objects{state="orphan"} 0
holdfast_objects{state="progressing"} 0
# HELP holdfast_polls_total Polls of the Git repository, by what they found.
# TYPE holdfast_polls_total counter
holdfast_polls_total{result="changed"} 0
holdfast_polls_total{result="failed"} 1
holdfast_polls_total{result="unchanged"} 1
# HELP holdfast_rendered_apps_total Apps rendered, by whether they were built or a former result was used.
# TYPE holdfast_rendered_apps_total counter
holdfast_rendered_apps_total{result="built"} 1
holdfast_rendered_apps_total{result="reused"} 2
# HELP holdfast_sync_last_timestamp_seconds When a sync last ended without an error, in Unix time. 0 if never.
# TYPE holdfast_sync_last_timestamp_seconds gauge
holdfast_sync_last_timestamp_seconds 1.700000001e+09
`
	if err := testutil.GatherAndCompare(m.registry, strings.NewReader(want),
		"holdfast_drift_corrected_total", "holdfast_errors", "holdfast_fetch_failures_total", "holdfast_fetch_last_timestamp_seconds",
		"holdfast_held_gates", "holdfast_objects", "holdfast_polls_total", "holdfast_rendered_apps_total", "holdfast_sync_last_timestamp_seconds"); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(m.syncDuration); n != 1 {
		t.Errorf("%d series of sync durations, want 1", n)
	}
}

func TestHandlerServesEverything(t *testing.T) {
	m := New("v1.2.3")
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{`holdfast_build_info{commit="`, `version="v1.2.3"`, "go_goroutines", "process_cpu_seconds_total"} {
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("no %q in the answer", want)
		}
	}
}

func TestLint(t *testing.T) {
	m := New("v1")
	m.Stage(StageFetch, time.Second)
	m.DriftCorrected("a", "b")
	m.PollFailed("auth")
	m.App("a", 1, "Wave")
	m.apiRequests.WithLabelValues("object", "GET", "200")
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "holdfast_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestManagersAreBounded(t *testing.T) {
	m := New("v1")
	for i := range 3 * maxManagers {
		m.DriftCorrected("ConfigMap", fmt.Sprintf("manager-%d", i))
	}
	m.DriftCorrected("ConfigMap", strings.Repeat("x", 4096))
	if n := testutil.CollectAndCount(m.drift); n != maxManagers+1 {
		t.Errorf("%d series, want %d and one for the others", n, maxManagers)
	}
	if n := testutil.ToFloat64(m.drift.WithLabelValues("ConfigMap", other)); n != 2*maxManagers+1 {
		t.Errorf("%v corrections by others, want %d", n, 2*maxManagers+1)
	}
}

func TestTransportCounts(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			w.WriteHeader(http.StatusConflict)
		}
	}))
	defer server.Close()
	m := New("v1")
	client := &http.Client{Transport: m.Transport(http.DefaultTransport)}
	for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodPatch} {
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
	broken := m.Transport(roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") }))
	answer, err := broken.RoundTrip(httptest.NewRequest(http.MethodGet, server.URL, nil))
	if err == nil {
		_ = answer.Body.Close()
		t.Error("the error was lost")
	}
	for labels, want := range map[[2]string]float64{{"GET", "200"}: 1, {"PATCH", "409"}: 2, {"GET", "error"}: 1} {
		if n := testutil.ToFloat64(m.apiRequests.WithLabelValues(purposeDiscovery, labels[0], labels[1])); n != want {
			t.Errorf("%v: counted %v, want %v", labels, n, want)
		}
	}
}

func TestPurpose(t *testing.T) {
	for address, want := range map[string]string{
		"/api":                              purposeDiscovery,
		"/version":                          purposeDiscovery,
		"/apis":                             purposeDiscovery,
		"/apis/apps/v1":                     purposeDiscovery,
		"/api/v1/namespaces/a":              purposeObject,
		"/api/v1/namespaces/events":         purposeObject,
		"/api/v1/namespaces/a/configmaps/b": purposeObject,
		"/k8s/clusters/c-1/apis/apps/v1/namespaces/a/deployments/b?force=true":       purposeObject,
		"/apis/rbac.authorization.k8s.io/v1/clusterroles/a":                          purposeObject,
		"/api/v1/namespaces/holdfast-system/configmaps/holdfast-inventory-3":         purposeInventory,
		"/api/v1/namespaces/a/configmaps?labelSelector=holdfast.dev%2Finventory%3Da": purposeInventory,
		"/apis/holdfast.dev/v1alpha1/appstatuses/storefront?fieldManager=holdfast":   purposeStatus,
		"/api/v1/namespaces/default/events":                                          purposeEvent,
		"/api/v1/configmaps?watch=true":                                              purposeWatch,
		"/apis/apps/v1/deployments?watch=1":                                          purposeWatch,
	} {
		u, err := url.Parse("https://example.com" + address)
		if err != nil {
			t.Fatal(err)
		}
		if got := purpose(u); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// A push is live once: what is applied later without a push is a repair, and a second push before the
// first is live does not make it look faster.
func TestPushToLive(t *testing.T) {
	m := New("v1")
	start := time.Unix(1700000000, 0)
	m.Applied(start)
	m.Polled(start, time.Second, true, 100)
	m.Polled(start.Add(2*time.Second), time.Second, true, 50)
	m.Applied(start.Add(4 * time.Second))
	m.Applied(start.Add(time.Hour))
	want := `
# HELP holdfast_fetch_received_bytes_total Bytes of Git packs that were fetched.
# TYPE holdfast_fetch_received_bytes_total counter
holdfast_fetch_received_bytes_total 150
`
	if err := testutil.GatherAndCompare(m.registry, strings.NewReader(want), "holdfast_fetch_received_bytes_total"); err != nil {
		t.Error(err)
	}
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{"holdfast_push_to_live_seconds_sum 4\n", "holdfast_push_to_live_seconds_count 1\n"} {
		if !strings.Contains(answer.Body.String(), line) {
			t.Errorf("no %q in the answer", line)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestNilMetrics(_ *testing.T) {
	var m *Metrics
	m.Stage(StageApply, time.Second)
	m.Objects(ObjectCounts{})
	m.DriftCorrected("a", "b")
	m.Polled(time.Now(), time.Second, true, 1)
	m.PollFailed("auth")
	m.Applied(time.Now())
	m.Rendered(true)
	m.DriftRepaired(time.Second)
	m.Healing(time.Now())
	m.Synced(time.Now())
	m.App("a", 1, "Wave")
	m.Forget("a")
	m.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	_ = m.Transport(http.DefaultTransport)
}
