package gitsource

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

var acceptLine = regexp.MustCompile(`acceptHistory: (\S+)`)

// acceptFromFleet reads acceptHistory as the agent does, more or less.
func acceptFromFleet(s *Snapshot) (string, error) {
	b, err := s.ReadFile("fleet.yaml")
	if err != nil {
		return "", err
	}
	if m := acceptLine.FindSubmatch(b); m != nil {
		return string(m[1]), nil
	}
	return "", nil
}

func TestRewrittenHistory(t *testing.T) {
	// Each case starts at a verified head with two ancestors, and rewrites the branch.
	cases := []struct {
		name    string
		rewrite func(f *fixture, base string) (tip string)
		follow  bool
		says    string
	}{
		{"amended tip", func(f *fixture, base string) string {
			return f.commit(gittest.From(base+"~1"), gittest.Write("a", "amended"))
		}, false, "acceptHistory"},
		{"orphan", func(f *fixture, _ string) string {
			return f.commit(gittest.Orphan(), gittest.Write("fleet.yaml", ""))
		}, false, "does not descend"},
		{"back to an older commit", func(f *fixture, base string) string {
			must(f.t, f.repo.ForceBranch("main", base+"~1"))
			sha, err := f.repo.Head("main")
			must(f.t, err)
			return sha
		}, false, "does not descend"},
		{"acknowledged by naming what is abandoned", func(f *fixture, base string) string {
			return f.commit(gittest.From(base+"~1"), gittest.Write("fleet.yaml", "acceptHistory: "+base))
		}, true, ""},
		{"acknowledged by naming the new history", func(f *fixture, base string) string {
			rewritten := f.commit(gittest.From(base+"~1"), gittest.Write("a", "amended"))
			return f.commit(gittest.Write("fleet.yaml", "acceptHistory: "+rewritten))
		}, true, ""},
		{"acknowledged by a commit that both histories have", func(f *fixture, base string) string {
			common, err := f.repo.RevParse(base + "~1")
			must(f.t, err)
			return f.commit(gittest.From(common), gittest.Write("fleet.yaml", "acceptHistory: "+common))
		}, false, "older than the rewrite"},
		{"acknowledged by a commit of neither", func(f *fixture, base string) string {
			return f.commit(gittest.From(base+"~1"), gittest.Write("fleet.yaml", "acceptHistory: "+strings.Repeat("ab", 20)))
		}, false, "not in the new history"},
		{"acknowledged by an abbreviation", func(f *fixture, base string) string {
			return f.commit(gittest.From(base+"~1"), gittest.Write("fleet.yaml", "acceptHistory: "+base[:9]))
		}, false, "not a full commit id"},
		{"merge of the verified head", func(f *fixture, base string) string {
			must(f.t, f.repo.ForceBranch("main", base+"~2"))
			return f.commit(gittest.Write("b", "side"), gittest.Merge(base))
		}, true, ""},
	}
	for _, c := range cases {
		for _, shallow := range []bool{true, false} {
			name := c.name + ", ancestors here"
			if shallow {
				name = c.name + ", shallow clone"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f := setup(t, gittest.Options{})
				f.opts.AcceptHistory = acceptFromFleet
				var s *Source
				if !shallow {
					first, err := f.repo.Head("main")
					must(t, err)
					s = f.run()
					awaitCommit(t, s, first)
				}
				f.commit(gittest.Write("a", "1"))
				base := f.commit(gittest.Write("a", "2"))
				if shallow {
					s = f.run()
				}
				awaitCommit(t, s, base)

				tip := c.rewrite(f, base)
				if c.follow {
					awaitCommit(t, s, tip)
					return
				}
				err := await(t, s, "the refusal of "+short(tip), func(u Update) bool {
					var r *RewrittenError
					return errors.As(u.Err, &r) && r.Head == tip
				}).Err
				var r *RewrittenError
				if !errors.As(err, &r) || r.Base != base || !strings.Contains(err.Error(), c.says) {
					t.Errorf("refused with %v, want base %s and %q", err, base, c.says)
				}
				if head, ok := s.Head(); !ok || head.Commit != base {
					t.Errorf("the head is no longer the verified one")
				}
				// The way out that the error names.
				accepted := f.commit(gittest.Write("fleet.yaml", "acceptHistory: "+base))
				awaitCommit(t, s, accepted)
				// The acknowledgement is remembered when the line has gone.
				awaitCommit(t, s, f.commit(gittest.Write("fleet.yaml", "")))
			})
		}
	}
}

