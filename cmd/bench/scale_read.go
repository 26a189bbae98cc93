package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

// question is what an agent whose gates wait asks for, and how many clusters have reported anew since its
// last round.
type question struct {
	what  string
	refs  int // in the repository
	all   bool
	moved int
	old   bool // of a server of protocol version 0
	first bool // nothing is known yet
}

// readCosts measures one round of a Reader.
func readCosts(ctx context.Context, c *crowd) error {
	n, hundred := thousands(c.refs), min(100, c.refs/2)
	two := question{what: "2 clusters asked for, none moved", refs: c.refs}
	old := question{what: two.what, refs: c.refs, old: true}
	few, many := question{what: two.what, refs: 10}, question{what: two.what, refs: 10 * c.refs}
	moved := question{what: "2 clusters asked for, 1 moved", refs: c.refs, moved: 1}
	shown := []question{
		two, moved, {what: "all " + n + " asked for, none moved", refs: c.refs, all: true},
		{what: "all " + n + " asked for, 1 moved", refs: c.refs, all: true, moved: 1},
		{what: fmt.Sprintf("all %s asked for, %d moved", n, hundred), refs: c.refs, all: true, moved: hundred},
		{what: "all " + n + " asked for, the first time", refs: c.refs, all: true, moved: c.refs, first: true},
	}
	blocks, client := map[question][]perBlock{}, map[question][]float64{}
	for range c.lab.samples() {
		for _, q := range append([]question{old, few, many}, shown...) {
			repo, err := c.shared(ctx, q.refs)
			if err != nil {
				return err
			}
			b, cpu, err := c.readBlock(ctx, repo, q)
			if err != nil {
				return fmt.Errorf("%s: %w", q.what, err)
			}
			blocks[q], client[q] = append(blocks[q], b), append(client[q], cpu)
		}
	}
	cpu := func(q question) float64 { return median(column(blocks[q], perBlock.theCPU)) }
	c.costs.list = curve{{few.refs, cpu(few)}, {two.refs, cpu(two)}, {many.refs, cpu(many)}}
	c.costs.fetch = max(0, cpu(moved)-cpu(two))
	for _, q := range shown {
		requests := row{What: q.what + ": requests", Ours: column(blocks[q], perBlock.theRequests)}
		size := row{What: q.what + ": bytes", Unit: "B", Ours: column(blocks[q], perBlock.theBytes)}
		cpu := row{What: q.what + ": CPU of the server", Unit: "ms", Ours: column(blocks[q], perBlock.theCPU)}
		if q == two {
			for _, r := range []struct {
				*row
				of func(perBlock) float64
			}{{&requests, perBlock.theRequests}, {&size, perBlock.theBytes}, {&cpu, perBlock.theCPU}} {
				r.Reference, r.Theirs = "protocol version 0, all refs", column(blocks[old], r.of)
			}
		}
		cpu.Note = fmt.Sprintf("and %s ms of the agent", figure(median(client[q])))
		c.lab.add(requests, size, cpu, row{What: q.what + ": time", Unit: "ms", Ours: column(blocks[q], perBlock.theTime)})
	}
	for _, q := range []question{few, many} {
		c.lab.add(row{
			What: two.what + ": CPU of the server", Unit: "ms", Ours: column(blocks[two], perBlock.theCPU),
			Reference: "with the refs of " + thousands(q.refs) + " clusters instead of " + n, Theirs: column(blocks[q], perBlock.theCPU),
		})
	}
	return nil
}

// readBlock asks the same so often that its cost can be told. It also returns the agent's CPU per round, in
// milliseconds.
func (c *crowd) readBlock(ctx context.Context, repo *scaleRepo, q question) (b perBlock, client float64, err error) {
	if err = c.server.setOldProtocol(ctx, q.old); err != nil {
		return b, 0, err
	}
	readers, times := 1, 8
	switch {
	case q.first:
		readers, times = 2, 1
	case c.lab.quick:
		times = 2
	case q.moved == 0:
		times = 16
	}
	var sum readCost
	for range readers {
		if err = c.ask(ctx, repo, q, times, &sum); err != nil {
			return b, 0, err
		}
	}
	n := readers * times
	b = per(sum.usage, n, sum.took)
	b.requests = float64(sum.requests) / float64(n)
	return b, milliseconds(sum.client) / float64(n), nil
}

// readCost is what some rounds cost.
type readCost struct {
	usage
	requests     int // as the agent counts them
	took, client time.Duration
}

// ask has a new Reader ask so many times, and adds what that cost.
func (c *crowd) ask(ctx context.Context, repo *scaleRepo, q question, times int, sum *readCost) error {
	r, err := c.startReading(ctx, repo, q.all)
	if err != nil {
		return err
	}
	defer r.stop()
	if !q.first {
		if _, err := r.round(ctx); err != nil {
			return err
		}
	}
	for range times {
		if q.moved > 0 && !q.first {
			if err := repo.report(ctx, q.moved, time.Now().UnixNano()); err != nil {
				return err
			}
		}
		before, err := c.server.usage(ctx, true)
		if err != nil {
			return err
		}
		self := rusage(syscall.RUSAGE_SELF)
		round, err := r.round(ctx)
		if err != nil {
			return err
		}
		if round.Read != q.moved {
			return fmt.Errorf("a round read %d clusters, not %d", round.Read, q.moved)
		}
		sum.client += rusage(syscall.RUSAGE_SELF) - self
		after, err := c.server.usage(ctx, true)
		if err != nil {
			return err
		}
		u := after.since(before)
		sum.CPU, sum.Front = sum.CPU+u.CPU, sum.Front+u.Front
		sum.Received, sum.Sent = sum.Received+u.Received, sum.Sent+u.Sent
		sum.requests, sum.took = sum.requests+round.Requests, sum.took+round.Duration
	}
	return nil
}

// reading is a Reader that does a round when it is told to.
type reading struct {
	reader *statusbus.Reader
	all    bool
	odd    bool
	rounds chan statusbus.Round
	stop   func()
}

func (c *crowd) startReading(ctx context.Context, repo *scaleRepo, all bool) (*reading, error) {
	remote, err := gitsource.NewRemote(gitsource.Options{URL: repo.url})
	if err != nil {
		return nil, err
	}
	dir, err := c.lab.temp("read")
	if err != nil {
		return nil, err
	}
	r := &reading{all: all, rounds: make(chan statusbus.Round, 1)}
	r.reader, err = statusbus.NewReader(statusbus.ReaderOptions{
		Remote: remote, Dir: dir, Interval: rare, Slow: rare,
		Observe: func(round statusbus.Round) { r.rounds <- round },
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		_ = r.reader.Run(ctx) // it returns nil
		close(ended)
	}()
	r.stop = func() {
		cancel()
		<-ended
		remote.Close()
	}
	return r, nil
}

// round asks, and returns when that was answered. The question is the same each time but for one cluster
// that has no ref, so that it is another one, which is what brings the next round about.
func (r *reading) round(ctx context.Context) (statusbus.Round, error) {
	r.odd = !r.odd
	other := map[bool]string{true: "none-1", false: "none-2"}[r.odd]
	if r.all {
		r.reader.Ask([]string{other}, true)
	} else {
		r.reader.Ask([]string{scaleCluster(0), scaleCluster(1), other}, false)
	}
	select {
	case round := <-r.rounds:
		return round, round.Err
	case <-time.After(time.Minute):
		return statusbus.Round{}, errNothing
	case <-ctx.Done():
		return statusbus.Round{}, ctx.Err()
	}
}
