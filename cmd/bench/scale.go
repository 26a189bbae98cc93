package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// scaleSuite is about many agents and one Git server. make bench-fleet runs it, docs/scale.md says what its
// workloads do and plans from the results.
var scaleSuite = suite{
	name: "scale", target: "bench-fleet", about: "Measure what a fleet of agents asks of a Git server.",
	sharing: "The agents and the Git server share the cores.",
	method:  scaleMethod, prepare: prepareCrowd, workloads: scaleWorkloads,
}

// scaleWorkloads are in the order in which they are run: the last ones plan from the first ones.
var scaleWorkloads = []workload{
	{"poll", "one poll of the branch: with status refs beside it and without, protocol versions 2 and 0", measured(pollCosts)},
	{"push", "one report pushed", measured(pushCosts)},
	{"read", "one round of an agent whose gates wait", measured(readCosts)},
	{"garbage", "what pushes leave on the server, and what git gc does with it", measured(garbage)},
	{"load", "agents that poll and report: 100, and as many as the machine carries", measured(load)},
	{"gate", "from a change at one agent until another's waiting gate sees it", measured(gateDelay)},
	{"storm", "a failover: half of the agents wait for gates", measured(storm)},
}

// crowd is what the workloads about many agents are run with.
type crowd struct {
	lab    *lab
	server *gitServer
	refs   int // clusters that report
	seeds  map[string]string
	repos  map[string]*scaleRepo
	costs  costs
	// carried is how many agents the machine carried; 0 before that was found out.
	carried int
}

func prepareCrowd(ctx context.Context, l *lab) error {
	c := &crowd{lab: l, refs: l.refs, seeds: map[string]string{}, repos: map[string]*scaleRepo{}}
	if l.quick {
		c.refs = min(c.refs, 50)
	}
	const gogit = "github.com/go-git/go-git/v5"
	l.results.Machine.Versions = map[string]string{gogit: l.results.Machine.Versions[gogit]}
	var err error
	if c.server, err = l.startGitServer(ctx); err != nil {
		return err
	}
	l.crowd = c
	return nil
}

func (c *crowd) close() error { return c.server.stop() }

// shared returns the repository with the branch and the refs of so many clusters that all workloads share.
func (c *crowd) shared(ctx context.Context, clusters int) (*scaleRepo, error) {
	name := fmt.Sprintf("shared-%d", clusters)
	if r := c.repos[name]; r != nil {
		return r, nil
	}
	c.lab.say("  preparing a repository with the refs of %s clusters", thousands(clusters))
	r, err := c.repo(ctx, name, clusters)
	if err == nil {
		c.repos[name] = r
	}
	return r, err
}

// collected returns a repository like the shared one, which git gc has put in order: its refs are in one file, its
// objects in a pack.
func (c *crowd) collected(ctx context.Context, clusters int) (*scaleRepo, error) {
	name := fmt.Sprintf("collected-%d", clusters)
	r := c.repos[name]
	if r == nil {
		c.lab.say("  preparing another one that git gc has put in order")
		var err error
		if r, err = c.repo(ctx, name, clusters); err != nil {
			return nil, err
		}
		c.repos[name] = r
	}
	_, _, err := r.collect(ctx, "--prune=now")
	return r, err
}

// window is how long something is measured: even to be quick, long enough for a busy machine to answer a request.
func (c *crowd) window(d time.Duration) time.Duration {
	if c.lab.quick {
		return min(d, 3*time.Second)
	}
	return d
}

// measured runs a workload, with a server of protocol version 2 at first, and takes note of what else used the
// machine.
func measured(run func(ctx context.Context, c *crowd) error) func(ctx context.Context, l *lab) error {
	return func(ctx context.Context, l *lab) error {
		c := l.crowd
		if err := c.server.setOldProtocol(ctx, false); err != nil {
			return err
		}
		begin := time.Now()
		before, known := c.foreign(ctx)
		if err := run(ctx, c); err != nil {
			return err
		}
		if after, ok := c.foreign(ctx); ok && known {
			l.results.Others = append(l.results.Others, max(0, (after-before).Seconds()/time.Since(begin).Seconds()))
		}
		l.results.Plans = c.costs.plans()
		return nil
	}
}

// foreign is the CPU time that programs other than the bench's have used since the machine was started.
func (c *crowd) foreign(ctx context.Context) (time.Duration, bool) {
	busy, known := machineTime()
	u, err := c.server.usage(ctx, false)
	return busy - u.CPU - rusage(syscall.RUSAGE_SELF) - rusage(syscall.RUSAGE_CHILDREN), known && err == nil
}

// scaleMethod says how far the figures can be trusted.
func scaleMethod(r *results) string {
	text := "The figure is the median of the samples, min-max their spread; the ratio is that of the medians. " +
		"Bytes are those on the wire with HTTP headers, both ways, without TCP and TLS."
	if n := len(r.Others); n > 0 {
		text += fmt.Sprintf(" Other programs used %s to %s cores meanwhile: with more than a tenth of a core, trust requests, bytes and ratios alone.",
			figure(slices.Min(r.Others)), figure(slices.Max(r.Others)))
	}
	return text
}

// perBlock is what one of n things cost in a block of them.
type perBlock struct {
	requests, bytes float64
	cpu, took       float64 // of the server, and until it was done; milliseconds
	front           float64 // the part of cpu that is the HTTP server's own
}

func per(u usage, n int, took time.Duration) perBlock {
	of := float64(n)
	return perBlock{
		requests: float64(u.requests()) / of, bytes: float64(u.Received+u.Sent) / of,
		cpu: milliseconds(u.CPU) / of, front: milliseconds(u.Front) / of, took: milliseconds(took) / of,
	}
}

// column is one measure of several blocks.
func column(blocks []perBlock, of func(perBlock) float64) []float64 {
	out := make([]float64, len(blocks))
	for i, b := range blocks {
		out[i] = of(b)
	}
	return out
}

func (b perBlock) theRequests() float64 { return b.requests }
func (b perBlock) theBytes() float64    { return b.bytes }
func (b perBlock) theCPU() float64      { return b.cpu }
func (b perBlock) theTime() float64     { return b.took }

var errNothing = errors.New("nothing happened within the time for it")
