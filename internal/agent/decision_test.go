package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-dev/holdfast/internal/apply"
	"github.com/holdfast-dev/holdfast/internal/gate"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// threeClusters is a fleet of c1, c2 and c3, and the app web, a Deployment of six replicas. Its commits are named
// for the letters a, b, c...: each descends from those before it.
func threeClusters(change map[string]string) *memTree {
	files := map[string]string{
		"apps/web/app.yaml":           appFile("web", "replicas: {total: 6}, failover: {soak: 0s}"),
		"apps/web/kustomization.yaml": "resources: [web.yaml]\n",
		"apps/web/web.yaml":           webYAML("1"),
	}
	for _, name := range []string{"c1", "c2", "c3"} {
		files["clusters/"+name+"/cluster.yaml"] = header + "kind: Cluster\nmetadata: {name: " + name + ", labels: {name: " + name + "}}\n"
	}
	return newTree(files).with(change)
}

func webYAML(version string) string {
	return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: web}\nspec:\n  selector: {matchLabels: {app: web}}\n" +
		"  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: \"web:" + version + "\"}]}}\n"
}

func fleetFile(spec string) map[string]string {
	return map[string]string{"fleet.yaml": header + "kind: Fleet\nmetadata: {name: f}\nspec: {" + spec + "}\n"}
}

const drainC1 = "drain: [{clusterSelector: {matchLabels: {name: c1}}}]"

// heard is a fresh report of a cluster that has the app, Ready with so many replicas, at a commit.
func heard(cluster, commit string, replicas int32, change ...func(*status.App)) gate.Observed {
	since := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	app := status.App{
		Name: "web", Revision: commit, Placement: commit, Proven: commit, Ready: true, Since: &since, Objects: 1,
		Replicas: status.Replicas{Desired: replicas, Ready: replicas},
	}
	for _, c := range change {
		c(&app)
	}
	return gate.Observed{Fresh: true, Report: &status.Report{
		APIVersion: status.APIVersion, Cluster: cluster, Commit: commit, Time: since.Add(time.Hour), Apps: []status.App{app},
	}}
}

func hears(observed map[string]gate.Observed) reports {
	return reports{others: observed, asked: func(string) bool { return true }}
}

func share(n int32) apply.AppRecord { return apply.AppRecord{Share: &n} }

// imageAndReplicas is what a compilation has of the app web.
func imageAndReplicas(t *testing.T, out *compilation) string {
	t.Helper()
	for _, a := range out.desired.Apps {
		if a.Name != "web" || len(a.Objects) == 0 {
			continue
		}
		var d struct {
			Spec struct {
				Replicas *int32
				Template struct {
					Spec struct{ Containers []struct{ Image string } }
				}
			}
		}
		if err := json.Unmarshal(a.Objects[0].JSON, &d); err != nil {
			t.Fatal(err)
		}
		text := d.Spec.Template.Spec.Containers[0].Image
		if d.Spec.Replicas != nil {
			text += fmt.Sprintf(" x%d", *d.Spec.Replicas)
		}
		return text
	}
	return ""
}

