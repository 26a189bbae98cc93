package preview

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gate"
	"github.com/holdfast-dev/holdfast/internal/moves"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// TestMovesWaitAsGatesDecide holds what people are told of apps that move against what agents ask before they
// enforce it, while nothing is known of other clusters.
func TestMovesWaitAsGatesDecide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := drawFleet(t)
		base, head := commit("base", before), commit("head", before.edit(t))
		c := loaded(t, base, head)
		for _, a := range c.moves() {
			if a.Spec.Suspend {
				continue // nothing of it is touched
			}
			rule := moves.Sections([]moves.App{a})[0].Title
			for _, m := range a.Moves() {
				self, ok := c.head.Fleet.Cluster(m.Cluster)
				if !ok {
					continue
				}
				var got status.Gate
				held := gate.Enforce(gate.Input{
					Cluster: m.Cluster, Head: "head", Fleet: c.head.Fleet, App: a.App, Placed: a.After,
					Descends: func(string, string) bool { return false },
				}, gate.Enforced{Placed: m.Was, Share: m.Before, Present: m.Was}).Held
				if held != nil {
					got = held.Gate
				}
				if want := gateOf(rule, m, &a, c.head.Fleet, self); got != want {
					t.Errorf("app %s, cluster %s: told %q, so the gate is %q, and it is %q: %+v", a.Name, m.Cluster, rule, want, got, held)
				}
			}
		}
	})
}

// gateOf is the gate at which a move waits by what people are told.
func gateOf(rule string, m moves.Move, a *moves.App, f *fleet.Fleet, self *fleet.Cluster) status.Gate {
	drain, drained := f.Drained(self)
	forced := drained && drain.Force
	others := slices.DeleteFunc(slices.Clone(a.After.Clusters), func(name string) bool {
		return name == m.Cluster || a.After.Replicas != nil && a.After.Replicas[name] == 0
	})
	switch {
	case strings.Contains(rule, "keep running"):
		if a.Gate() == fleet.Exclusive {
			return status.GateExclusive
		}
		return status.GateTakeoverHealthy
	case strings.HasPrefix(rule, "Exclusive"), strings.HasPrefix(rule, "Start") && a.Gate() == fleet.Exclusive:
		if m.Is && !m.Was && len(f.Clusters) > 1 {
			return status.GateExclusive
		}
	case strings.HasPrefix(rule, "TakeoverHealthy"):
		if m.Shrinks() && !forced && len(others) > 0 {
			return status.GateTakeoverHealthy
		}
	}
	return ""
}

