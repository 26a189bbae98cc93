package gate

import (
	"slices"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// Enforced is the placement of the app that is enforced on this cluster, as its apply.AppRecord remembers it.
type Enforced struct {
	// Placed tells whether the app runs here.
	Placed bool
	// Share is how many of its replicas do; nil if they are not divided.
	Share *int32
	// Present tells whether the cluster's report, as it would be now, says that something of the app is
	// here: objects or replicas. Until then a decision to start may be taken back. In an answer it means nothing.
	Present bool
	// Unknown is set instead when the app is here and what was enforced could not be found out.
	Unknown bool
}

// Placement is what may be enforced.
type Placement struct {
	Enforced // Unknown: nothing of the app may be written or deleted here.
	// Commit is what the cluster may report as its placement, once Enforced is on record.
	Commit string
	// Held says what keeps the placement from being that of head; nil if nothing does.
	Held *Held
}

// Enforce decides which placement of the app may be enforced on this cluster, given the one that is. A
// cluster that head does not declare keeps what it has.
func Enforce(in Input, now Enforced) Placement {
	if _, ok := in.Fleet.Cluster(in.Cluster); !ok {
		return Placement{Enforced: Keep(in.App, now), Commit: in.Head}
	}
	next := in.wanted()
	held := (*Held)(nil)
	switch in.App.Gate() {
	case fleet.Exclusive:
		next, held = in.exclusive(now, next)
	case fleet.TakeoverHealthy:
		if held = in.takeover(now, next); held != nil {
			next = in.kept(now)
		}
	case fleet.NoGate:
	}
	return Placement{Enforced: next, Commit: in.Head, Held: held}
}

// Unchanged tells whether what is enforced of an app on a cluster is just what head wants, so that no gate need be asked.
func Unchanged(cluster string, app *fleet.App, placed fleet.Placed, now Enforced) bool {
	_, here := slices.BinarySearch(placed.Clusters, cluster)
	switch {
	case now.Unknown || now.Placed != here:
		return false
	case !here:
		return true
	case placed.Replicas == nil:
		return now.Share == nil && (now.Present || app.Gate() != fleet.Exclusive)
	}
	return now.Share != nil && *now.Share == placed.Replicas[cluster] && (now.Present || app.Gate() != fleet.Exclusive)
}

// Keep is what stays enforced while head decides nothing about the app here: it cannot be used, where the
// app is placed is unknown, or this cluster is gone from it. Only a start of an Exclusive app that has
// not begun does not begin any more, since the report at head says that nothing is there. app is the
// last known definition.
func Keep(app *fleet.App, now Enforced) Enforced {
	if app.Gate() == fleet.Exclusive && !now.Present && !now.Unknown {
		return Enforced{}
	}
	return now
}

// Follow holds an app that is to leave the cluster while others that depend on it are still here, whatever keeps
// them: they would serve without what they need. next is what may be enforced otherwise. It is not asked for an Exclusive
// app, which others wait to see gone, nor for a forced drain.
func Follow(in Input, now Enforced, next Placement, dependents []string) Placement {
	if next.Placed || next.Unknown || !now.Placed || len(dependents) == 0 || in.App.Gate() == fleet.Exclusive || in.forced() {
		return next
	}
	next.Enforced = in.kept(now)
	next.Held = in.asking(status.GateDependsOn, nil, "keeps running here while %s does, which depends on it. %s", list(dependents), in.leaveAnyway())
	return next
}

// wanted is the placement of head.
func (in *Input) wanted() Enforced {
	if !in.placedOn(in.Cluster) {
		return Enforced{}
	}
	want := Enforced{Placed: true}
	if in.Placed.Replicas != nil {
		share := in.Placed.Replicas[in.Cluster]
		want.Share = &share
	}
	return want
}

// kept is what stays enforced while a gate holds: never more than the whole total, which one cluster
// alone may always fall back to.
func (in *Input) kept(now Enforced) Enforced {
	if r := in.App.Spec.Replicas; now.Share != nil && r != nil {
		share := min(*now.Share, r.Total)
		now.Share = &share
	}
	return now
}

func (in *Input) placedOn(cluster string) bool {
	_, ok := slices.BinarySearch(in.Placed.Clusters, cluster)
	return ok
}

// nowhere holds an app that would be left without any cluster.
func (in *Input) nowhere(gate status.Gate) *Held {
	return in.asking(gate, nil, "keeps running here, since no cluster is left to take it over: %s. %s", in.Placed.Short, in.leaveAnyway())
}

// leaveAnyway names the way out of a hold that keeps an app on this cluster.
func (in *Input) leaveAnyway() string {
	if _, drained := in.drained(); drained {
		return "To leave without waiting, set force: true at the drain in fleet.yaml"
	}
	return "To go ahead without waiting, set failover.gate: None in the app.yaml"
}

// drained returns the line of fleet.yaml that drains this cluster, if there is one.
func (in *Input) drained() (fleet.Drain, bool) {
	self, ok := in.Fleet.Cluster(in.Cluster)
	if !ok {
		return fleet.Drain{}, false
	}
	return in.Fleet.Drained(self)
}

// forced tells whether a person has said that this cluster is not to wait.
func (in *Input) forced() bool {
	drain, drained := in.drained()
	return drained && drain.Force
}

// lost tells whether a person has declared a cluster dead.
func (in *Input) lost(cluster string) bool {
	c, ok := in.Fleet.Cluster(cluster)
	return ok && c.State() == fleet.Lost
}