// Placement is head's, content is what was adopted; the gates decide when either follows.
func TestDecisions(t *testing.T) {
	both := hears(map[string]gate.Observed{"c2": heard("c2", "b", 3), "c3": heard("c3", "b", 3)})
	late := hears(map[string]gate.Observed{"c2": heard("c2", "b", 3), "c3": heard("c3", "b", 1)})
	exclusive := map[string]string{"apps/web/app.yaml": appFile("web", "placement: {clusters: 1, prefer: [{matchLabels: {name: c1}}]}, failover: {gate: Exclusive}")}
	waves := map[string]string{"apps/web/app.yaml": appFile("web", "rollout: {waves: [{clusterSelector: {matchLabels: {name: c2}}}]}")}
	merge := func(maps ...map[string]string) map[string]string {
		all := map[string]string{}
		for _, m := range maps {
			for k, v := range m {
				all[k] = v
			}
		}
		return all
	}
	newContent := map[string]string{"apps/web/web.yaml": webYAML("2")}
	gone := func(a *status.App) { a.Ready, a.Since, a.Objects = false, nil, 0 }

	tests := []struct {
		name    string
		head    map[string]string
		record  apply.AppRecord
		absent  bool // nothing is here
		reports reports
		change  func(*request)

		want    string // what is to be here
		share   int32  // that is on record; -1 is no record
		held    string // part of the reason
		unknown bool
		leaves  bool
		claimed int
		asks    gate.Asks
	}{
		{name: "nothing changes", record: share(2), want: "web:1 x2", share: 2},
		{name: "it comes here", absent: true, share: 2, want: "web:1 x2"},
		{name: "drained, and the others have taken over", head: fleetFile(drainC1), record: share(2), reports: both, share: -1, leaves: true},
		{name: "drained, and one has not: what is here stays", head: merge(fleetFile(drainC1), newContent), record: share(2), reports: late,
			want: "web:1 x2", share: 2, held: "c3 has 1 of its 3 replicas ready", asks: gate.Asks{Clusters: []string{"c2", "c3"}}},
		{name: "drained, and nobody was asked yet", head: fleetFile(drainC1), record: share(2), reports: reports{asked: func(string) bool { return false }},
			want: "web:1 x2", share: 2, asks: gate.Asks{Clusters: []string{"c2", "c3"}}},
		{name: "its share falls, and the others have not risen: new content with the old share", record: share(4), head: newContent,
			reports: late, want: "web:2 x4", share: 4, held: "keeps 4 replicas here instead of 2", asks: gate.Asks{Clusters: []string{"c2", "c3"}}},
		{name: "its share rises while it is frozen: old content with the new share", record: share(1), want: "web:1 x2", share: 2, held: "frozen", claimed: 1,
			head: merge(fleetFile("freeze: [{clusterSelector: {}}]"), newContent)},
		{name: "its app.yaml is broken: what is here stays", record: share(5), head: map[string]string{"apps/web/app.yaml": appFile("web", "replicsa: {total: 6}")},
			want: "web:1 x5", share: 5, claimed: 1},
		{name: "another cluster's file is broken, so the placement is unknown: what is here stays", record: share(5), want: "web:1 x5", share: 5,
			head: map[string]string{"clusters/c3/cluster.yaml": header + "kind: Cluster\nmetadata: {name: c3}\nspec: {wieght: 2}\n"}},
		{name: "head cannot be used: the last one decides nothing", record: share(5), head: map[string]string{"fleet.yaml": "drain"}, want: "web:1 x5", share: 5},
		{name: "what was enforced is not known, and it need not give anything", change: func(r *request) { r.records, r.unrecorded = nil, true },
			reports: both, want: "web:1 x2", share: 2},
		{name: "what was enforced is not known, and one has not taken over", change: func(r *request) { r.records, r.unrecorded = nil, true },
			reports: late, unknown: true, share: 0, claimed: 1, held: "c3 has 1 of its 2", asks: gate.Asks{Clusters: []string{"c2", "c3"}}},

		{name: "an exclusive app, and nobody has said that it is gone", head: exclusive, absent: true, share: -1, held: "c2 has never reported", leaves: true,
			reports: hears(map[string]gate.Observed{"c3": heard("c3", "b", 0, gone)}), claimed: 1, asks: gate.Asks{All: true}},
		{name: "an exclusive app, and all have", head: exclusive, absent: true, share: 0, want: "web:1",
			reports: hears(map[string]gate.Observed{"c2": heard("c2", "b", 0, gone), "c3": heard("c3", "b", 0, gone)})},
		{name: "an exclusive app that is to run elsewhere stops at once", record: apply.AppRecord{}, share: -1, leaves: true,
			head: map[string]string{"apps/web/app.yaml": strings.Replace(exclusive["apps/web/app.yaml"], "c1", "c2", 1)}},

		{name: "the wave before has not proven it", head: merge(waves, newContent), record: apply.AppRecord{}, want: "web:1", claimed: 1,
			reports: hears(map[string]gate.Observed{"c2": heard("c2", "a", 2)}), held: "c2 has proven commit a", asks: gate.Asks{Clusters: []string{"c2"}}},
		{name: "the wave before has proven it", head: merge(waves, newContent), record: apply.AppRecord{}, want: "web:2",
			reports: hears(map[string]gate.Observed{"c2": heard("c2", "b", 2)})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first, head := threeClusters(nil), threeClusters(tt.head)
			c := testCompiler(map[string]tree.Tree{"a": first})
			before, err := c.compile(t.Context(), request{commit: "a", tree: first})
			if err != nil {
				t.Fatal(err)
			}
			r := request{commit: "b", tree: head, good: "a", reports: tt.reports, apps: map[string]known{}, records: map[string]apply.AppRecord{}}
			if !tt.absent {
				r.apps["web"] = known{adopted: before.apps["web"].adopted, defined: "a", ready: true, present: true}
				r.records["web"] = tt.record
			}
			if tt.change != nil {
				tt.change(&r)
			}
			var stored map[string]apply.AppRecord
			c.record = func(_ context.Context, _ string, apps map[string]apply.AppRecord) error { stored = apps; return nil }
			out, err := c.compile(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if got := imageAndReplicas(t, out); got != tt.want {
				t.Errorf("here is %q, want %q", got, tt.want)
			}
			rec, ok := stored["web"]
			switch {
			case ok != (tt.share >= 0):
				t.Errorf("on record: %v %+v", ok, rec)
			case rec.Share != nil && *rec.Share != tt.share, rec.Share == nil && tt.share > 0, rec.Unknown != tt.unknown:
				t.Errorf("on record: %+v", rec)
			}
			web := out.apps["web"]
			var reasons []string
			var asks gate.Asks
			if web != nil {
				asks = web.asks
				for _, h := range web.held {
					reasons = append(reasons, h.Reason)
				}
			}
			if (tt.held == "") != (len(reasons) == 0) || !strings.Contains(strings.Join(reasons, "; "), tt.held) {
				t.Errorf("held: %q, want %q", reasons, tt.held)
			}
			if diff := cmp.Diff(tt.asks, asks); diff != "" {
				t.Errorf("asks (-want +got): %s", diff)
			}
			i := slices.IndexFunc(out.desired.Apps, func(a apply.App) bool { return a.Name == "web" })
			if i < 0 {
				t.Fatal("the engine does not hear of the app")
			}
			if divided := out.desired.Apps[i].Divided != nil; divided != (rec.Share != nil) {
				t.Errorf("divided: %v", divided)
			}
			if a := out.desired.Apps[i]; a.Unknown != tt.unknown || a.Leaves != tt.leaves {
				t.Errorf("unknown %v, leaves %v", a.Unknown, a.Leaves)
			}
			if len(out.desired.Claimed) != tt.claimed {
				t.Errorf("claimed: %v", out.desired.Claimed)
			}
		})
	}
}

