package gitsource

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// writeSecret writes files as the kubelet mounts a Secret: links to ..data, which is replaced as a whole.
func writeSecret(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	version := filepath.Join(dir, "..v"+filepath.Base(t.TempDir())) // a new name each time
	must(t, os.Mkdir(version, 0o700))
	for name, content := range files {
		must(t, os.WriteFile(filepath.Join(version, name), content, 0o600))
		link := filepath.Join(dir, name)
		if _, err := os.Lstat(link); err != nil {
			must(t, os.Symlink(filepath.Join("..data", name), link))
		}
	}
	tmp := filepath.Join(dir, "..data_tmp")
	must(t, os.Symlink(filepath.Base(version), tmp))
	must(t, os.Rename(tmp, filepath.Join(dir, "..data")))
}

func TestFaultsAreNamedAndPass(t *testing.T) {
	cases := []struct {
		name    string
		breakIt func(f *fixture)
		heal    func(f *fixture)
		kind    Kind
		says    string
	}{
		{"server error", func(f *fixture) { f.server.AddFault(gittest.Fault{Status: 503, Body: "down for repair"}) }, nil, KindServer, "down for repair"},
		{"server error in the fetch", func(f *fixture) {
			f.server.AddFault(gittest.Fault{Status: 500, Command: "fetch"})
		}, nil, KindServer, "500"},
		{"too many requests", func(f *fixture) { f.server.AddFault(gittest.Fault{Status: 429}) }, nil, KindServer, "429"},
		{"cut in the list of refs", func(f *fixture) { f.server.AddFault(gittest.Fault{CutAfter: 60}) }, nil, KindCut, "broke"},
		{"cut in mid-pack", func(f *fixture) { f.server.AddFault(gittest.Fault{CutAfter: 150, Command: "fetch"}) }, nil, KindCut, "broke"},
		{"never answers", func(f *fixture) { f.server.AddFault(gittest.Fault{Hang: true}) }, nil, KindTimeout, "stopped answering"},
		{"never answers the fetch", func(f *fixture) {
			f.server.AddFault(gittest.Fault{Hang: true, Command: "fetch"})
		}, nil, KindTimeout, "stopped answering"},
		{"refused", func(f *fixture) { must(f.t, f.server.Stop()) },
			func(f *fixture) { must(f.t, f.server.Resume()) }, KindUnreachable, "nothing listens"},
		{"wrong password", func(f *fixture) { f.server.SetBasicAuth("ada", "other-secret") },
			func(f *fixture) { f.server.SetBasicAuth("ada", "s3cret/word") }, KindAuth, "refused the credentials"},
		{"forbidden", func(f *fixture) { f.server.AddFault(gittest.Fault{Status: 403}) }, nil, KindAuth, "may not read"},
		{"not found", func(f *fixture) { f.server.AddFault(gittest.Fault{Status: 404}) }, nil, KindNotFound, "no such repository"},
		{"not a Git server", func(f *fixture) { f.server.AddFault(gittest.Fault{Status: 200, Body: "<html>hello"}) }, nil, KindProtocol, "smart protocol"},
		{"branch vanished", func(f *fixture) {
			must(f.t, f.repo.ForceBranch("other", "main"))
			must(f.t, f.repo.DeleteBranch("main"))
		}, func(f *fixture) { must(f.t, f.repo.ForceBranch("main", "other")) }, KindBranch, "no branch main"},
		{"repository emptied", func(f *fixture) {
			must(f.t, os.Rename(f.repo.Dir, f.repo.Dir+".away"))
			_, err := gittest.InitRepo(f.repo.Dir)
			must(f.t, err)
		}, func(f *fixture) {
			must(f.t, os.RemoveAll(f.repo.Dir))
			must(f.t, os.Rename(f.repo.Dir+".away", f.repo.Dir))
		}, KindEmpty, "empty"},
		{"redirect to plain http", func(f *fixture) {
			f.server.AddFault(gittest.Fault{Redirect: "ftp://elsewhere.example"})
		}, nil, KindProtocol, "redirects"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, gittest.Options{})
			f.opts.IdleTimeout = 300 * time.Millisecond
			f.opts.CredentialsDir = t.TempDir()
			writeSecret(t, f.opts.CredentialsDir, map[string][]byte{"username": []byte("ada\n"), "password": []byte("s3cret/word\n")})
			f.server.SetBasicAuth("ada", "s3cret/word")
			first, err := f.repo.Head("main")
			must(t, err)
			s := f.run()
			snap := awaitCommit(t, s, first)

			second := f.commitQuietly(c.breakIt, c.kind == KindBranch || c.kind == KindEmpty)
			failed := awaitKind(t, s, c.kind)
			t.Log(failed)
			if !strings.Contains(failed.Error(), c.says) {
				t.Errorf("the error does not say %q: %v", c.says, failed)
			}
			if strings.Contains(failed.Error(), "s3cret") {
				t.Errorf("the error holds the password: %v", failed)
			}
			if head, ok := s.Head(); !ok || head.Commit != first {
				t.Errorf("the verified head is gone")
			}
			wantFile(t, snap, "fleet.yaml", "kind: Fleet\n")

			if c.heal != nil {
				c.heal(f)
			} else {
				f.server.ClearFaults()
			}
			awaitCommit(t, s, second)
		})
	}
}

