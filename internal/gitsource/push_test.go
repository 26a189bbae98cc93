package gitsource

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

const testRef = "refs/holdfast/status/us-east"

// onlyCommit makes the objects of a commit without parents that holds these files.
func onlyCommit(t testing.TB, files map[string]string) (plumbing.Hash, []plumbing.EncodedObject) {
	t.Helper()
	var objects []plumbing.EncodedObject
	add := func(encode func(plumbing.EncodedObject) error) plumbing.Hash {
		o := new(plumbing.MemoryObject)
		if err := encode(o); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
		return o.Hash()
	}
	var top object.Tree
	for _, name := range slices.Sorted(maps.Keys(files)) {
		content := files[name]
		h := add(func(o plumbing.EncodedObject) error {
			o.SetType(plumbing.BlobObject)
			w, err := o.Writer()
			if err != nil {
				return err
			}
			_, err = w.Write([]byte(content))
			return err
		})
		top.Entries = append(top.Entries, object.TreeEntry{Name: name, Mode: filemode.Regular, Hash: h})
	}
	who := object.Signature{Name: "holdfast", Email: "holdfast@example.com", When: time.Unix(1767225600, 0).UTC()}
	c := object.Commit{Author: who, Committer: who, Message: "status\n", TreeHash: add(top.Encode)}
	return add(c.Encode), objects
}

func pushOf(t testing.TB, ref string, old plumbing.Hash, content string) Push {
	t.Helper()
	h, objects := onlyCommit(t, map[string]string{"status.json": content})
	return Push{Ref: ref, Old: old, New: h, Objects: objects}
}

// transports are the ways to the same repository, each with what it needs.
func (f *fixture) transports() map[string]*Remote {
	f.t.Helper()
	ssh, err := gittest.StartSSH(filepath.Dir(f.repo.Dir))
	must(f.t, err)
	f.t.Cleanup(func() { _ = ssh.Close() })
	private, public, err := gittest.NewKeyPair("")
	must(f.t, err)
	must(f.t, ssh.Authorize(public))
	creds := f.t.TempDir()
	writeSecret(f.t, creds, map[string][]byte{"identity": private, "known_hosts": ssh.KnownHosts()})
	out := map[string]*Remote{}
	for name, at := range map[string]string{"http": f.repo.URL(), "ssh": ssh.URL("fleet"), "file": "file://" + f.repo.Dir} {
		out[name] = f.remote(Options{URL: at, CredentialsDir: creds})
	}
	return out
}

func (f *fixture) remote(o Options) *Remote {
	f.t.Helper()
	o.Log = f.opts.Log
	r, err := NewRemote(o)
	must(f.t, err)
	f.t.Cleanup(r.Close)
	return r
}

// show is a file at a ref, as the git program reads it.
func (f *fixture) show(ref, path string) string {
	f.t.Helper()
	out, err := f.repo.Git("show", ref+":"+path)
	must(f.t, err)
	return out
}

func TestPush(t *testing.T) {
	for _, old := range []bool{false, true} {
		f := setup(t, gittest.Options{})
		f.server.SetOldProtocol(old)
		for name, r := range f.transports() {
			t.Run(fmt.Sprintf("%s, old protocol %v", name, old), func(t *testing.T) {
				ref := testRef + "-" + name
				must(t, f.repo.AddRefs(ref, 3)) // names that only begin like it
				var was plumbing.Hash
				for i := range 3 {
					content := fmt.Sprintf("{\"n\": %d}", i)
					u := pushOf(t, ref, was, content)
					var cost Traffic
					must(t, r.Push(t.Context(), &cost, u))
					was = u.New
					if got := f.show(ref, "status.json"); got != content {
						t.Errorf("the ref holds %q, want %q", got, content)
					}
					if n, err := f.repo.Git("rev-list", "--count", ref); err != nil || n != "1" {
						t.Errorf("the ref has a history of %s commits, %v", n, err)
					}
					if cost.Requests == 0 || cost.Sent < 200 || cost.Bytes == 0 {
						t.Errorf("the push tells of %+v", cost)
					}
				}

				// A ref that is not what it was taken for is left alone, and said to be what it is.
				for _, believed := range []plumbing.Hash{plumbing.ZeroHash, plumbing.NewHash(strings.Repeat("ab", 20))} {
					u := pushOf(t, ref, believed, "other")
					var moved *RefMovedError
					if err := r.Push(t.Context(), new(Traffic), u); !errors.As(err, &moved) || moved.Now != was || moved.Ref != ref {
						t.Errorf("a push on %s gives %v, want that it is %s", believed, err, was)
					}
				}
				_, err := f.repo.Git("update-ref", "-d", ref)
				must(t, err)
				var moved *RefMovedError
				if err := r.Push(t.Context(), new(Traffic), pushOf(t, ref, was, "other")); !errors.As(err, &moved) || !moved.Now.IsZero() {
					t.Errorf("a push to a ref that was deleted gives %v", err)
				}
				must(t, r.Push(t.Context(), new(Traffic), pushOf(t, ref, plumbing.ZeroHash, "again")))
			})
		}
	}
}

