// Package fleet knows the fleet repository: its three kinds of file (Fleet, Cluster, App), how they
// are decoded, and what follows from them: which cluster runs which app, with which overlay and how
// many replicas.
//
// Everything here is a function of its arguments. Load reads a tree.Tree, which is one commit or one
// directory, and returns a Fleet; Place, Drained, Frozen and the App's Overlay answer from
// that value alone. There is no clock, no network and no order of arrival in it, so every agent, the
// preview of a pull request and the tests get the same answer from the same commit. A Loader gives the
// same as Load and remembers what the last commits declared, so that a commit costs what it changed.
//
// Decoding is strict. A walker goes over the YAML nodes and the Go types at once, so that an unknown
// field, a wrong type or a bad value is reported with its file and line, and all of them, not the
// first. It follows the type and not the input, and counts the nodes that it visits, so that neither
// deep nesting nor an alias bomb costs more than a small file. Rules about values (a name, a range, a
// path) are plain code in validate.go.
//
// One broken file never hides another: it becomes a Problem that names the file, and what it would
// have declared is unknown, which is not the same as absent (AppUnknown, ClusterUnknown). Only a
// repository that cannot be read, that is empty, or whose fleet.yaml is broken is an error of Load:
// then nothing can be said about any placement.
package fleet
