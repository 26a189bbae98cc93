package examples

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

const commit = "0000000000000000000000000000000000000000"

// load reads a fleet and wants it without a problem.
func load(t *testing.T, dir string) (*fleet.Fleet, tree.Tree) {
	t.Helper()
	files, err := tree.Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	})
	f, err := fleet.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range f.Problems {
		t.Error(problem)
	}
	return f, files
}

// edited returns a copy of the example with a text of fleet.yaml replaced.
func edited(t *testing.T, old, replacement string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "fleet.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(data), old, replacement, 1)
	if text == string(data) {
		t.Fatalf("fleet.yaml has no %q", old)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestFleetIsWhatItSays holds the example to five clusters, three regions and two environments, and to the
// numbers that its comments and README give.
func TestFleetIsWhatItSays(t *testing.T) {
	f, _ := load(t, root)
	regions, envs := map[string]bool{}, map[string]bool{}
	for _, cluster := range f.Clusters {
		regions[cluster.Labels["region"]] = true
		envs[cluster.Labels["env"]] = true
	}
	if got, want := [3]int{len(f.Clusters), len(regions), len(envs)}, [3]int{5, 3, 2}; got != want {
		t.Errorf("clusters, regions, environments: %v, want %v", got, want)
	}
	if storefront, _ := f.App("storefront"); len(storefront.Spec.Rollout.Waves) != 3 {
		t.Errorf("storefront has %d waves, want a canary, staging and the rest", len(storefront.Spec.Rollout.Waves))
	}
}

func TestOneLineFailsOver(t *testing.T) {
	const drain = "  drain: [{clusterSelector: {matchLabels: {region: us-east}}, reason: power}]"
	type want struct {
		checkout map[string]int32
		orders   []string
	}
	for _, test := range []struct {
		name string
		line string // in place of "drain: []"
		want want
	}{
		{"before", "  drain: [] # nothing",
			want{map[string]int32{"us-east-1": 6, "us-west-2": 4, "eu-west-1": 2}, []string{"us-east-1"}}},
		{"us-east drained", drain,
			want{map[string]int32{"us-west-2": 8, "eu-west-1": 4}, []string{"us-west-2"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, _ := load(t, edited(t, "\n  drain: []", "\n"+test.line))
			checkout, _ := f.App("checkout")
			placed, err := f.Place(checkout)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want.checkout, placed.Replicas); diff != "" {
				t.Errorf("checkout's replicas (-want +got):\n%s", diff)
			}
			orders, _ := f.App("orders-db")
			if placed, err = f.Place(orders); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want.orders, placed.Clusters); diff != "" {
				t.Errorf("orders-db runs on (-want +got):\n%s", diff)
			}
		})
	}
	// The file itself tells its reader that very line, and the README too.
	for _, file := range []string{"fleet.yaml", "README.md"} {
		data, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), strings.TrimSpace(drain)) {
			t.Errorf("%s does not show the line %q", file, drain)
		}
	}
}

// TestCommentedLinesDecode holds that the other lines that fleet.yaml shows in its comments are good ones.
func TestCommentedLinesDecode(t *testing.T) {
	f, _ := load(t, edited(t, "  freeze: []", "  freeze: [{clusterSelector: {matchLabels: {env: prod}}, reason: quarter end}]"))
	if len(f.Settings.Spec.Freeze) != 1 {
		t.Errorf("freezes: %v, want one", f.Settings.Spec.Freeze)
	}
	f, _ = load(t, edited(t, "    permit: []", "    permit: [{app: storefront, kinds: [Namespace], until: 2026-12-01}]"))
	if len(f.Settings.Spec.Prune.Permit) != 1 {
		t.Errorf("permits: %v, want one", f.Settings.Spec.Prune.Permit)
	}
}

