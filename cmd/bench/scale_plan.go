package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

// costs are what the plan is calculated from, each for one. CPU is in milliseconds of the server; what grows with
// the number of clusters that report to the repository is a curve.
type costs struct {
	refs            int // clusters in the repository where the others were measured
	poll, pollBytes float64
	oldPollBytes    float64 // protocol version 0
	push, collected curve   // the latter right after git gc
	pushBytes       float64
	list            curve   // of a few clusters
	fetch           float64 // of a cluster that has moved
	garbage         float64 // bytes on the disk that a push leaves
}

// curve is what was measured at some numbers of clusters, in their order.
type curve []point

type point struct {
	clusters int
	cost     float64
}

// at is the cost at another number, on the straight line through the two measured ones next to it.
func (c curve) at(clusters int) float64 {
	i := slices.IndexFunc(c[1:len(c)-1], func(p point) bool { return clusters <= p.clusters })
	if i < 0 {
		i = len(c) - 2
	}
	a, b := c[i], c[i+1]
	return a.cost + (b.cost-a.cost)*float64(clusters-a.clusters)/float64(b.clusters-a.clusters)
}

// In a failover, half of the agents wait, read every three seconds and find that a cluster has moved, and the
// other half reports every five seconds.
const (
	stormRead   = 3 * time.Second
	stormReport = 5 * time.Second
)

// plan is what a fleet asks of one Git server.
type plan struct {
	Clusters int     `json:"clusters"`
	Poll     float64 `json:"pollSeconds"`
	// Requests are polls and reports in a second, Bytes what they carry in a second.
	Requests float64 `json:"requests"`
	Bytes    float64 `json:"bytes"`
	// Cores are what they take in a repository as pushes leave it, Collected right after git gc. Sharded is Cores with
	// 1,000 clusters at most in a status repository.
	Cores     float64 `json:"cores"`
	Collected float64 `json:"collectedCores"`
	Sharded   float64 `json:"shardedCores"`
	// OldBytes is Bytes with protocol version 0.
	OldBytes float64 `json:"oldBytes"`
	// StormRequests, StormCores and StormSharded are those of a failover.
	StormRequests float64 `json:"stormRequests"`
	StormCores    float64 `json:"stormCores"`
	StormSharded  float64 `json:"stormShardedCores"`
	// Garbage is how much the repository grows in a day, in bytes, unless it is collected.
	Garbage float64 `json:"garbage"`
}

// plans calculates for several sizes and intervals; none if something was not measured.
func (c costs) plans() []plan {
	if c.poll == 0 || c.push == nil || c.collected == nil || c.list == nil || c.garbage == 0 {
		return nil
	}
	var out []plan
	for _, n := range []int{100, 1000, 10000} {
		for _, poll := range []time.Duration{pollInterval, time.Minute, 5 * time.Minute} {
			out = append(out, c.plan(n, poll))
		}
	}
	return out
}

func (c costs) plan(clusters int, poll time.Duration) plan {
	const shard = 1000
	n := float64(clusters)
	polls, reports := n/poll.Seconds(), n/statusbus.DefaultHeartbeat.Seconds()
	cores := func(push curve, refs int) float64 { return (polls*c.poll + reports*push.at(refs)) / 1000 }
	rounds, changes := n/2/stormRead.Seconds(), n/2/stormReport.Seconds()
	storm := func(refs int) float64 {
		return (polls*c.poll + rounds*(c.list.at(refs)+c.fetch) + changes*c.push.at(refs)) / 1000
	}
	return plan{
		Clusters: clusters, Poll: poll.Seconds(),
		Requests: polls + reports,
		Bytes:    polls*c.pollBytes + reports*c.pushBytes,
		Cores:    cores(c.push, clusters), Collected: cores(c.collected, clusters), Sharded: cores(c.push, min(clusters, shard)),
		// The list is as long as there are refs.
		OldBytes:      polls*c.oldPollBytes*n/float64(c.refs) + reports*c.pushBytes,
		StormRequests: polls + 2*rounds + changes,
		StormCores:    storm(clusters), StormSharded: storm(min(clusters, shard)),
		Garbage: reports * c.garbage * (24 * time.Hour).Seconds(),
	}
}

// planMarkdown is the table of the plans.
func planMarkdown(plans []plan) string {
	var b strings.Builder
	b.WriteString("\nCalculated from these figures: such a server, one repository, a report every 2 minutes, and nothing collected but where it " +
		"says so. Sharded: at most 1,000 clusters in a status repository. Failover: half of the agents read every 3 s, half report every 5 s.\n\n")
	header := []string{
		"clusters", "poll", "requests/s", "kB/s", "kB/s, version 0", "cores", "right after git gc", "sharded",
		"failover: requests/s", "cores", "sharded", "garbage, GB a day",
	}
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(header, " | "), strings.Repeat("---|", len(header)))
	for _, p := range plans {
		fmt.Fprintf(&b, "| %s | %.0f s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", thousands(p.Clusters), p.Poll,
			figure(p.Requests), figure(p.Bytes/1000), figure(p.OldBytes/1000), figure(p.Cores), figure(p.Collected), figure(p.Sharded),
			figure(p.StormRequests), figure(p.StormCores), figure(p.StormSharded), figure(p.Garbage/1e9))
	}
	return b.String()
}