// Of an app whose content may be held back it is on record too, once for each content; and what is known of an app that is
// gone from Git stays until nothing of it is left.
func TestWhatIsOnRecord(t *testing.T) {
	for name, change := range map[string]map[string]string{
		"waves": {"apps/web/app.yaml": appFile("web", "rollout: {waves: [{clusterSelector: {matchLabels: {name: c1}}}, {}]}")},
		"dependsOn": {
			"apps/web/app.yaml":            appFile("web", "dependsOn: [base], failover: {gate: None}"),
			"apps/base/app.yaml":           appFile("base", "failover: {gate: None}"),
			"apps/base/kustomization.yaml": "resources: [a.yaml]\n",
			"apps/base/a.yaml":             "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: base, namespace: web}\n",
		},
	} {
		t.Run(name, func(t *testing.T) { contentIsOnRecord(t, threeClusters(change)) })
	}
}

func contentIsOnRecord(t *testing.T, a *memTree) {
	t.Helper()
	history := map[string]tree.Tree{"a": a}
	c := testCompiler(history)
	r := request{commit: "a", tree: a, apps: map[string]known{}, records: map[string]apply.AppRecord{}}
	compile := func() apply.AppRecord {
		t.Helper()
		out, err := c.compile(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		r.records = out.records
		for name, app := range out.apps {
			r.apps[name] = known{adopted: app.adopted, present: true, ready: true}
		}
		history[r.commit] = r.tree
		return out.records["web"]
	}
	compile() // what it depends on comes first
	first := compile()
	if first.Revision != "a" || first.Content == "" {
		t.Errorf("first: %+v", first)
	}
	r.commit = "b"
	if same := compile(); !same.Equal(first) {
		t.Errorf("with the same content: %+v, was %+v", same, first)
	}
	r.commit, r.tree = "c", a.with(map[string]string{"apps/web/web.yaml": webYAML("2")})
	if next := compile(); next.Revision != "c" || next.Content == first.Content {
		t.Errorf("with new content: %+v", next)
	}
	last := r.records["web"]
	r.commit, r.tree = "d", a.with(map[string]string{"apps/web/app.yaml": "", "apps/web/web.yaml": "", "apps/web/kustomization.yaml": ""})
	if rec := compile(); !rec.Equal(last) {
		t.Errorf("gone from Git, and still here: %+v", rec)
	}
	r.apps["web"] = known{}
	compile()
	if rec, ok := r.records["web"]; ok {
		t.Errorf("gone: %+v", rec)
	}
}

// Of an app that nothing holds back the content is on record while the cluster is frozen.
func TestAFreezeIsOnRecord(t *testing.T) {
	a := threeClusters(nil)
	c := testCompiler(map[string]tree.Tree{"a": a})
	r := request{commit: "a", tree: a, apps: map[string]known{}, records: map[string]apply.AppRecord{}}
	compile := func(commit string, change map[string]string) apply.AppRecord {
		t.Helper()
		r.commit, r.tree = commit, a.with(change)
		out, err := c.compile(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		r.records, r.apps["web"] = out.records, known{adopted: out.apps["web"].adopted, present: true}
		return out.records["web"]
	}
	if rec := compile("a", nil); rec.Content != "" {
		t.Errorf("not held back: %+v", rec)
	}
	freeze := fleetFile("freeze: [{clusterSelector: {}}]")
	freeze["apps/web/web.yaml"] = webYAML("2")
	if rec := compile("b", freeze); rec.Revision != "a" || rec.Content == "" {
		t.Errorf("frozen: %+v", rec)
	}
	if rec := compile("c", nil); rec.Content != "" {
		t.Errorf("no longer frozen: %+v", rec)
	}
}

// What others have to provide for from now on was decided by what they reported: if the cluster cannot be told of it for
// long, it is decided anew.
func TestAReleaseThatCannotBeStoredIsTakenBack(t *testing.T) {
	first := threeClusters(nil)
	both := hears(map[string]gate.Observed{"c2": heard("c2", "b", 3), "c3": heard("c3", "b", 3)})
	for name, tt := range map[string]struct {
		head   map[string]string
		record apply.AppRecord
		gives  bool
	}{
		"leaves":  {fleetFile(drainC1), share(2), true},
		"falls":   {nil, share(4), true},
		"rises":   {nil, share(1), false},
		"arrives": {nil, apply.AppRecord{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := testCompiler(map[string]tree.Tree{"a": first})
				before, err := c.compile(t.Context(), request{commit: "a", tree: first})
				if err != nil {
					t.Fatal(err)
				}
				r := request{commit: "b", tree: first.with(tt.head), good: "a", reports: both, records: map[string]apply.AppRecord{}, apps: map[string]known{}}
				if tt.record.Share != nil {
					r.records["web"] = tt.record
					r.apps["web"] = known{adopted: before.apps["web"].adopted, defined: "a", ready: true, present: true}
				}
				answer := func(ctx context.Context, _ string, _ map[string]apply.AppRecord) error {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(30 * time.Minute):
						return nil
					}
				}
				c.record = answer
				started := time.Now()
				_, err = c.compile(t.Context(), r)
				if took := time.Since(started); (err != nil) != tt.gives || tt.gives && took != recordWithin {
					t.Fatalf("after %s: %v", took, err)
				}
				if !tt.gives {
					return
				}
				c.record = func(_ context.Context, _ string, apps map[string]apply.AppRecord) error {
					if rec := apps["web"]; !rec.Equal(tt.record) {
						t.Errorf("on record: %+v", rec)
					}
					return nil
				}
				dead := both.others["c2"]
				dead.Fresh = false
				r.reports = hears(map[string]gate.Observed{"c2": dead, "c3": both.others["c3"]})
				if _, err := c.compile(t.Context(), r); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// An Exclusive app starts where no commit has ever placed it elsewhere, but not by history alone: the branch may have lost
// the commits that did.
func TestExclusiveAfterARewrite(t *testing.T) {
	gone := func(a *status.App) { a.Ready, a.Since, a.Objects = false, nil, 0 }
	exclusive := map[string]string{"apps/web/app.yaml": appFile("web", "placement: {clusters: 1, prefer: [{matchLabels: {name: c1}}]}, failover: {gate: Exclusive}")}
	a := threeClusters(exclusive)
	rewritten := fleetFile("acceptHistory: c123456789012345678901234567890123456789")
	tests := []struct {
		name    string
		head    map[string]string
		reports reports
		held    string
	}{
		{name: "it is where the branch says that it never was", head: rewritten, held: "c2 reported that it has 1 objects",
			reports: hears(map[string]gate.Observed{"c2": heard("c2", "lost", 1)})},
		{name: "the same without acceptHistory", held: "c2 reported that it has 1 objects",
			reports: hears(map[string]gate.Observed{"c2": heard("c2", "lost", 1)})},
		{name: "one was to start it at a commit that the branch has lost", held: "c2 reported it gone, but at commit lost",
			reports: hears(map[string]gate.Observed{"c2": heard("c2", "lost", 0, gone)})},
		{name: "gone before the rewrite", head: rewritten, held: "c2 reported it gone, but at commit a",
			reports: hears(map[string]gate.Observed{"c2": heard("c2", "a", 0, gone)})},
		{name: "gone after the rewrite", head: rewritten, held: "c3 has never reported",
			reports: hears(map[string]gate.Observed{"c2": heard("c2", "b", 0, gone)})},
		{name: "all gone after the rewrite", head: rewritten,
			reports: hears(map[string]gate.Observed{"c2": heard("c2", "b", 0, gone), "c3": heard("c3", "b", 0, gone)})},
		{name: "nothing was rewritten: gone at an older commit, and never reported", reports: hears(map[string]gate.Observed{"c2": heard("c2", "a", 0, gone)})},
		{name: "nothing has been read", reports: reports{unread: true, asked: func(string) bool { return true }}, held: "have not been read yet"},
		{name: "there are no reports", reports: reports{unread: true, never: true, trouble: "off"}},
		{name: "there are no reports, after a rewrite", head: rewritten, reports: reports{unread: true, never: true, trouble: "off"}, held: "cannot be read (off)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			head := a.with(tt.head)
			c := testCompiler(map[string]tree.Tree{"a": a, "b": head, "lost": a})
			history := &chain{commits: []string{"a", "b"}}
			c.lineage = newLineage(history)
			r := request{commit: "b", tree: head, reports: tt.reports, records: map[string]apply.AppRecord{}}
			for range 3 {
				out, err := c.compile(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				var reasons string
				if web := out.apps["web"]; web != nil {
					for _, h := range web.held {
						reasons += h.Reason
					}
				}
				if (tt.held == "") != (imageAndReplicas(t, out) != "") || (tt.held == "") != (reasons == "") || !strings.Contains(reasons, tt.held) {
					t.Errorf("here is %q, held: %q, want %q", imageAndReplicas(t, out), reasons, tt.held)
				}
			}
			for since, n := range history.walks {
				if n > 1 {
					t.Errorf("the history since %q was walked %d times", since, n)
				}
			}
		})
	}
}

// To ask for what is known already walks through no history again, whichever app it is about.
func TestHistoryIsWalkedOnce(t *testing.T) {
	first := threeClusters(nil)
	c := testCompiler(map[string]tree.Tree{"a": first, "b": first, "c": first})
	history := &chain{commits: []string{"a", "b", "c"}}
	c.lineage = newLineage(history)
	for _, head := range []string{"b", "c"} {
		for _, app := range []string{"web", "other"} {
			for _, since := range []string{"", "a"} {
				clusters, known := c.placedSince(t.Context(), since, head, app)
				if !known || (app == "web") != clusters["c1"] {
					t.Errorf("%s since %q: %v, known %v", app, since, clusters, known)
				}
			}
		}
	}
	if n := history.walks[""] + history.walks["a"]; n != 4 {
		t.Errorf("walked %d times for two heads", n)
	}
}

// chain is a history of these commits, the oldest first. What is not among them is here too, and left the branch after the
// first.
type chain struct {
	newestLast
	commits []string
	walks   map[string]int
}

func (h *chain) Ancestry(_ context.Context, commit, ancestor string) (yes, known bool, err error) {
	of := slices.Index(h.commits, ancestor)
	return commit == ancestor || of >= 0 && slices.Index(h.commits, commit) >= of, true, nil
}

func (h *chain) Between(_ context.Context, since, head string) ([]string, bool, error) {
	if h.walks == nil {
		h.walks = map[string]int{}
	}
	h.walks[since]++
	from := -1
	if since != "" {
		from = max(0, slices.Index(h.commits, since))
	}
	return slices.Clone(h.commits[from+1 : slices.Index(h.commits, head)+1]), true, nil
}

// A share that could not be stored is not acted on.
func TestNothingIsDoneThatIsNotOnRecord(t *testing.T) {
	c := testCompiler(nil)
	ctx, cancel := context.WithCancel(t.Context())
	c.record = func(ctx context.Context, _ string, _ map[string]apply.AppRecord) error { cancel(); return ctx.Err() }
	if out, err := c.compile(ctx, request{commit: "a", tree: threeClusters(nil)}); err == nil {
		t.Errorf("got %+v", out)
	}
}

// What an app needs leaves a cluster after it, and its own folder at once.
func TestLeavingInOrder(t *testing.T) {
	config := func(name string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: web}\n"
	}
	files := map[string]string{
		"apps/web/app.yaml":               appFile("web", "dependsOn: [ingress], failover: {soak: 0s}"),
		"apps/ingress/app.yaml":           appFile("ingress", "dependsOn: [access], failover: {gate: None}"),
		"apps/ingress/kustomization.yaml": "resources: [a.yaml]\n", "apps/ingress/a.yaml": config("ingress"),
		"apps/access/app.yaml":           appFile("access", "failover: {gate: None}"),
		"apps/access/kustomization.yaml": "resources: [a.yaml]\n", "apps/access/a.yaml": config("access"),
		"clusters/c1/kustomization.yaml": "resources: [a.yaml]\n", "clusters/c1/a.yaml": config("own"),
	}
	a := threeClusters(files)
	c := testCompiler(map[string]tree.Tree{"a": a})
	before, err := c.compile(t.Context(), request{commit: "a", tree: a})
	if err != nil {
		t.Fatal(err)
	}
	r := request{commit: "b", tree: a.with(fleetFile(drainC1)), good: "a", apps: map[string]known{}, records: before.records}
	for name, app := range before.apps {
		r.apps[name] = known{adopted: app.adopted, ready: true, present: true}
	}
	drained := func(change string) *memTree {
		return a.with(fleetFile("drain: [{clusterSelector: {matchLabels: {name: c1}}" + change + "}]"))
	}
	for _, step := range []struct {
		name  string
		do    func()
		stay  string // the apps that are still enforced
		holds string // of ingress
	}{
		{"web waits for the others: what it needs stays", func() { r.reports = hears(nil) }, "access ingress web", "keeps running here while web does, which depends on it"},
		{"a forced drain waits for nobody", func() { r.tree = drained(", force: true") }, "", ""},
		{"web leaves, and is not gone yet", func() {
			r.tree = drained("")
			r.reports = hears(map[string]gate.Observed{"c2": heard("c2", "b", 0), "c3": heard("c3", "b", 0)})
		}, "access ingress", "keeps running here while web does"},
		{"web is gone", func() { r.apps["web"] = known{} }, "access", ""},
		{"ingress is gone", func() { r.apps["ingress"] = known{} }, "", ""},
	} {
		step.do()
		out, err := c.compile(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		var stay []string
		for name := range out.enforced {
			stay = append(stay, name)
		}
		slices.Sort(stay)
		if got := strings.Join(stay, " "); got != step.stay {
			t.Errorf("%s: %q stay, want %q", step.name, got, step.stay)
		}
		holds := ""
		if ingress := out.apps["ingress"]; ingress != nil && len(ingress.held) > 0 {
			holds = ingress.held[0].Reason
		}
		if (step.holds == "") != (holds == "") || !strings.Contains(holds, step.holds) {
			t.Errorf("%s: ingress is held: %q", step.name, holds)
		}
		if !strings.Contains(step.name, "forced") { // that one is looked at only
			r.records = out.records
		}
	}
}