// TestEveryClusterRenders renders each cluster as its agent does.
func TestEveryClusterRenders(t *testing.T) {
	f, files := load(t, root)
	for _, cluster := range f.Clusters {
		t.Run(cluster.Name, func(t *testing.T) {
			result, err := render.Cluster(t.Context(), render.ClusterRequest{
				Head: files, HeadCommit: commit, Fleet: f, Name: cluster.Name, Instance: "holdfast-system",
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, duplicate := range result.Duplicates() {
				t.Errorf("%s is declared by %v", render.Name(duplicate.ID), duplicate.Apps)
			}
			var objects []render.Object
			for i := range result.Apps {
				app := &result.Apps[i]
				if app.Err != nil {
					t.Errorf("app %s: %v", app.App.Name, app.Err)
				}
				for _, fault := range app.ObjectErrors {
					t.Errorf("app %s: %s: %v", app.App.Name, render.Name(fault.ID), fault)
				}
				for _, warning := range app.Warnings {
					t.Errorf("app %s: %s", app.App.Name, warning)
				}
				objects = append(objects, app.Objects...)
			}
			t.Logf("%d objects", len(objects))
			if len(objects) < 30 || len(objects) > 80 {
				t.Errorf("%d objects, want a believable cluster", len(objects))
			}
			namespacesAreDeclared(t, objects)
			factsArrive(t, cluster, objects)
		})
	}
}

func namespacesAreDeclared(t *testing.T, objects []render.Object) {
	t.Helper()
	declared := []string{"default"}
	for i := range objects {
		if id := objects[i].ID; id.GroupKind.Kind == "Namespace" {
			declared = append(declared, id.Name)
		}
	}
	for i := range objects {
		if id := objects[i].ID; id.Namespace != "" && !slices.Contains(declared, id.Namespace) {
			t.Errorf("%s: nothing declares its namespace", render.Name(id))
		}
	}
}

// factsArrive holds that each of the three ways of giving facts to manifests works, and that no placeholder is left.
func factsArrive(t *testing.T, cluster *fleet.Cluster, objects []render.Object) {
	t.Helper()
	facts := cluster.Facts()
	consent := fmt.Sprintf(`"COOKIE_CONSENT":%q`, fmt.Sprint(cluster.Name == "eu-west-1"))
	want := map[string][]string{
		"ConfigMap/storefront/web": {
			fmt.Sprintf(`"CLUSTER":%q`, cluster.Name), fmt.Sprintf(`"REGION":%q`, facts.Labels["region"]),
			fmt.Sprintf(`"PUBLIC_HOST":%q`, facts.Vars["domain"]), fmt.Sprintf(`"LOG_LEVEL":%q`, facts.Vars["logLevel"]), consent},
		"networking.k8s.io/Ingress/storefront/web":                     {fmt.Sprintf(`"host":%q`, facts.Vars["domain"])},
		"backup.acme.example.com/BackupSchedule/backup/orders":         {fmt.Sprintf(`"bucket":%q`, facts.Vars["backupBucket"])},
		"ConfigMap/monitoring/prometheus":                              {"cluster: " + cluster.Name, "env: " + facts.Labels["env"]},
		"ConfigMap/monitoring/prometheus-rules":                        {"{{ $labels.cluster }}"},
		"apps/Deployment/ingress/traefik":                              {"tracing.resourceattributes.cluster=" + cluster.Name},
		"rbac.authorization.k8s.io/RoleBinding/team-search/developers": {`"name":"team-search"`},
	}
	for i := range objects {
		object := &objects[i]
		for _, part := range want[render.Name(object.ID)] {
			if !strings.Contains(string(object.JSON), part) {
				t.Errorf("%s lacks %s:\n%s", render.Name(object.ID), part, object.JSON)
			}
		}
		delete(want, render.Name(object.ID))
		for _, leftover := range []string{"placeholder", "set-by-", "${"} {
			if strings.Contains(string(object.JSON), leftover) {
				t.Errorf("%s still has %q", render.Name(object.ID), leftover)
			}
		}
	}
	for name := range want {
		t.Errorf("%s is not rendered", name)
	}
}

// Grafana's sidecar finds the dashboard by its label, and gets it as it is: $cluster in it is Grafana's.
func TestDashboardIsShippedAsItIs(t *testing.T) {
	want, err := os.ReadFile(root + "/apps/platform/monitoring/holdfast-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range build(t, root+"/apps/platform/monitoring").Resources() {
		if object.GetName() != "holdfast-dashboard" {
			continue
		}
		if object.GetLabels()["grafana_dashboard"] != "1" || object.GetAnnotations()["holdfast.dev/substitute"] != "disabled" {
			t.Errorf("labels %v, annotations %v", object.GetLabels(), object.GetAnnotations())
		}
		if got := object.GetDataMap()["holdfast-dashboard.json"]; got != string(want) {
			t.Errorf("%d bytes of dashboard, want %d", len(got), len(want))
		}
		return
	}
	t.Error("there is no ConfigMap holdfast-dashboard")
}
