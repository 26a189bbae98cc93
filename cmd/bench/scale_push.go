package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

// pushCosts measures one report pushed, among more and fewer clusters, to a repository as pushes leave it and to
// one that git gc has just put in order.
func pushCosts(ctx context.Context, c *crowd) error {
	type variant struct {
		clusters  int
		collected bool
	}
	many := 10 * c.refs
	variants := []variant{{c.refs, false}, {c.refs, true}, {10, false}, {many, false}, {many, true}}
	blocks := map[variant][]perBlock{}
	for range c.lab.samples() {
		for _, v := range variants {
			repo, err := c.shared(ctx, v.clusters)
			if v.collected {
				repo, err = c.collected(ctx, v.clusters)
			}
			if err != nil {
				return err
			}
			b, err := c.pushBlock(ctx, repo)
			if err != nil {
				return fmt.Errorf("push to %s: %w", repo.Name, err)
			}
			blocks[v] = append(blocks[v], b)
		}
	}
	cpu := func(v variant) []float64 { return column(blocks[v], perBlock.theCPU) }
	some, few, lots := variants[0], variants[2], variants[3]
	c.costs.push = curve{{10, median(cpu(few))}, {c.refs, median(cpu(some))}, {many, median(cpu(lots))}}
	c.costs.collected = curve{{10, median(cpu(few))}, {c.refs, median(cpu(variants[1]))}, {many, median(cpu(variants[4]))}}
	c.costs.pushBytes = median(column(blocks[some], perBlock.theBytes))
	against := func(v variant, what, unit string, of func(perBlock) float64) row {
		return row{
			What: thousands(v.clusters) + " clusters: " + what, Unit: unit, Ours: column(blocks[v], of),
			Reference: "10 clusters", Theirs: column(blocks[few], of),
		}
	}
	requests := against(some, "requests", "", perBlock.theRequests)
	requests.Target = worstAtMost(1)
	requests.Note = fmt.Sprintf("but for the first one of a process, which asks what its ref was; a report is about %d apps", reportedApps)
	c.lab.add(
		requests,
		against(some, "bytes", "B", perBlock.theBytes),
		against(some, "CPU of the server", "ms", perBlock.theCPU),
		against(some, "time", "ms", perBlock.theTime),
		against(lots, "CPU of the server", "ms", perBlock.theCPU),
	)
	for i, v := range []variant{some, lots} {
		c.lab.add(row{
			What: thousands(v.clusters) + " clusters: CPU of the server", Unit: "ms", Ours: cpu(v),
			Reference: "right after git gc", Theirs: cpu(variants[1+3*i]),
		})
	}
	return nil
}

// pushBlock pushes the report of one cluster without a pause for a while.
func (c *crowd) pushBlock(ctx context.Context, repo *scaleRepo) (perBlock, error) {
	before, err := c.server.usage(ctx, true)
	if err != nil {
		return perBlock{}, err
	}
	attempts, err := c.push(ctx, repo, 1, c.window(5*time.Second), 0)
	if err != nil {
		return perBlock{}, err
	}
	after, err := c.server.usage(ctx, true)
	if err != nil {
		return perBlock{}, err
	}
	if len(attempts) < 2 {
		return perBlock{}, errNothing
	}
	var took time.Duration
	requests := 0
	for i, a := range attempts {
		if a.Err != nil {
			return perBlock{}, a.Err
		}
		took += a.Duration
		if i > 0 { // the first one finds out what the ref was
			requests += a.Requests
		}
	}
	b := per(after.since(before), len(attempts), took)
	b.requests = float64(requests) / float64(len(attempts)-1)
	return b, nil
}

// push has the first n clusters report without a pause, for a time or, if most is not 0, so many times in all.
// It returns the attempts.
func (c *crowd) push(ctx context.Context, repo *scaleRepo, n int, window time.Duration, most int) ([]statusbus.PushAttempt, error) {
	ctx, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	var (
		mu       sync.Mutex
		attempts []statusbus.PushAttempt
		change   = time.Now().UnixNano() // so that each report is another one
	)
	report := func(cluster string) status.Report {
		mu.Lock()
		defer mu.Unlock()
		change++
		return scaleReport(cluster, time.Now(), change)
	}
	observe := func(a statusbus.PushAttempt) {
		mu.Lock()
		defer mu.Unlock()
		attempts = append(attempts, a)
		if len(attempts) == most {
			cancel()
		}
	}
	var running sync.WaitGroup
	for i := range n {
		remote, err := gitsource.NewRemote(gitsource.Options{URL: repo.url})
		if err != nil {
			return nil, err
		}
		cluster := scaleCluster(i)
		p, err := statusbus.NewPublisher(statusbus.PublisherOptions{
			Remote: remote, Cluster: cluster, Report: func() status.Report { return report(cluster) }, Observe: observe,
			Heartbeat: time.Microsecond, MinInterval: time.Microsecond, Gather: time.Microsecond,
		})
		if err != nil {
			return nil, err
		}
		running.Go(func() {
			_ = p.Run(ctx) // it returns nil
			remote.Close()
		})
	}
	running.Wait()
	if len(attempts) == 0 || most > 0 && len(attempts) < most {
		return nil, errNothing
	}
	return attempts, nil
}
