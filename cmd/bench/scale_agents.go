package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

// simulated is a number of agents in this process: of each the parts that talk to Git, which are the agent's
// own, and nothing of Kubernetes.
type simulated struct {
	agents []*simulatedAgent
	cancel context.CancelFunc
	group  sync.WaitGroup
	tally  tally
	before uint64 // memory of the process before they were made, in bytes
}

// simulatedAgent is one of them. Its cluster is of the same number.
type simulatedAgent struct {
	cluster   string
	source    *gitsource.Source
	publisher *statusbus.Publisher
	reader    *statusbus.Reader
	remotes   []*gitsource.Remote
	change    atomic.Int64 // of what it reports
}

// simulationOptions say what the agents do.
type simulationOptions struct {
	n               int
	repo            string // fleet and status
	poll, heartbeat time.Duration
}

// start is the time in which the agents begin. Of each the first report takes several requests: that is to be
// over before anything is measured, without too many of them at once.
func (o *simulationOptions) start() time.Duration {
	d := max(o.poll, time.Duration(o.n)*150*time.Millisecond)
	if d > o.heartbeat*6/10 {
		d = max(d, o.heartbeat)
	}
	return d
}

// observed is what agents have done: how long it took, in milliseconds, and what failed.
type observed struct {
	polls, pushes, rounds []float64
	failed                int
	err                   error // the first one
}

// failure is an error if anything failed.
func (o *observed) failure() error {
	if o.failed == 0 {
		return nil
	}
	return fmt.Errorf("%d polls, pushes or rounds failed: %w", o.failed, o.err)
}

// tally is what the agents observe.
type tally struct {
	mu sync.Mutex
	observed
}

func (t *tally) note(times *[]float64, took time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		*times = append(*times, milliseconds(took))
		return
	}
	t.failed++
	if t.err == nil {
		t.err = err
	}
}

// take returns what was observed and begins anew.
func (t *tally) take() observed {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.observed
	t.observed = observed{}
	return o
}

// simulate starts agents, and returns when all have begun. They do that at moments of chance, as a fleet's
// do.
func (c *crowd) simulate(ctx context.Context, o simulationOptions) (*simulated, error) {
	seed, err := c.seed(ctx, o.repo)
	if err != nil {
		return nil, err
	}
	dir, err := c.lab.temp("agents")
	if err != nil {
		return nil, err
	}
	s := &simulated{before: memoryNow()}
	ctx, s.cancel = context.WithCancel(ctx)
	for i := range o.n {
		a, err := s.add(ctx, scaleCluster(i), filepath.Join(dir, strconv.Itoa(i)), seed, o)
		if err != nil {
			return nil, errors.Join(err, s.stop())
		}
		s.agents = append(s.agents, a)
	}
	start := o.start()
	for _, a := range s.agents {
		s.begin(ctx, start, a.source.Run)
		s.begin(ctx, start, a.publisher.Run)
		s.begin(ctx, 0, a.reader.Run)
	}
	if err := pause(ctx, start); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	if start >= o.heartbeat {
		return s, nil
	}
	// All of them report for a second time in about a heartbeat from now. Until then they would be silent, so
	// that each is made to report once at a moment of chance, as if it had begun long ago.
	for _, a := range s.agents {
		s.begin(ctx, o.heartbeat, func(context.Context) error {
			a.publisher.Changed() // though nothing has
			return nil
		})
	}
	return s, nil
}

// begin runs something after a time of chance.
func (s *simulated) begin(ctx context.Context, within time.Duration, run func(context.Context) error) {
	wait := time.Duration(rand.Float64() * float64(within)) //nolint:gosec // spreads load
	s.group.Go(func() {
		if pause(ctx, wait) == nil {
			_ = run(ctx) // each of them returns nil
		}
	})
}

// add makes an agent with a copy of a data dir, so that none has to clone.
func (s *simulated) add(ctx context.Context, cluster, dir, seed string, o simulationOptions) (*simulatedAgent, error) {
	if err := os.CopyFS(dir, os.DirFS(seed)); err != nil {
		return nil, err
	}
	a := &simulatedAgent{cluster: cluster}
	var err error
	a.source, err = gitsource.Open(ctx, gitsource.Options{
		URL: o.repo, DataDir: dir, Poll: o.poll, Log: zerolog.Nop(),
		Observe: func(at gitsource.Attempt) { s.tally.note(&s.tally.polls, at.Duration, at.Err) },
	})
	if err != nil {
		return nil, err
	}
	var remotes [2]*gitsource.Remote
	for i := range remotes {
		if remotes[i], err = gitsource.NewRemote(gitsource.Options{URL: o.repo}); err != nil {
			return nil, errors.Join(err, a.close())
		}
		a.remotes = append(a.remotes, remotes[i])
	}
	a.publisher, err = statusbus.NewPublisher(statusbus.PublisherOptions{
		Remote: remotes[0], Cluster: cluster, Report: a.report, Heartbeat: o.heartbeat,
		Observe: func(at statusbus.PushAttempt) { s.tally.note(&s.tally.pushes, at.Duration, at.Err) },
	})
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	a.reader, err = statusbus.NewReader(statusbus.ReaderOptions{
		Remote: remotes[1], Dir: dir, Cluster: cluster,
		Observe: func(r statusbus.Round) { s.tally.note(&s.tally.rounds, r.Duration, r.Err) },
	})
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *simulatedAgent) report() status.Report {
	return scaleReport(a.cluster, time.Now(), a.change.Load())
}

// changed changes what the cluster reports, and returns what others can tell it by.
func (a *simulatedAgent) changed() int64 {
	n := a.change.Add(1)
	a.publisher.Changed()
	return n
}

func (a *simulatedAgent) close() error {
	for _, r := range a.remotes {
		r.Close()
	}
	return a.source.Close()
}

// stop ends the agents and returns when they have ended.
func (s *simulated) stop() error {
	s.cancel()
	s.group.Wait()
	var errs []error
	for _, a := range s.agents {
		errs = append(errs, a.close())
	}
	return errors.Join(errs...)
}

// memory is what each agent adds to this process, in bytes.
func (s *simulated) memory() float64 {
	return (float64(memoryNow()) - float64(s.before)) / float64(len(s.agents))
}

// memoryNow is the resident memory of this process without garbage, in bytes; 0 if it is unknown.
func memoryNow() uint64 {
	debug.FreeOSMemory()
	fields := strings.Fields(valueOf("/proc/self/status", "VmRSS"))
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseUint(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

// seed is a data dir with a clone of a repository.
func (c *crowd) seed(ctx context.Context, url string) (string, error) {
	if dir := c.seeds[url]; dir != "" {
		return dir, nil
	}
	dir, err := c.lab.temp("seed")
	if err != nil {
		return "", err
	}
	source, err := gitsource.Open(ctx, gitsource.Options{URL: url, DataDir: dir, Poll: rare, Log: zerolog.Nop()})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = source.Run(ctx) }) // it returns nil
	_, err = next(ctx, source)
	cancel()
	running.Wait()
	if err = errors.Join(err, source.Close()); err != nil {
		return "", fmt.Errorf("clone for the simulated agents: %w", err)
	}
	c.seeds[url] = dir
	return dir, nil
}
