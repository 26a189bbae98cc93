package gitsource

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// attempt polls once and returns what was observed.
func (f *fixture) attempt(s *Source) Attempt {
	f.t.Helper()
	var seen []Attempt
	s.options.Observe = func(a Attempt) { seen = append(seen, a) }
	must(f.t, s.attempt(f.t.Context()))
	return seen[0]
}

func TestAPollAsksForOneRefAmongThousands(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		old      bool
		commands []string // of an unchanged poll; "" is the discovery
		bytes    int64    // at most
	}{
		"version 2": {false, []string{"ls-refs"}, 100},
		"version 0": {true, []string{""}, 100_000},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, gittest.Options{})
			f.server.SetOldProtocol(c.old)
			must(t, f.repo.AddRefs("refs/holdfast/status/cluster", 1000))
			must(t, f.repo.AddRefs("refs/heads/main", 10)) // names that only begin like the branch's
			s := f.open()
			f.attempt(s)
			for _, when := range []string{"after the clone", "after a fetch"} {
				if when == "after a fetch" {
					f.commit(gittest.Write("a", "1"))
					f.attempt(s)
				}
				f.server.ResetRequests()
				a := f.attempt(s)
				var sent int64
				var commands []string
				for _, r := range f.server.Requests() {
					sent += r.Sent
					commands = append(commands, r.Command)
				}
				if strings.Join(commands, " ") != strings.Join(c.commands, " ") {
					t.Errorf("an unchanged poll is the requests %q, want %q", commands, c.commands)
				}
				if a.Requests != len(commands) || a.Bytes != sent || a.Received != 0 {
					t.Errorf("the attempt tells of %d requests and %d bytes, the server of %d and %d", a.Requests, a.Bytes, len(commands), sent)
				}
				if limit := c.bytes + 11*65; sent > limit {
					t.Errorf("an unchanged poll is %d bytes, want at most %d", sent, limit)
				}
				t.Logf("%s an unchanged poll among 1,000 refs is %d bytes", when, sent)
			}
		})
	}
}

// A server behind one address may change what it speaks, or be another one all of a sudden.
func TestVersion2IsForgottenWhenInDoubt(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	s := f.open()
	f.attempt(s)
	for i, change := range []func(){
		func() { f.server.SetOldProtocol(true) },
		func() { f.server.SetOldProtocol(false) },
		func() { f.server.AddFault(gittest.Fault{Status: 404, Times: 1}) },
		func() { f.server.AddFault(gittest.Fault{Status: 200, Body: "<html>", Times: 1}) },
		func() { f.server.AddFault(gittest.Fault{Redirect: f.server.URL(), Times: 2}) },
	} {
		change()
		tip := f.commit(gittest.Write("a", strings.Repeat("x", i+1)))
		f.attempt(s)
		if head, ok := s.Head(); !ok || head.Commit != tip {
			t.Errorf("change %d: the new commit was not fetched at the first attempt", i)
		}
	}
	f.server.AddFault(gittest.Fault{Status: 503, Times: 1})
	if err := s.attempt(t.Context()); KindOf(err) != KindServer {
		t.Errorf("a server in trouble gives %v", err)
	}
	if s.remote.caps != nil {
		t.Error("after a failure it is still taken for known what the server speaks")
	}
}

// A redirect is followed at each poll: where it leads today is not where it leads tomorrow.
func TestARedirectIsNotRemembered(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	target, err := url.Parse(f.server.URL())
	must(t, err)
	hits := 0
	other := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { hits++; r.SetURL(target) }})
	t.Cleanup(other.Close)
	f.server.AddFault(gittest.Fault{Redirect: other.URL, Times: 1})
	s := f.open()
	f.attempt(s)
	if hits == 0 {
		t.Fatal("the redirect was not followed")
	}
	hits = 0
	f.attempt(s)
	if hits != 0 {
		t.Error("the repository moved back and is still asked for where the redirect led")
	}
}

func TestListRefs(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	must(t, f.repo.AddRefs("refs/holdfast/status/cluster", 3))
	must(t, f.repo.AddRefs("refs/tags/v", 3))
	ssh, err := gittest.StartSSH(filepath.Dir(f.repo.Dir))
	must(t, err)
	t.Cleanup(func() { _ = ssh.Close() })
	ssh.SetPassword("s3cret")
	creds := t.TempDir()
	writeSecret(t, creds, map[string][]byte{"password": []byte("s3cret"), "known_hosts": ssh.KnownHosts()})
	tip, err := f.repo.Head("main")
	must(t, err)
	for _, c := range []struct {
		name, url string
		old       bool
	}{
		{"http", f.repo.URL(), false}, {"old http", f.repo.URL(), true}, {"ssh", ssh.URL("fleet"), false}, {"file", f.repo.Dir, false},
	} {
		f.server.SetOldProtocol(c.old)
		r, err := NewRemote(Options{URL: c.url, CredentialsDir: creds})
		must(t, err)
		t.Cleanup(r.Close)
		var cost Traffic
		refs, err := r.ListRefs(t.Context(), &cost, "refs/holdfast/status/", "refs/heads/")
		must(t, err)
		var names []string
		for _, ref := range refs {
			names = append(names, ref.Name)
			if ref.Hash.String() != tip {
				t.Errorf("%s: %s is %s", c.name, ref.Name, ref.Hash)
			}
		}
		want := "refs/heads/main refs/holdfast/status/cluster-0 refs/holdfast/status/cluster-1 refs/holdfast/status/cluster-2"
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: got %s", c.name, got)
		}
		if all, err := r.ListRefs(t.Context(), &cost); err != nil || len(all) < 7 {
			t.Errorf("%s: all refs are %v, %v", c.name, all, err)
		}
		if none, err := r.ListRefs(t.Context(), &cost, "refs/none/"); err != nil || len(none) != 0 {
			t.Errorf("%s: of no such refs there are %v, %v", c.name, none, err)
		}
		t.Logf("%s: %+v", c.name, cost)
	}
	r, err := NewRemote(Options{URL: "http://127.0.0.1:1/x", IdleTimeout: time.Second})
	must(t, err)
	var e *Error
	if refs, err := r.ListRefs(t.Context(), new(Traffic), "refs/"); !errors.As(err, &e) || refs != nil {
		t.Errorf("without a server: %v, %v", refs, err)
	}
}

// The server closes a connection that was idle, just when the next poll uses it.
func TestAClosedIdleConnectionIsNoFailure(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	var drop atomic.Bool
	target, err := url.Parse(f.server.URL())
	must(t, err)
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if drop.CompareAndSwap(true, false) {
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	f.opts.URL = front.URL + "/fleet.git"
	s := f.open()
	f.attempt(s)
	drop.Store(true)
	f.attempt(s)
	if drop.Load() {
		t.Error("no request was sent")
	}
}