// commitQuietly breaks the server and commits, in the order that lets the source see only the fault.
func (f *fixture) commitQuietly(breakIt func(*fixture), commitFirst bool) string {
	f.t.Helper()
	if commitFirst {
		// The repository itself goes away: what returns is the state before, which is the head already.
		sha, err := f.repo.Head("main")
		must(f.t, err)
		breakIt(f)
		return sha
	}
	breakIt(f)
	return f.commit(gittest.Write("fleet.yaml", "kind: Fleet # 2\n"))
}

func TestCertificates(t *testing.T) {
	t.Run("custom authority", func(t *testing.T) {
		t.Parallel()
		f := setup(t, gittest.Options{TLS: true})
		f.opts.CredentialsDir = t.TempDir()
		s := f.run()
		err := awaitKind(t, s, KindCertificate)
		if !strings.Contains(err.Error(), "ca.crt") {
			t.Errorf("the error does not name ca.crt: %v", err)
		}
		writeSecret(t, f.opts.CredentialsDir, map[string][]byte{"ca.crt": f.server.CA()})
		head, err := f.repo.Head("main")
		must(t, err)
		awaitCommit(t, s, head)
	})
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		f := setup(t, gittest.Options{TLS: true, Expired: true})
		f.opts.CredentialsDir = t.TempDir()
		writeSecret(t, f.opts.CredentialsDir, map[string][]byte{"ca.crt": f.server.CA()})
		s := f.run()
		if err := awaitKind(t, s, KindCertificate); !strings.Contains(err.Error(), "expired") {
			t.Errorf("the error does not say expired: %v", err)
		}
	})
	t.Run("client certificate", func(t *testing.T) {
		t.Parallel()
		f := setup(t, gittest.Options{TLS: true, ClientCertificate: true})
		f.opts.CredentialsDir = t.TempDir()
		files := map[string][]byte{"ca.crt": f.server.CA()}
		writeSecret(t, f.opts.CredentialsDir, files)
		s := f.run()
		if err := awaitKind(t, s, KindCertificate); !strings.Contains(err.Error(), "tls.crt") {
			t.Errorf("the error does not name tls.crt: %v", err)
		}
		var err error
		files["tls.crt"], files["tls.key"], err = f.server.ClientCertificate()
		must(t, err)
		writeSecret(t, f.opts.CredentialsDir, files)
		head, err := f.repo.Head("main")
		must(t, err)
		awaitCommit(t, s, head)
	})
}

