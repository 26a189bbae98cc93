package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/apply"
	"github.com/holdfast-dev/holdfast/internal/drift"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/metrics"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// testLoop is a loop of the cluster c1 that nothing drives, and whose API server and repository nobody asks.
func testLoop(t *testing.T) *loop {
	t.Helper()
	clients, err := kube.New(&rest.Config{Host: "http://127.0.0.1:1"}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	l := newLoop(Options{Cluster: "c1", Namespace: "holdfast", Log: zerolog.Nop()}, metrics.New("test"), clients, nil)
	l.compiler = testCompiler(map[string]tree.Tree{})
	l.engine = apply.NewEngine("holdfast", nil)
	l.cancelOld = func() {}
	return l
}

// compiles compiles a commit with what the loop knows.
func (l *loop) compiles(t *testing.T, commit string, files tree.Tree) *compilation {
	t.Helper()
	r := request{commit: commit, tree: files, records: l.records, apps: map[string]known{}, reports: hears(nil), now: time.Now()}
	present := l.engine.Present()
	for name, a := range l.apps {
		r.apps[name] = known{adopted: a.adopted, present: present[name]}
	}
	c, err := l.compiler.compile(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What was compiled before the latest reports came is adopted, and compiled once more: reports may come faster than it
// takes. What was compiled before head changed is not.
func TestNewsWhileItCompiles(t *testing.T) {
	l := testLoop(t)
	c := l.compiles(t, "a", threeClusters(nil))
	l.compiling = true
	l.compileSoon(t.Context())
	l.adopt(t.Context(), compileResult{c: c})
	if l.current != c {
		t.Error("not adopted")
	}
	if now := time.Now(); l.compileAt.IsZero() || l.compileAt.After(now) {
		t.Errorf("compiles again at %s", l.compileAt)
	}
	next := l.compiles(t, "b", threeClusters(nil))
	l.compiling = true
	l.compileSoon(t.Context())
	l.compile(t.Context())
	l.adopt(t.Context(), compileResult{c: next})
	if l.current != c {
		t.Error("what is out of date was adopted")
	}
}

// A watch without an answer is told after a minute though nothing else happens, whatever else is to come of the app.
func TestAWatchThatDoesNotAnswer(t *testing.T) {
	l := testLoop(t)
	l.adopt(t.Context(), compileResult{c: l.compiles(t, "a", threeClusters(nil))})
	deployments := kube.Resource{GroupVersionKind: schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, Namespaced: true}
	now := time.Now()
	since := now
	turn := func(after time.Duration) *status.AppState {
		t.Helper()
		now = now.Add(after)
		l.publish(t.Context(), now)
		return l.apps["web"].state
	}
	blind := func(s *status.AppState) bool {
		for _, e := range s.Errors {
			if strings.Contains(e.Message, "does not answer since") {
				return true
			}
		}
		return false
	}
	turn(0)
	for _, text := range []string{"connection refused", "no route to host"} {
		l.observe(drift.Event{Kind: drift.Failed, Resource: deployments, Err: errors.New(text), Since: since})
		if s := turn(time.Second); blind(s) {
			t.Errorf("told at once: %+v", s.Errors)
		}
	}
	if at := l.later.next(); !at.Equal(since.Add(watchGrace)) {
		t.Errorf("looks again at %s, not after %s", at, watchGrace)
	}
	if s := turn(watchGrace); !blind(s) || s.Ready {
		t.Errorf("Ready %v, %+v", s.Ready, s.Errors)
	}
	if at := l.later.next(); !at.IsZero() {
		t.Errorf("and looks again at %s", at)
	}
	l.observe(drift.Event{Kind: drift.Recovered, Resource: deployments, Since: since})
	if s := turn(time.Second); blind(s) {
		t.Errorf("still told: %+v", s.Errors)
	}
}

// While the lists come in after a restart, what was said of an app stands for as long as it may be true: that it is Ready
// until something of it is seen not to be, that it is not until all of it has been looked at. What it then is not Ready for is
// no younger than it was.
func TestSaysNothingNewWhileListsComeIn(t *testing.T) {
	files := threeClusters(map[string]string{
		"apps/web/kustomization.yaml": "resources: [web.yaml, a.yaml]\n", "apps/web/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: web}\n",
	})
	since := time.Now().Add(-time.Hour).Truncate(time.Second)
	for name, test := range map[string]struct {
		before status.AppState
		silent bool // while the Deployment is seen not to be well, and the ConfigMap has not been looked at
	}{
		"it was Ready":     {status.AppState{Since: since}, false},
		"it was not Ready": {status.AppState{UnreadySince: since}, true},
		"an error is over": {status.AppState{UnreadySince: since, Errors: []status.ObjectError{{Message: "no"}}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := testLoop(t)
			c := l.compiles(t, "a", files)
			records := map[object.ObjMetadata]apply.Record{}
			for _, o := range c.desired.Apps[0].Objects {
				records[o.ID] = apply.Record{App: "web", Hash: o.Hash, Fingerprint: "f"}
			}
			l.engine = apply.NewEngine("holdfast", records)
			before := test.before
			before.Name, before.Changed, before.Revision, before.Placement, before.Content = "web", "a", "a", "a", c.apps["web"].adopted.Content
			l.apps["web"] = restoredApp(before)
			l.adopt(t.Context(), compileResult{c: c})
			now := time.Now()
			turn := func() (told bool, s *status.AppState) {
				said := l.apps["web"].state
				now = now.Add(time.Second)
				l.publish(t.Context(), now)
				s = l.apps["web"].state
				return s != said, s
			}
			list := func(id object.ObjMetadata, health kstatus.Status, message string) {
				r := l.kinds[id.GroupKind]
				l.observe(drift.Event{Kind: drift.Synced, Resource: r, ResourceVersion: "2", Lives: []live.View{{
					ID: id, ResourceVersion: "1", Fingerprint: "f", Status: health, Message: message, Instance: "holdfast", App: "web",
				}}})
			}
			var deployment, config object.ObjMetadata
			for id := range records {
				gk := id.GroupKind
				l.kinds[gk] = kube.Resource{GroupVersionKind: gk.WithVersion("v1"), Namespaced: true, Watchable: true}
				l.syncing[gk] = true
				if gk.Kind == "Deployment" {
					deployment = id
				} else {
					config = id
				}
			}
			if told, s := turn(); told {
				t.Fatalf("nothing has been looked at, and it is said: %+v", s)
			}
			list(deployment, kstatus.InProgressStatus, "0 of 6")
			told, s := turn()
			if told == test.silent {
				t.Errorf("told is %v: %+v", told, s)
			}
			if told {
				return
			}
			list(config, kstatus.CurrentStatus, "")
			if told, s = turn(); !told || s.Ready || len(s.Waiting) != 1 || s.Waiting[0].Message != "0 of 6" || !s.UnreadySince.Equal(since) {
				t.Errorf("told is %v: %+v", told, s)
			}
		})
	}
}

// An app stays for one that needs it and has not come yet. That is decided by Git alone, so it is not asked again and again.
func TestStaysForWhatIsStillToCome(t *testing.T) {
	config := func(name string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: web}\n"
	}
	only := func(name, more string) string {
		return more + "failover: {gate: None}, placement: {clusterSelector: {matchLabels: {name: " + name + "}}}"
	}
	a := threeClusters(map[string]string{
		"apps/base/app.yaml": appFile("base", only("c1", "")), "apps/base/kustomization.yaml": "resources: [a.yaml]\n", "apps/base/a.yaml": config("base"),
	})
	b := a.with(map[string]string{
		"apps/base/app.yaml": appFile("base", only("c2", "")),
		"apps/top/app.yaml":  appFile("top", only("c1", "dependsOn: [base], ")), "apps/top/kustomization.yaml": "resources: [a.yaml]\n", "apps/top/a.yaml": config("top"),
	})
	l := testLoop(t)
	l.compiler = testCompiler(map[string]tree.Tree{"a": a})
	l.adopt(t.Context(), compileResult{c: l.compiles(t, "a", a)})
	l.adopt(t.Context(), compileResult{c: l.compiles(t, "b", b)})
	if base := l.apps["base"]; len(base.keptFor) == 0 || !base.heldBy(status.GateDependsOn) {
		t.Fatalf("base does not stay: %+v", base.compiledApp)
	}
	if l.released() {
		t.Error("released, and compiled to the same end")
	}
	l.adopt(t.Context(), compileResult{c: l.compiles(t, "c", b.with(map[string]string{"apps/top/app.yaml": ""}))})
	if base := l.apps["base"]; base.placed {
		t.Errorf("base stays for nobody: %+v", base.compiledApp)
	}
}
