package gitsource

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// servers are those that leave files out when asked, those that do not, and those that only say so.
var servers = map[string]func(*fixture) error{
	"with filters": func(f *fixture) error { return f.config("uploadpack.allowFilter", "true") },
	"without":      func(*fixture) error { return nil },
	"refusing the filter": func(f *fixture) error {
		if err := f.config("uploadpack.allowFilter", "true"); err != nil {
			return err
		}
		return f.config("uploadpackfilter.tree.allow", "false")
	},
	"old, with filters": func(f *fixture) error {
		f.server.SetOldProtocol(true)
		return f.config("uploadpack.allowFilter", "true")
	},
	"old, without": func(f *fixture) error {
		f.server.SetOldProtocol(true)
		return nil
	},
}

func (f *fixture) config(key, value string) error {
	_, err := f.repo.Git("config", key, value)
	return err
}

func (f *fixture) lags(s *Source, commits ...string) map[string]Lag {
	f.t.Helper()
	head, ok := s.Head()
	if !ok {
		f.t.Fatal("there is no head")
	}
	lags, err := s.Lags(f.t.Context(), head, commits)
	must(f.t, err)
	return lags
}

// Whatever the history looks like, the answer is git's own: of each commit asked for alone, and of all at once.
func TestLagsAreWhatGitCounts(t *testing.T) {
	for name, prepare := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, gittest.Options{})
			must(t, prepare(f))
			first, err := f.repo.Head("main")
			must(t, err)
			random := rand.New(rand.NewPCG(7, uint64(len(name))))
			commits := []string{first}
			for i := range 24 {
				from := commits[len(commits)-1]
				if random.IntN(2) == 0 {
					from = commits[random.IntN(len(commits))]
				}
				change := []gittest.Change{gittest.Write("a", strconv.Itoa(i)), gittest.From(from)}
				if random.IntN(3) == 0 {
					change = append(change, gittest.Merge(commits[random.IntN(len(commits))]))
				}
				commits = append(commits, f.commit(append(change, gittest.On("side"))...))
			}
			// The head is in the middle, so that some descend from it and some only share a past with it.
			head := commits[len(commits)-4]
			must(t, f.repo.ForceBranch("main", head))
			for i, c := range commits {
				_, err := f.repo.Git("update-ref", fmt.Sprintf("refs/keep/%d", i), c) // an old server hands out nothing else
				must(t, err)
			}
			s := f.open()
			f.attempt(s)
			nobodys := strings.Repeat("a", 40)
			asked := append(slices.Clone(commits), nobodys, "no id", "")
			all := map[string]Lag{}
			for some := range slices.Chunk(asked, 9) { // not too many questions at once
				maps.Copy(all, f.lags(s, some...))
			}
			standings := map[Standing]int{}
			for _, c := range asked {
				want := f.gitLag(head, c)
				standings[want.Standing]++
				// Which of several that are no ancestors descend from the head is not asked for.
				if got, ok := all[c]; !ok || got != want && (got != Lag{} || want.Standing == Behind) {
					t.Errorf("%q among others: %+v, want %+v", c, got, want)
				}
				if got := f.lags(s, c)[c]; got != want {
					t.Errorf("%q alone: %+v, want %+v", c, got, want)
				}
			}
			if standings[Behind] < 5 || standings[Apart] < 3 {
				t.Errorf("too tame a history: %v", standings)
			}
		})
	}
}

// gitLag asks git.
func (f *fixture) gitLag(head, commit string) Lag {
	f.t.Helper()
	if !fullSHA.MatchString(commit) {
		return Lag{}
	}
	ancestor := func(a, b string) bool {
		_, err := f.repo.Git("merge-base", "--is-ancestor", a, b)
		return err == nil
	}
	switch {
	case ancestor(commit, head):
		out, err := f.repo.Git("rev-list", "--count", commit+".."+head)
		must(f.t, err)
		n, err := strconv.Atoi(out)
		must(f.t, err)
		return Lag{Behind, n}
	case ancestor(head, commit):
		return Lag{Standing: Ahead}
	}
	return Lag{Standing: Apart}
}

