package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/localcluster"
)

// regions are the clusters of the story, by name, with their regions.
var regions = []struct{ cluster, region string }{
	{"us-east-1", "us-east"}, {"us-west-2", "us-west"}, {"eu-west-1", "eu-west"},
}

// stage is what the story plays on.
type stage struct {
	out    io.Writer
	dir    string
	agent  string // the program
	server *gittest.Server
	repo   *gittest.Repo
	clone  string
	sites  []*site // in the order of regions
	began  time.Time
	scene  int
}

// site is one cluster and its agent.
type site struct {
	name, region string
	cluster      *localcluster.Cluster
	clients      *kube.Clients // a person's, not the agent's
	process      *exec.Cmd
	exited       chan error
	log          *logFile
	address      string
}

func (s *stage) say(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format+"\n", args...) }

// title begins a scene.
func (s *stage) title(text string) {
	s.scene++
	s.say("\n%d. %s", s.scene, text)
}

// token is what the agents' webhooks are checked with.
const token = "demonstration"

// build makes the agent and, the first time, the control planes.
func (s *stage) build(ctx context.Context) error {
	s.say("Holdfast: three clusters, one Git repository, no hub.")
	s.title("Building the agent and the control planes (minutes the first time, then cached)")
	var err error
	if s.dir, err = os.MkdirTemp("", "holdfast-demo-"); err != nil {
		return err
	}
	s.agent = filepath.Join(s.dir, "holdfast")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", s.agent, "./cmd/agent") //nolint:gosec // our own program
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	if _, err := localcluster.Build(ctx, os.Stderr); err != nil {
		return err
	}
	s.began = time.Now()
	return nil
}

// clusters starts the control planes side by side.
func (s *stage) clusters(ctx context.Context) error {
	s.title("Starting three clusters: API server, etcd, controllers, scheduler; the nodes are simulated")
	start := time.Now()
	s.sites = make([]*site, len(regions))
	var group errgroup.Group
	for i, r := range regions {
		group.Go(func() error {
			c, err := localcluster.Start(ctx, localcluster.Options{Name: r.cluster, Nodes: localcluster.ZonalNodes(r.cluster, 3)})
			if err != nil {
				return fmt.Errorf("start cluster %s: %w", r.cluster, err)
			}
			s.sites[i] = &site{name: r.cluster, region: r.region, cluster: c}
			cfg, err := kube.Config(c.Kubeconfig(), "kubectl-demo")
			if err != nil {
				return err
			}
			s.sites[i].clients, err = kube.New(cfg, zerolog.Nop())
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s.say("   us-east-1, us-west-2 and eu-west-1 are ready after %s.", rounded(time.Since(start)))
	return nil
}

// repository serves examples/fleet-repo and makes a clone to push from.
func (s *stage) repository(ctx context.Context) error {
	s.title("Serving examples/fleet-repo from a Git server")
	var err error
	if s.server, err = gittest.Start(gittest.Options{Dir: filepath.Join(s.dir, "git")}); err != nil {
		return err
	}
	if s.repo, err = s.server.NewRepo("fleet"); err != nil { //nolint:contextcheck // quick and local
		return err
	}
	fleet := []gittest.Change{gittest.Tree("examples/fleet-repo", ""), gittest.Message("The fleet of acme")}
	for _, staging := range []string{"us-east-staging", "eu-west-staging"} {
		fleet = append(fleet, gittest.Delete("clusters/"+staging+"/cluster.yaml"))
	}
	if _, err := s.repo.Commit(fleet...); err != nil { //nolint:contextcheck // quick and local
		return err
	}
	// Nobody wants to watch ten seconds pass, three times over.
	if _, err := s.repo.Commit(gittest.Edit("apps/shop/checkout/app.yaml", func(content string) string { //nolint:contextcheck // quick and local
		return strings.Replace(content, "soak: 10s", "soak: 3s", 1)
	})); err != nil {
		return err
	}
	s.clone = filepath.Join(s.dir, "fleet")
	if _, err := gittest.Git(ctx, s.dir, "clone", "-q", s.repo.URL(), s.clone); err != nil {
		return err
	}
	s.say("   %s   (without its two staging clusters, which nobody plays here, and with a soak of 3 s)", s.repo.URL())
	return nil
}

// agents starts an agent for each cluster, as a process.
func (s *stage) agents(ctx context.Context) error {
	s.title("Starting an agent in each cluster; all follow the same repository")
	credentials := filepath.Join(s.dir, "credentials")
	if err := os.MkdirAll(credentials, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(credentials, "webhook.token"), []byte(token), 0o600); err != nil {
		return err
	}
	for _, site := range s.sites {
		if err := s.startAgent(ctx, site, credentials); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) startAgent(ctx context.Context, site *site, credentials string) error {
	var err error
	if site.address, err = freeAddress(ctx); err != nil {
		return err
	}
	if site.log, err = newLogFile(filepath.Join(s.dir, site.name+".log")); err != nil {
		return err
	}
	// Not with the context: Ctrl-C is for close, which ends them in good order.
	site.process = exec.Command(s.agent, "agent", //nolint:gosec,noctx // our own program
		"--cluster", site.name, "--repo", s.repo.URL(), "--kubeconfig", site.cluster.Kubeconfig(),
		"--credentials", credentials, "--data-dir", filepath.Join(s.dir, "data", site.name),
		"--listen", site.address, "--poll", "15s", "--log-format", "json")
	site.process.Stdout, site.process.Stderr = site.log, site.log
	endWithParent(site.process)
	if err := site.process.Start(); err != nil {
		return fmt.Errorf("start the agent of %s: %w", site.name, err)
	}
	site.exited = make(chan error, 1)
	go func() { site.exited <- site.process.Wait() }()
	s.say("   %-10s holdfast agent --cluster %s --repo %s ...", site.name, site.name, s.repo.URL())
	return nil
}

// gitPush commits what is in the clone and pushes it, and then does what a Git host does: it calls the agents'
// webhooks. It returns the commit and when the push began.
func (s *stage) gitPush(ctx context.Context, message string) (string, time.Time, error) {
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "-m", message}} {
		if _, err := gittest.Git(ctx, s.clone, args...); err != nil {
			return "", time.Time{}, err
		}
	}
	sha, err := gittest.Git(ctx, s.clone, "rev-parse", "HEAD")
	if err != nil {
		return "", time.Time{}, err
	}
	start := time.Now()
	if _, err := gittest.Git(ctx, s.clone, "push", "-q", "origin", "HEAD:main"); err != nil {
		return "", start, err
	}
	for _, site := range s.sites {
		if err := site.notify(ctx); err != nil {
			return "", start, err
		}
	}
	return sha, start, nil
}

func (site *site) notify(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+site.address+"/api/v1/sync", bytes.NewReader(nil))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("call the webhook of %s: %w", site.name, err)
	}
	defer res.Body.Close() //nolint:errcheck // nothing was written
	if res.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the webhook of %s answered %s", site.name, res.Status)
	}
	return nil
}

