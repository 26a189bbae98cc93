package render

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden builds every app of every archive in testdata/golden for every cluster, and compares
// all that comes out with the archive's own "want" files.
func TestGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) { golden(t, name) })
	}
}

func golden(t *testing.T, name string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	ar := txtar.Parse(b)
	files, want := memTree{}, map[string]string{}
	input := &txtar.Archive{Comment: ar.Comment}
	for _, f := range ar.Files {
		if strings.HasPrefix(f.Name, "want/") {
			want[f.Name] = string(f.Data)
			continue
		}
		files[f.Name] = string(f.Data)
		input.Files = append(input.Files, f)
	}
	fl, err := fleet.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range fl.Problems {
		t.Errorf("problem: %s", p)
	}
	got := map[string]string{}
	for _, c := range fl.Clusters {
		text := printCluster(t, files, fl, c.Name)
		file := "want/" + c.Name
		got[file] = text
		input.Files = append(input.Files, txtar.File{Name: file, Data: []byte(text)})
	}
	if *update {
		if err := os.WriteFile(name, txtar.Format(input), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differs from the golden file (-want +got):\n%s", diff)
	}
}

func printCluster(t *testing.T, files memTree, fl *fleet.Fleet, name string) string {
	t.Helper()
	res, err := Cluster(t.Context(), ClusterRequest{Head: files, HeadCommit: "head", Fleet: fl, Name: name, Instance: "holdfast-system"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, a := range res.Apps {
		out.WriteString("# app " + a.App.Name)
		switch {
		case a.Err != nil:
			out.WriteString(": " + a.Err.Error() + "\n")
		case !a.Placed:
			out.WriteString(": not placed\n")
		default:
			out.WriteString(" from " + a.Overlay + "\n")
		}
		for _, e := range a.ObjectErrors {
			out.WriteString("# " + e.Error() + "\n")
		}
		if err := Print(&out, a.Objects, PrintOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range res.Duplicates() {
		out.WriteString("# " + Name(d.ID) + " is declared by " + strings.Join(d.Apps, ", ") + "\n")
	}
	return out.String()
}

// build1 builds apps/web of the tree, by the spec that its app.yaml would have.
func build1(files memTree, spec fleet.AppSpec, change ...func(*Request)) (Result, error) {
	req := Request{
		Tree:     files,
		App:      &fleet.App{Metadata: fleet.Metadata{Name: "web"}, Spec: spec, Dir: "apps/web"},
		Facts:    fleet.Facts{Name: "us-east-1", Labels: map[string]string{"region": "us-east"}, Vars: map[string]string{"count": "3"}},
		Instance: "holdfast-system",
	}
	for _, c := range change {
		c(&req)
	}
	return Build(context.Background(), req)
}
