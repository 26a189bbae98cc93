package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

const (
	pollInterval = 15 * time.Second // the agent's default
	// goodPoll is the time within which 99 of 100 polls are answered as long as a machine carries its agents.
	goodPoll = time.Second
	// descriptors is how many of them an agent and its connections take in this process, at most.
	descriptors = 6
)

// watched is what a simulation did in a window of time.
type watched struct {
	seconds       float64
	requests      float64 // in a second
	bytes         float64 // in a second
	server, agent float64 // cores
	perRequest    float64 // milliseconds of the server's CPU
	kinds         map[string]int
	observed
}

// watch measures what a simulation does in a window of time.
func (c *crowd) watch(ctx context.Context, s *simulated, window time.Duration) (w watched, err error) {
	_ = s.tally.take() // of the time before
	begin, self := time.Now(), rusage(syscall.RUSAGE_SELF)
	before, err := c.server.usage(ctx, false)
	if err != nil {
		return w, err
	}
	if err := pause(ctx, window); err != nil {
		return w, err
	}
	after, err := c.server.usage(ctx, false)
	if err != nil {
		return w, err
	}
	u := after.since(before)
	w = watched{seconds: time.Since(begin).Seconds(), kinds: u.Requests, observed: s.tally.take()}
	w.requests = float64(u.requests()) / w.seconds
	w.bytes = float64(u.Received+u.Sent) / w.seconds
	w.server = u.CPU.Seconds() / w.seconds
	w.agent = (rusage(syscall.RUSAGE_SELF) - self).Seconds() / w.seconds
	if n := u.requests(); n > 0 {
		w.perRequest = milliseconds(u.CPU) / float64(n)
	}
	return w, nil
}

// watchAll is watch so many times in turn, and an error if anything failed.
func (c *crowd) watchAll(ctx context.Context, s *simulated, window time.Duration, times int) ([]watched, error) {
	var all []watched
	for range times {
		w, err := c.watch(ctx, s, window)
		if err != nil {
			return nil, err
		}
		if err := w.failure(); err != nil {
			return nil, err
		}
		if w.requests == 0 {
			return nil, errNothing
		}
		all = append(all, w)
	}
	return all, nil
}

// p99 is the time of a poll, in milliseconds, that one of a hundred exceeds.
func (w watched) p99() float64 { return quantile(w.polls, 0.99) }

func samplesOf(all []watched, of func(watched) float64) []float64 {
	out := make([]float64, len(all))
	for i, w := range all {
		out[i] = of(w)
	}
	return out
}

// joined are the times of one kind in several windows.
func joined(all []watched, of func(watched) []float64) (out []float64) {
	for _, w := range all {
		out = append(out, of(w)...)
	}
	return out
}

// hundred is how many agents there are in the workloads that do not ask how many there can be.
func (c *crowd) hundred() int {
	if c.lab.quick {
		return 6
	}
	return 100
}

// options are those of a real agent, faster by a factor.
func (c *crowd) options(repo *scaleRepo, n, faster int) simulationOptions {
	o := simulationOptions{n: n, repo: repo.url, poll: pollInterval, heartbeat: statusbus.DefaultHeartbeat}
	if c.lab.quick {
		faster *= 15
	}
	o.poll, o.heartbeat = o.poll/time.Duration(faster), o.heartbeat/time.Duration(faster)
	return o
}