// The first thing that a server would say to a push is the list of all its refs. It is never asked for.
func TestAPushOverHTTPIsOneRequest(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		f := setup(t, gittest.Options{})
		f.server.SetOldProtocol(old)
		must(t, f.repo.AddRefs("refs/holdfast/status/cluster", 1000))
		r := f.remote(Options{URL: f.repo.URL()})
		var was plumbing.Hash
		connections := map[string]bool{}
		for i := range 3 {
			f.server.ResetRequests()
			u := pushOf(t, testRef, was, strings.Repeat("x", i))
			var cost Traffic
			must(t, r.Push(t.Context(), &cost, u))
			was = u.New
			requests := f.server.Requests()
			if len(requests) != 1 || requests[0].Command != "push" || requests[0].Method != http.MethodPost {
				t.Errorf("a push is the requests %+v", requests)
			}
			if q := requests[0]; q.Sent > 200 || q.Sent != cost.Bytes || q.Received != cost.Sent {
				t.Errorf("the server was sent %d bytes and answered %d, the push tells of %+v", q.Received, q.Sent, cost)
			}
			connections[requests[0].Remote] = true
			t.Logf("a push among 1,000 refs: %+v", cost)
		}
		if len(connections) != 1 {
			t.Errorf("the pushes took %d connections", len(connections))
		}
		f.server.ResetRequests()
		must(t, errorIsMoved(r.Push(t.Context(), new(Traffic), pushOf(t, testRef, plumbing.ZeroHash, "y"))))
		for _, q := range f.server.Requests() {
			if strings.Contains(q.Path, "service=git-receive-pack") {
				t.Errorf("all refs were asked for: %s", q.Path)
			}
		}
	}
}

func errorIsMoved(err error) error {
	var moved *RefMovedError
	if errors.As(err, &moved) {
		return nil
	}
	return fmt.Errorf("want a ref that has moved, got %w", err)
}

func TestARefusedPush(t *testing.T) {
	f := setup(t, gittest.Options{})
	must(t, f.repo.RefusePushes("only release managers push here"))
	for name, r := range f.transports() {
		err := r.Push(t.Context(), new(Traffic), pushOf(t, testRef, plumbing.ZeroHash, "x"))
		t.Log(err)
		if KindOf(err) != KindRefused || !strings.Contains(err.Error(), "pre-receive hook declined") || !strings.Contains(err.Error(), testRef) {
			t.Errorf("%s: a hook's refusal gives %v", name, err)
		}
		// Over HTTP it is not known whether the server can pass on what a hook says.
		if name != "http" && !strings.Contains(err.Error(), "only release managers") {
			t.Errorf("%s: the error lacks the hook's words: %v", name, err)
		}
	}
	must(t, f.repo.RefusePushes(""))
	// A lock of somebody else's push passes.
	lock := filepath.Join(f.repo.Dir, filepath.FromSlash(testRef)+".lock")
	must(t, os.MkdirAll(filepath.Dir(lock), 0o755))
	must(t, os.WriteFile(lock, nil, 0o600))
	r := f.remote(Options{URL: f.repo.URL()})
	if err := r.Push(t.Context(), new(Traffic), pushOf(t, testRef, plumbing.ZeroHash, "x")); KindOf(err) != KindServer {
		t.Errorf("a lock gives %v", err)
	}
	must(t, os.Remove(lock))
	must(t, r.Push(t.Context(), new(Traffic), pushOf(t, testRef, plumbing.ZeroHash, "x")))
}