func TestRotatedCredentialsCountAtOnce(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	f.opts.CredentialsDir = t.TempDir()
	f.opts.Poll = time.Hour // only the change itself can cause the poll
	writeSecret(t, f.opts.CredentialsDir, map[string][]byte{"bearerToken": []byte("old-token")})
	f.server.SetBearer("new-token")
	s := f.run()
	awaitKind(t, s, KindAuth)
	// Let the backoff grow to half a minute at least, so that it is not what causes the poll.
	for range 6 {
		s.Poll()
		awaitKind(t, s, KindAuth)
	}
	start := time.Now()
	writeSecret(t, f.opts.CredentialsDir, map[string][]byte{"bearerToken": []byte("new-token")})
	head, err := f.repo.Head("main")
	must(t, err)
	awaitCommit(t, s, head)
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("the rotated token took %s", took)
	}
}

func TestRedirectKeepsCredentialsHome(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	f.opts.CredentialsDir = t.TempDir()
	writeSecret(t, f.opts.CredentialsDir, map[string][]byte{"username": []byte("ada"), "password": []byte("s3cret")})
	// Another origin serves the same repository and notes what it is told.
	var leaked atomic.Bool
	target, err := url.Parse(f.server.URL())
	must(t, err)
	other := &http.Server{ReadHeaderTimeout: time.Minute, Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		if r.In.Header.Get("Authorization") != "" {
			leaked.Store(true)
		}
		r.Out.Header.Set("X-Proxied", "yes")
		r.SetURL(target)
	}}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() { _ = other.Serve(l) }()
	t.Cleanup(func() { _ = other.Close() })
	f.server.AddFault(gittest.Fault{Redirect: "http://" + l.Addr().String(), Times: 1})

	s := f.run()
	head, err := f.repo.Head("main")
	must(t, err)
	awaitCommit(t, s, head)
	if leaked.Load() {
		t.Error("the redirect's target was told the credentials")
	}
}

func TestProxy(t *testing.T) {
	f := setup(t, gittest.Options{})
	var hits atomic.Int64
	target, err := url.Parse(f.server.URL())
	must(t, err)
	proxy := &http.Server{ReadHeaderTimeout: time.Minute, Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		if r.In.Host == "git.fleet.example" {
			hits.Add(1)
		}
		r.SetURL(target)
	}}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() { _ = proxy.Serve(l) }()
	t.Cleanup(func() { _ = proxy.Close() })
	f.opts.URL = "http://git.fleet.example/fleet.git"
	f.opts.CredentialsDir = t.TempDir()
	writeSecret(t, f.opts.CredentialsDir, map[string][]byte{"password": []byte("s3cret")})
	head, err := f.repo.Head("main")
	must(t, err)
	for _, how := range []string{"option", "environment"} {
		t.Run(how, func(t *testing.T) {
			if how == "option" {
				f.opts.Proxy = "http://" + l.Addr().String()
			} else {
				f.opts.Proxy = ""
				t.Setenv("HTTP_PROXY", "http://"+l.Addr().String())
			}
			var log lockedBuffer
			f.opts.Log = zerolog.New(&log)
			f.opts.DataDir = t.TempDir()
			hits.Store(0)
			s, err := Open(t.Context(), f.opts)
			must(t, err)
			stop := runSource(t, s)
			awaitCommit(t, s, head)
			stop()
			must(t, s.Close())
			if hits.Load() == 0 {
				t.Error("nothing went through the proxy")
			}
			if !strings.Contains(log.String(), "unencrypted") || strings.Contains(log.String(), "s3cret") {
				t.Errorf("the log does not warn of credentials over plain http, or holds them: %s", log.String())
			}
		})
	}
}

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestFirstCloneIsCut(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	f.server.AddFault(gittest.Fault{CutAfter: 300, Command: "fetch", Times: 2})
	s := f.run()
	awaitKind(t, s, KindCut)
	head, err := f.repo.Head("main")
	must(t, err)
	awaitCommit(t, s, head)
	entries, err := os.ReadDir(filepath.Join(f.opts.DataDir, "git"))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("the broken clones left %d directories", len(entries))
	}
}

