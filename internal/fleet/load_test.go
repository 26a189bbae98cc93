package fleet

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-dev/holdfast/internal/tree"
)

const header = "apiVersion: holdfast.dev/v1alpha1\n"

// full is a fleet that uses every field once.
const full = `
-- fleet.yaml --
apiVersion: holdfast.dev/v1alpha1
kind: Fleet
metadata: {name: acme}
spec:
  drain:
  - clusterSelector: {matchLabels: {region: us-east}}
    reason: power
    force: true
  freeze:
  - clusterSelector: {matchExpressions: [{key: env, operator: In, values: [prod]}]}
    reason: quarter end
  prune:
    maxPercent: 20
    minObjects: 5
    permit:
    - {app: shop, kinds: [Namespace], until: 2026-12-01}
    - {app: shop, until: "2026-12-01T18:00:00+01:00"}
  acceptHistory: 0123456789abcdef0123456789abcdef01234567
-- clusters/us-east-1/cluster.yaml --
apiVersion: holdfast.dev/v1alpha1
kind: Cluster
metadata: {name: us-east-1, labels: {region: us-east, env: prod}}
spec:
  state: Active
  weight: 3
  vars: {domain: us.example.com}
-- clusters/us-east-1/kustomization.yaml --
resources: []
-- clusters/eu-west-1/cluster.yaml --
apiVersion: holdfast.dev/v1alpha1
kind: Cluster
metadata: {name: eu-west-1, labels: {region: eu-west, env: prod}}
-- clusters/README.md --
not a cluster
-- clusters/shared/kustomization.yaml --
resources: []
-- apps/web/app.yaml --
apiVersion: holdfast.dev/v1alpha1
kind: App
metadata: {name: web, labels: {team: a}}
spec:
  suspend: false
  placement:
    clusterSelector: {matchLabels: {env: prod}}
    clusters: 2
    spreadBy: region
    prefer:
    - matchLabels: {region: us-east}
  overlays:
  - clusterSelector: {matchLabels: {region: eu-west}}
    path: overlays/eu
  - path: ../shared/base
  allowEmpty: true
  namespace: web
  substitute: true
  replicas:
    total: 12
    target: {kind: Deployment, name: web}
  dependsOn: [database]
  rollout:
    waves:
    - clusterSelector: {matchLabels: {env: canary}}
      soak: 2m
    - {}
    maxFailures: 1
  failover: {gate: TakeoverHealthy, soak: 45s}
  health: {timeout: 10m}
  drift: {mode: Strict, ignore: [{group: apps, kind: Deployment, namespace: web, name: web, fields: [/spec/replicas]}]}
-- apps/web/parts/database/app.yaml --
apiVersion: holdfast.dev/v1alpha1
kind: App
metadata: {name: database}
`