func TestCredentialsThatMayNotPush(t *testing.T) {
	t.Parallel()
	push := func(r *Remote) error {
		return r.Push(t.Context(), new(Traffic), pushOf(t, testRef, plumbing.ZeroHash, "x"))
	}
	check := func(what string, err error) {
		t.Log(err)
		if KindOf(err) != KindAuth || !strings.Contains(err.Error(), "right to write") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s gives %v", what, err)
		}
	}
	f := setup(t, gittest.Options{})
	creds := t.TempDir()
	writeSecret(t, creds, map[string][]byte{"username": []byte("ada"), "password": []byte("s3cret")})
	f.server.SetBasicAuth("ada", "other")
	r := f.remote(Options{URL: f.repo.URL(), CredentialsDir: creds})
	check("a wrong password", push(r))
	f.server.SetBasicAuth("ada", "s3cret")
	f.server.AddFault(gittest.Fault{Status: 403, Command: "push", Times: 1})
	check("a repository that may only be read", push(r))
	must(t, push(r))

	ssh, err := gittest.StartSSH(filepath.Dir(f.repo.Dir))
	must(t, err)
	t.Cleanup(func() { _ = ssh.Close() })
	ssh.SetPassword("s3cret")
	ssh.SetReadOnly(true)
	writeSecret(t, creds, map[string][]byte{"password": []byte("s3cret"), "known_hosts": ssh.KnownHosts()})
	check("a deploy key without write access", push(f.remote(Options{URL: ssh.URL("fleet"), CredentialsDir: creds})))
}

func TestPushSurvivesFaults(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	patient := f.remote(Options{URL: f.repo.URL()})
	// Long enough for the server to carry out what it does not answer in time.
	hasty := f.remote(Options{URL: f.repo.URL(), IdleTimeout: 1500 * time.Millisecond})
	for _, c := range []struct {
		fault gittest.Fault
		kind  Kind
	}{
		{gittest.Fault{Status: 503}, KindServer},
		{gittest.Fault{Status: 404}, KindNotFound},
		{gittest.Fault{Status: 200, Body: "<html>"}, KindProtocol},
		{gittest.Fault{Hang: true}, KindTimeout},
		{gittest.Fault{Delay: 2 * time.Second}, KindTimeout}, // pushed, but the answer is late
		{gittest.Fault{CutAfter: 3}, KindCut},
		{gittest.Fault{CutAfter: 15}, KindCut},
		{gittest.Fault{CutAfter: 5, Garbage: true}, KindProtocol},
	} {
		r := patient
		if c.kind == KindTimeout {
			r = hasty
		}
		c.fault.Command, c.fault.Times = "push", 1
		f.server.AddFault(c.fault)
		u := pushOf(t, testRef, plumbing.ZeroHash, "x")
		if err := r.Push(t.Context(), new(Traffic), u); KindOf(err) != c.kind {
			t.Errorf("%+v gives %v", c.fault, err)
		}
		// Whether or not the first one got through, a second attempt ends well.
		must(t, patient.Push(t.Context(), new(Traffic), u))
		_, err := f.repo.Git("update-ref", "-d", testRef)
		must(t, err)
	}
	must(t, f.server.Stop())
	if err := patient.Push(t.Context(), new(Traffic), pushOf(t, testRef, plumbing.ZeroHash, "x")); KindOf(err) != KindUnreachable {
		t.Errorf("without a server: %v", err)
	}
}

