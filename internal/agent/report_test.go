package agent_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-dev/holdfast/internal/agent"
)

// The HTTP server of a running agent: whether the loop lives, whether the cluster is watched, and what
// others read of it, in exactly the shape that is promised.
func TestHTTPOfARunningAgent(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	url := e.listen()
	files := twoApps()
	files["apps/other/b.yaml"] = strings.Replace(configMap("b", "1"), "data: {key", "data: {\"not a key!\"", 1)
	files["apps/shop/d.yaml"] = deployment("web", "web:1")
	files["apps/shop/kustomization.yaml"] = kustomization("a.yaml", "d.yaml")
	sha := e.commit(files)
	e.start()
	e.waitDeployment("web", "web:1")
	e.makeReady("web")
	e.waitReady(sha)
	e.waitErrors(e.id+"-other", "ConfigMap")
	e.heals("1")
	e.waitReady(sha)
	e.waitServing(url)
	if code, body := e.fetch(url + "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answers %d: %s", code, body)
	}

	var report map[string]any
	e.eventually("/api/v1/status", func() string {
		code, body := e.fetch(url + "/api/v1/status")
		if code != http.StatusOK {
			return body
		}
		if err := json.Unmarshal([]byte(body), &report); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(body, `"corrected":1`) || !strings.Contains(body, `"ready":true`) {
			return body
		}
		return ""
	})
	keys := func(of any, want ...string) {
		t.Helper()
		m, ok := of.(map[string]any)
		if !ok {
			t.Fatalf("%v is no object", of)
		}
		if got := names(m); !slices.Equal(got, want) {
			t.Errorf("keys are %v, want %v", got, want)
		}
	}
	keys(report, "agent", "apiVersion", "apps", "cluster", "commit", "fetched", "labels", "time")
	for key, want := range map[string]any{"agent": e.id, "apiVersion": "holdfast.dev/v1alpha1", "cluster": "c1", "commit": sha} {
		if report[key] != want {
			t.Errorf("%s is %v, want %v", key, report[key], want)
		}
	}
	if labels, ok := report["labels"].(map[string]any); !ok || labels["env"] != "prod" {
		t.Errorf("labels are %v", report["labels"])
	}
	apps, _ := report["apps"].([]any)
	if len(apps) != 2 {
		t.Fatalf("apps: %v", apps)
	}
	for i, want := range []map[string]any{
		{"name": e.id, "revision": sha, "placement": sha, "ready": true, "objects": 2.0},
		{"name": e.id + "-other", "revision": sha, "placement": sha, "ready": false, "objects": 1.0, "since": nil},
	} {
		app, _ := apps[i].(map[string]any)
		keys(app, "content", "drift", "errors", "held", "name", "objects", "placement", "proven", "ready", "replicas", "revision", "since")
		keys(app["drift"], "corrected", "last")
		keys(app["replicas"], "desired", "ready")
		for key, value := range want {
			if app[key] != value {
				t.Errorf("%s: %s is %v, want %v", app["name"], key, app[key], value)
			}
		}
		if held, ok := app["held"].([]any); !ok || len(held) != 0 {
			t.Errorf("held is %v", app["held"])
		}
		errs, _ := app["errors"].([]any)
		if len(errs) != i {
			t.Errorf("errors are %v", errs)
		}
		for _, err := range errs {
			keys(err, "message", "object")
		}
	}
	first, _ := apps[0].(map[string]any)
	for what, at := range map[string]any{"time": report["time"], "fetched": report["fetched"], "since": first["since"]} {
		text, _ := at.(string)
		if when, err := time.Parse(time.RFC3339, text); err != nil || time.Since(when) > time.Hour {
			t.Errorf("%s is %v", what, at)
		}
	}

	_, body := e.fetch(url + "/metrics")
	for _, name := range []string{
		`holdfast_sync_duration_seconds_count{stage="fetch"}`, `holdfast_sync_duration_seconds_count{stage="render"}`,
		`holdfast_sync_duration_seconds_count{stage="apply"}`, `holdfast_objects{state="current"} 2`, `holdfast_objects{state="failed"} 1`,
		`holdfast_drift_corrected_total{kind="ConfigMap",manager="kubectl-edit"} 1`, "holdfast_fetch_last_timestamp_seconds 1.",
		`holdfast_errors{app="` + e.id + `-other"} 1`, "holdfast_build_info{", "holdfast_api_requests_total{", "holdfast_patch_duration_seconds_count",
		"holdfast_sync_last_timestamp_seconds", "go_goroutines",
	} {
		if !strings.Contains(body, name) {
			t.Errorf("/metrics lacks %s", name)
		}
	}
	if err := e.server.Stop(); err != nil {
		t.Fatal(err)
	}
	e.eventually("fetch failures are counted", func() string {
		if _, body := e.fetch(url + "/metrics"); !strings.Contains(body, "holdfast_fetch_failures_total{reason=") {
			return "they are not"
		}
		return ""
	})
}