// load measures agents that poll and report while no gate waits.
func load(ctx context.Context, c *crowd) error {
	repo, err := c.shared(ctx, c.refs)
	if err != nil {
		return err
	}
	n := c.hundred()
	run := func(faster int, old bool) (all []watched, memory float64, err error) {
		if err := c.server.setOldProtocol(ctx, old); err != nil {
			return nil, 0, err
		}
		o := c.options(repo, n, faster)
		s, err := c.simulate(ctx, o)
		if err != nil {
			return nil, 0, err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		window, times := max(o.poll, c.window(5*time.Second)), 2*c.lab.samples()
		if left := o.heartbeat*9/10 - o.start(); left > window {
			times = min(times, int(left/window)) // until the first of them report again by themselves
		}
		all, err = c.watchAll(ctx, s, window, times)
		return all, s.memory(), err
	}
	usual, memory, err := run(1, false)
	if err != nil {
		return err
	}
	older, _, err := run(1, true)
	if err != nil {
		return err
	}
	fast, _, err := run(5, false)
	if err != nil {
		return err
	}
	against := func(what, unit string, of func(watched) float64) row {
		return row{What: what, Unit: unit, Ours: samplesOf(usual, of), Reference: "protocol version 0, all refs", Theirs: samplesOf(older, of)}
	}
	agents := thousands(n) + " agents, a poll in 15 s, a report in 2 min: "
	c.lab.add(
		against(agents+"requests in a second", "", func(w watched) float64 { return w.requests }),
		against(agents+"bytes in a second", "kB", func(w watched) float64 { return w.bytes / 1000 }),
		against(agents+"CPU of the server", "cores", func(w watched) float64 { return w.server }),
		against(agents+"CPU of the agents", "cores", func(w watched) float64 { return w.agent }),
		row{What: agents + "time of a poll, p99", Unit: "ms", Ours: []float64{quantile(joined(usual, func(w watched) []float64 { return w.polls }), 0.99)}},
		row{What: agents + "time of a report, p99", Unit: "ms", Ours: []float64{quantile(joined(usual, func(w watched) []float64 { return w.pushes }), 0.99)}},
		row{
			What: agents + "memory for each", Unit: "kB", Ours: []float64{memory / 1000},
			Note: "of these parts of an agent alone: the program, and all that deals with Kubernetes, comes to it",
		},
		row{
			What: thousands(n) + " agents: CPU of the server per request", Unit: "ms", Ours: samplesOf(usual, func(w watched) float64 { return w.perRequest }),
			Reference: "five times as often", Theirs: samplesOf(fast, func(w watched) float64 { return w.perRequest }),
			Note: fmt.Sprintf("%s and %s requests in a second", figure(median(samplesOf(usual, func(w watched) float64 { return w.requests }))),
				figure(median(samplesOf(fast, func(w watched) float64 { return w.requests })))),
		},
	)
	return c.ramp(ctx)
}

// ramp finds out how many agents the machine carries.
func (c *crowd) ramp(ctx context.Context) error {
	var best watched
	var memory float64
	var limits []string
	try := func(n int) (bool, error) {
		switch limit := openFiles(); {
		case c.lab.agents > 0 && n > c.lab.agents, c.lab.quick && n > 2*c.hundred():
			limits = []string{"no more were asked for"}
			return false, nil
		case limit > 0 && n*descriptors > limit:
			limits = append(limits, fmt.Sprintf("%s would need more than the %s files that a process may open here", thousands(n), thousands(limit)))
			return false, nil
		}
		w, m, err := c.carry(ctx, n)
		if err != nil {
			return false, fmt.Errorf("%d agents: %w", n, err)
		}
		c.lab.say("  %s agents: %s requests in a second, %s cores of the server, %s of the agents, p99 of a poll %s ms, %d failed",
			thousands(n), figure(w.requests), figure(w.server), figure(w.agent), figure(w.p99()), w.failed)
		if w.failed > 0 || !(w.p99() <= milliseconds(goodPoll)) {
			limits = append(limits, fmt.Sprintf("with %s the p99 of a poll was %s ms and %d failed", thousands(n), figure(w.p99()), w.failed))
			return false, nil
		}
		best, memory = w, m
		return true, nil
	}
	// One that fails does not take away what was found out before it.
	carried, failed := most(2*c.hundred(), try)
	if ctx.Err() != nil {
		return failed
	}
	c.carried = carried
	what := "as many agents as the machine carries: "
	c.lab.add(row{
		What: what + "agents", Ours: []float64{float64(max(c.carried, c.hundred()))},
		Note: "99 of 100 polls are answered within a second and none fails; " + strings.Join(limits, "; "),
	})
	if c.carried == 0 {
		return failed // their figures are above
	}
	c.lab.add(
		row{What: what + "requests in a second", Ours: []float64{best.requests}},
		row{What: what + "bytes in a second", Unit: "kB", Ours: []float64{best.bytes / 1000}},
		row{What: what + "CPU of the server", Unit: "cores", Ours: []float64{best.server}},
		row{What: what + "CPU of the agents", Unit: "cores", Ours: []float64{best.agent}},
		row{What: what + "time of a poll, p99", Unit: "ms", Ours: []float64{best.p99()}},
		row{What: what + "memory for each", Unit: "kB", Ours: []float64{memory / 1000}},
	)
	return failed
}

// most finds how much is not too much: it doubles until that is so, and then tries half as much more than
// what was well. 0 is that the first was too much already.
func most(first int, try func(n int) (well bool, err error)) (best int, err error) {
	for n := first; ; n *= 2 {
		well, err := try(n)
		if err != nil {
			return best, err
		}
		if !well {
			break
		}
		best = n
	}
	if best == 0 {
		return 0, nil
	}
	between := best + best/2
	well, err := try(between)
	if well {
		best = between
	}
	return best, err
}

// carry runs so many agents as fast as real ones and returns what they did once all were there.
func (c *crowd) carry(ctx context.Context, n int) (w watched, memory float64, err error) {
	repo, err := c.shared(ctx, max(n, c.refs))
	if err != nil {
		return w, 0, err
	}
	o := c.options(repo, n, 1)
	s, err := c.simulate(ctx, o)
	if err != nil {
		return w, 0, err
	}
	defer func() {
		err = errors.Join(err, s.stop())
		// What was too much is worked off before anything else begins.
		_, quiet := c.server.usage(ctx, true)
		err = errors.Join(err, quiet)
	}()
	if w, err = c.watch(ctx, s, max(2*o.poll, c.window(5*time.Second))); err != nil {
		return w, 0, err
	}
	return w, s.memory(), nil
}

// openFiles is how many files this process may open; 0 if that is unknown.
func openFiles() int {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0
	}
	return int(min(r.Cur, 1<<30))
}

// kindsOf lists the requests of several windows in a second, by kind.
func kindsOf(all []watched) string {
	var text []string
	sum, whole := map[string]int{}, 0.0
	for _, w := range all {
		whole += w.seconds
		for kind, n := range w.kinds {
			sum[kind] += n
		}
	}
	for _, kind := range []string{"ls-refs", "fetch", "push", "discovery"} {
		if n := sum[kind]; n > 0 {
			text = append(text, fmt.Sprintf("%s %s", figure(float64(n)/whole), kind))
		}
	}
	return strings.Join(text, ", ") + " in a second"
}
