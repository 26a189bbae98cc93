package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The test binary runs as a reference or a task, as the bench does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "ref" || os.Args[1] == "task") {
		main()
	}
	os.Exit(m.Run())
}

// testLab is a lab for small sizes, with an agent of this source.
func testLab(t *testing.T) *lab {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a control plane")
	}
	agent := filepath.Join(t.TempDir(), "holdfast")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", agent, "../agent").CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	l, err := newLab(t.Context(), &clusterSuite, flags{agent: agent, quick: true, runs: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	l.kubectl = ""
	return l
}

// find returns the row whose measure contains the words.
func (l *lab) find(t *testing.T, words string) *row {
	t.Helper()
	for i := range l.results.Rows {
		if strings.Contains(l.results.Rows[i].What, words) {
			return &l.results.Rows[i]
		}
	}
	t.Fatalf("no row with %q", words)
	return nil
}

// TestCosts: what a cold sync, a push, a repair, a restart and idling cost in requests. Times are not looked
// at.
func TestCosts(t *testing.T) {
	l := testLab(t)
	ctx := t.Context()
	const objects = 200
	if err := l.coldSize(ctx, objects, true); err != nil {
		t.Fatal(err)
	}
	if r := l.find(t, "requests per object"); median(r.Ours) > 1.2 || median(r.Theirs) < 1 {
		t.Errorf("cold sync: %v requests per object, LIMIT %v, want at most 1.2 and no less than 1: %s", r.Ours, r.Theirs, r.Note)
	}
	s, err := l.steady(ctx, objects, rare)
	if err != nil {
		t.Fatal(err)
	}
	pushes, err := s.pushes(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range pushes.requests {
		if n < 1 || n > 3 {
			t.Errorf("one object changed: %v requests, want 1 to 3: %s", n, pushes.note)
		}
	}
	var r restarted
	for _, empty := range []bool{false, true} {
		if err := s.unchanged(ctx, &r, empty); err != nil {
			t.Fatal(err)
		}
	}
	for i := range r.lists {
		if r.lists[i] > 1 || r.writes[i] > 0 {
			t.Errorf("restart %d: %v LISTs of a kind and %v writes, want 1 and none: %s", i, r.lists[i], r.writes[i], r.note)
		}
	}
	if r.clones[0] > 0 || r.clones[1] != 1 {
		t.Errorf("%v packs from the Git server at a restart with and without the data dir, want 0 and 1", r.clones)
	}
}

// TestRenderCosts: a commit that changes one app builds one app, and nothing is read twice.
func TestRenderCosts(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	l := testLab(t)
	if err := overlays(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if r := l.find(t, "apps built"); median(r.Ours) != 1 {
		t.Errorf("%v apps built for a change of one", r.Ours)
	}
	if r := l.find(t, "read more than once"); median(r.Ours) != 0 {
		t.Errorf("%v files read more than once", r.Ours)
	}
}
