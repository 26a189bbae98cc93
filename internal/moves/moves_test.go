package moves_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/moves"
	"github.com/holdfast-dev/holdfast/internal/tree/treetest"
)

const header = "apiVersion: holdfast.dev/v1alpha1\n"

// load reads a fleet of three clusters and one app.
func load(t *testing.T, settings, app string) *fleet.Fleet {
	t.Helper()
	files := map[string]string{
		"fleet.yaml":         header + "kind: Fleet\nmetadata: {name: f}\nspec: {" + settings + "}\n",
		"apps/app/app.yaml":  header + "kind: App\nmetadata: {name: app}\nspec: {" + app + "}\n",
		"apps/idle/app.yaml": header + "kind: App\nmetadata: {name: idle}\nspec: {placement: {clusterSelector: {matchLabels: {region: west}}}}\n",
	}
	for _, name := range []string{"east", "north", "west"} {
		files["clusters/"+name+"/cluster.yaml"] = header + "kind: Cluster\nmetadata: {name: " + name + ", labels: {region: " + name + "}}\n"
	}
	f, err := fleet.Load(treetest.New(files))
	if err != nil || len(f.Problems) > 0 {
		t.Fatal(err, f.Problems)
	}
	return f
}

// TestSections: which rule an app moves by, and its row.
func TestSections(t *testing.T) {
	const drain = "drain: [{clusterSelector: {matchLabels: {region: east}}}]"
	const forced = "drain: [{clusterSelector: {matchLabels: {region: east}}, force: true}]"
	const onlyEast = "placement: {clusterSelector: {matchLabels: {region: east}}}"
	for name, tc := range map[string]struct {
		settings, before, after string
		want                    []string // how the title begins, and the row
	}{
		"nothing moves":                   {"", "", "", nil},
		"a drain":                         {drain, "", "", []string{"TakeoverHealthy.", "app", "east", "", "north, west", "30s"}},
		"a forced one":                    {forced, "", "", []string{"Forced.", "app", "east", "", "north, west", ""}},
		"no gate":                         {drain, "", "failover: {gate: None}", []string{"None.", "app", "east", "", "north, west", ""}},
		"divided replicas":                {drain, "replicas: {total: 9}", "replicas: {total: 9}", []string{"TakeoverHealthy.", "app", "east 3 -> 0", "north 3 -> 4, west 3 -> 5", "", "30s"}},
		"the total falls":                 {"", "replicas: {total: 9}", "replicas: {total: 8}", []string{"TakeoverHealthy.", "app", "east 3 -> 2", "", "north, west", "30s"}},
		"the total rises":                 {"", "replicas: {total: 8}", "replicas: {total: 9}", []string{"Start or rise", "app", "", "east 2 -> 3", "north, west", ""}},
		"replicas are divided newly":      {"", "", "replicas: {total: 3}", []string{"TakeoverHealthy.", "app", "east ? -> 1, north ? -> 1, west ? -> 1", "", "", "30s"}},
		"replicas are divided no longer":  {"", "replicas: {total: 3}", "", []string{"Start or rise", "app", "", "east 1 -> ?, north 1 -> ?, west 1 -> ?", "", ""}},
		"a selector is narrowed":          {"", "", onlyEast, []string{"TakeoverHealthy.", "app", "north, west", "", "east", "30s"}},
		"nowhere to go":                   {drain, onlyEast, onlyEast, []string{"Nowhere to go. These keep running", "app", "east", "", "", "30s"}},
		"nowhere to go, by force":         {forced, onlyEast, onlyEast, []string{"Nowhere to go. These end", "app", "east", "", "", ""}},
		"nowhere to go, without a gate":   {drain, onlyEast, onlyEast + ", failover: {gate: None}", []string{"Nowhere to go. These end", "app", "east", "", "", ""}},
		"exclusive":                       {drain, "placement: {clusters: 1, prefer: [{matchLabels: {region: east}}, {matchLabels: {region: west}}]}", "placement: {clusters: 1, prefer: [{matchLabels: {region: east}}, {matchLabels: {region: west}}]}, failover: {gate: Exclusive}", []string{"Exclusive.", "app", "east", "west", "", ""}},
		"suspended":                       {drain, "", "suspend: true", []string{"Suspended.", "app", "east", "", "north, west", "30s"}},
		"another soak, and another place": {"", "", onlyEast + ", failover: {soak: 5m}", []string{"TakeoverHealthy.", "app", "north, west", "", "east", "5m0s"}},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := load(t, "", tc.before), load(t, tc.settings, tc.after)
			var all []moves.App
			for _, is := range after.Apps {
				was, _ := before.App(is.Name)
				all = append(all, moves.Of(before, after, was, is))
			}
			var got []string
			for _, s := range moves.Sections(all) {
				title := s.Title
				if len(tc.want) > 0 && strings.HasPrefix(title, tc.want[0]) {
					title = tc.want[0]
				}
				got = append(append(got, title), s.Rows[1]...)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestTable: columns are aligned, and one without any content is left out.
func TestTable(t *testing.T) {
	var b bytes.Buffer
	moves.Table(&b, "  ", [][]string{{"A", "EMPTY", "B"}, {"one", "", "x"}, {"three", "", ""}})
	if diff := cmp.Diff("  A      B\n  one    x\n  three\n", b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