// TestRollouts: what new content waits for, in words.
func TestRollouts(t *testing.T) {
	const waves = "rollout: {waves: [{clusterSelector: {matchLabels: {ring: canary}}, soak: 2m}, {clusterSelector: {matchLabels: {env: test}}, soak: 1m}]}"
	base := files{"fleet.yaml": fleetHeader + "{}\n"}
	for name, labels := range map[string]string{"a": "ring: canary, env: test", "b": "env: test", "c": "env: prod", "d": "env: prod"} {
		base["clusters/"+name+"/cluster.yaml"] = header + "kind: Cluster\nmetadata: {name: " + name + ", labels: {" + labels + "}}\n"
	}
	app := func(name, spec string) files {
		return files{
			"apps/" + name + "/app.yaml":           header + "kind: App\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n",
			"apps/" + name + "/kustomization.yaml": "resources: [c.yaml]\n",
			"apps/" + name + "/c.yaml":             configMap(name, "v: a"),
		}
	}
	change := func(name string) files { return files{"apps/" + name + "/c.yaml": configMap(name, "v: b")} }
	freeze := func(label string) files {
		return files{"fleet.yaml": fleetHeader + "{freeze: [{clusterSelector: {matchLabels: {" + label + "}}, reason: sale}]}\n"}
	}
	db := app("db", "")
	for name, tc := range map[string]struct {
		apps    files
		changes []files
		want    []rollout
	}{
		"no gate":        {app("web", ""), []files{change("web")}, nil},
		"nothing new":    {app("web", waves), []files{freeze("env: prod")}, nil},
		"waves":          {app("web", waves), []files{change("web")}, []rollout{{[]string{"web"}, []string{"wave 1: a; soak 2m0s", "wave 2: b; soak 1m0s", "wave 3: c, d"}}}},
		"frozen":         {app("web", ""), []files{change("web"), freeze("env: prod")}, []rollout{{[]string{"web"}, []string{"frozen (sale), keeps its content: c, d"}}}},
		"frozen at last": {app("web", waves), []files{change("web"), freeze("env: prod")}, []rollout{{[]string{"web"}, []string{"wave 1: a; soak 2m0s", "wave 2: b; soak 1m0s", "frozen (sale), keeps its content: c, d"}}}},
		"frozen at first": {app("web", waves), []files{change("web"), freeze("ring: canary")}, []rollout{{[]string{"web"}, []string{
			"wave 2: b; soak 1m0s; waits for an earlier wave that is frozen", "wave 3: c, d; waits for an earlier wave that is frozen", "frozen (sale), keeps its content: a",
		}}}},
		"an app that changes too":     {db.with(app("web", "dependsOn: [db]")), []files{change("web"), change("db")}, []rollout{{[]string{"web"}, []string{"on each cluster after db"}}}},
		"an app that does not change": {db.with(app("web", "dependsOn: [db]")), []files{change("web")}, nil},
		"an app that is elsewhere": {
			app("db", "placement: {clusterSelector: {matchLabels: {env: prod}}}").with(app("web", "dependsOn: [db]")), []files{change("web")},
			[]rollout{{[]string{"web"}, []string{"never on a, since it depends on db, which is not placed there", "never on b, since it depends on db, which is not placed there"}}},
		},
		"two that wait alike": {app("web", waves).with(app("shop", waves)), []files{change("web"), change("shop")}, []rollout{
			{[]string{"shop", "web"}, []string{"wave 1: a; soak 2m0s", "wave 2: b; soak 1m0s", "wave 3: c, d"}},
		}},
		"a new app does not wait": {nil, []files{app("web", waves), freeze("env: prod")}, nil},
		"a suspended app":         {app("web", waves+", suspend: true"), []files{change("web")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			before := base.with(tc.apps)
			after := before
			for _, changes := range tc.changes {
				after = after.with(changes)
			}
			d, err := Compare(context.Background(), commit("base", before), commit("head", after), Options{Now: now})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, d.rollouts(), cmp.AllowUnexported(rollout{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestCauses: what changes in the settings of the fleet and its clusters.
func TestCauses(t *testing.T) {
	base := shop(1, 0).with(files{"fleet.yaml": fleetHeader + "{freeze: [{clusterSelector: {matchLabels: {region: west}}}]}\n"})
	head := base.with(files{
		"fleet.yaml": fleetHeader + "{drain: [{clusterSelector: {matchLabels: {region: east}}, reason: flood, force: true}], " +
			"prune: {maxPercent: 50, minObjects: 3, permit: [{app: shop, kinds: [Namespace], until: 2026-12-01}, {app: old, until: 2020-01-01}]}}\n",
		"clusters/west/cluster.yaml":  header + "kind: Cluster\nmetadata: {name: west, labels: {region: west}}\nspec: {weight: 3, vars: {a: b}}\n",
		"clusters/north/cluster.yaml": header + "kind: Cluster\nmetadata: {name: north, labels: {region: north}}\n",
		"apps/lost/app.yaml":          header + "kind: App\nmetadata: {name: lost}\nspec: {placement: {clusterSelector: {matchLabels: {region: mars}}}}\n",
	})
	d, err := Compare(context.Background(), commit("base", base), commit("head", head), Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"drained by force (flood): east", "new cluster: north", "no longer frozen: west", "vars changed: west", "weight 1 -> 3: west",
		"app lost is new and runs nowhere: no cluster is free; 0 clusters match",
		"brake on deletions: maxPercent 30 -> 50", "brake on deletions: minObjects 10 -> 3",
		"new permit: {app: shop, kinds: [Namespace], until: 2026-12-01}", "new permit: {app: old, until: 2020-01-01}, which has run out",
	}
	if diff := cmp.Diff(want, d.Causes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSettingsOfApps: what changes in an app's settings that no object shows.
func TestSettingsOfApps(t *testing.T) {
	app := func(spec string) files {
		return files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {" + spec + "}\n"}
	}
	base := shop(1, 2)
	for name, tc := range map[string]struct {
		was, is string
		want    []string
		empty   bool // no cluster is affected
	}{
		"nothing":             {"", "", nil, true},
		"defaults are said":   {"", "suspend: false, drift: {mode: Correct}, failover: {gate: TakeoverHealthy, soak: 30s}, health: {timeout: 5m}, dependsOn: [], rollout: {waves: []}", nil, true},
		"suspended":           {"", "suspend: true", []string{"suspended: nothing of it is written or healed any more"}, false},
		"no longer suspended": {"suspend: true", "", []string{"no longer suspended"}, false},
		"drift is detected":   {"", "drift: {mode: Detect}", []string{"drift.mode Correct -> Detect: drift is reported and not undone"}, true},
		"drift is corrected":  {"drift: {mode: Strict}", "", []string{"drift.mode Strict -> Correct: fields that Git sets are put back, and what people add is left"}, true},
		"drift is corrected strictly": {
			"drift: {mode: Detect}", "drift: {mode: Strict}", []string{"drift.mode Detect -> Strict: fields that people add are removed too"}, true,
		},
		"other fields are left": {
			"drift: {ignore: [{kind: ConfigMap, fields: [/data/a]}]}", "drift: {ignore: [{kind: ConfigMap, fields: [/data]}]}",
			[]string{"drift.ignore has changed, 1: other fields are left to others"}, true,
		},
		"no gate":        {"", "failover: {gate: None}", []string{"failover.gate TakeoverHealthy -> None: it leaves a cluster at once"}, true},
		"a gate":         {"failover: {gate: None}", "", []string{"failover.gate None -> TakeoverHealthy: it leaves a cluster when others have taken over"}, true},
		"soak":           {"failover: {soak: 1m}", "", []string{"failover.soak 1m0s -> 30s"}, true},
		"waves":          {"", "rollout: {waves: [{clusterSelector: {matchLabels: {region: east}}}], maxFailures: 1}", []string{"rollout.waves has changed, 0 -> 1: new content takes another order", "rollout.maxFailures 0 -> 1"}, true},
		"a wave's soak":  {"rollout: {waves: [{soak: 1m}]}", "rollout: {waves: [{soak: 2m}]}", []string{"rollout.waves has changed, 1: new content takes another order"}, true},
		"dependsOn":      {"", "dependsOn: [other-00, other-01]", []string{"dependsOn none -> other-00, other-01"}, true},
		"health.timeout": {"", "health: {timeout: 10m}", []string{"health.timeout 5m0s -> 10m0s"}, true},
		"several": {
			"", "suspend: true, drift: {mode: Detect}, failover: {gate: None}",
			[]string{
				"suspended: nothing of it is written or healed any more", "drift.mode Correct -> Detect: drift is reported and not undone",
				"failover.gate TakeoverHealthy -> None: it leaves a cluster at once",
			}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Compare(context.Background(), commit("base", base.with(app(tc.was))), commit("head", base.with(app(tc.is))), Options{Now: now})
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, text := range tc.want {
				want = append(want, "app shop: "+text)
			}
			if diff := cmp.Diff(want, d.Causes); diff != "" || d.Empty() != tc.empty {
				t.Errorf("empty: %t (-want +got):\n%s", d.Empty(), diff)
			}
		})
	}
	// Of one cluster alone, only what concerns it.
	east := "placement: {clusterSelector: {matchLabels: {region: east}}}"
	for cluster, want := range map[string]int{"east": 1, "west": 0} {
		d, err := Compare(context.Background(), commit("base", base.with(app(east))), commit("head", base.with(app(east+", suspend: true"))), Options{Now: now, Cluster: cluster})
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Causes) != want || len(d.Clusters) != want {
			t.Errorf("%s: %q, %d clusters", cluster, d.Causes, len(d.Clusters))
		}
	}
}

// TestSecretsNeverAppear: neither the values of Secrets, in any encoding, nor how long they are; that they change is
// told.
func TestSecretsNeverAppear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) string { return "S" + name + rapid.StringMatching(`[a-zA-Z0-9]{6,40}`).Draw(t, name) }
		values := []string{draw("one"), draw("two"), draw("three")}
		secret := func(value string) string {
			return rapid.SampledFrom([]string{
				"apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n}\nstringData: {password: VALUE}\n",
				"apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n}\ndata: {password: B64}\n",
				"apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: n, annotations: {kubectl.kubernetes.io/last-applied-configuration: '{\"data\": {\"password\": \"B64\"}}'}}\ndata: {password: B64}\n",
				"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: n}, stringData: {password: VALUE}}]\n",
			}).Draw(t, "form") // the values are filled in below
		}
		fill := func(text, value string) string {
			return strings.NewReplacer("VALUE", value, "B64", base64Of(value)).Replace(text)
		}
		f := shop(1, 0).with(files{
			"apps/shop/kustomization.yaml": "resources: [c00.yaml, s.yaml]\nsecretGenerator: [{name: g, namespace: \"n\", literals: [token=" + values[1] + "]}]\n",
			"apps/shop/s.yaml":             fill(secret(values[0]), values[0]),
		})
		after := f.with(files{
			"apps/shop/s.yaml":             fill(secret(values[2]), values[2]),
			"apps/shop/kustomization.yaml": strings.Replace(f["apps/shop/kustomization.yaml"], values[1], values[2], 1),
		})
		if rapid.Bool().Draw(t, "created") {
			f = f.with(files{"apps/shop/s.yaml": "", "apps/shop/kustomization.yaml": "resources: [c00.yaml]\n"})
		}
		d, err := Compare(context.Background(), commit("base", f), commit("head", after), Options{Now: now, Cluster: "east"})
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		for _, write := range []func() error{func() error { return d.JSON(&b) }, func() error { return d.Text(&b, true) }, func() error { return d.Markdown(&b, 65000) }} {
			if err := write(); err != nil {
				t.Fatal(err)
			}
		}
		text := b.String()
		for _, value := range values {
			for _, form := range encodings(value) {
				if strings.Contains(text, form) {
					t.Errorf("%q is there, as %q", value, form)
				}
			}
		}
		if strings.Contains(text, "bytes)") {
			t.Error("the length of a value is there")
		}
		if !strings.Contains(text, "Secret/n/s") || !strings.Contains(text, "***") {
			t.Errorf("the change is not:\n%s", text)
		}
	})
}

// TestMarkdownFitsItsLimit: whatever the limit, the text fits, the summary is there, and what was left out is said.
func TestMarkdownFitsItsLimit(t *testing.T) {
	f := large(40, 6)
	after := f.with(files{"fleet.yaml": fleetHeader + "{drain: [{clusterSelector: {matchLabels: {region: r1}}, reason: flood}], prune: {minObjects: 1, maxPercent: 0}}\n"})
	for i := range 40 {
		name := "app-0" + string(rune('0'+i/10)) + string(rune('0'+i%10))
		for path, content := range after {
			switch {
			case strings.HasSuffix(path, name+"/base/web.yaml"):
				after[path] = strings.Replace(content, ":1.4.2", ":1.5.0", 1)
			case strings.HasSuffix(path, name+"/base/kustomization.yaml") && i%3 == 0:
				after[path] = strings.Replace(content, "service.yaml, ", "", 1)
			}
		}
	}
	d, err := Compare(context.Background(), commit("base", f), commit("head", after), Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	var whole bytes.Buffer
	if err := d.Markdown(&whole, 1<<30); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(whole.String(), "Left out") || whole.Len() < 15_000 {
		t.Fatalf("%d bytes:\n%s", whole.Len(), whole.String())
	}
	deleted := strings.Count(whole.String(), "Service/n/")
	last := 0
	for _, limit := range []int{4_000, 6_000, 8_000, 10_000, 12_000, 15_000, whole.Len() + 1000} {
		var b bytes.Buffer
		if err := d.Markdown(&b, limit); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		cut := strings.Contains(text, "Left out, to stay within")
		if len(text) > limit || cut == (limit > whole.Len()) || len(text) < last {
			t.Errorf("limit %d: %d bytes, cut: %t", limit, len(text), cut)
		}
		last = len(text)
		if !strings.HasPrefix(text, Marker+"\n### Holdfast: 6 of 6 clusters are affected\n") || !strings.Contains(text, "| Brake |") ||
			strings.Count(text, "<details>") != strings.Count(text, "</details>") || strings.Count(text, "\n```")%2 != 0 {
			t.Errorf("limit %d:\n%s", limit, text)
		}
		if n := strings.Count(text, "Service/n/"); limit >= 12_000 && n != deleted {
			t.Errorf("limit %d: %d of %d deletions are named", limit, n, deleted)
		}
	}
}

// TestMarkdownFitsAnyLimit: from the least limit on, however much there is to say, and of whatever length.
func TestMarkdownFitsAnyLimit(t *testing.T) {
	long := strings.Repeat("long|`", 500)
	many := func(n int, text string) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("%d %s", i, text))
		}
		return all
	}
	base, err := Compare(context.Background(), commit("base", shop(20, 3)), commit("head", shop(20, 3).with(keeping("c00.yaml")).with(files{"apps/shop/c00.yaml": configMap("c00", "v: b")})), Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		d := *base
		d.Base, d.Head = strings.Repeat("a", 64), strings.Repeat("b", 64)
		size := func(what string) int { return rapid.SampledFrom([]int{0, 1, 13, 700}).Draw(t, what) }
		text := func(what string) string { return rapid.SampledFrom([]string{"short", "long: " + long}).Draw(t, what) }
		d.Causes, d.Clusters = many(size("causes"), text("cause")), slices.Clone(d.Clusters)
		for i := range size("clusters") {
			c := d.Clusters[i%len(base.Clusters)]
			c.Name, c.Warnings = fmt.Sprintf("cluster-%d-%s", i, text("name")), many(size("warnings")%20, text("warning"))
			for j := range size("held") % 20 {
				c.Holds = append(slices.Clone(c.Holds), Hold{App: fmt.Sprintf("app-%d-%d", i, j), Cause: rapid.SampledFrom([]Cause{Brake, Protected, Incomplete, Suspended}).Draw(t, "cause"), Why: text("why"), Objects: []object.ObjMetadata{c.Apps[0].Objects[0].ID}})
			}
			d.Clusters = append(d.Clusters, c)
			d.of++
		}
		d.Permits = permits(d.Clusters, now)
		var flags []string
		if rapid.Bool().Draw(t, "flags") {
			flags = []string{"--path " + text("path"), "--cluster east"}
		}
		limit := rapid.IntRange(LeastMarkdown, 70_000).Draw(t, "limit")
		var b bytes.Buffer
		if err := d.Markdown(&b, limit, flags...); err != nil {
			t.Fatal(err)
		}
		got := b.String()
		if len(got) > limit {
			t.Errorf("limit %d: %d bytes:\n%s", limit, len(got), got)
		}
		if !strings.HasPrefix(got, Marker+"\n### Holdfast: ") || strings.Count(got, "<details>") != strings.Count(got, "</details>") || strings.Count(got, "\n```")%2 != 0 {
			t.Errorf("limit %d:\n%s", limit, got)
		}
		if left := strings.Contains(got, "**Left out"); left && slices.Contains(flags, "--path short") && !strings.HasSuffix(got, " --path short --cluster east`\n") || !left && strings.Contains(got, " more |\n") {
			t.Errorf("limit %d:\n%s", limit, got)
		}
		if strings.Contains(got, "</details>\n-") || strings.Contains(got, "</details>\n<") {
			t.Errorf("limit %d: what follows an element is a part of it:\n%s", limit, got)
		}
	})
}

// TestImmutableIsSaid: with the way out, and whether it is taken.
func TestImmutableIsSaid(t *testing.T) {
	web := func(selector, annotations string) string {
		return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: n, annotations: {" + annotations + "}}\nspec: {selector: {matchLabels: {app: " + selector + "}}}\n"
	}
	f := shop(1, 0).with(files{"apps/shop/kustomization.yaml": "resources: [web.yaml]\n", "apps/shop/web.yaml": web("a", "")})
	for annotations, want := range map[string]string{
		"":                              "apps/Deployment/n/web: spec.selector cannot be changed: the API server will refuse it; to have it deleted and created anew, set holdfast.dev/replace: enabled",
		"holdfast.dev/replace: enabled": "apps/Deployment/n/web: spec.selector cannot be changed: it is deleted and created anew (holdfast.dev/replace)",
	} {
		d, err := Compare(context.Background(), commit("base", f), commit("head", f.with(files{"apps/shop/web.yaml": web("b", annotations)})), Options{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		for i := range d.Clusters {
			if diff := cmp.Diff([]string{want}, d.warnings(&d.Clusters[i])); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	}
}
