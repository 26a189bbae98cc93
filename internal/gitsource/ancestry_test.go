package gitsource

import (
	"slices"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// What the data dir knows of history is what it has fetched: from its shallow clone on, until it is deepened.
func TestAncestry(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	write := func(content string, more ...gittest.Change) string {
		return f.commit(append([]gittest.Change{gittest.Write("a", content)}, more...)...)
	}
	first, err := f.repo.Head("main")
	must(t, err)
	old := write("old")
	boundary := write("boundary")
	s := f.run()
	awaitCommit(t, s, boundary)
	next := write("next")
	awaitCommit(t, s, next)
	side := f.commit(gittest.On("side"), gittest.From(boundary), gittest.Write("b", "side"))
	head := write("head", gittest.Merge(side))
	awaitCommit(t, s, head)
	nobodys := "00000000000000000000000000000000000000aa"

	ask := func(commit, ancestor string, yes, known bool) {
		t.Helper()
		gotYes, gotKnown, err := s.Ancestry(t.Context(), commit, ancestor)
		if err != nil || gotYes != yes || gotKnown != known {
			t.Errorf("%s descends from %s: %v, known %v, %v", short(commit), short(ancestor), gotYes, gotKnown, err)
		}
	}
	between := func(since, head string, known bool, want ...string) {
		t.Helper()
		got, gotKnown, err := s.Between(t.Context(), since, head)
		slices.Sort(got)
		slices.Sort(want)
		if err != nil || gotKnown != known || !slices.Equal(got, want) {
			t.Errorf("from %s to %s: %v, known %v, %v; want %v", short(since), short(head), got, gotKnown, err, want)
		}
	}
	always := func() {
		t.Helper()
		ask(head, head, true, true)
		ask(head, next, true, true)
		ask(head, side, true, true)
		ask(head, boundary, true, true)
		ask(next, head, false, true)
		ask(next, side, false, true)
		ask(head, nobodys, false, false)
		ask(nobodys, head, false, false)
		between(next, head, true, side, head)
		between(boundary, head, true, next, side, head)
		between(head, head, true)
		between(nobodys, head, false)
		between(head, nobodys, false)
	}
	always()
	ask(head, old, false, false)
	ask(old, head, false, false)
	between("", head, false)
	between(old, head, false)
	if s.Complete() {
		t.Error("a shallow clone is complete")
	}

	must(t, s.Deepen(t.Context()))
	if !s.Complete() {
		t.Error("still not complete")
	}
	always()
	ask(head, old, true, true)
	ask(old, head, false, true)
	between(old, head, true, boundary, next, side, head)
	between("", head, true, first, old, boundary, next, side, head)
	must(t, f.server.Stop())
	must(t, s.Deepen(t.Context())) // asks nobody
}
