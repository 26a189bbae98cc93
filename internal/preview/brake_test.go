package preview

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// shop is a fleet of two clusters with one app of that many ConfigMaps, a Namespace and a claim, and other apps
// of one object each.
func shop(configMaps, others int) files {
	f := files{
		"clusters/east/cluster.yaml": header + "kind: Cluster\nmetadata: {name: east, labels: {region: east}}\n",
		"clusters/west/cluster.yaml": header + "kind: Cluster\nmetadata: {name: west, labels: {region: west}}\n",
		"apps/shop/app.yaml":         header + "kind: App\nmetadata: {name: shop}\n",
		"apps/shop/namespace.yaml":   "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
		"apps/shop/claim.yaml":       "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: shop}\nspec: {}\n",
	}
	list := []string{"namespace.yaml", "claim.yaml"}
	for i := range configMaps {
		name := fmt.Sprintf("c%02d", i)
		f["apps/shop/"+name+".yaml"] = configMap(name, "v: a")
		list = append(list, name+".yaml")
	}
	f["apps/shop/kustomization.yaml"] = "resources: [" + strings.Join(list, ", ") + "]\n"
	for i := range others {
		name := fmt.Sprintf("other-%02d", i)
		f["apps/"+name+"/app.yaml"] = header + "kind: App\nmetadata: {name: " + name + "}\n"
		f["apps/"+name+"/kustomization.yaml"] = "resources: [c.yaml]\n"
		f["apps/"+name+"/c.yaml"] = configMap(name, "v: a")
	}
	return f
}

// with returns a copy with some files changed; "" deletes one.
func (f files) with(changes files) files {
	after := maps.Clone(f)
	for name, content := range changes {
		if after[name] = content; content == "" {
			delete(after, name)
		}
	}
	return after
}

// keeping leaves only some resources in the app.
func keeping(resources ...string) files {
	return files{"apps/shop/kustomization.yaml": "resources: [" + strings.Join(resources, ", ") + "]\n"}
}

const fleetHeader = header + "kind: Fleet\nmetadata: {name: f}\nspec: "

func TestForeseesWhatIsHeld(t *testing.T) {
	gone := files{"apps/shop/app.yaml": "", "apps/shop/kustomization.yaml": ""}
	all := shop(20, 0)
	for name, tc := range map[string]struct {
		base, changes files
		// want is what is held in east: the cause, the number of objects and the app.
		want    []string
		permits []string
	}{
		"few are deleted": {
			shop(20, 0), keeping("namespace.yaml", "claim.yaml", "c00.yaml", "c01.yaml", "c02.yaml", "c03.yaml", "c04.yaml", "c05.yaml", "c06.yaml", "c07.yaml", "c08.yaml", "c09.yaml", "c10.yaml"),
			nil, nil,
		},
		"too many are deleted": {
			shop(20, 0), keeping("namespace.yaml", "claim.yaml", "c00.yaml"),
			[]string{"brake 19 of shop"}, []string{"- {app: shop, until: 2026-11-08}"},
		},
		"an app is deleted": {
			shop(3, 8), gone,
			[]string{"protected 1 of shop", "protected 1 of shop"}, []string{"- {app: shop, kinds: [Namespace, PersistentVolumeClaim], until: 2026-11-08}"},
		},
		"the only app is deleted": {
			shop(3, 0), gone,
			[]string{"brake 3 of shop", "protected 1 of shop", "protected 1 of shop"},
			[]string{"- {app: shop, until: 2026-11-08}", "- {app: shop, kinds: [Namespace, PersistentVolumeClaim], until: 2026-11-08}"},
		},
		"a permit is there": {
			shop(3, 0).with(files{"fleet.yaml": fleetHeader + "{prune: {permit: [{app: shop, until: 2026-11-01}, {app: shop, kinds: [Namespace], until: 2026-11-30}]}}\n"}), gone,
			[]string{"protected 1 of shop"}, []string{"- {app: shop, kinds: [PersistentVolumeClaim], until: 2026-11-08}"},
		},
		"a permit has run out": {
			shop(3, 0).with(files{"fleet.yaml": fleetHeader + "{prune: {permit: [{app: shop, until: 2026-10-31}]}}\n"}), keeping("namespace.yaml", "claim.yaml").with(files{"fleet.yaml": fleetHeader + "{prune: {minObjects: 1, permit: [{app: shop, until: 2026-10-31}]}}\n"}),
			[]string{"brake 3 of shop"}, []string{"- {app: shop, until: 2026-11-08}"},
		},
		"the cluster is drained": {
			all, files{"fleet.yaml": fleetHeader + "{drain: [{clusterSelector: {matchLabels: {region: east}}}]}\n"},
			[]string{"protected 1 of shop", "protected 1 of shop"}, []string{"- {app: shop, kinds: [Namespace, PersistentVolumeClaim], until: 2026-11-08}"},
		},
		"the app goes to the other cluster": {
			all, files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {placement: {clusterSelector: {matchLabels: {region: west}}}}\n"},
			[]string{"protected 1 of shop", "protected 1 of shop"}, []string{"- {app: shop, kinds: [Namespace, PersistentVolumeClaim], until: 2026-11-08}"},
		},
		"the app is suspended": {
			shop(20, 0), keeping("c00.yaml").with(files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: shop}\nspec: {suspend: true}\n"}),
			[]string{"suspended 21 of shop"}, nil,
		},
		"a file without a name is broken, which may be the app's": {
			shop(3, 8), files{"apps/other-03/app.yaml": "kind: App\n", "apps/shop/app.yaml": "", "apps/shop/kustomization.yaml": ""}, nil, nil,
		},
		"another app's file is broken": {
			shop(3, 8), files{
				"apps/other-03/app.yaml": header + "kind: App\nmetadata: {name: other-03}\nspec: {foo: 1}\n", "apps/shop/app.yaml": "", "apps/shop/kustomization.yaml": "",
			},
			[]string{"incomplete 5 of shop"}, nil,
		},
		"an annotation keeps it": {
			shop(3, 8).with(files{"apps/shop/namespace.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: {holdfast.dev/prune: disabled}}\n"}),
			keeping("claim.yaml", "c00.yaml", "c01.yaml", "c02.yaml"),
			// The agent looks at annotations when it gets to the object; before that the kind holds it.
			[]string{"protected 1 of shop"}, []string{"- {app: shop, kinds: [Namespace], until: 2026-11-08}"},
		},
		"an app is renamed": {
			shop(20, 0), files{"apps/shop/app.yaml": header + "kind: App\nmetadata: {name: store}\n"}, nil, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			after := tc.base.with(tc.changes)
			d, err := Compare(t.Context(), commit("base", tc.base), commit("head", after), Options{Now: now})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, held(d, "east"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("held (-want +got):\n%s", diff)
			}
			var lines []string
			for _, p := range d.Permits {
				lines = append(lines, p.String())
			}
			if diff := cmp.Diff(tc.permits, lines, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("permits (-want +got):\n%s", diff)
			}
			if len(lines) == 0 {
				return
			}
			// Pasting the lines releases what they are for, and nothing less.
			pasted := after.with(files{"fleet.yaml": withPermits(after["fleet.yaml"], lines)})
			if d, err = Compare(t.Context(), commit("base", tc.base), commit("head", pasted), Options{Now: now}); err != nil {
				t.Fatal(err)
			}
			if left := held(d, "east"); len(left) > 0 {
				t.Errorf("with the permits pasted, still held: %q", left)
			}
		})
	}
}

