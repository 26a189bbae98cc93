package localcluster

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopGrace is how long the API server may take to end after SIGTERM.
const stopGrace = 20 * time.Second

// Cluster is a running control plane. Its methods may be called from several goroutines; those that
// start or stop something wait for one another.
type Cluster struct {
	name    string
	dir     string
	bin     string
	options Options
	ca      *authority
	port    int
	admin   *http.Client
	audit   auditReader
	// accountKey signs the tokens of ServiceAccounts.
	accountKey *ecdsa.PrivateKey

	releasePort func() error
	sweeper     *sweeper
	etcd        *server
	controllers []*server

	operation sync.Mutex // held while the API server or the whole is started or stopped
	apiServer *server    // nil while stopped; guarded by operation
	stopped   bool       // guarded by operation

	mu          sync.Mutex
	kubeconfigs int
}

// Start starts a cluster and returns when it is ready: the API server says so and, for a full
// cluster, the default ServiceAccount exists and every node is Ready and accepts Pods. ctx limits
// the start (and a first build) only. The caller calls Stop in the end; if it
// does not live to do so, the cluster ends with it.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	progress := options.Log
	if progress == nil {
		progress = os.Stderr // minutes without a word would look like a hang
	}
	options, err := options.complete()
	if err == nil {
		var c *Cluster
		if c, err = start(ctx, options, progress); err == nil {
			return c, nil
		}
	}
	return nil, fmt.Errorf("start local cluster %q: %w", options.Name, err)
}

func start(ctx context.Context, options Options, progress io.Writer) (*Cluster, error) {
	bin, err := Build(ctx, progress)
	if err != nil {
		return nil, err
	}
	dir, err := options.makeDir()
	if err != nil {
		return nil, fmt.Errorf("make the cluster's folder: %w", err)
	}
	c := &Cluster{name: options.Name, dir: dir, bin: bin, options: options}
	c.audit.path = c.AuditLog()
	if c.sweeper, err = startSweeper(dir, options.KeepDir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	begin := time.Now()
	if err := c.run(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	c.say("ready in %s at %s", time.Since(begin).Round(10*time.Millisecond), c.URL())
	return c, nil
}

// run starts the servers. They wait for one another by themselves, so all start at once.
func (c *Cluster) run(ctx context.Context) error {
	var err error
	if c.etcd, err = c.startServer("etcd", etcdArgs()...); err != nil {
		return err
	}
	if c.port, c.releasePort, err = holdPort(); err != nil {
		return err
	}
	if c.ca, c.accountKey, err = writePKI(c.dir); err != nil {
		return err
	}
	if err := c.writeAuditPolicy(); err != nil {
		return err
	}
	pair, err := c.ca.client("localcluster-admin", "system:masters")
	if err != nil {
		return err
	}
	if err := c.writeKubeconfig(c.Kubeconfig(), "localcluster-admin", certificateUser(pair)); err != nil {
		return err
	}
	if c.admin, err = newClient(c.ca.pem, pair); err != nil {
		return err
	}
	if err := os.WriteFile(c.CAFile(), c.ca.pem, 0o600); err != nil {
		return fmt.Errorf("write the authority's certificate: %w", err)
	}
	if err := c.startAPIServer(ctx); err != nil {
		return err
	}
	if c.options.Bare {
		return nil
	}
	if err := c.startControllers(); err != nil {
		return err
	}
	return c.waitFull(ctx)
}

// Name returns the cluster's name.
func (c *Cluster) Name() string { return c.name }

// Dir returns the folder that holds all of the cluster's files.
func (c *Cluster) Dir() string { return c.dir }

// Kubeconfig returns the path of the administrator's kubeconfig (user "localcluster-admin", group
// system:masters, which RBAC does not bind).
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// URL returns the API server's address. It stays the same when the API server restarts.
func (c *Cluster) URL() string { return fmt.Sprintf("https://127.0.0.1:%d", c.port) }

// CAFile returns the path of the certificate that vouches for the API server.
func (c *Cluster) CAFile() string { return filepath.Join(c.dir, "ca.crt") }

// Log returns the path of a server's log, by the server's name (etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, kwok).
func (c *Cluster) Log(server string) string { return filepath.Join(c.dir, "log", server+".log") }

// StopAPIServer ends the API server as a shutdown of its machine would: with SIGTERM, upon which
// it finishes requests in flight and ends watches. It returns when the process is gone.
func (c *Cluster) StopAPIServer() error { return c.endAPIServer(syscall.SIGTERM) }

// KillAPIServer ends the API server with SIGKILL: connections break in mid-request.
func (c *Cluster) KillAPIServer() error { return c.endAPIServer(syscall.SIGKILL) }

func (c *Cluster) endAPIServer(sig syscall.Signal) error {
	c.operation.Lock()
	defer c.operation.Unlock()
	if c.apiServer == nil {
		return nil
	}
	err := c.apiServer.stop(sig, stopGrace)
	c.apiServer = nil
	return err
}

// StartAPIServer starts the API server again, at the same address and with the same data,
// and returns when it is ready. It does nothing if the API server runs.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	c.operation.Lock()
	defer c.operation.Unlock()
	if c.stopped {
		return fmt.Errorf("start the API server of local cluster %q: the cluster is stopped", c.name)
	}
	if err := c.startAPIServerLocked(ctx); err != nil {
		return fmt.Errorf("start the API server of local cluster %q: %w", c.name, err)
	}
	return nil
}

func (c *Cluster) startAPIServer(ctx context.Context) error {
	c.operation.Lock()
	defer c.operation.Unlock()
	return c.startAPIServerLocked(ctx)
}

func (c *Cluster) startAPIServerLocked(ctx context.Context) error {
	if c.apiServer == nil {
		s, err := c.startServer("kube-apiserver", c.apiServerArgs()...)
		if err != nil {
			return err
		}
		c.apiServer = s
	}
	if err := c.waitAPIServer(ctx, c.apiServer); err != nil {
		// A server that cannot become ready is of no use to a next attempt.
		err = errors.Join(err, c.apiServer.stop(syscall.SIGKILL, stopGrace))
		c.apiServer = nil
		return err
	}
	return nil
}

// Stop ends every process of the cluster at once and removes its folder (but for
// Options.KeepDir). A second call does nothing.
func (c *Cluster) Stop() error {
	c.operation.Lock()
	defer c.operation.Unlock()
	if c.stopped {
		return nil
	}
	c.stopped = true
	var errs []error
	if c.sweeper != nil {
		errs = append(errs, c.sweeper.sweep())
	}
	for _, s := range append([]*server{c.etcd, c.apiServer}, c.controllers...) {
		if s != nil {
			// The sweeper has killed it already, if all went well.
			errs = append(errs, s.stop(syscall.SIGKILL, stopGrace))
		}
	}
	c.apiServer = nil
	if c.admin != nil {
		c.admin.CloseIdleConnections()
	}
	if c.releasePort != nil {
		errs = append(errs, c.releasePort())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop local cluster %q: %w", c.name, err)
	}
	return nil
}

// LogTail returns the last lines of every server's log, for a report of failure.
func (c *Cluster) LogTail(lines int) string {
	names := []string{"kube-apiserver", "etcd"}
	for _, s := range c.controllers {
		names = append(names, s.name)
	}
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "%s:\n%s\n", name, indent(readTail(c.Log(name), lines)))
	}
	return b.String()
}

func (c *Cluster) say(format string, args ...any) {
	// A message that cannot be written is no reason to fail.
	_, _ = fmt.Fprintf(c.options.Log, "localcluster %s: "+format+"\n", append([]any{c.name}, args...)...)
}
