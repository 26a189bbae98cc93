package preview

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestWarnings: what is broken or not known is said of the clusters that it concerns, and nothing of it is shown as
// deleted.
func TestWarnings(t *testing.T) {
	base := shop(1, 1)
	two := "apps/other-00/kustomization.yaml"
	bad := "apiVersion: v1\nkind: Secret\nmetadata: {name: c00, namespace: n}\ndata: {a: '%'}\n"
	for name, tc := range map[string]struct {
		base, changes files
		want          []string // of east
		deleted       int
	}{
		"nothing": {base, nil, nil, 0},
		"an app depends on one that is not there": {
			base, files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {dependsOn: [none]}\n"},
			[]string{`app "shop" adopts no new content: apps/shop/app.yaml:4: spec.dependsOn[0]: there is no app "none"`}, 0,
		},
		"two apps declare one object": {
			base, files{two: "resources: [c.yaml, ../shop/c00.yaml]\n", "apps/shop/c00.yaml": configMap("c00", "v: b")},
			[]string{"ConfigMap/n/c00 is declared by several apps: other-00, shop. It stays with the one that has it"}, 0,
		},
		"an object becomes wrong": {
			base.with(files{"apps/shop/c00.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: c00, namespace: n}\ndata: {a: YQ==}\n"}), files{"apps/shop/c00.yaml": bad},
			[]string{`Secret/n/c00: data["a"] is not base64. It stays as it is`}, 0,
		},
		"an object is mended": {
			base.with(files{"apps/shop/c00.yaml": bad}), files{"apps/shop/c00.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: c00, namespace: n}\ndata: {a: YQ==}\n"},
			[]string{"Secret/n/c00 was wrong at base: it is shown as created"}, 0,
		},
		"a wrong object stays wrong": {base.with(files{"apps/shop/c00.yaml": bad}), files{"fleet.yaml": fleetHeader + "{}\n"}, nil, 0},
		"an app does not render": {
			base, files{"apps/shop/kustomization.yaml": "resources: [gone.yaml]\n"},
			[]string{`app "shop" does not render: overlay "apps/shop": apps/shop/kustomization.yaml: resources: "gone.yaml" does not exist. It stays as it is here`}, 0,
		},
		"an app that comes does not render": {
			base, files{"apps/fresh/app.yaml": header + "kind: App\nmetadata: {name: fresh}\n"},
			[]string{`app "fresh" does not render: overlay "apps/fresh": apps/fresh has no kustomization.yaml. It cannot start here`}, 0,
		},
		"an app renders again": {
			base.with(files{"apps/shop/kustomization.yaml": "resources: [gone.yaml]\n"}), keeping("c00.yaml"),
			[]string{`app "shop" could not be rendered at base: what it should have is shown as created, and what it leaves behind is not known`}, 0,
		},
		"an app's file cannot be used": {
			base, files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {x: y}\n"},
			[]string{`app "shop": apps/shop/app.yaml:4: spec.x: unknown field. It stays as it is here`}, 0,
		},
		"the overlay of a cluster is gone": {
			base, files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {overlays: [{clusterSelector: {matchLabels: {region: west}}, path: .}]}\n"},
			[]string{`app "shop" does not render: none of its 1 overlays matches the cluster's labels {region=east}. It stays as it is here`}, 0,
		},
		"there are fewer clusters than asked for": {
			base, files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {placement: {clusters: 3}}\n", "apps/shop/c00.yaml": configMap("c00", "v: b")},
			[]string{`app "shop": 2 of the 3 clusters asked for are free; 2 clusters match`}, 0,
		},
		"another cluster's file cannot be used, and an app is divided": {
			base.with(files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {placement: {clusters: 2}}\n"}), files{"clusters/west/cluster.yaml": "kind: Cluster\n"},
			[]string{`app "shop": its placement is unknown while a cluster's file cannot be used: clusters/west/cluster.yaml:1: apiVersion: is missing, must be holdfast.dev/v1alpha1. It stays as it is here`}, 0,
		},
		"the cluster's file could not be used before": {
			base.with(files{"clusters/east/cluster.yaml": "kind: Cluster\n"}), files{"clusters/east/cluster.yaml": base["clusters/east/cluster.yaml"]},
			[]string{"its file could not be used at base, so what is there is not known: all that it should have is shown as created"}, 0,
		},
		"the cluster's file cannot be used": {
			base, files{"clusters/east/cluster.yaml": header + "kind: Cluster\nmetadata: {name: east}\nspec: {x: y}\n"},
			[]string{"its file cannot be used, so the agent there keeps what it has and deletes nothing: clusters/east/cluster.yaml:4: spec.x: unknown field"}, 0,
		},
		"the cluster's file is gone": {
			base, files{"clusters/east/cluster.yaml": ""},
			[]string{"clusters/east/cluster.yaml is gone: the agent there goes on healing what it has, and deletes nothing"}, 0,
		},
		"an app is suspended": {
			base, files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {suspend: true}\n", "apps/shop/c00.yaml": configMap("c00", "v: b")},
			[]string{`app "shop" is suspended: nothing of it is written, healed or deleted`, "ConfigMap/n/c00 not written: the app is suspended"}, 0,
		},
		"an app is suspended, and nothing else changes": {
			base, files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {suspend: true}\n"},
			[]string{`app "shop" is suspended: nothing of it is written, healed or deleted`}, 0,
		},
		"an app is suspended no longer": {
			base.with(files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {suspend: true}\n"}), files{"apps/shop/app.yaml": base["apps/shop/app.yaml"]},
			[]string{`app "shop" is no longer suspended: it catches up with all that has changed meanwhile`}, 0,
		},
		"an app that is elsewhere is suspended": {
			base.with(files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {placement: {clusterSelector: {matchLabels: {region: west}}}}\n"}),
			files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {placement: {clusterSelector: {matchLabels: {region: west}}}, suspend: true}\n"},
			nil, 0,
		},
		"an app stays suspended": {
			base.with(files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {suspend: true}\n"}), files{"README.md": "x"}, nil, 0,
		},
		"the annotation that leaves an object alone is taken off": {
			base.with(files{"apps/shop/c00.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c00, namespace: n, annotations: {holdfast.dev/reconcile: disabled}}\n"}),
			files{"apps/shop/c00.yaml": configMap("c00", "v: b")},
			[]string{"ConfigMap/n/c00 not written until annotation holdfast.dev/reconcile is taken off the live object by hand"}, 0,
		},
		"an object is created that is to be left alone": {
			base, files{
				"apps/shop/kustomization.yaml": "resources: [namespace.yaml, claim.yaml, c00.yaml, c01.yaml]\n",
				"apps/shop/c01.yaml":           "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c01, namespace: n, annotations: {holdfast.dev/reconcile: disabled}}\n",
			}, nil, 0,
		},
		"annotations": {
			base.with(files{"apps/shop/c00.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c00, namespace: n, annotations: {holdfast.dev/reconcile: disabled}}\n", "apps/other-00/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other-00, namespace: n, annotations: {holdfast.dev/prune: disabled}}\n"}),
			files{
				"apps/shop/c00.yaml":               "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c00, namespace: n, annotations: {holdfast.dev/reconcile: disabled}}\ndata: {v: b}\n",
				"apps/other-00/kustomization.yaml": "resources: [d.yaml]\n", "apps/other-00/d.yaml": configMap("d", "v: a"),
			},
			[]string{"ConfigMap/n/other-00 stays, and is let go of: annotation holdfast.dev/prune", "ConfigMap/n/c00 not written: annotation holdfast.dev/reconcile"}, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Compare(t.Context(), commit("base", tc.base), commit("head", tc.base.with(tc.changes)), Options{Now: now, Cluster: "east"})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			deleted := 0
			for i := range d.Clusters {
				got, deleted = d.warnings(&d.Clusters[i]), d.Clusters[i].Counts().Delete
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" || deleted != tc.deleted {
				t.Errorf("%d are deleted, want %d; (-want +got):\n%s", deleted, tc.deleted, diff)
			}
		})
	}
}

// TestABrokenClusterFileThatComesIsSaid: of a cluster that is in no commit yet, too; and not again afterwards.
func TestABrokenClusterFileThatComesIsSaid(t *testing.T) {
	base := shop(1, 0)
	broken := base.with(files{"clusters/north/cluster.yaml": header + "kind: Cluster\nmetadata: {name: north}\nspec: {x: y}\n"})
	d, err := Compare(t.Context(), commit("base", base), commit("head", broken), Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	want := []Cluster{{Name: "north", Warnings: []string{
		"its file cannot be used, so the agent there keeps what it has and deletes nothing: clusters/north/cluster.yaml:4: spec.x: unknown field",
	}}}
	if diff := cmp.Diff(want, d.Clusters); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	d, err = Compare(t.Context(), commit("base", broken), commit("head", broken.with(files{"README.md": "x"})), Options{Now: now})
	if err != nil || !d.Empty() {
		t.Errorf("%v, %v", d, err)
	}
}

// TestNothingCommandsTheTerminal: what people write into files does not reach a terminal as commands, nor Markdown as
// markup.
func TestNothingCommandsTheTerminal(t *testing.T) {
	base := shop(1, 0)
	reason := `"\e[2J @team\n# <img src=x> | \u0060x\u0060"`
	object := func(name, data string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: n}\ndata: {" + data + "}\n"
	}
	const heading = `"ok\n\n### Holdfast: no cluster is affected\n\n@acme-admins"`
	const comment = `"a\r\n::error title=owned::pwn\u202e"`
	base = base.with(files{
		"apps/shop/kustomization.yaml": "resources: [c00.yaml, c01.yaml, c02.yaml, c03.yaml]\n",
		"apps/shop/c01.yaml":           object(heading, "v: a"),
		"apps/shop/c02.yaml":           object(comment, "v: a"),
		"apps/shop/c03.yaml":           object(`"deleted\n# @team"`, "v: a"),
	})
	d, err := Compare(t.Context(), commit("base", base), commit("head", base.with(files{
		"fleet.yaml": fleetHeader + "{drain: [{clusterSelector: {matchLabels: {region: west}}, reason: " + reason + "}], " +
			"prune: {permit: [{app: shop, kinds: [\"a|b\\n\\n# hi @me\"], until: 2026-12-01}]}, freeze: [{clusterSelector: {matchLabels: {region: east}}, reason: \"x\\n\\e[2J\"}]}\n",
		"apps/shop/kustomization.yaml": "resources: [c00.yaml, c01.yaml, c02.yaml]\n",
		"apps/shop/c00.yaml":           configMap("c00", "v: "+reason+", w: \"\u202e\""),
		"apps/shop/c01.yaml":           object(heading, "v: b"),
		"apps/shop/c02.yaml":           "apiVersion: v1\nkind: Secret\nmetadata: {name: " + comment + ", namespace: n}\ndata: {a: '%'}\n",
		"clusters/@acme-admins **x** <details>\n# y/cluster.yaml": "kind: Cluster\n",
	})), Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	var text, markdown strings.Builder
	if err := errors.Join(d.Text(&text, false), d.Markdown(&markdown, 65000)); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String() + markdown.String()) {
		line = strings.TrimSuffix(line, "\n")
		if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsGraphic(r) }); i >= 0 {
			t.Errorf("not to be printed: %q", line)
		}
		if strings.HasPrefix(strings.TrimSpace(line), "::") {
			t.Errorf("a command: %q", line)
		}
	}
	// What people wrote is in code spans and fences alone.
	bare := regexp.MustCompile("(?s)```diff.*?\n```\n").ReplaceAllString(markdown.String(), "")
	bare = regexp.MustCompile("(?m)(``+) .*? ``+|`[^`\n]+`").ReplaceAllString(bare, "CODE")
	for _, made := range []string{"@", "**x", "# y", "# hi", "<img", "acme", "no cluster is affected", "owned"} {
		if strings.Contains(bare, made) {
			t.Errorf("%q is bare in\n%s\nof\n%s", made, bare, markdown.String())
		}
	}
	for _, want := range []string{
		"| Fleet | `` drained (�[2J @team # <img src=x> \\| `x`): west `` |\n",
		"|  | `new permit: {app: shop, kinds: [a\\|b # hi @me], until: 2026-12-01}` |\n",
		"- in `@acme-admins **x** <details> # y`: `its file cannot be used",
		"`~ ConfigMap/n/ok ### Holdfast: no cluster is affected @acme-admins`\n",
		"  - `ConfigMap/n/deleted # @team`\n",
	} {
		if !strings.Contains(markdown.String(), want) {
			t.Errorf("no %q in\n%s", want, markdown.String())
		}
	}
}

// TestCellsEndWhereTheyShould: a cell ends nowhere but at its end, and code nowhere but behind its last mark.
func TestCellsEndWhereTheyShould(t *testing.T) {
	for text, want := range map[string]string{
		"words, 3: a":  "words, 3: a",
		"":             "",
		"a|b":          "`a\\|b`",
		`a\|b`:         "`a\\ \\|b`",
		"a\nb\tc":      "a b c",
		"``":           "``` `` ```",
		"www.a.b":      "`www.a.b`",
		"https://a.b/": "`https://a.b/`",
	} {
		if got := cell(text); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{"a": "`a`", "\n": "` `", "a\r\n\n# b": "`a # b`", "`": "`` ` ``"} {
		if got := code(text); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}
