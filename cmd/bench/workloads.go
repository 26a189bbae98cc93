package main

import (
	"context"
	"fmt"
)

// workload measures one thing and adds its rows to the lab's results.
type workload struct {
	name, about string
	run         func(ctx context.Context, l *lab) error
}

// suite is a set of workloads that need the same lab, and whose results are one table.
type suite struct {
	name   string // of the command; "" is the one without a name
	target string // of make
	about  string
	// sharing follows the sentence about the machine, method is the paragraph before the table.
	sharing   string
	method    func(r *results) string
	quoted    []quoted
	prepare   func(ctx context.Context, l *lab) error
	workloads []workload
}

// clusterSuite is about one agent and one cluster. Its workloads are in the order in which they are run:
// those that use the same settled cluster follow one another.
var clusterSuite = suite{
	target: "bench", about: "Measure Holdfast and its references.",
	sharing: "Client, server and etcd share the cores.",
	method: func(r *results) string {
		return fmt.Sprintf("Medians of %d runs of what takes seconds, and of more of what takes milliseconds; "+
			"min-max is the spread. The ratio is that of the medians.", r.Runs)
	},
	quoted: quotedFigures, prepare: prepareClusters, workloads: clusterWorkloads,
}

var clusterWorkloads = []workload{
	{"cold-sync", "an empty cluster gets everything: Holdfast, a raw client, cli-utils' Applier and kubectl, in turn", coldSync},
	{"change", "one object changed among 1,000, 10,000 and 5,000, from push to live by webhook", change},
	{"drift", "one field, one object and 500 objects changed by somebody else among 5,000", drift},
	{"restart", "a new start of the agent among 5,000 objects, with and without its data dir", restart},
	{"poll", "one object changed among 5,000, from push to live by poll", poll},
	{"idle", "5,000 objects, and nothing changes", idle},
	{"memory", "the most memory that an agent held, at 5,000 and 10,000 objects", peaks},
	{"render", "300 apps with overlays: all of them, and one that changed", overlays},
	{"preview", "300 apps for 50 clusters in one process", preview},
	{"plain", "one app of 5,000 objects that only lists them", plain},
	{"git", "a repository of 20,000 files, and one commit", gitFetch},
}
