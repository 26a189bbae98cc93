package fleet

import (
	"slices"
	"strings"
)

// Fleet is what one commit of a fleet repository declares.
type Fleet struct {
	// Settings are those of fleet.yaml; without that file they are empty.
	Settings Settings
	// Clusters with a good file, sorted by name.
	Clusters []*Cluster
	// Apps with a good file, sorted by name, the implicit ones included.
	Apps []*App
	// Problems of single files, sorted by file and line. What a broken file declares is missing from
	// Clusters and Apps, and is unknown rather than absent: see AppUnknown and ClusterUnknown. An app
	// whose dependsOn is wrong has a Problem and is in Apps nevertheless, so that it is still healed.
	Problems []Problem

	// placer remembers placements; nil in a Fleet made by hand.
	placer *placer
}

// Cluster finds a cluster with a good file by its name.
func (f *Fleet) Cluster(name string) (*Cluster, bool) {
	i, ok := slices.BinarySearchFunc(f.Clusters, name, func(c *Cluster, name string) int { return strings.Compare(c.Name, name) })
	if !ok {
		return nil, false
	}
	return f.Clusters[i], true
}

// App finds an app with a good file by its name.
func (f *Fleet) App(name string) (*App, bool) {
	i, ok := slices.BinarySearchFunc(f.Apps, name, func(a *App, name string) int { return strings.Compare(a.Name, name) })
	if !ok {
		return nil, false
	}
	return f.Apps[i], true
}

// ClusterUnknown tells whether a cluster of that name has a file that cannot be used.
func (f *Fleet) ClusterUnknown(name string) bool {
	return slices.ContainsFunc(f.Problems, func(p Problem) bool { return p.Kind == KindCluster && p.Name == name })
}

// AppUnknown tells whether an app that is not in Apps may nevertheless be declared: a broken file has
// that name, or a name that cannot be read. Nothing of such an app may be pruned.
func (f *Fleet) AppUnknown(name string) bool {
	if _, ok := f.App(name); ok {
		return false
	}
	return slices.ContainsFunc(f.Problems, func(p Problem) bool { return p.Kind == KindApp && (p.Name == name || p.Name == "") })
}
