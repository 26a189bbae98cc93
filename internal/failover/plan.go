package failover

import (
	"slices"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/moves"
)

// Plan is what a change of the drains moves.
type Plan struct {
	// Change is what is asked for.
	Change Change
	// Clusters are all of the fleet, by name.
	Clusters []ClusterChange
	// Apps are those that are placed differently, and those of which that is not known, by name.
	Apps []AppChange
	// Same is the number of apps that stay as they are.
	Same int
}

// ClusterChange is one cluster before and after.
type ClusterChange struct {
	*fleet.Cluster

	// Selected is set if the change is about this cluster.
	Selected bool
	// Before and After say what the cluster gets.
	Before, After Load
	// Drain is the line that drains it afterwards, if Drained.
	Drain   fleet.Drain
	Drained bool
}

// Load is what one cluster gets.
type Load struct {
	// Free is set if the cluster may run apps.
	Free bool
	// Apps is the number of apps, without those whose placement is not known.
	Apps int
	// Replicas is the sum of its shares of divided replicas.
	Replicas int64
}

// AppChange is one app before and after.
type AppChange struct {
	moves.App

	// RoomBefore and RoomAfter are the weights of all clusters that may run it.
	RoomBefore, RoomAfter int64
}

// NewPlan compares a fleet with itself after a change of its drains. It depends on its arguments alone.
func NewPlan(change Change, before *fleet.Fleet, settings fleet.Settings) *Plan {
	changed := *before
	changed.Settings = settings
	after := &changed

	p := &Plan{Change: change}
	index := map[string]int{}
	for i, c := range before.Clusters {
		index[c.Name] = i
		cc := ClusterChange{Cluster: c, Selected: change.selects(c.Labels)}
		_, drained := before.Drained(c)
		cc.Drain, cc.Drained = after.Drained(c)
		cc.Before.Free = c.State() == fleet.Active && !drained
		cc.After.Free = c.State() == fleet.Active && !cc.Drained
		p.Clusters = append(p.Clusters, cc)
	}
	for _, app := range before.Apps {
		a := AppChange{App: moves.Of(before, after, app, app)}
		if a.Err != nil {
			p.Apps = append(p.Apps, a)
			continue
		}
		for _, name := range a.Before.Clusters {
			p.Clusters[index[name]].Before.add(a.Before.Replicas[name])
		}
		for _, name := range a.After.Clusters {
			p.Clusters[index[name]].After.add(a.After.Replicas[name])
		}
		if len(a.Moves()) == 0 {
			p.Same++
			continue
		}
		a.RoomBefore, a.RoomAfter = room(before, app), room(after, app)
		p.Apps = append(p.Apps, a)
	}
	return p
}

func (l *Load) add(replicas int32) {
	l.Apps++
	l.Replicas += int64(replicas)
}

// room is the weight of all clusters that may run an app, however many of them it asks for.
func room(f *fleet.Fleet, app *fleet.App) (weight int64) {
	everywhere := *app
	everywhere.Spec.Placement.Clusters, everywhere.Spec.Replicas = nil, nil
	placed, err := f.Place(&everywhere)
	if err != nil {
		return 0
	}
	for _, name := range placed.Clusters {
		if c, ok := f.Cluster(name); ok {
			weight += int64(c.Weight())
		}
	}
	return weight
}

// Nowhere lists the apps that ran somewhere and have no cluster left.
func (p *Plan) Nowhere() []AppChange {
	return p.only(func(a *AppChange) bool { return a.Nowhere() })
}

// Unknown lists the apps whose placement is not known.
func (p *Plan) Unknown() []AppChange {
	return p.only(func(a *AppChange) bool { return a.Err != nil })
}

// Selected lists the clusters that the change is about.
func (p *Plan) Selected() (names []string) {
	for _, c := range p.Clusters {
		if c.Selected {
			names = append(names, c.Name)
		}
	}
	return names
}

// Turned lists the clusters that are drained or brought back by the change; those that it is about and
// that another line of fleet.yaml or their own state keeps empty anyway are not among them.
func (p *Plan) Turned() (names []string) {
	for _, c := range p.Clusters {
		if c.Before.Free != c.After.Free {
			names = append(names, c.Name)
		}
	}
	return names
}

func (p *Plan) only(keep func(*AppChange) bool) []AppChange {
	return slices.DeleteFunc(slices.Clone(p.Apps), func(a AppChange) bool { return !keep(&a) })
}