// edit changes a file of the clone; that nothing changes is an error.
func (s *stage) edit(path, from, to string) error {
	file := filepath.Join(s.clone, path)
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	changed := strings.Replace(string(b), from, to, 1)
	if changed == string(b) {
		return fmt.Errorf("%s does not have %q", path, from)
	}
	return os.WriteFile(file, []byte(changed), 0o600) //nolint:gosec // our own clone
}

// until waits for a condition, which says what is missing.
func (s *stage) until(ctx context.Context, what string, check func() (string, error)) error {
	deadline := time.Now().Add(2 * time.Minute)
	missing := ""
	for time.Now().Before(deadline) {
		var err error
		if missing, err = check(); err != nil {
			return err
		}
		if missing == "" {
			return nil
		}
		for _, site := range s.sites {
			select {
			case err := <-site.exited:
				return fmt.Errorf("the agent of %s ended: %w", site.name, err)
			default:
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s: it did not come to be: %s", what, missing)
}

// close ends and removes everything.
func (s *stage) close() {
	for _, site := range s.sites {
		if site == nil || site.process == nil || site.process.Process == nil {
			continue
		}
		if err := site.process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			s.say("end the agent of %s: %v", site.name, err)
		}
	}
	for _, site := range s.sites {
		if site == nil || site.exited == nil {
			continue
		}
		select {
		case err := <-site.exited:
			if err != nil {
				s.say("the agent of %s ended with: %v", site.name, err)
			}
		case <-time.After(10 * time.Second):
			_ = site.process.Process.Kill() // it may have ended just now
		}
	}
	var wg sync.WaitGroup
	for _, site := range s.sites {
		if site != nil && site.cluster != nil {
			wg.Go(func() { _ = site.cluster.Stop() }) // its supervisor removes it in any case
		}
	}
	wg.Wait()
	if s.server != nil {
		_ = s.server.Close()
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// tellLogs shows the end of the agents' logs, after something went wrong.
func (s *stage) tellLogs() {
	for _, site := range s.sites {
		if site != nil && site.log != nil {
			fmt.Fprintf(os.Stderr, "\nThe end of the log of %s:\n%s", site.name, site.log.tail())
		}
	}
}

// logFile keeps a process's output in a file, and its end in memory.
type logFile struct {
	mu   sync.Mutex
	file *os.File
	last []byte
}

func newLogFile(path string) (*logFile, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &logFile{file: f}, nil
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = append(l.last, p...)
	if n := len(l.last) - 4096; n > 0 {
		l.last = l.last[n:]
	}
	return l.file.Write(p)
}

func (l *logFile) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.last)
}

func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

func rounded(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}
