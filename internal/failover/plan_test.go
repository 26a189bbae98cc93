package failover

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/tree/treetest"
)

// load reads a fleet of these files.
func load(t interface{ Fatal(args ...any) }, files map[string]string) *fleet.Fleet {
	f, err := fleet.Load(treetest.New(files))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const apiVersion = "apiVersion: holdfast.dev/v1alpha1\n"

func clusterFile(name, clusterLabels, spec string) string {
	return fmt.Sprintf("%skind: Cluster\nmetadata: {name: %s, labels: {%s}}\nspec: {%s}\n", apiVersion, name, clusterLabels, spec)
}

func appFile(name, spec string) string {
	return fmt.Sprintf("%skind: App\nmetadata: {name: %s}\nspec: {%s}\n", apiVersion, name, spec)
}

// plan applies a change to a fleet and returns the plan and the files afterwards.
func plan(t *testing.T, change Change, files map[string]string) *Plan {
	t.Helper()
	f := load(t, files)
	var content []byte
	if text, ok := files["fleet.yaml"]; ok {
		content = []byte(text)
	}
	edit, err := change.Apply(content)
	if err != nil {
		t.Fatal(err)
	}
	return NewPlan(change, f, edit.Settings)
}

func text(t *testing.T, p *Plan) string {
	t.Helper()
	var b bytes.Buffer
	if err := p.Print(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// three are clusters with weights 3, 2 and 1, one in each region.
func three() map[string]string {
	return map[string]string{
		"clusters/us-east-1/cluster.yaml": clusterFile("us-east-1", "region: us-east", "weight: 3"),
		"clusters/us-west-2/cluster.yaml": clusterFile("us-west-2", "region: us-west", "weight: 2"),
		"clusters/eu-west-1/cluster.yaml": clusterFile("eu-west-1", "region: eu-west", ""),
	}
}

func TestPlanTellsWhatMovesByWhichRule(t *testing.T) {
	tests := []struct {
		name, spec string
		change     Change
		fleet      string
		want       []string
		not        string
	}{
		{
			"divided replicas wait for the takeover", "replicas: {total: 12}, failover: {soak: 1m}", drainEast(), "",
			[]string{
				"TakeoverHealthy. ", "  app  us-east-1 6 -> 0  eu-west-1 2 -> 4, us-west-2 4 -> 8  1m0s\n",
				"us-east-1  3       1 -> 0  6 -> 0    drained\n", "Capacity by weight: 6 -> 3 of 6, 50%.\n", "Namespaces, ",
			}, "Least",
		},
		{
			"with force nothing waits", "replicas: {total: 12}", forceEast(), "",
			[]string{"Forced. ", "  app  us-east-1 6 -> 0  eu-west-1 2 -> 4, us-west-2 4 -> 8\n"}, "30s",
		},
		{
			"a restore falls back only when what returns is Ready", "replicas: {total: 12}", restoreEast(), header + "spec: {drain: [" + eastEntry + "]}\n",
			[]string{"TakeoverHealthy. ", "  app  eu-west-1 4 -> 2, us-west-2 8 -> 4  us-east-1 0 -> 6  30s\n", "restored\n"}, "Namespaces",
		},
		{
			"an exclusive app stops first", "placement: {clusters: 1, prefer: [{matchLabels: {region: us-east}}, {matchLabels: {region: us-west}}]}, failover: {gate: Exclusive}", forceEast(), "",
			[]string{"Exclusive. ", "  app  us-east-1        us-west-2\n"}, "Forced. ",
		},
		{
			"gate None", "failover: {gate: None}", drainEast(), "",
			[]string{"None. ", "  app  us-east-1        eu-west-1, us-west-2\n"}, "TakeoverHealthy",
		},
		{
			"a suspended app does not move", "suspend: true", drainEast(), "",
			[]string{"Suspended. "}, "TakeoverHealthy",
		},
		{
			"fewer clusters than asked for", "placement: {clusters: 3}", drainEast(), "",
			[]string{"On fewer clusters than they ask for:\n  APP  CLUSTERS\n  app  2 of 3\n"}, "Nowhere",
		},
		{
			"nowhere to go", "placement: {clusterSelector: {matchLabels: {region: us-east}}}", forceEast(), "",
			[]string{"Nowhere to go. ", "  app  us-east-1\n"}, "Forced. ",
		},
		{
			"less is left to one app than to the fleet", "placement: {clusterSelector: {matchExpressions: [{key: region, operator: NotIn, values: [us-west]}]}}", drainEast(), "",
			[]string{"Capacity by weight: 6 -> 3 of 6, 50%. Least is left to app: 4 -> 1, 25%.\n"}, "",
		},
		{
			"an app that is elsewhere", "placement: {clusterSelector: {matchLabels: {region: us-west}}}", drainEast(), "",
			[]string{"No app is placed differently.\n"}, "at once",
		},
		{
			"a drain that is there, and is forced", "replicas: {total: 12}", forceEast(), header + "spec: {drain: [" + eastEntry + "]}\n",
			[]string{"No app is placed differently.\nWhat still waits on these clusters", "stays drained, by {matchLabels: {region: us-east}}\n"}, "Namespaces",
		},
		{
			"a restore of what another line drains too", "", restoreEast(), header + "spec: {drain: [" + eastEntry + ", {clusterSelector: {}}]}\n",
			[]string{"us-east-1  3       0     stays drained, by {}\n", "No app is placed differently.\n", "2 other clusters are as before.\n"}, "Nowhere",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := three()
			files["apps/app/app.yaml"] = appFile("app", tt.spec)
			if tt.fleet != "" {
				files["fleet.yaml"] = tt.fleet
			}
			got := text(t, plan(t, tt.change, files))
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q", want)
				}
			}
			if tt.not != "" && strings.Contains(got, tt.not) {
				t.Errorf("there is %q", tt.not)
			}
			if t.Failed() {
				t.Log("\n" + got)
			}
		})
	}
}