// A fleet in the middle of a rollout: few commits, many of them recent.
func TestWhatLagsCost(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	must(t, f.config("uploadpack.allowFilter", "true"))
	f.commit(gittest.Files(manyFiles(500)))
	var commits []string
	for i := range 60 {
		commits = append(commits, f.commit(gittest.Write("apps/app-007/base/file-3.yaml", strconv.Itoa(i))))
	}
	s := f.open()
	f.attempt(s)
	head := commits[len(commits)-1]

	f.server.ResetRequests()
	if lags := f.lags(s, head, head); lags[head] != (Lag{Standing: Behind}) {
		t.Errorf("the head itself: %+v", lags)
	}
	if n := len(f.server.Requests()); n != 0 {
		t.Errorf("the head itself took %d requests", n)
	}
	if lags := f.lags(s, commits[0]); lags[commits[0]] != (Lag{Behind, 59}) {
		t.Errorf("the oldest: %+v", lags)
	}
	requests := f.server.Requests()
	if len(requests) != 1 || requests[0].Sent > 20<<10 {
		t.Errorf("59 commits took %d requests, the first one %d bytes", len(requests), requests[0].Sent)
	}
	t.Logf("59 commits are %d bytes", requests[0].Sent)

	// One answer tells of all that are newer.
	f.server.ResetRequests()
	lags := f.lags(s, commits...)
	for i, c := range commits {
		if want := (Lag{Behind, 59 - i}); lags[c] != want {
			t.Errorf("%d: %+v, want %+v", i, lags[c], want)
		}
	}
	if n := len(f.server.Requests()); n > 10 {
		t.Errorf("60 commits took %d requests", n)
	}

	// What the data dir has fetched since needs no server.
	next := f.commit(gittest.Write("b", "1"))
	f.attempt(s)
	f.server.ResetRequests()
	if lags := f.lags(s, head, next); lags[head] != (Lag{Behind, 1}) || lags[next] != (Lag{Behind, 0}) {
		t.Errorf("after another commit: %+v", lags)
	}
	if n := len(f.server.Requests()); n != 0 {
		t.Errorf("it took %d requests", n)
	}
	if _, known, err := s.Between(t.Context(), commits[0], next); known || err != nil {
		t.Errorf("the history was kept: %v", err)
	}
}

func TestLagsThatCostTooMuchAreNotKnown(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	first, err := f.repo.Head("main")
	must(t, err)
	f.commit(gittest.Write("large", strings.Repeat("0", maxChanges)))
	f.commit(gittest.Delete("large"))
	s := f.open()
	f.attempt(s)
	if lags := f.lags(s, first); lags[first] != (Lag{}) {
		t.Errorf("%+v", lags)
	}
	must(t, f.config("uploadpack.allowFilter", "true"))
	s.remote.caps = nil // what the server says is remembered
	if lags := f.lags(s, first); lags[first] != (Lag{Behind, 2}) {
		t.Errorf("without files: %+v", lags)
	}
}

func TestLagsOfManyStrangersAreFewQuestions(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	first, err := f.repo.Head("main")
	must(t, err)
	var strangers []string
	for i := range mostQuestions + 5 {
		strangers = append(strangers, f.commit(gittest.On(fmt.Sprint("side-", i)), gittest.From(first), gittest.Write("a", strconv.Itoa(i))))
	}
	f.commit(gittest.Write("b", "1"))
	s := f.open()
	f.attempt(s)
	f.server.ResetRequests()
	lags := f.lags(s, strangers...)
	apart := 0
	for _, c := range strangers {
		switch lags[c] {
		case Lag{Standing: Apart}:
			apart++
		case Lag{}:
		default:
			t.Errorf("%s: %+v", short(c), lags[c])
		}
	}
	if n := len(f.server.Requests()); apart != mostQuestions || n > mostQuestions {
		t.Errorf("%d requests told of %d", n, apart)
	}
}

func TestLagsNameTheServersTrouble(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	first, err := f.repo.Head("main")
	must(t, err)
	head := f.commit(gittest.Write("a", "1"))
	s := f.open()
	f.attempt(s)
	must(t, f.server.Stop())
	snap, _ := s.Head()
	lags, err := s.Lags(t.Context(), snap, []string{head, first})
	if KindOf(err) == "" || lags[head] != (Lag{Behind, 0}) || lags[first] != (Lag{}) {
		t.Errorf("%+v, %v", lags, err)
	}
	must(t, f.server.Resume())
	if lags := f.lags(s, first); lags[first] != (Lag{Behind, 1}) {
		t.Errorf("%+v", lags)
	}
}
