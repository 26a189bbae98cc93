package gitsource

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// attempts collects what a source observes.
type attempts struct {
	mu   sync.Mutex
	list []Attempt
}

func (a *attempts) add(at Attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, at)
}

func (a *attempts) all() []Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Attempt(nil), a.list...)
}

func (a *attempts) awaitMore(t *testing.T, n int) {
	t.Helper()
	goal := len(a.all()) + n
	for deadline := time.Now().Add(10 * time.Second); len(a.all()) < goal; {
		if time.Now().After(deadline) {
			t.Fatal("no attempts any more")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// manyFiles is a fleet of n files.
func manyFiles(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("apps/app-%03d/base/file-%d.yaml", i/10, i%10)] = fmt.Sprintf("kind: ConfigMap\nmetadata: {name: n%d}\n", i)
	}
	return files
}

func TestWhatAPollAndAFetchCost(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	var seen attempts
	f.opts.Observe = seen.add
	head := f.commit(gittest.Files(manyFiles(3000)))
	s := f.run()
	awaitCommit(t, s, head)
	var cloned int64
	for _, a := range seen.all() {
		cloned += a.Received
	}

	t.Log("an unchanged poll is one request")
	seen.awaitMore(t, 1)
	f.server.ResetRequests()
	before := len(seen.all())
	seen.awaitMore(t, 5)
	requests, polls := f.server.Requests(), len(seen.all())-before
	if extra := len(requests) - polls; extra < -1 || extra > 1 { // one may be under way
		t.Errorf("%d requests for %d polls", len(requests), polls)
	}
	connections := map[string]bool{}
	for _, r := range requests {
		connections[r.Remote] = true
		if r.Command != "ls-refs" || r.UserAgent != "holdfast/test" {
			t.Errorf("%s %s %s by %q", r.Method, r.Path, r.Command, r.UserAgent)
		}
	}
	if len(connections) != 1 {
		t.Errorf("%d polls took %d connections", polls, len(connections))
	}

	t.Log("a commit brings little")
	f.server.ResetRequests()
	next := f.commit(gittest.Write("apps/app-007/base/file-3.yaml", "kind: ConfigMap\n"))
	awaitCommit(t, s, next)
	var sent int64
	posts := 0
	for _, r := range f.server.Requests() {
		if r.Command == "fetch" {
			posts++
			sent += r.Sent
		}
	}
	if posts != 1 || sent > 12<<10 || sent*10 > cloned {
		t.Errorf("one changed file took %d fetches and %d bytes, the clone %d", posts, sent, cloned)
	}
	t.Logf("clone %d bytes, fetch %d bytes", cloned, sent)
}

func TestPollOnRequest(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	var seen attempts
	f.opts.Observe = seen.add
	f.opts.Poll = time.Hour
	first, err := f.repo.Head("main")
	must(t, err)
	s := f.run()
	awaitCommit(t, s, first)
	start := time.Now()
	next := f.commit(gittest.Write("a", "1"))
	s.Poll()
	awaitCommit(t, s, next)
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("an asked poll took %s", took)
	}
	// However often it is asked, attempts stay apart.
	start, before := time.Now(), len(seen.all())
	for time.Since(start) < 600*time.Millisecond {
		s.Poll()
		time.Sleep(time.Millisecond)
	}
	if n := len(seen.all()) - before; n > 4 {
		t.Errorf("%d attempts in 600 ms", n)
	}
}

func TestOnlyTheNewestUpdateIsKept(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	var seen attempts
	f.opts.Observe = seen.add
	s := f.run()
	seen.awaitMore(t, 1)
	var tip string
	for i := range 3 {
		tip = f.commit(gittest.Write("a", strings.Repeat("x", i)))
		seen.awaitMore(t, 2)
	}
	u := <-s.Updates()
	if u.Snapshot == nil || u.Snapshot.Commit != tip {
		t.Errorf("the update is %+v, want %s", u, tip)
	}
}