func TestNowhere(t *testing.T) {
	files := three()
	files["clusters/us-east-1/kustomization.yaml"] = "resources: []\n"
	files["apps/east/app.yaml"] = appFile("east", "placement: {clusterSelector: {matchLabels: {region: us-east}}}")
	files["apps/never/app.yaml"] = appFile("never", "placement: {clusterSelector: {matchLabels: {region: mars}}}")
	files["apps/all/app.yaml"] = appFile("all", "")
	p := plan(t, drainEast(), files)
	var names []string
	for _, a := range p.Nowhere() {
		names = append(names, a.Name)
	}
	// Not the app of the cluster's own folder, which is meant for that cluster alone, and not the one that was nowhere before.
	if diff := cmp.Diff([]string{"east"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnknownIsNotAbsent(t *testing.T) {
	files := three()
	files["clusters/broken/cluster.yaml"] = "kind: Cluster\n"
	files["apps/divided/app.yaml"] = appFile("divided", "replicas: {total: 3}")
	files["apps/all/app.yaml"] = appFile("all", "")
	p := plan(t, drainEast(), files)
	if len(p.Unknown()) != 1 || len(p.Nowhere()) != 0 {
		t.Fatalf("unknown: %v, nowhere: %v", p.Unknown(), p.Nowhere())
	}
	if got := text(t, p); !strings.Contains(got, "Not known, and not in the figures above:\n  app \"divided\": its placement is unknown while a cluster's file cannot be used: clusters/broken/cluster.yaml:1: ") {
		t.Error(got)
	}
}

func TestCheck(t *testing.T) {
	f := load(t, three())
	tests := []struct {
		selector labels.Set
		want     string
	}{
		{labels.Set{"region": "us-east"}, ""},
		{labels.Set{"regoin": "us-east"}, `no cluster matches regoin=us-east: none has the label "regoin" (did you mean "region"?); there are region`},
		{labels.Set{"region": "us-eats"}, `no cluster matches region=us-eats: none has the value "us-eats" (did you mean "us-east"?); the values of region are eu-west, us-east, us-west`},
	}
	for _, tt := range tests {
		err := Change{Selectors: []labels.Set{tt.selector}}.Check(f)
		if got := fmt.Sprint(err); err == nil && tt.want != "" || err != nil && got != tt.want {
			t.Errorf("got %s\nwant %s", got, tt.want)
		}
	}
}

func TestParseSelector(t *testing.T) {
	for text, want := range map[string]string{
		"region=us-east":                  "region=us-east",
		"region=us-east,env=prod":         "env=prod,region=us-east",
		"env=":                            "env=",
		"topology.kubernetes.io/zone=a":   "topology.kubernetes.io/zone=a",
		"us-east-1":                       `"us-east-1": want key=value`,
		"":                                `"": want key=value`,
		"a=b,":                            `"a=b,": want key=value`,
		"=b":                              `"=b": want key=value`,
		"a=b,a=c":                         `the label a is given twice`,
		"a=b=c":                           `"a=b=c": `,
		"a b=c":                           `"a b=c": `,
		"a=" + strings.Repeat("x", 64):    "must be no more than 63",
		strings.Repeat("x", 64) + "=b":    "must be no more than 63",
		"region=us-east, env=prod":        `"region=us-east, env=prod": `,
		"region=us-east,region=us-east ":  "the label region is given twice",
		"region in (us-east, us-west)":    "want key=value",
		"topology.kubernetes.io/zone = a": "zone = a",
	} {
		set, err := ParseSelector(text)
		got := set.String()
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// TestPlanIsWhatAgentsCompute compares plans with what is loaded from the edited files, for any fleet.
func TestPlanIsWhatAgentsCompute(t *testing.T) {
	regions := []string{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		files := map[string]string{"fleet.yaml": header + "spec:\n  drain:\n  - clusterSelector: {matchLabels: {region: b}}\n"}
		for i := range rapid.IntRange(1, 6).Draw(t, "clusters") {
			name := fmt.Sprintf("c%d", i)
			region := rapid.SampledFrom(regions).Draw(t, "region")
			state := rapid.SampledFrom([]string{"Active", "Active", "Active", "Drained", "Lost"}).Draw(t, "state")
			files["clusters/"+name+"/cluster.yaml"] = clusterFile(name, "region: "+region, fmt.Sprintf("weight: %d, state: %s", rapid.IntRange(1, 5).Draw(t, "weight"), state))
		}
		for i := range rapid.IntRange(1, 4).Draw(t, "apps") {
			name := fmt.Sprintf("app%d", i)
			var spec []string
			if n := rapid.IntRange(0, 3).Draw(t, "count"); n > 0 {
				spec = append(spec, fmt.Sprintf("placement: {clusters: %d, spreadBy: region}", n))
			}
			if n := rapid.IntRange(-5, 20).Draw(t, "replicas"); n >= 0 {
				spec = append(spec, fmt.Sprintf("replicas: {total: %d}", n))
			}
			files["apps/"+name+"/app.yaml"] = appFile(name, strings.Join(spec, ", "))
		}
		change := Change{Selectors: []labels.Set{{"region": rapid.SampledFrom([]string{"a", "c"}).Draw(t, "drain")}}, Force: rapid.Bool().Draw(t, "force")}
		if rapid.Bool().Draw(t, "restore") {
			change = Change{Restore: true, Selectors: []labels.Set{{"region": "b"}}}
		}
		edit, err := change.Apply([]byte(files["fleet.yaml"]))
		if err != nil {
			t.Fatal(err)
		}
		p := NewPlan(change, load(t, files), edit.Settings)
		edited := maps.Clone(files)
		edited["fleet.yaml"] = string(edit.Content)
		before, after := load(t, files), load(t, edited)
		for _, app := range after.Apps {
			was, _ := before.Place(app)
			is, err := after.Place(app)
			if err != nil {
				t.Fatal(err)
			}
			same := slices.Equal(was.Clusters, is.Clusters) && maps.Equal(was.Replicas, is.Replicas)
			i := slices.IndexFunc(p.Apps, func(a AppChange) bool { return a.Name == app.Name })
			switch {
			case same != (i < 0):
				t.Fatalf("app %s: same %v, in the plan %v", app.Name, same, i >= 0)
			case !same:
				if diff := cmp.Diff(is, p.Apps[i].After); diff != "" {
					t.Fatalf("app %s (-agents +plan):\n%s", app.Name, diff)
				}
			}
		}
		for _, c := range p.Clusters {
			apps := 0
			for _, app := range after.Apps {
				if is, _ := after.Place(app); slices.Contains(is.Clusters, c.Name) {
					apps++
				}
			}
			if apps != c.After.Apps || apps > 0 && !c.After.Free {
				t.Fatalf("cluster %s: %d apps, the plan says %+v", c.Name, apps, c.After)
			}
		}
		if err := p.Print(&bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestPlanOfALargeFleetStaysReadable drains a fifth of 50 clusters with 300 apps.
func TestPlanOfALargeFleetStaysReadable(t *testing.T) {
	files := map[string]string{}
	for i := range 50 {
		name := fmt.Sprintf("cluster-%02d", i)
		files["clusters/"+name+"/cluster.yaml"] = clusterFile(name, fmt.Sprintf("region: r%d", i%5), fmt.Sprintf("weight: %d", 1+i%3))
	}
	for i := range 300 {
		name := fmt.Sprintf("app-%03d", i)
		spec := ""
		switch i % 3 {
		case 1:
			spec = fmt.Sprintf("replicas: {total: %d}", 100*(1+i%4))
		case 2:
			spec = "placement: {clusters: 2, spreadBy: region}"
		}
		files["apps/"+name+"/app.yaml"] = appFile(name, spec)
	}
	got := text(t, plan(t, Change{Selectors: []labels.Set{{"region": "r1"}}}, files))
	rows := strings.Split(got, "\n")
	longest := slices.MaxFunc(rows, func(a, b string) int { return len(a) - len(b) })
	if len(rows) > 200 || len(longest) > 160 {
		t.Errorf("%d lines, the longest of %d letters:\n%s", len(rows), len(longest), got)
	}
}
