package overview

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/statusbus"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// now is the present of all tests.
var now = time.Date(2026, 11, 25, 14, 30, 0, 0, time.UTC)

// The commits of the tests.
var (
	head  = strings.Repeat("a1", 20)
	older = strings.Repeat("b2", 20)
	alien = strings.Repeat("c3", 20)
	newer = strings.Repeat("d4", 20)
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// load makes a fleet of a txtar archive.
func load(t testing.TB, archive string) *fleet.Fleet {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(archive)).Files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, f.Data, 0o600))
	}
	at, err := tree.Dir(dir)
	must(t, err)
	defer func() { must(t, at.Close()) }()
	f, err := fleet.Load(at)
	must(t, err)
	return f
}

// clusters is the archive of a fleet.yaml with this spec, and of clusters, each as NAME or NAME REGION or NAME
// REGION SPEC.
func clusters(settings string, all ...string) string {
	const header = "apiVersion: holdfast.dev/v1alpha1\n"
	var b strings.Builder
	b.WriteString("-- fleet.yaml --\n" + header + "kind: Fleet\nmetadata: {name: acme}\nspec: {" + settings + "}\n")
	for _, c := range all {
		name, rest, _ := strings.Cut(c, " ")
		region, spec, _ := strings.Cut(rest, " ")
		b.WriteString("-- clusters/" + name + "/cluster.yaml --\n" + header + "kind: Cluster\nmetadata:\n  name: " + name + "\n")
		if region != "" {
			b.WriteString("  labels: {region: " + region + "}\n")
		}
		b.WriteString("spec: {" + spec + "}\n")
	}
	return b.String()
}

// seen is a report of a cluster that is at head and was heard of 20 seconds ago, with changes.
func seen(cluster string, change ...func(*status.Report)) statusbus.Seen {
	fetched := now.Add(-25 * time.Second)
	r := status.Report{
		APIVersion: status.APIVersion, Cluster: cluster, Agent: "v0.1.0", Time: now.Add(-20 * time.Second),
		Commit: head, Fetched: &fetched, Apps: []status.App{},
	}
	for _, c := range change {
		c(&r)
	}
	return statusbus.Seen{Report: &r}
}

func at(commit string) func(*status.Report) { return func(r *status.Report) { r.Commit = commit } }

func aged(age time.Duration) func(*status.Report) {
	return func(r *status.Report) {
		fetched := now.Add(-age - 5*time.Second)
		r.Time, r.Fetched = now.Add(-age), &fetched
	}
}

// with adds an app that is Ready, with changes.
func with(name string, change ...func(*status.App)) func(*status.Report) {
	return func(r *status.Report) {
		a := status.App{Name: name, Revision: r.Commit, Placement: r.Commit, Ready: true, Objects: 12, Replicas: status.Replicas{Desired: 3, Ready: 3}}
		for _, c := range change {
			c(&a)
		}
		r.Apps = append(r.Apps, a)
	}
}

func unready(a *status.App) { a.Ready = false }

// elsewhere is an Exclusive app that another cluster has.
func elsewhere(a *status.App) { *a = status.App{Name: a.Name, Placement: a.Placement} }

func drifted(n int64, ago time.Duration) func(*status.App) {
	return func(a *status.App) {
		last := now.Add(-ago)
		a.Drift = status.Drift{Corrected: n, Last: &last}
	}
}

func held(gate status.Gate, since time.Duration, reason string) func(*status.App) {
	return func(a *status.App) {
		a.Held = append(a.Held, status.Held{Gate: gate, Since: now.Add(-since), Reason: reason})
	}
}

func failed(object, message string) func(*status.App) {
	return func(a *status.App) {
		a.Ready = false
		a.Errors = append(a.Errors, status.ObjectError{Object: object, Message: message})
	}
}

// input is a fleet at head with these reports.
func input(f *fleet.Fleet, reports ...statusbus.Seen) Input {
	in := Input{Fleet: f, Head: head, Read: true, Seen: map[string]statusbus.Seen{}, Now: now, Lags: map[string]gitsource.Lag{
		older: {Standing: gitsource.Behind, Commits: 3}, alien: {Standing: gitsource.Apart}, newer: {Standing: gitsource.Ahead},
	}}
	for _, s := range reports {
		in.Seen[s.Report.Cluster] = s
	}
	return in
}

// alter is an input with changes that leave the original alone.
func alter(in Input, change func(*Input)) Input {
	in.Seen, in.Lags = maps.Clone(in.Seen), maps.Clone(in.Lags)
	change(&in)
	return in
}

// storefront makes an app what the storefront of a cluster is.
func (in *Input) storefront(cluster string) func(*status.App) {
	apps := in.Seen[cluster].Report.Apps
	return func(a *status.App) {
		*a = apps[slices.IndexFunc(apps, func(a status.App) bool { return a.Name == "storefront" })]
	}
}

// busy is a fleet with one of everything.
func busy(t testing.TB) Input {
	t.Helper()
	archive := clusters(
		"drain: [{clusterSelector: {matchLabels: {region: eu-north}}, reason: 'rack replacement, back on Friday'}], "+
			"freeze: [{clusterSelector: {matchLabels: {region: ap-south}}, reason: quarter end}]",
		"ap-south-1 ap-south", "ap-south-2 ap-south", "ca-west-1 ca-west state: Lost", "eu-north-1 eu-north", "eu-west-1 eu-west", "eu-west-2 eu-west",
		"us-east-1 us-east", "us-east-2 us-east", "us-west-1 us-west state: Drained", "us-west-2 us-west", "us-west-3 us-west",
	) + "-- clusters/us-west-4/cluster.yaml --\nkind: Cluster\n"
	frozen := held(status.GateFreeze, 25*time.Hour, "this cluster is frozen in fleet.yaml: quarter end")
	wave := held(status.GateWave, 200*time.Second, "waits until the first wave has proven b2b2b2b2b2b2: us-east-2 has not been Ready for 2m there (soak)")
	in := input(
		load(t, archive),
		seen("ap-south-1", with("checkout", frozen), with("orders-db", elsewhere), with("storefront", frozen), with("team-ads", frozen, wave)),
		seen("eu-north-1", with("orders-db", elsewhere)),
		seen("eu-west-1", at(older), aged(12*time.Minute), with("checkout"), with("storefront", wave)),
		seen("eu-west-2", with("checkout"), with("storefront",
			failed("Service/storefront/web", "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"),
			failed("apps/Deployment/storefront/web", `admission webhook "policy.example.com" denied the request: image registry.example.com/web:latest is not signed by a key that is trusted here`))),
		seen("us-east-1", with("checkout", drifted(3, 2*time.Hour)), with("orders-db"), with("storefront")),
		seen("us-east-2", aged(95*time.Second), with("checkout", unready), with("storefront", unready)),
		seen("us-west-2", at(older), func(r *status.Report) { early := now.Add(-31 * time.Minute); r.Fetched = &early }, with("storefront", unready, wave)),
		seen("us-west-1"),
		seen("lab-7", at(alien), with("storefront")),
	)
	in.Seen["us-west-3"] = statusbus.Seen{Problem: `its ref holds a report of the cluster "us-west-2": it was forged, or an agent there has the wrong name`}
	return in
}
