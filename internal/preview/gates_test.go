package preview

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

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
	for _, limit := range []int{4_000, 6_000, 8_000, 10_000, 12_000, 15_000, whole.Len() + noteSize} {
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