func TestBaseOfTheCluster(t *testing.T) {
	run := func(t *testing.T, f *fixture, base string) *Source {
		t.Helper()
		s := f.open()
		must(t, s.SetBase(base))
		runSource(t, s)
		return s
	}
	t.Run("lost data dir, the base is an ancestor", func(t *testing.T) {
		t.Parallel()
		f := setup(t, gittest.Options{})
		base, err := f.repo.Head("main")
		must(t, err)
		f.commit(gittest.Write("a", "1"))
		tip := f.commit(gittest.Write("a", "2"))
		s := run(t, f, base)
		awaitCommit(t, s, tip)
		// The older commit is there as well, without another clone.
		f.server.ResetRequests()
		old, err := s.Snapshot(t.Context(), base)
		must(t, err)
		if _, err := old.Stat("a"); err == nil {
			t.Error("the older commit has the newer file")
		}
	})
	t.Run("lost data dir, the base is the tip", func(t *testing.T) {
		t.Parallel()
		f := setup(t, gittest.Options{})
		tip := f.commit(gittest.Write("a", "1"))
		s := run(t, f, tip)
		awaitCommit(t, s, tip)
		if s.currentStore().complete() {
			t.Error("the whole branch was cloned for nothing")
		}
	})
	t.Run("lost data dir, rewritten branch", func(t *testing.T) {
		t.Parallel()
		f := setup(t, gittest.Options{})
		f.opts.AcceptHistory = acceptFromFleet
		base := f.commit(gittest.Write("a", "1"))
		f.commit(gittest.From(base+"~1"), gittest.Write("a", "other"))
		s := run(t, f, base)
		awaitKind(t, s, KindRewritten)
		if _, ok := s.Head(); ok {
			t.Error("a refused commit became the head")
		}
		accepted := f.commit(gittest.Write("fleet.yaml", "acceptHistory: "+base))
		awaitCommit(t, s, accepted)
	})
	t.Run("data dir of another history than the cluster's", func(t *testing.T) {
		t.Parallel()
		f := setup(t, gittest.Options{})
		first, err := f.repo.Head("main")
		must(t, err)
		s := f.open()
		stop := runSource(t, s)
		awaitCommit(t, s, first)
		stop()
		must(t, s.Close())
		side := f.commit(gittest.Write("a", "side"))
		must(t, f.repo.ForceBranch("main", first))
		f.commit(gittest.Write("a", "main"))
		awaitKind(t, run(t, f, side), KindRewritten)
	})
}

func TestSnapshotOfAnOlderCommit(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	old, err := f.repo.Head("main")
	must(t, err)
	f.commit(gittest.Write("fleet.yaml", "kind: Fleet # 2\n"))
	tip := f.commit(gittest.Write("fleet.yaml", "kind: Fleet # 3\n"))
	s := f.run()
	head := awaitCommit(t, s, tip)

	snap, err := s.Snapshot(t.Context(), old)
	must(t, err)
	wantFile(t, snap, "fleet.yaml", "kind: Fleet\n")
	wantFile(t, head, "fleet.yaml", "kind: Fleet # 3\n")
	missing := strings.Repeat("ab", 20)
	f.server.ResetRequests()
	for range 3 {
		if _, err := s.Snapshot(t.Context(), missing); !errors.Is(err, ErrUnknownCommit) {
			t.Fatalf("an unknown commit gives %v", err)
		}
	}
	for _, r := range f.server.Requests() {
		if r.Command != "ls-refs" {
			t.Errorf("an unknown commit cost a fetch although the whole branch is here: %s", r.Path)
		}
	}
	for _, c := range []struct {
		commit, ancestor string
		want             bool
	}{{tip, old, true}, {old, tip, false}, {tip, tip, true}, {tip, missing, false}} {
		if got, err := s.Descends(t.Context(), c.commit, c.ancestor); err != nil || got != c.want {
			t.Errorf("Descends(%s, %s) = %v, %v", short(c.commit), short(c.ancestor), got, err)
		}
	}
	must(t, f.server.Stop())
	if _, err := s.Snapshot(t.Context(), missing); err == nil || errors.Is(err, ErrUnknownCommit) {
		t.Errorf("without a server an unknown commit gives %v, which must not mean absent", err)
	}
}

func TestDescendsAcrossTheShallowBoundary(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	old, err := f.repo.Head("main")
	must(t, err)
	tip := f.commit(gittest.Write("a", "1"))
	s := f.run()
	awaitCommit(t, s, tip)
	if got, err := s.Descends(t.Context(), tip, old); err != nil || !got {
		t.Fatalf("Descends = %v, %v", got, err)
	}
}

// A server with bitmaps leaves out every object that any ancestor of what the client has contains. A
// client that does not say where its history ends then misses the files that a revert brings back.
func TestRevertOnAServerWithBitmaps(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	f.commit(gittest.Write("apps/shop/value", "old content"))
	tip := f.commit(gittest.Write("apps/shop/value", "new content"))
	f.opts.Poll = time.Hour // not before the bitmap is there
	s := f.run()
	awaitCommit(t, s, tip)
	reverted := f.commit(gittest.Write("apps/shop/value", "old content"))
	if _, err := f.repo.Git("repack", "-adbq"); err != nil {
		t.Fatal(err)
	}
	bitmaps, err := filepath.Glob(filepath.Join(f.repo.Dir, "objects", "pack", "*.bitmap"))
	must(t, err)
	if len(bitmaps) == 0 {
		t.Fatal("the server has no bitmap")
	}
	s.Poll()
	wantFile(t, awaitCommit(t, s, reverted), "apps/shop/value", "old content")
	if packs, _, err := s.currentStore().usage(); err != nil || packs != 2 {
		t.Errorf("%d packs, %v: the store was cloned anew instead of extended", packs, err)
	}
	if _, err := os.Stat(filepath.Join(s.currentStore().dir, "shallow")); err != nil {
		t.Error(err)
	}
}
