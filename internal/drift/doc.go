// Package drift watches what the cluster does to our objects and tells it as events, each object
// reduced to what package live keeps of it.
//
// Watcher keeps one watch per group and resource, filtered by our instance label, so that an object
// which loses the label arrives as deleted. Kinds without a status are watched as metadata alone
// (MetadataOnly): the contents of a Secret never reach the agent. Everything else is reduced on
// arrival. A list is exact: what is not in a Synced event is not there. A watch that fails says
// so (Failed), and what it covers is then unknown, never gone.
package drift
