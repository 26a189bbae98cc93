package tree_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-dev/holdfast/internal/tree"
	"github.com/holdfast-dev/holdfast/internal/tree/treetest"
)

func TestCompare(t *testing.T) {
	files := map[string]string{
		"fleet.yaml": "a", "apps/one/app.yaml": "a", "apps/one/base/x.yaml": "a", "apps/two/app.yaml": "a", "apps/link": "-> one",
	}
	for name, tc := range map[string]struct {
		edits map[string]string // "" deletes
		want  string
		links bool
	}{
		"nothing":                       {nil, "", false},
		"a file changes":                {map[string]string{"apps/one/app.yaml": "b"}, ". apps apps/one apps/one/app.yaml", false},
		"a file comes":                  {map[string]string{"apps/three/app.yaml": "b"}, ". apps apps/three apps/three/app.yaml", false},
		"a folder goes":                 {map[string]string{"apps/one/base/x.yaml": ""}, ". apps apps/one apps/one/base apps/one/base/x.yaml", false},
		"a folder becomes a file":       {map[string]string{"apps/one/base/x.yaml": "", "apps/one/base": "b"}, ". apps apps/one apps/one/base apps/one/base/x.yaml", false},
		"a link goes":                   {map[string]string{"apps/link": ""}, ". apps apps/link", false},
		"a link leads elsewhere":        {map[string]string{"apps/link": "-> two"}, ". apps apps/link", true},
		"a file becomes a link":         {map[string]string{"fleet.yaml": "-> apps"}, ". fleet.yaml", true},
		"a file with the link's target": {map[string]string{"apps/link": "one"}, ". apps apps/link", false},
	} {
		t.Run(name, func(t *testing.T) {
			edited := maps.Clone(files)
			for name, text := range tc.edits {
				if edited[name] = text; text == "" {
					delete(edited, name)
				}
			}
			c, err := tree.Compare(treetest.New(files), treetest.New(edited))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, strings.Join(c.Paths, " ")); diff != "" || c.Links != tc.links || !slices.IsSorted(c.Paths) {
				t.Errorf("links %t, paths (-want +got):\n%s", c.Links, diff)
			}
		})
	}
}

// TestCompareReadsWhatChanged: folders that are the same are not looked into.
func TestCompareReadsWhatChanged(t *testing.T) {
	files := map[string]string{"apps/one/deep/er/x": "a", "apps/two/deep/er/x": "a", "clusters/c/x": "a"}
	before := treetest.New(files)
	files["apps/two/deep/er/x"] = "b"
	after := treetest.New(files)
	if _, err := tree.Compare(before, after); err != nil {
		t.Fatal(err)
	}
	if n := after.Folders.Load(); n != 5 {
		t.Errorf("%d folders listed, want 5", n)
	}
}

// TestCompareNeedsIDs: a working directory is never taken for unchanged.
func TestCompareNeedsIDs(t *testing.T) {
	d, err := tree.Dir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if c, err := tree.Compare(d, d); err == nil {
		t.Errorf("no error, but %v", c)
	}
}
