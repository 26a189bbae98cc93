package main

import "context"

// workload measures one thing and adds its rows to the lab's results.
type workload struct {
	name, about string
	run         func(ctx context.Context, l *lab) error
}

// workloads are in the order in which they are run: those that use the same settled cluster follow one
// another.
var workloads = []workload{
	{"cold-sync", "an empty cluster gets everything: Holdfast, a raw client, cli-utils' Applier and kubectl, in turn", coldSync},
	{"change", "one object changed among 1,000, 10,000 and 5,000, from push to live by webhook", change},
	{"drift", "one field, one object and 500 objects changed by somebody else among 5,000", drift},
	{"restart", "a new start of the agent among 5,000 objects, with and without its data dir", restart},
	{"poll", "one object changed among 5,000, from push to live by poll", poll},
	{"idle", "5,000 objects, and nothing changes", idle},
	{"memory", "the most memory that an agent held, at 5,000 and 10,000 objects", memory},
	{"render", "300 apps with overlays: all of them, and one that changed", overlays},
	{"preview", "300 apps for 50 clusters in one process", preview},
	{"plain", "one app of 5,000 objects that only lists them", plain},
	{"git", "a repository of 20,000 files, and one commit", gitFetch},
}
