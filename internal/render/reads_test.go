package render

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/tree"
	"github.com/holdfast-dev/holdfast/internal/tree/treetest"
)

// TestHoldAfterIsHold: what the changes between two trees do to reads is what looking at each read says,
// with links of every sort in the way.
func TestHoldAfterIsHold(t *testing.T) {
	contents := map[string][]string{
		"a":       {"x", "-> b", "-> gone"},
		"a/f":     {"x", "y"},
		"a/l":     {"-> f", "-> ../b/f", "-> gone", "x"},
		"a/d/f":   {"x", "y", "-> ../l"},
		"a/d/e/f": {"x", "y"},
		"b":       {"-> a", "-> a/d"},
		"b/f":     {"x", "y"},
		"b/l":     {"-> ../a", "-> f/../..", "-> ../.."},
		"c/l":     {"-> ../b", "-> ../b/l"},
	}
	names := slices.Sorted(maps.Keys(contents))
	asked := append(slices.Clone(names), "a/d", "a/d/e", "b/l/f", "b/l/d/f", "c/l/f", "c/l/l/d", "a/d/f/x", ".", "gone", "gone/x", "c/l/gone")
	rapid.Check(t, func(t *rapid.T) {
		files := map[string]string{"always": "x"}
		edit := func(most int) *treetest.Tree {
			for range rapid.IntRange(0, most).Draw(t, "edits") {
				name := rapid.SampledFrom(names).Draw(t, "file")
				text := rapid.SampledFrom(append([]string{""}, contents[name]...)).Draw(t, "content")
				if files[name] = text; text == "" {
					delete(files, name)
				}
			}
			kept := maps.Clone(files)
			for name := range files { // a path is a file or a folder, not both
				if _, ok := files[name[:1]]; ok && len(name) > 1 && name != "always" {
					delete(kept, name)
				}
			}
			return treetest.New(kept)
		}
		before := edit(12)
		f := newFiles(before, fleet.Facts{})
		for range rapid.IntRange(1, 10).Draw(t, "reads") {
			p := mount + "/" + rapid.SampledFrom(asked).Draw(t, "path")
			if rapid.Bool().Draw(t, "list") {
				_, _ = f.ReadDir(p) // what it finds is recorded
			} else {
				_ = f.Exists(p)
			}
		}
		reads := f.recorded()
		after := edit(4)
		c, err := tree.Compare(before, after)
		if err != nil {
			t.Fatal(err)
		}
		if want, got := reads.Hold(after), reads.HoldAfter(c, after); got != want {
			t.Errorf("HoldAfter says %t, Hold %t, of %+v after %+v", got, want, reads, c)
		}
	})
}
