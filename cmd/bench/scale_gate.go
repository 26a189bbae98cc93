package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// gateDelay measures how long a change at one agent takes to reach another whose gate waits for it, among agents
// that poll and report.
func gateDelay(ctx context.Context, c *crowd) error {
	sizes := []int{c.hundred()}
	if c.carried > c.hundred() {
		sizes = append(sizes, c.carried)
	}
	for _, n := range sizes {
		delays, err := c.delays(ctx, n)
		if err != nil {
			return fmt.Errorf("%d agents: %w", n, err)
		}
		what := thousands(n) + " agents: from Publisher.Changed to the waiting Reader's view, "
		c.lab.add(
			row{What: what + "median", Unit: "s", Ours: delays},
			row{What: what + "p99", Unit: "s", Ours: []float64{quantile(delays, 0.99)}, Note: fmt.Sprintf("of %d changes", len(delays))},
		)
	}
	return nil
}

// delays has a tenth of the agents change now and then, each of which another one waits for.
func (c *crowd) delays(ctx context.Context, n int) (_ []float64, err error) {
	repo, err := c.shared(ctx, max(n, c.refs))
	if err != nil {
		return nil, err
	}
	o := c.options(repo, n, 1)
	s, err := c.simulate(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	_ = s.tally.take() // of the beginning
	var mu sync.Mutex
	var all []float64
	group, during := errgroup.WithContext(ctx)
	end := time.Now().Add(2 * time.Minute)
	if c.lab.quick {
		end = time.Now().Add(4 * time.Second)
	}
	pairs := min(max(n/10, 1), 20)
	for i := range pairs {
		from, to := s.agents[i], s.agents[pairs+i]
		to.reader.Ask([]string{from.cluster}, false)
		group.Go(func() error {
			// The first round is another thing: it reads all that is asked for.
			if err := to.knows(during); err != nil {
				return err
			}
			for first := true; first || time.Now().Before(end); first = false {
				// More than the least time between two pushes, and at no fixed moment between two rounds.
				if err := pause(during, 3*time.Second+time.Duration(rand.Float64()*float64(o.heartbeat/40))); err != nil { //nolint:gosec // a moment of chance
					return err
				}
				begin := time.Now()
				if err := to.awaits(during, from, from.changed()); err != nil {
					return err
				}
				mu.Lock()
				all = append(all, time.Since(begin).Seconds())
				mu.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	seen := s.tally.take()
	return all, seen.failure()
}

// awaits returns when this agent knows the report of another one with a change.
func (a *simulatedAgent) awaits(ctx context.Context, other *simulatedAgent, change int64) error {
	late := time.NewTimer(3 * time.Minute)
	defer late.Stop()
	for {
		select {
		case v := <-a.reader.Updates():
			if v.Err != nil {
				return v.Err
			}
			seen := v.Clusters[other.cluster]
			if seen.Problem != "" {
				return fmt.Errorf("the status of %s cannot be used: %s", other.cluster, seen.Problem)
			}
			if seen.Report != nil && seen.Report.Apps[0].Drift.Corrected == change {
				return nil
			}
		case <-late.C:
			return errors.Join(fmt.Errorf("no change of %s within three minutes", other.cluster), other.publisher.Err())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// storm measures a failover: half of the agents wait for others and read every 3 s, and the other half reports
// something new every 5 s.
func storm(ctx context.Context, c *crowd) error {
	n := c.hundred()
	for _, all := range []bool{false, true} {
		seen, memory, err := c.stormOf(ctx, n, all)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%s agents, half of them wait for 4 clusters each: ", thousands(n))
		if all {
			what = fmt.Sprintf("%s agents, half of them wait for all %s clusters: ", thousands(n), thousands(c.refs))
		}
		requests := samplesOf(seen, func(w watched) float64 { return w.requests })
		cpu := samplesOf(seen, func(w watched) float64 { return w.server })
		c.lab.add(
			row{What: what + "requests in a second", Ours: requests, Note: kindsOf(seen)},
			row{What: what + "bytes in a second", Unit: "kB", Ours: samplesOf(seen, func(w watched) float64 { return w.bytes / 1000 })},
			row{What: what + "CPU of the server", Unit: "cores", Ours: cpu},
			row{What: what + "CPU of the agents", Unit: "cores", Ours: samplesOf(seen, func(w watched) float64 { return w.agent })},
			row{What: what + "time of a round, p99", Unit: "ms", Ours: []float64{quantile(joined(seen, func(w watched) []float64 { return w.rounds }), 0.99)}},
			row{What: what + "memory for each that waits", Unit: "kB", Ours: []float64{memory / 1000}},
		)
	}
	return nil
}

// stormOf returns what a failover of so many agents asks of the server, and the memory of all agents for each that
// waits. all has each wait for all clusters, else for four.
func (c *crowd) stormOf(ctx context.Context, n int, all bool) (seen []watched, memory float64, err error) {
	repo, err := c.shared(ctx, max(n, c.refs))
	if err != nil {
		return nil, 0, err
	}
	o := c.options(repo, n, 1)
	s, err := c.simulate(ctx, o)
	if err != nil {
		return nil, 0, err
	}
	changing, cancel := context.WithCancel(ctx)
	var changes sync.WaitGroup
	defer func() {
		cancel()
		changes.Wait()
		err = errors.Join(err, s.stop())
	}()
	waiting, others := s.agents[:n/2], s.agents[n/2:]
	for _, a := range others {
		changes.Go(func() {
			for pause(changing, time.Duration(2*rand.Float64()*float64(stormReport))) == nil { //nolint:gosec // a moment of chance
				a.changed()
			}
		})
	}
	for _, a := range waiting {
		var clusters []string
		for range min(4, len(others)) {
			clusters = append(clusters, others[rand.IntN(len(others))].cluster) //nolint:gosec // any
		}
		a.reader.Ask(clusters, all)
	}
	for _, a := range waiting {
		// The first round is another thing: it reads all that is asked for.
		if err := a.knows(ctx); err != nil {
			return nil, 0, err
		}
	}
	// Some rounds long, however quick it is to be.
	seen, err = c.watchAll(ctx, s, max(c.window(10*time.Second), 4*time.Second), c.lab.samples())
	return seen, s.memory() * float64(n) / float64(len(waiting)), err
}

// knows returns when the reader has done a round.
func (a *simulatedAgent) knows(ctx context.Context) error {
	select {
	case v := <-a.reader.Updates():
		return v.Err
	case <-time.After(2 * time.Minute):
		return errNothing
	case <-ctx.Done():
		return ctx.Err()
	}
}
