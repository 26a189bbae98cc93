package moves

import (
	"slices"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

// App is one app before and after a change.
type App struct {
	*fleet.App // as it is afterwards

	// Before and After are where it is placed.
	Before, After fleet.Placed
	// Forced is set if every cluster that it leaves is drained by force.
	Forced bool
	// Err says why the placement is not known; then the rest says nothing.
	Err error
}

// Of compares where an app is placed by two fleets. The app is declared in both.
func Of(before, after *fleet.Fleet, was, is *fleet.App) App {
	a := App{App: is}
	if a.Before, a.Err = before.Place(was); a.Err != nil {
		return a
	}
	if a.After, a.Err = after.Place(is); a.Err == nil {
		a.Forced = a.forced(after)
	}
	return a
}

// forced tells whether every cluster on which an app shrinks is drained by force.
func (a *App) forced(after *fleet.Fleet) bool {
	shrinking := false
	for _, m := range a.Moves() {
		if !m.Shrinks() {
			continue
		}
		shrinking = true
		c, ok := after.Cluster(m.Cluster)
		if !ok || m.Is {
			return false
		}
		if drain, drained := after.Drained(c); !drained || !drain.Force {
			return false
		}
	}
	return shrinking
}

// Move is how an app's place on one cluster changes.
type Move struct {
	Cluster string
	// Was and Is tell whether it is placed there before and after.
	Was, Is bool
	// Before and After are its shares of the replicas: 0 where it is not placed, nil where the manifests
	// say how many there are.
	Before, After *int32
}

// Shrinks tells whether the cluster provides less of the app afterwards, or may do so.
func (m Move) Shrinks() bool {
	switch {
	case !m.Was:
		return false
	case !m.Is:
		return true
	case m.After == nil:
		return false
	}
	return m.Before == nil || *m.After < *m.Before
}

// Moves lists the clusters on which something changes, by name.
func (a *App) Moves() (moves []Move) {
	names := slices.Concat(a.Before.Clusters, a.After.Clusters)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		m := Move{Cluster: name}
		m.Was, m.Before = share(a.Before, name)
		m.Is, m.After = share(a.After, name)
		if m.Was != m.Is || !equal(m.Before, m.After) {
			moves = append(moves, m)
		}
	}
	return moves
}

func share(p fleet.Placed, cluster string) (placed bool, n *int32) {
	_, placed = slices.BinarySearch(p.Clusters, cluster)
	if p.Replicas != nil {
		share := p.Replicas[cluster]
		n = &share
	}
	return placed, n
}

func equal(a, b *int32) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

// Stays lists the clusters on which nothing changes.
func (a *App) Stays() (names []string) {
	moves := a.Moves()
	for _, name := range a.After.Clusters {
		if !slices.ContainsFunc(moves, func(m Move) bool { return m.Cluster == name }) {
			names = append(names, name)
		}
	}
	return names
}

// Nowhere tells whether an app that ran somewhere has no cluster left. What runs on one cluster alone because
// it lies in that cluster's own folder is not meant to run elsewhere.
func (a *App) Nowhere() bool {
	return a.Err == nil && !a.Implicit && len(a.Before.Clusters) > 0 && len(a.After.Clusters) == 0
}

// KeepsRunning tells whether an app that has nowhere to go stays where it is: its gate waits for others to take
// over, and there are none.
func (a *App) KeepsRunning() bool {
	return a.Nowhere() && !a.Forced && a.Gate() != fleet.NoGate
}