func load(t *testing.T, archive string) *Fleet {
	t.Helper()
	f, err := Load(treeOf(t, archive))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func problemLines(problems []Problem) []string {
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return lines
}

func appNames(f *Fleet) []string {
	var names []string
	for _, a := range f.Apps {
		names = append(names, a.Name)
	}
	return names
}

func TestLoadReadsEveryField(t *testing.T) {
	f := load(t, full)
	if diff := cmp.Diff([]string(nil), problemLines(f.Problems)); diff != "" {
		t.Fatalf("problems (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"cluster-us-east-1", "database", "web"}, appNames(f)); diff != "" {
		t.Fatalf("apps (-want +got):\n%s", diff)
	}
	web, ok := f.App("web")
	if !ok {
		t.Fatal("no app web")
	}
	east, ok := f.Cluster("us-east-1")
	if !ok {
		t.Fatal("no cluster us-east-1")
	}
	drain, drained := f.Drained(east)
	_, frozen := f.Frozen(east)
	overlay, err := web.Overlay(east.Labels)
	if err != nil {
		t.Fatal(err)
	}
	implicit, _ := f.App("cluster-us-east-1")
	got := map[string]any{
		"drain reason": drain.Reason, "drained": drained, "forced": drain.Force, "frozen": frozen,
		"overlay": overlay, "weight": east.Weight(), "facts": east.Facts(),
		"soak": web.Spec.Failover.SoakOrDefault().String(), "wave soak": web.Spec.Rollout.Waves[0].Soak.String(),
		"timeout": web.Spec.Health.TimeoutOrDefault().String(), "total": web.Spec.Replicas.Total,
		"ignored": web.Spec.Drift.IgnoredFields("apps", "Deployment", "web", "web"),
		"nested":  f.Apps[1].Dir, "implicit": implicit.Dir, "is implicit": implicit.Implicit,
	}
	want := map[string]any{
		"drain reason": "power", "drained": true, "forced": true, "frozen": true,
		"overlay": "apps/shared/base", "weight": int32(3),
		"facts": Facts{Name: "us-east-1", Labels: map[string]string{"region": "us-east", "env": "prod"}, Vars: map[string]string{"domain": "us.example.com"}},
		"soak":  "45s", "wave soak": "2m0s", "timeout": "10m0s", "total": int32(12),
		"ignored": []string{"/spec/replicas"},
		"nested":  "apps/web/parts/database", "implicit": "clusters/us-east-1", "is implicit": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLoadProblems(t *testing.T) {
	const app, cluster = header + "kind: App\n", header + "kind: Cluster\n"
	tests := []struct {
		name     string
		archive  string
		problems []string
		apps     []string
		unknown  []string // apps that must not be taken for absent
	}{
		{
			name: "a broken app hides no other",
			archive: "-- apps/a/app.yaml --\n" + app + "metadata: {name: a}\nspec: {placment: {}}\n" +
				"-- apps/b/app.yaml --\n" + app + "metadata: {name: b}\n",
			problems: []string{`apps/a/app.yaml:4: spec.placment: unknown field (did you mean "placement"?)`},
			apps:     []string{"b"}, unknown: []string{"a"},
		},
		{
			name:     "an app whose name cannot be read may be any app",
			archive:  "-- apps/a/app.yaml --\nspec: [\n",
			problems: []string{`apps/a/app.yaml:2: did not find expected node content`},
			unknown:  []string{"a", "anything"},
		},
		{
			name: "of two apps of one name neither wins",
			archive: "-- apps/a/app.yaml --\n" + app + "metadata: {name: web}\n" +
				"-- apps/b/app.yaml --\n" + app + "metadata:\n  name: web\n",
			problems: []string{
				`apps/a/app.yaml:3: metadata.name: the name "web" is also that of apps/b/app.yaml`,
				`apps/b/app.yaml:4: metadata.name: the name "web" is also that of apps/a/app.yaml`,
			},
			unknown: []string{"web"},
		},
		{
			name: "an app that takes the name of an implicit one",
			archive: "-- clusters/x/cluster.yaml --\n" + cluster + "metadata: {name: x}\n" +
				"-- clusters/x/Kustomization --\n" +
				"-- apps/a/app.yaml --\n" + app + "metadata: {name: cluster-x}\n",
			problems: []string{
				`apps/a/app.yaml:3: metadata.name: the name "cluster-x" is also that of the app that clusters/x makes`,
				`clusters/x/cluster.yaml: metadata.name: the name "cluster-x" is also that of apps/a/app.yaml`,
			},
			unknown: []string{"cluster-x"},
		},
		{
			name:     "a cluster is called as its folder",
			archive:  "-- clusters/x/cluster.yaml --\n" + cluster + "metadata:\n  name: y\n",
			problems: []string{`clusters/x/cluster.yaml:4: metadata.name: must be the name of the folder, "x", is "y"`},
		},
		{
			name: "a cluster's name has room for the prefix",
			archive: "-- clusters/x/cluster.yaml --\n" + cluster + "metadata:\n  name: " +
				strings.Repeat("x", 56) + "\n",
			problems: []string{`clusters/x/cluster.yaml:4: metadata.name: must be at most 55 characters long, is 56`},
		},
		{
			name:     "a cluster's file with the other ending",
			archive:  "-- clusters/x/cluster.yml --\n" + cluster + "metadata: {name: x}\n",
			problems: []string{`clusters/x/cluster.yml: must be named cluster.yaml`},
		},
		{
			name: "an overlay that leaves the repository",
			archive: "-- apps/a/app.yaml --\n" + app + "metadata: {name: a}\nspec:\n  overlays:\n" +
				"  - path: ../../base\n  - path: ../../../base\n",
			problems: []string{`apps/a/app.yaml:7: spec.overlays[1].path: must be a relative path that stays in the repository`},
			unknown:  []string{"a"},
		},
		{
			name: "a dependency that does not exist",
			archive: "-- apps/a/app.yaml --\n" + app + "metadata: {name: a}\nspec:\n  dependsOn:\n  - b\n  - nosuch\n" +
				"-- apps/b/app.yaml --\n" + app + "metadata: {name: b}\n",
			problems: []string{`apps/a/app.yaml:7: spec.dependsOn[1]: there is no app "nosuch"`},
			apps:     []string{"a", "b"},
		},
		{
			name: "a dependency that was meant to be another",
			archive: "-- apps/a/app.yaml --\n" + app + "metadata: {name: a}\nspec:\n  dependsOn: [databse]\n" +
				"-- apps/b/app.yaml --\n" + app + "metadata: {name: database}\n",
			problems: []string{`apps/a/app.yaml:5: spec.dependsOn[0]: there is no app "databse" (did you mean "database"?)`},
			apps:     []string{"a", "database"},
		},
		{
			name: "a dependency whose file is broken is unknown, not absent",
			archive: "-- apps/a/app.yaml --\n" + app + "metadata: {name: a}\nspec: {dependsOn: [b]}\n" +
				"-- apps/b/app.yaml --\n" + app + "metadata: {name: b}\nspec: {nosuchfield: 1}\n",
			problems: []string{`apps/b/app.yaml:4: spec.nosuchfield: unknown field`},
			apps:     []string{"a"}, unknown: []string{"b"},
		},
		{
			name: "a cycle is reported for each of its apps and for nobody else",
			archive: "-- apps/a/app.yaml --\n" + app + "metadata: {name: a}\nspec: {dependsOn: [b]}\n" +
				"-- apps/b/app.yaml --\n" + app + "metadata: {name: b}\nspec: {dependsOn: [c]}\n" +
				"-- apps/c/app.yaml --\n" + app + "metadata: {name: c}\nspec: {dependsOn: [b]}\n",
			problems: []string{
				`apps/b/app.yaml:4: spec.dependsOn[0]: the apps depend on each other: b -> c -> b`,
				`apps/c/app.yaml:4: spec.dependsOn[0]: the apps depend on each other: c -> b -> c`,
			},
			apps: []string{"a", "b", "c"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := load(t, test.archive)
			if diff := cmp.Diff(test.problems, problemLines(f.Problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.apps, appNames(f)); diff != "" {
				t.Errorf("apps (-want +got):\n%s", diff)
			}
			for _, name := range test.unknown {
				if !f.AppUnknown(name) {
					t.Errorf("AppUnknown(%q) = false", name)
				}
			}
			for _, name := range test.apps {
				if f.AppUnknown(name) {
					t.Errorf("AppUnknown(%q) = true", name)
				}
			}
		})
	}
}

// TestFaults holds every Problem to a sort of mistake.
func TestFaults(t *testing.T) {
	const app, cluster = header + "kind: App\n", header + "kind: Cluster\n"
	for _, test := range []struct {
		archive string
		want    []Fault
	}{
		{"-- apps/a/app.yaml --\nspec: [\n", []Fault{Unreadable}},
		{"-- apps/a/app.yaml --\n" + app + "metadata: {name: a}\n---\n" + app, []Fault{Unreadable}},
		{"-- apps/a/app.yaml --\n" + strings.Repeat("#", maxFileSize+1), []Fault{Unreadable}},
		{"-- clusters/x/cluster.yml --\n" + cluster + "metadata: {name: x}\n", []Fault{Misplaced}},
		{"-- apps/a/app.yaml --\n" + app + "metadata: {name: a}\nspec: {placment: {}}\n", []Fault{UnknownField}},
		{"-- apps/a/app.yaml --\n" + app + "spec: {replicas: {}}\n", []Fault{MissingField, MissingField}},
		{"-- apps/a/app.yaml --\nmetadata: {name: a}\n", []Fault{MissingField, MissingField}},
		{"-- apps/a/app.yaml --\n" + app + "metadata: {name: a}\nspec: {suspend: 1, namespace: A}\n", []Fault{InvalidValue, InvalidValue}},
		{"-- apps/a/app.yaml --\n" + app + "metadata: {name: a}\n-- apps/b/app.yaml --\n" + app + "metadata: {name: a}\n", []Fault{NameTaken, NameTaken}},
		{"-- apps/a/app.yaml --\n" + app + "metadata: {name: a}\nspec: {dependsOn: [b]}\n", []Fault{UnknownApp}},
		{"-- apps/a/app.yaml --\n" + app + "metadata: {name: a}\nspec: {dependsOn: [b]}\n-- apps/b/app.yaml --\n" + app + "metadata: {name: b}\nspec: {dependsOn: [a]}\n",
			[]Fault{DependencyCycle, DependencyCycle}},
	} {
		var got []Fault
		for _, p := range load(t, test.archive).Problems {
			got = append(got, p.Fault)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%.80q (-want +got):\n%s", test.archive, diff)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	good := "-- apps/a/app.yaml --\n" + header + "kind: App\nmetadata: {name: a}\n"
	t.Run("a repository without a fleet", func(t *testing.T) {
		_, err := Load(treeOf(t, "-- README.md --\n"))
		if !errors.Is(err, ErrNoFleet) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a path that has vanished", func(t *testing.T) {
		tr := treeOf(t, "-- x --\n")
		delete(tr.files, "x")
		_, err := Load(missingRoot{tr})
		if !errors.Is(err, ErrNoFleet) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a broken fleet.yaml, whatever else is good", func(t *testing.T) {
		_, err := Load(treeOf(t, good+"-- fleet.yaml --\n"+header+"kind: Fleet\nmetadata: {name: x}\nspec:\n  drains: []\n"+
			"-- clusters/x/cluster.yaml --\n{}\n"))
		var broken *BrokenError
		if !errors.As(err, &broken) {
			t.Fatalf("got %v", err)
		}
		if want := `load fleet: fleet.yaml:5: spec.drains: unknown field (did you mean "drain"?)`; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
		if len(broken.Problems) != 3 {
			t.Errorf("got %v, want the cluster's two problems too", problemLines(broken.Problems))
		}
	})
	t.Run("fleet.yml", func(t *testing.T) {
		_, err := Load(treeOf(t, good+"-- fleet.yml --\n"))
		if want := "load fleet: fleet.yml: must be named fleet.yaml"; errorText(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
	t.Run("an unreadable fleet.yaml", func(t *testing.T) {
		tr := treeOf(t, good+"-- fleet.yaml --\n")
		tr.broken["fleet.yaml"] = true
		var broken *BrokenError
		if _, err := Load(tr); !errors.As(err, &broken) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a folder that cannot be listed", func(t *testing.T) {
		for _, dir := range []string{".", "apps", "apps/a", "clusters", "clusters/x"} {
			tr := treeOf(t, good+"-- clusters/x/cluster.yaml --\n")
			tr.broken[dir] = true
			if _, err := Load(tr); !errors.Is(err, errBroken) {
				t.Errorf("%s: got %v", dir, err)
			}
		}
	})
	t.Run("apps as a link", func(t *testing.T) {
		tr := treeOf(t, "-- elsewhere/a/app.yaml --\n")
		tr.files["apps"] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("elsewhere")}
		if _, err := Load(tr); err == nil {
			t.Error("no error")
		}
	})
}

// missingRoot is a tree whose root does not exist.
type missingRoot struct{ memTree }

func (missingRoot) ReadDir(string) ([]tree.Entry, error) { return nil, fs.ErrNotExist }

func TestLoadLinksAndSizes(t *testing.T) {
	good := header + "kind: App\nmetadata: {name: a}\n"
	tr := treeOf(t, "-- apps/a/app.yaml --\n"+good+"-- shared/app.yaml --\n"+header+"kind: App\nmetadata: {name: linked}\n")
	tr.files["apps/loop"] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte(".")}
	tr.files["apps/linked/app.yaml"] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("../../shared/app.yaml")}
	tr.files["apps/away/app.yaml"] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("../../../etc/passwd")}
	tr.files["apps/big/app.yaml"] = &fstest.MapFile{Data: make([]byte, maxFileSize+1)}
	tr.files["apps/dir/app.yaml/x"] = &fstest.MapFile{}
	tr.files["clusters/link"] = &fstest.MapFile{Mode: fs.ModeSymlink, Data: []byte("real")}
	tr.files["clusters/real/cluster.yaml"] = &fstest.MapFile{Data: []byte(header + "kind: Cluster\nmetadata: {name: real}\n")}
	f, err := Load(tr)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "linked"}, appNames(f)); diff != "" {
		t.Errorf("apps (-want +got):\n%s", diff)
	}
	if len(f.Problems) != 3 ||
		!strings.HasPrefix(f.Problems[0].String(), "apps/away/app.yaml: cannot be read: ") ||
		f.Problems[1].String() != "apps/big/app.yaml: is larger than 1048576 bytes" ||
		f.Problems[2].String() != "clusters/link: is a symbolic link: a cluster's folder must be a real one" {
		t.Errorf("problems: %q", problemLines(f.Problems))
	}
	if !f.ClusterUnknown("link") || f.ClusterUnknown("real") {
		t.Error("link must be unknown, real known")
	}
}