func names(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// The values of a Secret reach nothing that the agent says: not its log, not even at debug, its AppStatus, its
// Events, its metrics, its report, nor the plan of a dry run; whether the Secret is invalid, drifted,
// replaced or planned.
func TestSecretsAreNotTold(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	log := e.captureLog(zerolog.DebugLevel)
	url := e.listen()
	const hidden, edited = "correct-horse-battery", "edited-horse-battery"
	secret := func(name, more, value string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + ", namespace: NS, annotations: {holdfast.dev/replace: enabled}}\n" + more + "stringData: {key: " + value + "}\n"
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(hidden))
	e.app("", map[string]string{
		"valid.yaml":     secret("valid", "", hidden),
		"fixed.yaml":     secret("fixed", "immutable: true\n", hidden),
		"badkey.yaml":    strings.Replace(secret("bad-key", "", hidden), "{key:", `{"no key!":`, 1),
		"badtype.yaml":   secret("bad-type", "type: kubernetes.io/tls\n", hidden),
		"badauth.yaml":   secret("bad-auth", "type: kubernetes.io/dockerconfigjson\n", hidden),
		"badbase64.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: bad-base64, namespace: NS}\ndata: {key: \"" + hidden + "!\"}\n",
		"badshape.yaml":  "apiVersion: v1\nkind: Secret\nmetadata: {name: bad-shape, namespace: NS}\ndata: {key: {deeper: " + hidden + "}}\n",
		"badfield.yaml":  "apiVersion: v1\nkind: Secret\nmetadata: {name: bad-field, namespace: NS}\ndata: \"" + encoded + "\"\n",
	})
	e.start()
	e.waitErrors("", "bad-key", "bad-type", "bad-auth", "bad-base64", "bad-shape", "bad-field")
	e.waitValue(encoded, "v1", "Secret", "valid", "data", "key")
	e.waitValue(encoded, "v1", "Secret", "fixed", "data", "key")
	e.patch("kubectl-edit", "v1", "Secret", "valid", `{"stringData": {"key": "`+edited+`"}}`)
	e.waitValue(encoded, "v1", "Secret", "valid", "data", "key")
	uid := e.value("v1", "Secret", "fixed", "metadata", "uid")
	e.commit(map[string]string{"apps/APP/fixed.yaml": secret("fixed", "immutable: true\n", hidden+"-2")})
	e.eventually("replaced", func() string {
		if got := e.value("v1", "Secret", "fixed", "metadata", "uid"); got == uid || got == "(absent)" {
			return "it is not"
		}
		return ""
	})
	e.waitQuiet("")
	said := map[string]string{"log": log.String()}
	_, said["status"] = e.fetch(url + "/api/v1/status")
	_, said["metrics"] = e.fetch(url + "/metrics")
	app, err := e.in("holdfast.dev/v1alpha1", "AppStatus", "").Get(t.Context(), e.id, getOptions)
	if err != nil {
		t.Fatal(err)
	}
	said["AppStatus"] = text(t, app)
	events, err := e.clients.Kubernetes.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + e.id})
	if err != nil {
		t.Fatal(err)
	}
	if len(events.Items) == 0 {
		t.Error("there are no Events")
	}
	said["Events"] = text(t, events)
	for key, value := range e.inventory() {
		said["inventory"] += key + value
	}
	e.stop()
	e.patch("kubectl-edit", "v1", "Secret", "valid", `{"stringData": {"key": "`+edited+`"}}`)
	sha := e.commit(map[string]string{"apps/APP/valid.yaml": secret("valid", "", hidden+"-3")})
	var plan strings.Builder
	planLog := e.captureLog(zerolog.DebugLevel)
	e.with(func(o *agent.Options) { o.DryRun, o.Out, o.Listen = true, &plan, "" })
	if err := agent.Run(t.Context(), e.agentOptions()); err != nil {
		t.Logf("dry run: %v", err)
	}
	if !strings.Contains(plan.String(), "valid") {
		t.Errorf("the plan does not show the Secret at %s:\n%s", sha, plan.String())
	}
	said["plan"], said["the plan's log"] = plan.String(), planLog.String()

	for where, said := range said {
		for _, value := range []string{hidden, edited} {
			for _, form := range []string{value, base64.StdEncoding.EncodeToString([]byte(value))[:20]} {
				if i := strings.Index(said, form); i >= 0 {
					t.Errorf("%s tells a secret: %s", where, said[max(0, i-300):min(len(said), i+60)])
				}
			}
		}
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Drift that is left alone, and an object that somebody keeps overwriting, are told by one Event for
// each time that it begins.
func TestEpisodesAreToldOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, bare.Cluster(t))
	files := twoApps()
	files["apps/other/app.yaml"] = strings.Replace(appYAML("drift: {mode: Detect}"), "APP", "APP-other", 1)
	sha := e.commit(files)
	e.start()
	e.waitReady(sha)
	told := func(app, reason string) (count int, message string) {
		t.Helper()
		events, err := e.clients.Kubernetes.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + app + ",reason=" + reason})
		if err != nil {
			return -1, err.Error()
		}
		for i := range events.Items {
			count += int(max(events.Items[i].Count, 1))
			message = events.Items[i].Message
		}
		return count, message
	}
	once := func(app, reason string, words ...string) {
		t.Helper()
		e.eventually(reason, func() string {
			if n, message := told(app, reason); n != 1 || !containsAll(message, words) {
				return fmt.Sprintf("%d Events: %s", n, message)
			}
			return ""
		})
	}
	e.waitValue("1", "v1", "ConfigMap", "b", "data", "key")
	for _, value := range []string{"edited", "edited again", "edited once more"} {
		e.patch("kubectl-edit", "v1", "ConfigMap", "b", `{"data": {"key": "`+value+`"}}`)
	}
	once(e.id+"-other", "DriftDetected", "ConfigMap/"+e.ns+"/b")
	for range 6 {
		e.heals("1")
	}
	e.patch("kubectl-edit", "v1", "ConfigMap", "a", `{"data": {"key": "edited"}}`)
	once(e.id, "Fight", "ConfigMap/"+e.ns+"/a", "kubectl-edit")
	e.waitQuiet("")
	once(e.id, "Fight")
	once(e.id+"-other", "DriftDetected")
}

