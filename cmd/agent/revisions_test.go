package main

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// TestMergeBaseIsGits compares with git merge-base over a history with merges, several roots, and clocks that are
// wrong.
func TestMergeBaseIsGits(t *testing.T) {
	repo, err := gittest.InitRepo(filepath.Join(t.TempDir(), "fleet.git"))
	if err != nil {
		t.Fatal(err)
	}
	const n = 80
	r := rand.New(rand.NewPCG(7, 7))
	var history strings.Builder // in the format of git fast-import
	for i := range n {
		date := 1_700_000_000 + 60*i
		if r.IntN(8) == 0 {
			date -= 60 * r.IntN(4*n)
		}
		fmt.Fprintf(&history, "commit refs/heads/b%d\nmark :%d\ncommitter Ada <ada@example.com> %d +0000\ndata 1\nx\n", i, i+1, date)
		if i > 0 && r.IntN(20) > 0 {
			fmt.Fprintf(&history, "from :%d\n", 1+max(0, i-1-r.IntN(8)))
			if r.IntN(3) == 0 {
				fmt.Fprintf(&history, "merge :%d\n", 1+r.IntN(i))
			}
		}
		fmt.Fprintf(&history, "M 100644 inline f\ndata 3\n%3d\n", i)
	}
	cmd := exec.CommandContext(t.Context(), "git", "fast-import", "--quiet")
	cmd.Dir, cmd.Stdin = repo.Dir, strings.NewReader(history.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	revs, err := openRevisions(repo.Dir)
	if err != nil {
		t.Fatal(err)
	}
	none := 0
	for range 300 {
		one, other := r.IntN(n), r.IntN(n)
		var ids [2]plumbing.Hash
		for i, branch := range []int{one, other} {
			if ids[i], err = revs.find(fmt.Sprintf("b%d", branch)); err != nil {
				t.Fatal(err)
			}
		}
		out, err := repo.Git("merge-base", "--all", ids[0].String(), ids[1].String())
		got, gotErr := revs.mergeBase(ids[0], ids[1])
		if err != nil {
			none++
			if gotErr == nil || !strings.Contains(gotErr.Error(), "no commit in common") {
				t.Errorf("b%d b%d: git has none, we have %s, %v", one, other, got, gotErr)
			}
			continue
		}
		if want := strings.Fields(out); gotErr != nil || !slices.Contains(want, got.String()) {
			t.Errorf("b%d b%d: got %s, %v, want one of %v", one, other, got, gotErr, want)
		}
		// What the Markdown proposes names commits by their first digits.
		if h, err := revs.find(ids[0].String()[:12]); err != nil || h != ids[0] {
			t.Errorf("%s, %v", h, err)
		}
	}
	if none == 0 || none > 200 {
		t.Errorf("%d of 300 pairs have nothing in common", none)
	}
}