// A port that accepts and never says anything must not hold up the source for ever.
func TestSilentPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	private, _, err := gittest.NewKeyPair("")
	must(t, err)
	server, err := gittest.StartSSH(t.TempDir())
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	for _, scheme := range []string{"ssh", "https", "http"} {
		creds := t.TempDir()
		writeSecret(t, creds, map[string][]byte{"identity": private, "known_hosts": server.KnownHosts()})
		s, err := Open(t.Context(), Options{
			URL: scheme + "://" + l.Addr().String() + "/fleet.git", DataDir: t.TempDir(),
			CredentialsDir: creds, IdleTimeout: 200 * time.Millisecond,
		})
		must(t, err)
		runSource(t, s)
		awaitKind(t, s, KindTimeout)
	}
}

func TestUnknownHostAndBadCredentialFiles(t *testing.T) {
	t.Setenv("NO_PROXY", "*")                       // a proxy would answer for the host
	unknown := strings.Repeat("a", 64) + ".invalid" // too long for a name, so that no server is asked for it
	cases := []struct {
		name, url string
		files     map[string][]byte
		kind      Kind
		says      string
	}{
		{"unknown host", "https://" + unknown + "/fleet.git", nil, KindUnreachable, "the host " + unknown + " is not known"},
		{"broken authority", "https://127.0.0.1:1/x", map[string][]byte{"ca.crt": []byte("nonsense")}, KindCredentials, "ca.crt"},
		{"certificate without key", "https://127.0.0.1:1/x", map[string][]byte{"tls.crt": []byte("nonsense")}, KindCredentials, "only one of"},
		{"no such directory", "file:///no/such/repository", nil, KindNotFound, "no such directory"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := Options{URL: c.url, DataDir: t.TempDir(), CredentialsDir: t.TempDir()}
			writeSecret(t, o.CredentialsDir, c.files)
			s, err := Open(t.Context(), o)
			must(t, err)
			runSource(t, s)
			if err := awaitKind(t, s, c.kind); !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error does not say %q: %v", c.says, err)
			}
		})
	}
	t.Run("credentials directory missing", func(t *testing.T) {
		t.Parallel()
		s, err := Open(t.Context(), Options{URL: "https://127.0.0.1:1/x", DataDir: t.TempDir(), CredentialsDir: "/no/such/secret"})
		must(t, err)
		runSource(t, s)
		if err := awaitKind(t, s, KindCredentials); !strings.Contains(err.Error(), "/no/such/secret") {
			t.Errorf("the error does not name the directory: %v", err)
		}
	})
}

func TestPasswordInTheURLIsUsedAndNeverShown(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	var log lockedBuffer
	f.opts.Log = zerolog.New(&log)
	f.opts.URL = strings.Replace(f.repo.URL(), "://", "://ada:s3cret@", 1)
	f.server.SetBasicAuth("ada", "other")
	s := f.run()
	failed := awaitKind(t, s, KindAuth)
	// A server that repeats what it was told must not bring the password into the error.
	f.server.AddFault(gittest.Fault{Status: 500, Body: "bad request: ada:s3cret, http://ada:s3cret@host/x", Times: 1})
	echoed := awaitKind(t, s, KindServer)
	f.server.SetBasicAuth("ada", "s3cret")
	head, err := f.repo.Head("main")
	must(t, err)
	awaitCommit(t, s, head)
	state, err := os.ReadFile(filepath.Join(f.opts.DataDir, stateFile))
	must(t, err)
	for name, text := range map[string]string{
		"the error": failed.Error(), "the server's error": echoed.Error(), "the log": log.String(), "the data dir": string(state),
	} {
		if strings.Contains(text, "s3cret") {
			t.Errorf("%s holds the password: %s", name, text)
		}
	}
}
