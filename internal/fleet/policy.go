package fleet

import (
	"slices"
	"time"
)

// protectedKinds are those whose deletion loses data or much more than itself.
var protectedKinds = []string{"CustomResourceDefinition", "Namespace", "PersistentVolume", "PersistentVolumeClaim"}

// ProtectedKind tells whether objects of that kind are kept unless a permit names the kind. The API
// group is not asked for: another group's kind of the same name is kept too, which harms nobody.
func ProtectedKind(kind string) bool { return slices.Contains(protectedKinds, kind) }

// Permits tells whether an object of that kind, of the named app, may be deleted at that time although
// the brake holds or the kind is protected. A permit without kinds releases only unprotected kinds.
func (p Prune) Permits(app, kind string, at time.Time) bool {
	return slices.ContainsFunc(p.Permit, func(permit Permit) bool {
		if permit.App != app || at.After(permit.Until.Time) {
			return false
		}
		if len(permit.Kinds) == 0 {
			return !ProtectedKind(kind)
		}
		return slices.Contains(permit.Kinds, kind)
	})
}

// IgnoredFields lists the JSON pointers (RFC 6901) of the fields that are left to other managers in
// that object, in the order of the file and each once. namespace is "" for a cluster-scoped object.
func (d DriftPolicy) IgnoredFields(group, kind, namespace, name string) []string {
	var fields []string
	for _, ignore := range d.Ignore {
		if !anyOr(ignore.Group, group) || !anyOr(ignore.Kind, kind) || !anyOr(ignore.Namespace, namespace) || !anyOr(ignore.Name, name) {
			continue
		}
		for _, field := range ignore.Fields {
			if !slices.Contains(fields, field) {
				fields = append(fields, field)
			}
		}
	}
	return fields
}

// anyOr tells whether want is unset or equal to have.
func anyOr(want, have string) bool { return want == "" || want == have }

// WaveOf is the wave in which a cluster with these labels adopts new content: 0 for the first.
// Clusters in no wave come last, after all that are declared; without waves all are in wave 0.
func (a *App) WaveOf(clusterLabels map[string]string) int {
	for i := range a.Spec.Rollout.Waves {
		if a.Spec.Rollout.Waves[i].ClusterSelector.Matches(clusterLabels) {
			return i
		}
	}
	return len(a.Spec.Rollout.Waves)
}

// Leaves tells whether an app that is not placed on a cluster goes from there by failover: it is placed on
// others, or everything is to leave the cluster. Such deletions are not the business of the brake.
func (f *Fleet) Leaves(c *Cluster, placed Placed) bool {
	_, drained := f.Drained(c)
	return drained || c.State() != Active || len(placed.Clusters) > 0
}
