package vet

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/tree"
	"github.com/holdfast-dev/holdfast/internal/tree/treetest"
)

var update = flag.Bool("update", false, "rewrite the expected findings in testdata")

// now is the time by which permits have run out.
var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// vetTree runs over a tree.
func vetTree(t testing.TB, files tree.Tree) *Report {
	t.Helper()
	f, err := fleet.Load(files)
	if broken := (*fleet.BrokenError)(nil); errors.As(err, &broken) {
		return Broken(broken.Problems, ".")
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), Request{Tree: files, Fleet: f, Below: ".", Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// text is a report as people read it.
func textOf(t testing.TB, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// archives are the fleets in testdata, each with what is to be found in it.
func archives(t testing.TB) map[string]*txtar.Archive {
	t.Helper()
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("%v, %d files", err, len(names))
	}
	all := map[string]*txtar.Archive{}
	for _, name := range names {
		if all[name], err = txtar.ParseFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// filesOf are an archive's files but for what is expected.
func filesOf(a *txtar.Archive) map[string]string {
	files := map[string]string{}
	for _, f := range a.Files {
		if f.Name != "want" {
			files[f.Name] = string(f.Data)
			if strings.HasPrefix(files[f.Name], "-> ") { // a link
				files[f.Name] = strings.TrimSpace(files[f.Name])
			}
		}
	}
	return files
}

// TestFindings holds what is found in the fleets in testdata to what is written there.
func TestFindings(t *testing.T) {
	for name, a := range archives(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			got := textOf(t, vetTree(t, treetest.New(filesOf(a))))
			want := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
			if want < 0 {
				t.Fatal("no file want")
			}
			if *update {
				a.Files[want].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(a.Files[want].Data), got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			for _, line := range strings.Split(got, "\n") {
				if strings.Contains(line, "hunter2") {
					t.Errorf("the finding shows a secret: %s", line)
				}
			}
		})
	}
}

// TestEveryCode: every code is found in some fleet of testdata, and has a paragraph in the documentation, in the same order.
func TestEveryCode(t *testing.T) {
	found := map[Code]bool{}
	for _, a := range archives(t) {
		for _, f := range vetTree(t, treetest.New(filesOf(a))).Findings {
			found[f.Code] = true
			if !slices.ContainsFunc(codes, func(c rule) bool { return c.code == f.Code }) {
				t.Errorf("%s is not among the codes", f.Code)
			}
		}
	}
	var want []string
	for _, c := range codes {
		want = append(want, string(c.code))
		if !found[c.code] {
			t.Errorf("no fleet in testdata has a finding %s", c.code)
		}
	}
	docs, err := os.ReadFile("../../docs/vet.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile(`(?m)^### (\S+)$`).FindAllStringSubmatch(string(docs), -1) {
		documented = append(documented, m[1])
	}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("docs/vet.md (-codes +documented):\n%s", diff)
	}
}

// TestExampleIsClean: nothing is found in the example fleet, on disk.
func TestExampleIsClean(t *testing.T) {
	files, err := tree.Dir("../../examples/fleet-repo")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = files.Close() }()
	r := vetTree(t, files)
	if text := textOf(t, r); text != "" {
		t.Errorf("findings:\n%s", text)
	}
	if r.Clusters != 5 || r.Apps < 10 || r.Objects < 50 {
		t.Errorf("looked at %d apps on %d clusters, %d objects: not much", r.Apps, r.Clusters, r.Objects)
	}
}

// scaled is a fleet of that many apps and clusters; every app has four objects, an overlay that kustomize builds, and
// the facts of its cluster in it.
func scaled(apps, clusters int) map[string]string {
	const header = "apiVersion: holdfast.dev/v1alpha1\n"
	files := map[string]string{}
	for i := range clusters {
		files[fmt.Sprintf("clusters/c-%d/cluster.yaml", i)] = fmt.Sprintf("%skind: Cluster\nmetadata: {name: c-%d, labels: {region: r%d}}\n", header, i, i%5)
	}
	for i := range apps {
		name := fmt.Sprintf("app-%d", i)
		dir := "apps/" + name
		files[dir+"/app.yaml"] = fmt.Sprintf("%skind: App\nmetadata: {name: %s}\nspec: {substitute: true, overlays: [{path: overlays/default}]}\n", header, name)
		files[dir+"/overlays/default/kustomization.yaml"] = "namespace: shop\nresources: [../../base]\nlabels: [{pairs: {team: a}}]\n"
		files[dir+"/base/kustomization.yaml"] = "resources: [config.yaml, account.yaml, service.yaml, deployment.yaml]\n"
		files[dir+"/base/config.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {cluster: \"${CLUSTER_NAME}\"}\n"
		files[dir+"/base/account.yaml"] = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: " + name + "}\n"
		files[dir+"/base/service.yaml"] = "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + "}\nspec: {selector: {app: " + name + "}, ports: [{port: 80}]}\n"
		files[dir+"/base/deployment.yaml"] = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + "}\nspec:\n" +
			"  selector: {matchLabels: {app: " + name + "}}\n  template:\n    metadata: {labels: {app: " + name + "}}\n    spec:\n" +
			"      containers: [{name: main, image: \"example.com/image:1\", resources: {limits: {memory: 32Mi}}}]\n"
	}
	return files
}

