package multicluster_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// own gives the fleet a server of its own for the status reports, and agents that report often.
func own(f *fleet) (*gittest.Server, *gittest.Repo) {
	f.t.Helper()
	server, err := gittest.Start(gittest.Options{})
	must(f.t, err)
	f.t.Cleanup(func() { _ = server.Close() })
	repo, err := server.NewRepo("status")
	must(f.t, err)
	f.options = func(_ string, o *agent.Options) { o.StatusRepo, o.Heartbeat = repo.URL(), 5*time.Second }
	return server, repo
}

// The status repository is away, cannot be pushed to, or cannot be read, at each step of a failover. Agents go on
// applying, the drained cluster keeps what others have not said that they have, and when the repository is back the
// failover goes on. One that is only slow delays it.
func TestTroubleWithTheStatusRepository(t *testing.T) {
	t.Parallel()
	troubles := []struct {
		name   string
		begin  func(*gittest.Server, *gittest.Repo) error
		end    func(*gittest.Server, *gittest.Repo) error
		holds  bool // for as long as it lasts
		reason string
	}{
		{"away", func(s *gittest.Server, _ *gittest.Repo) error { return s.Stop() },
			func(s *gittest.Server, _ *gittest.Repo) error { return s.Resume() }, true, "status reports cannot be read"},
		{"refuses pushes", func(_ *gittest.Server, r *gittest.Repo) error { return r.RefusePushes("no room is left") },
			func(_ *gittest.Server, r *gittest.Repo) error { return r.RefusePushes("") }, true, "keeps running here until the others have taken over"},
		{"cannot be read", func(s *gittest.Server, _ *gittest.Repo) error {
			s.AddFault(gittest.Fault{Path: "git-upload-pack", Status: 503})
			return nil
		}, func(s *gittest.Server, _ *gittest.Repo) error { s.ClearFaults(); return nil }, true, "status reports cannot be read"},
		{"is slow", func(s *gittest.Server, _ *gittest.Repo) error {
			s.AddFault(gittest.Fault{Delay: time.Second})
			return nil
		}, func(s *gittest.Server, _ *gittest.Repo) error { s.ClearFaults(); return nil }, false, ""},
	}
	for _, trouble := range troubles {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, "a", "b")
			server, repo := own(f)
			f.commit(f.app(sixReplicas, "1"))
			f.start()
			f.waitDeployed("web:1 x3, 3 ready", "web:1 x3, 3 ready")
			f.waitFree("a")
			stop := f.sample(f.ready)

			// Before the drain: b cannot say that it has taken over.
			must(t, trouble.begin(server, repo))
			f.commit(f.app(sixReplicas, "2"), drain("a"))
			f.eventually("b takes over and adopts new content", func() string {
				if got := f.deployed("b"); got != "web:2 x6, 6 ready" {
					return "b has " + got
				}
				return ""
			})
			if trouble.holds {
				f.waitHeld("a", status.GateTakeoverHealthy, trouble.reason)
				f.waitDeployed("web:1 x3, 3 ready", "web:2 x6, 6 ready")
				must(t, trouble.end(server, repo))
			}
			f.waitDeployed("", "web:2 x6, 6 ready")

			// In the middle of the way back: a rises, and b is to fall.
			f.commit(settings(""))
			f.eventually("a rises", func() string {
				if got := f.deployed("a"); !strings.HasPrefix(got, "web:2 x3") {
					return "a has " + got
				}
				return ""
			})
			if trouble.holds {
				must(t, trouble.begin(server, repo))
				f.eventually("a is whole", func() string {
					if got := f.deployed("a"); got != "web:2 x3, 3 ready" {
						return "a has " + got
					}
					return ""
				})
			}
			must(t, trouble.end(server, repo))
			f.waitDeployed("web:2 x3, 3 ready", "web:2 x3, 3 ready")
			f.waitFree("b")
			f.neverBelow(6, stop())
		})
	}
}

// Agents are killed at any moment of a failover and start again: nothing falls below what is required, and the
// failover comes to its end.
func TestKilledInTheMiddleOfAFailover(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b", "c")
	f.options = func(_ string, o *agent.Options) { o.Heartbeat = 5 * time.Second }
	f.commit(f.app(sixReplicas, "1"))
	for _, name := range f.names {
		f.startProcess(name)
	}
	divided(f)
	stop := f.sample(f.ready)
	again := func(name string) {
		f.sites[name].process.kill()
		f.startProcess(name)
	}
	for i, step := range []struct {
		after time.Duration // of the commit: what is going on then differs from run to run, and with the step
		kill  []string
	}{
		{0, []string{"a"}}, {600 * time.Millisecond, []string{"b"}}, {1200 * time.Millisecond, []string{"a", "c"}},
		{2500 * time.Millisecond, []string{"a"}}, {4 * time.Second, []string{"a", "b", "c"}},
	} {
		t.Logf("%d: %v are killed %s after a drain, and after its end", i, step.kill, step.after)
		for _, change := range []map[string]string{drain("a"), settings("")} {
			f.commit(change)
			time.Sleep(step.after) // not to wait for something, but to be somewhere else each time
			for _, name := range step.kill {
				again(name)
			}
			if change["fleet.yaml"] == settings("")["fleet.yaml"] {
				divided(f)
			} else {
				f.waitDeployed("", "web:1 x3, 3 ready", "web:1 x3, 3 ready")
			}
		}
	}
	f.neverBelow(6, stop())
}

// With an allowed-signers file a report counts only with the signature of its cluster's own key.
func TestOnlySignedReportsAreBelieved(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b")
	_, repo := own(f)
	keys := map[string]string{} // public ones, by cluster
	dirs := map[string]string{}
	for _, name := range f.names {
		dirs[name] = t.TempDir()
		keys[name] = newKey(t, filepath.Join(dirs[name], "signing.key"))
	}
	trust := func(clusters ...string) {
		var lines strings.Builder
		for _, c := range clusters {
			fmt.Fprintf(&lines, "%s %s\n", c, keys[c])
		}
		must(t, os.WriteFile(filepath.Join(dirs["a"], "allowed_signers"), []byte(lines.String()), 0o600))
	}
	trust("a")
	f.options = func(name string, o *agent.Options) {
		o.StatusRepo, o.StatusCredentials, o.Heartbeat = repo.URL(), dirs[name], 5*time.Second
	}
	f.commit(f.app(sixReplicas, "1"))
	f.start()
	f.waitDeployed("web:1 x3, 3 ready", "web:1 x3, 3 ready")
	f.commit(drain("a"))
	f.waitHeld("a", status.GateTakeoverHealthy, "the status of b cannot be used", "allowed_signers")
	trust("a", "b")
	f.waitDeployed("", "web:1 x6, 6 ready")
}

// newKey writes a private key and returns its public one.
func newKey(t *testing.T, path string) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	must(t, err)
	must(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	key, err := ssh.NewPublicKey(public)
	must(t, err)
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}
