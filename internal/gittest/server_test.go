package gittest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func start(t *testing.T, o Options) (*Server, *Repo) {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r, err := s.NewRepo("fleet")
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func mustCommit(t *testing.T, r *Repo, changes ...Change) string {
	t.Helper()
	sha, err := r.Commit(changes...)
	if err != nil {
		t.Fatal(err)
	}
	return sha
}

func TestCommitsAreReproducible(t *testing.T) {
	var ids []string
	for range 2 {
		_, r := start(t, Options{})
		mustCommit(t, r, Write("a", "1"), Symlink("l", "a"), Write("dir/with \"quotes\"\n", "x"))
		mustCommit(t, r, Edit("a", func(s string) string { return s + "2" }), Delete("l"), On("main"), Message("second"))
		ids = append(ids, mustCommit(t, r, From("main~1"), Write("b", "3")))
	}
	if ids[0] != ids[1] {
		t.Errorf("equal changes give %s and %s", ids[0], ids[1])
	}
}

func TestCommitSaysWhatFailed(t *testing.T) {
	_, r := start(t, Options{})
	mustCommit(t, r, Write("a", "1"))
	for name, change := range map[string]Change{
		"none": Edit("none", func(s string) string { return s }), "rev": From("rev"), "ref": Merge("ref"),
	} {
		if _, err := r.Commit(change); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s gives %v", name, err)
		}
	}
}

func TestPushAndClone(t *testing.T) {
	s, r := start(t, Options{})
	mustCommit(t, r, Write("a", "1"))
	work := t.TempDir()
	git(t, work, "clone", "--quiet", r.URL(), ".")
	if err := os.WriteFile(filepath.Join(work, "a"), []byte("2"), 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, work, "commit", "--quiet", "-am", "pushed")
	git(t, work, "push", "--quiet", "origin", "main")
	head, err := r.Head("main")
	if err != nil || head != git(t, work, "rev-parse", "HEAD") {
		t.Errorf("after the push main is %s, %v", head, err)
	}
	if err := s.Push(t.Context(), work, r, "topic"); err != nil {
		t.Error(err)
	}
	if err := r.DeleteBranch("topic"); err != nil {
		t.Error(err)
	}
	requests := s.Requests()
	if len(requests) == 0 || requests[0].Sent == 0 || !strings.Contains(requests[0].UserAgent, "git/") {
		t.Errorf("recorded %+v", requests)
	}
}

func TestCredentialsAndFaults(t *testing.T) {
	s, r := start(t, Options{})
	mustCommit(t, r, Write("a", "1"))
	reach := func() error {
		_, err := Git(context.Background(), "", "ls-remote", strings.Replace(r.URL(), "://", "://ada:pw@", 1))
		return err
	}
	s.SetBasicAuth("ada", "other")
	if err := reach(); err == nil {
		t.Error("a wrong password is let in")
	}
	s.SetBasicAuth("ada", "pw")
	if err := reach(); err != nil {
		t.Error(err)
	}
	for name, fault := range map[string]Fault{"status": {Status: 503}, "cut": {CutAfter: 10}, "garbage": {CutAfter: 10, Garbage: true}} {
		s.AddFault(fault)
		if err := reach(); err == nil {
			t.Errorf("%s does no harm", name)
		}
		s.ClearFaults()
	}
	s.AddFault(Fault{Status: 500, Times: 1, Path: "info/refs"})
	if reach() == nil || reach() != nil {
		t.Error("a fault with Times 1 hits more or less than one request")
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if reach() == nil {
		t.Error("a stopped server answers")
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := reach(); err != nil {
		t.Error(err)
	}
}

// Neither is a request missing whose client has what it wants already, nor is it counted after a reset.
func TestARequestUnderWayIsWaitedFor(t *testing.T) {
	s, r := start(t, Options{})
	s.AddFault(Fault{Hang: true})
	var asking sync.WaitGroup
	running := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.running)
	}
	askAndGo := func() {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL()+"/HEAD", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		asking.Go(func() {
			if res, err := http.DefaultClient.Do(req); err == nil {
				_ = res.Body.Close()
				t.Error("there was an answer")
			}
		})
		for running() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}
	askAndGo()
	if n := len(s.Requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
	asking.Wait()
	askAndGo()
	s.ResetRequests()
	asking.Wait()
	for running() > 0 {
		time.Sleep(time.Millisecond)
	}
	if n := len(s.Recorded()); n != 0 {
		t.Errorf("%d requests after the reset", n)
	}
}

// While the server is down its port is not given to anybody else.
func TestThePortIsHeldWhileTheServerIsDown(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the port is left to chance")
	}
	s, _ := start(t, Options{})
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		// Without SO_REUSEADDR, which only who means this very port needs.
		strict := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
			control := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0) })
			return errors.Join(control, err)
		}}
		if l, err := strict.Listen(t.Context(), "tcp", s.addr); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("another one listens on %v, %v", l, err)
		}
		if _, err := net.Dial("tcp", s.addr); !errors.Is(err, syscall.ECONNREFUSED) { //nolint:noctx // answered at once
			t.Errorf("a client gets %v", err)
		}
		if err := s.Resume(); err != nil {
			t.Fatal(err)
		}
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := Git(t.Context(), dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