// TestCostIsThatOfTheOverlays: twenty clusters read no more files than one, though all have their own facts.
func TestCostIsThatOfTheOverlays(t *testing.T) {
	read := func(clusters int) int64 {
		files := treetest.New(scaled(20, clusters))
		if text := textOf(t, vetTree(t, files)); text != "" {
			t.Fatal(text)
		}
		return files.Files.Load()
	}
	if one, many := read(1), read(20); many > one+2*20 { // a cluster has a file of its own, read twice
		t.Errorf("one cluster costs %d reads, twenty cost %d", one, many)
	}
}

// BenchmarkRun is 300 apps on 50 clusters, each with its own facts: 60,000 objects.
func BenchmarkRun(b *testing.B) {
	files := treetest.New(scaled(300, 50))
	b.ReportAllocs()
	for b.Loop() {
		if r := vetTree(b, files); len(r.Findings) > 0 {
			b.Fatal(textOf(b, r))
		}
	}
}

// TestEndsWithItsContext: whoever gives up gets an error and no half report.
func TestEndsWithItsContext(t *testing.T) {
	files := treetest.New(scaled(3, 3))
	f, err := fleet.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Run(ctx, Request{Tree: files, Fleet: f, Progress: func(done, _ int) {
		if done == 2 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || r != nil {
		t.Errorf("%v, %v", r, err)
	}
}

// unreadable is a tree in which one file cannot be read.
type unreadable struct {
	*treetest.Tree

	file string
}

var errDisk = errors.New("input/output error")

func (u unreadable) ReadFile(path string) ([]byte, error) {
	if path == u.file {
		return nil, errDisk
	}
	return u.Tree.ReadFile(path)
}

// TestUnknownIsNotAbsent: what follows from a file that cannot be read is not said.
func TestUnknownIsNotAbsent(t *testing.T) {
	const header = "apiVersion: holdfast.dev/v1alpha1\n"
	files := treetest.New(map[string]string{
		"clusters/east/cluster.yaml": header + "kind: Cluster\nmetadata: {name: east, labels: {region: east}}\n",
		"clusters/west/cluster.yaml": header + "kind: Cluster\nmetadata: {name: west, labels: {region: west}}\n",
		"fleet.yaml":                 header + "kind: Fleet\nmetadata: {name: f}\nspec: {drain: [{clusterSelector: {matchLabels: {region: west}}}]}\n",
		"apps/a/app.yaml":            header + "kind: App\nmetadata: {name: a}\nspec: {placement: {clusterSelector: {matchLabels: {region: west}}}}\n",
		"apps/a/kustomization.yaml":  "resources: [a.yaml]\n",
		"apps/a/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: x\n" +
			"  annotations: {config.kubernetes.io/depends-on: /namespaces/x/ConfigMap/b}\n",
		"apps/b/app.yaml":                   header + "kind: App\nmetadata: {name: b}\nspec: {overlays: [{path: overlay}]}\n",
		"apps/b/overlay/kustomization.yaml": "resources: [../base]\n",
		"apps/b/base/kustomization.yaml":    "resources: [b.yaml]\n",
		"apps/b/base/b.yaml":                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: x}\n",
	})
	for file, want := range map[string][]Code{
		"":                           {NotPlaced},
		"clusters/west/cluster.yaml": {Unreadable},
		"apps/b/app.yaml":            {Unreadable, NotPlaced},
		"apps/b/base/b.yaml":         {BuildFailed, NotPlaced},
	} {
		var got []Code
		for _, f := range vetTree(t, unreadable{files, file}).Findings {
			got = append(got, f.Code)
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q cannot be read (-want +got):\n%s", file, diff)
		}
	}
}

// TestNamesStayOnTheirLine: a name that somebody made up begins no line of the text, and is no command to a terminal.
func TestNamesStayOnTheirLine(t *testing.T) {
	const header = "apiVersion: holdfast.dev/v1alpha1\n"
	files := map[string]string{
		"clusters/east/cluster.yaml":                        header + "kind: Cluster\nmetadata: {name: east}\n",
		"clusters/a\n::error title=owned::pwn/cluster.yaml": "kind: Cluster\n",
		"apps/a/app.yaml":                                   header + "kind: App\nmetadata: {name: a}\n",
		"apps/a/kustomization.yaml":                         "resources: [a.yaml, b.yaml]\n",
		"apps/a/a.yaml":                                     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"a\\n::error title=owned::pwn\\e[2J\\u202e\"}\nx: y\n",
		"apps/a/b.yaml":                                     "apiVersion: v1\nkind: \"::error title=owned::pwn\"\nmetadata: {name: b}\n",
	}
	r := vetTree(t, treetest.New(files))
	text := textOf(t, r)
	if n := strings.Count(text, "owned"); n < 3 {
		t.Errorf("%d are told of:\n%s", n, text)
	}
	for i := range r.Findings {
		text += r.sarif(&r.Findings[i]).Message.Text + "\n"
	}
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.ContainsAny(line, "\x1b\u202e") {
			t.Errorf("%q", line)
		}
	}
}

// FuzzRun: whatever is in a file of a fleet, there is a report.
func FuzzRun(f *testing.F) {
	fleets := map[string]map[string]string{}
	for name, a := range archives(f) {
		fleets[name] = filesOf(a)
		for file, content := range fleets[name] {
			f.Add(name, file, content)
		}
	}
	f.Fuzz(func(t *testing.T, name, file, content string) {
		files := maps.Clone(fleets[name])
		if _, ok := files[file]; !ok || strings.HasPrefix(content, "-> ") {
			return
		}
		files[file] = content
		for _, finding := range vetTree(t, treetest.New(files)).Findings {
			if finding.File == "" || finding.Message == "" || finding.Code == "" {
				t.Errorf("%+v", finding)
			}
		}
	})
}
