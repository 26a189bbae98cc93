package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/localcluster"
)

// lab is what the workloads are run with.
type lab struct {
	flags
	dir, logs string
	self      string // this program
	began     time.Time
	current   string // workload
	results   results
	processes int

	// Of the suite about one cluster.

	agent   string // the program
	kubectl string // "" if there is none
	git     *gittest.Server
	fleets  map[int]*fleetData
	site    *site // nil if there is none
	// peaks are the most memory that agents held, in MiB, by the number of objects.
	peaks map[int][]float64
	best  int // concurrency at which the raw client is fastest; 0 before it was found out

	// Of the suite about many agents.

	crowd *crowd
}

// token is what the agent's webhook is checked with.
const token = "benchmark"

func newLab(ctx context.Context, s *suite, o flags) (*lab, error) {
	l := &lab{flags: o, began: time.Now(), fleets: map[int]*fleetData{}, peaks: map[int][]float64{}}
	var err error
	if l.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if l.dir, err = os.MkdirTemp("", "holdfast-bench-"); err != nil {
		return nil, err
	}
	l.logs = filepath.Join(l.dir, "logs")
	if l.keepLogs != "" {
		l.logs = l.keepLogs
	}
	l.results = results{suite: *s, Machine: thisMachine(ctx), Runs: l.samples(), Quick: l.quick}
	err = os.MkdirAll(l.logs, 0o700)
	if err == nil {
		err = s.prepare(ctx, l)
	}
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// prepareClusters readies the lab for control planes.
func prepareClusters(ctx context.Context, l *lab) error {
	var err error
	if l.agent, err = filepath.Abs(l.flags.agent); err != nil {
		return err
	}
	if _, err := os.Stat(l.agent); err != nil {
		return fmt.Errorf("the program to measure: %w (make build makes it)", err)
	}
	if path, err := exec.LookPath("kubectl"); err == nil {
		l.kubectl = path
	}
	credentials := l.credentials()
	if err := os.MkdirAll(credentials, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(credentials, "webhook.token"), []byte(token), 0o600); err != nil {
		return err
	}
	if _, err := localcluster.Build(ctx, os.Stderr); err != nil {
		return err
	}
	if l.git, err = gittest.Start(gittest.Options{Dir: filepath.Join(l.dir, "git")}); err != nil {
		return err
	}
	if l.kubectl != "" {
		l.results.Machine.Versions["kubectl"] = strings.TrimPrefix(output(ctx, l.kubectl, "version", "--client"), "Client Version: ")
	}
	return nil
}

// close ends and removes everything.
func (l *lab) close() error {
	errs := []error{l.leave()}
	if l.git != nil {
		errs = append(errs, l.git.Close())
	}
	if l.crowd != nil {
		errs = append(errs, l.crowd.close())
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

// say tells a person how far things are.
func (l *lab) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%7.1fs  %s\n", time.Since(l.began).Seconds(), fmt.Sprintf(format, args...))
}

func (l *lab) add(rows ...row) {
	for _, r := range rows {
		r.Workload = l.current
		l.results.Rows = append(l.results.Rows, r)
		l.say("  %s", strings.Join(strings.Fields(strings.Join(r.cells()[1:], "  ")), " "))
	}
}

// samples is how often what takes seconds is measured, many how often what takes milliseconds is.
func (l *lab) samples() int {
	if l.quick {
		return 1
	}
	return l.runs
}

func (l *lab) many() int {
	if l.quick {
		return 3
	}
	return 10 * l.runs
}

// size returns the number of objects to use for a workload that is about n.
func (l *lab) size(n int) int {
	if !l.quick {
		return n
	}
	return map[int]int{1000: 200, 5000: 400, 10000: 800}[n]
}

// temp makes a new folder.
func (l *lab) temp(name string) (string, error) { return os.MkdirTemp(l.dir, name+"-") }

func (l *lab) credentials() string { return filepath.Join(l.dir, "credentials") }

// cluster starts an empty control plane; the caller stops it.
func (l *lab) cluster(ctx context.Context) (*localcluster.Cluster, error) {
	return localcluster.Start(ctx, localcluster.Options{Name: "bench", Bare: true, Log: io.Discard})
}

// agentProcess is a running agent.
type agentProcess struct {
	*process
	address string
}

// startAgent starts the agent of the cluster bench.
func (l *lab) startAgent(ctx context.Context, c *localcluster.Cluster, f *fleetData, dataDir string, poll time.Duration) (*agentProcess, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p, err := l.start("holdfast", nil, l.agent, "agent",
		"--cluster", clusterName, "--repo", f.repo.URL(), "--kubeconfig", c.Kubeconfig(),
		"--credentials", l.credentials(), "--data-dir", dataDir, "--listen", address,
		"--poll", poll.String(), "--status-repo", "none", "--log-format", "json")
	if err != nil {
		return nil, err
	}
	return &agentProcess{process: p, address: address}, nil
}

// notify does what a Git host does after a push.
func (a *agentProcess) notify(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+a.address+"/api/v1/sync", bytes.NewReader(nil))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("call the webhook: %w", err)
	}
	defer res.Body.Close() //nolint:errcheck // nothing was written
	if res.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the webhook answered %s", res.Status)
	}
	return nil
}

func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// task runs a hidden task of this program as a process and decodes what it prints as JSON.
func (l *lab) task(ctx context.Context, into any, args ...string) error {
	out, err := os.CreateTemp(l.dir, "task-")
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // read already
	p, err := l.start(args[0], out, l.self, append([]string{"task"}, args...)...)
	if err != nil {
		return err
	}
	if err := p.wait(ctx); err != nil {
		return err
	}
	b, err := os.ReadFile(out.Name())
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("the answer of task %s: %w", args[0], err)
	}
	return nil
}

// until asks every few milliseconds until done says so.
func until(ctx context.Context, what string, limit time.Duration, done func() (bool, error)) error {
	deadline := time.Now().Add(limit)
	for {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %s", what, limit)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// pause waits, for figures to come.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
