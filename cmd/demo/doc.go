// Command demo shows Holdfast at work: three real control planes in three regions, a real Git server
// with examples/fleet-repo, and an agent for each cluster.
//
// It tells a story, and checks every sentence of it against the clusters before it says so; the
// first that is not so ends it with an error. Everything is removed at the end, unless --keep is given.
package main