// An agent that has ended leaves nothing running: no goroutine, however often it was started, and with
// whatever was going on.
func TestNothingIsLeftRunning(t *testing.T) { // not parallel: it counts the goroutines of the process
	e := newEnv(t, bare.Cluster(t))
	e.listen()
	e.app("", map[string]string{"a.yaml": configMap("a", "1"), "d.yaml": deployment("web", "web:1")})
	e.start()
	e.waitDeployment("web", "web:1")
	e.stop()
	before := settledGoroutines(t, 0)
	for range 3 {
		e.start()
		e.eventually("an AppStatus", func() string {
			if e.status("") == nil {
				return "there is none"
			}
			return ""
		})
		e.stop()
	}
	const tolerance = 5 // connections of the test's own clients
	if after := settledGoroutines(t, before+tolerance); after > before+tolerance {
		b := make([]byte, 1<<20)
		t.Errorf("%d goroutines before three runs, %d after:\n%s", before, after, b[:runtime.Stack(b, true)])
	}
}

// settledGoroutines counts the goroutines, once there are at most enough or they have not become fewer
// for two seconds.
func settledGoroutines(t *testing.T, enough int) int {
	t.Helper()
	least, since := runtime.NumGoroutine(), time.Now()
	for least > enough && time.Since(since) < 2*time.Second {
		time.Sleep(50 * time.Millisecond) // until others have ended: there is nothing to wait on
		if n := runtime.NumGoroutine(); n < least {
			least, since = n, time.Now()
		}
	}
	return least
}
