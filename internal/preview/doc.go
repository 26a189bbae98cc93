// Package preview says what a commit changes in the clusters of a fleet, from Git objects alone: no checkout,
// no cluster, no credentials. Compare is a function of two commits and the present time.
//
// Both commits are rendered by package render as an agent would, for every cluster, and compared object by
// object. What is unknown (an app that does not render, a file that cannot be used, a cluster whose file is
// gone) is a warning of the clusters concerned and never shown as deleted, since agents leave it as it is.
//
// # Cost follows the change
//
// An app is built only for clusters where it may come out differently: its definition, the overlay that is
// chosen, the cluster's facts as far as it uses them, its placement, its share of the replicas, or a file that
// a build may look at differs between the two commits. The files are found by a walk of the kustomizations
// without building them (render.Sources), and one comparison of the two trees (tree.Compare) tells which of
// them differ. What the walk does not understand is built. So of 300 apps of which one changed, one is built.
//
// # What agents would do with it
//
// Nothing is decided here that an agent decides. Where an app goes is fleet.Place; what is deleted, and what
// the brake and the protected kinds hold, is apply.Engine, given the objects of base as its inventory and then
// those of head (brake.go); which content waits for a freeze, a wave or another app is gate.Adopt (rollout.go).
// The brake goes by the share of a cluster's objects that a commit deletes, which the changed apps alone do
// not tell; so where they look too many, further apps are rendered until it is certain that they are not, or
// until all are.
//
// Two things only the API server knows. The scope of a custom kind: a namespace that is left out is taken for
// "default". And what an agent finds when it gets there: the preview goes by what base has in Git, not by what
// is live. Two more are found by vet, since apps that do not differ are not rendered: that one of these does not
// build, so that its agent deletes nothing; and that it declares an object which another declares too.
//
// # For people
//
// Identical changes are told once for all clusters that they happen on. They are compared by the lines that
// change, so that the lines around them, which may hold a cluster's name, do not keep them apart (group.go).
// Text, Markdown and JSON print a Diff.
//
// Names and messages come from files that anybody may propose. In text they pass through package plain, and in
// Markdown they are code besides: no name may begin a line, a heading or a mention. JSON has them as they are.
package preview