func held(d *Diff, cluster string) (texts []string) {
	for i := range d.Clusters {
		if d.Clusters[i].Name != cluster {
			continue
		}
		for _, h := range d.Clusters[i].Holds {
			texts = append(texts, fmt.Sprintf("%s %d of %s", h.Cause, len(h.Objects), h.App))
		}
	}
	slices.Sort(texts)
	return texts
}

// withPermits pastes permits into a fleet.yaml as a person would.
func withPermits(text string, lines []string) string {
	permits := "permit: [" + strings.TrimPrefix(strings.Join(lines, ", "), "- ") + "]"
	permits = strings.ReplaceAll(permits, ", - {", ", {")
	switch {
	case text == "":
		return fleetHeader + "{prune: {" + permits + "}}\n"
	case strings.Contains(text, "permit: ["):
		return strings.Replace(text, "permit: [", strings.TrimSuffix(permits, "]")+", ", 1)
	case strings.Contains(text, "prune: {"):
		return strings.Replace(text, "prune: {", "prune: {"+permits+", ", 1)
	}
	return strings.Replace(text, "spec: {", "spec: {prune: {"+permits+"}, ", 1)
}

// TestTheBrakeIsToldWithLittle: where a commit deletes much of one app, others are rendered until it is certain that
// this is not too much of the cluster: at most about twice as many as that takes. 12 of 40 objects is where it is not.
func TestTheBrakeIsToldWithLittle(t *testing.T) {
	for _, tt := range []struct {
		others, most int
		held         bool
	}{
		{others: 200, most: 60, held: false},
		{others: 16, most: 18, held: true},
	} {
		base := shop(12, tt.others)
		var built atomic.Int64
		d, err := Compare(t.Context(), commit("base", base), commit("head", base.with(keeping("namespace.yaml", "claim.yaml"))), Options{
			Now: now, Cluster: "east", Observe: func(b bool) {
				if b {
					built.Add(1)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if holds := len(held(d, "east")) > 0; holds != tt.held || built.Load() > int64(tt.most) {
			t.Errorf("of %d other apps %d were built, at most %d are needed; held: %t, want %t", tt.others, built.Load(), tt.most, holds, tt.held)
		}
	}
}

// TestPermitsReleaseAnything: whatever a commit deletes, pasting the permits releases all that permits can.
func TestPermitsReleaseAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := drawFleet(t)
		after := before.edit(t)
		base, head := commit("base", before), commit("head", after)
		loaded(t, base, head)
		d, err := Compare(context.Background(), base, head, Options{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Permits) == 0 {
			return
		}
		var lines []string
		for _, p := range d.Permits {
			lines = append(lines, p.String())
		}
		after["fleet.yaml"] = withPermits(after["fleet.yaml"], lines)
		d, err = Compare(context.Background(), base, commit("head", after), Options{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Permits) > 0 {
			t.Errorf("permits\n%s\nand there are more: %v", strings.Join(lines, "\n"), d.Permits)
		}
	})
}