func TestAPushFollowsARedirect(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	target, err := url.Parse(f.server.URL())
	must(t, err)
	moved := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	t.Cleanup(moved.Close)
	f.server.AddFault(gittest.Fault{Redirect: moved.URL, Times: 2})
	r := f.remote(Options{URL: f.repo.URL()})
	var cost Traffic
	must(t, r.Push(t.Context(), &cost, pushOf(t, testRef, plumbing.ZeroHash, "x")))
	if got := f.show(testRef, "status.json"); got != "x" || cost.Requests != 4 {
		t.Errorf("the ref holds %q after %+v", got, cost)
	}
	for _, q := range f.server.Requests() {
		if strings.Contains(q.Path, "service=git-receive-pack") {
			t.Errorf("all refs were asked for: %s", q.Path)
		}
	}
}

func TestReadReport(t *testing.T) {
	line := func(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
	cases := []struct {
		name, answer string
		says         string // "" is success
		refused      bool
	}{
		{"updated", line("unpack ok\n") + line("ok "+testRef+"\n") + "0000", "", false},
		{"updated, without line breaks", line("unpack ok") + line("ok "+testRef) + "0000", "", false},
		{"with options", line("unpack ok") + line("ok "+testRef) + line("option forced-update") + "0000", "", false},
		{"refused", line("unpack ok\n") + line("ng "+testRef+" hook declined\n") + "0000", "hook declined", true},
		{"refused without a word", line("unpack ok\n") + line("ng "+testRef+"\n") + "0000", "", true},
		{"not unpacked", line("unpack disk full\n") + line("ng "+testRef+" unpacker error\n") + "0000", "disk full", true},
		{"another ref", line("unpack ok\n") + line("ok "+testRef+"-2\n") + "0000", "does not say", false},
		{"nothing", "0000", "does not say", false},
		{"not unpacked, yet updated", line("ok "+testRef) + "0000", "does not say", false},
		{"an error", line("ERR access denied"), "denied", false},
		{"cut", line("unpack ok\n"), "EOF", false},
		{"something else", line("hello"), "not understood", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := readReport(strings.NewReader(c.answer), testRef)
			var refused *refusedError
			switch {
			case errors.As(err, &refused) != c.refused:
				t.Errorf("got %v", err)
			case c.says == "" && !c.refused && err != nil, c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func FuzzReadReport(f *testing.F) {
	f.Add([]byte("000eunpack ok\n0023ok refs/holdfast/status/us-east\n0000"))
	f.Add([]byte("000eunpack ok\n0031ng refs/holdfast/status/us-east hook declined\n0000"))
	f.Add([]byte("0008ERR 0000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := readReport(strings.NewReader(string(b)), testRef)
		if err == nil && (!strings.Contains(string(b), "unpack ok") || !strings.Contains(string(b), "ok "+testRef)) {
			t.Error("success that nobody reported")
		}
		// The same through the channels of a server that mixes them.
		wrapped := fmt.Sprintf("%04x\x01%s0000", len(b)+5, b)
		if len(b) < 60000 {
			again := readReport(&sideband{p: newPktReader(strings.NewReader(wrapped)), said: new(tail)}, testRef)
			if (err == nil) != (again == nil) {
				t.Errorf("plain %v, mixed %v", err, again)
			}
		}
	})
}

func BenchmarkPush(b *testing.B) {
	for _, refs := range []int{0, 1000} {
		b.Run(fmt.Sprintf("refs=%d", refs), func(b *testing.B) {
			server, err := gittest.Start(gittest.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = server.Close() })
			repo, err := server.NewRepo("fleet")
			if err != nil {
				b.Fatal(err)
			}
			if _, err := repo.Write("fleet.yaml", "kind: Fleet\n"); err != nil {
				b.Fatal(err)
			}
			if err := repo.AddRefs("refs/holdfast/status/cluster", refs); err != nil {
				b.Fatal(err)
			}
			r, err := NewRemote(Options{URL: repo.URL()})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(r.Close)
			var was plumbing.Hash
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				n++
				u := pushOf(b, testRef, was, fmt.Sprint(n))
				if err := r.Push(b.Context(), new(Traffic), u); err != nil {
					b.Fatal(err)
				}
				was = u.New
			}
		})
	}
}
