package preview

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/moves"
)

// appCauses says what changes in the settings of apps that both commits declare, a line each: those that no object
// shows. Where an app goes and how its replicas are divided is told by how it moves.
func (c *comparison) appCauses() (lines []string) {
	for _, name := range c.appNames() {
		was, before := c.base.Fleet.App(name)
		is, after := c.head.Fleet.App(name)
		if !before || !after || was == is || !c.concerns(name) {
			continue
		}
		for _, text := range settings(was, is) {
			lines = append(lines, fmt.Sprintf("app %s: %s", name, text))
		}
	}
	return lines
}

// concerns tells whether an app may be on the cluster that is looked at, if that is one alone.
func (c *comparison) concerns(app string) bool {
	if c.Cluster == "" {
		return true
	}
	for _, f := range []*fleet.Fleet{c.base.Fleet, c.head.Fleet} {
		if _, p, known := placed(f, app); !known || slices.Contains(p.Clusters, c.Cluster) {
			return true
		}
	}
	return false
}

// settings says what an app's two versions have different settings of.
func settings(was, is *fleet.App) (texts []string) {
	add := func(format string, args ...any) { texts = append(texts, fmt.Sprintf(format, args...)) }
	a, b := &was.Spec, &is.Spec
	switch {
	case b.Suspend && !a.Suspend:
		add("suspended: nothing of it is written or healed any more")
	case a.Suspend && !b.Suspend:
		add("no longer suspended")
	}
	if before, after := a.Drift.ModeOrDefault(), b.Drift.ModeOrDefault(); before != after {
		add("drift.mode %s -> %s: %s", before, after, map[fleet.DriftMode]string{
			fleet.Correct: "fields that Git sets are put back, and what people add is left",
			fleet.Strict:  "fields that people add are removed too",
			fleet.Detect:  "drift is reported and not undone",
		}[after])
	}
	if !same(a.Drift.Ignore, b.Drift.Ignore) {
		add("drift.ignore has changed, %s: other fields are left to others", moves.Figures(len(a.Drift.Ignore), len(b.Drift.Ignore)))
	}
	if before, after := was.Gate(), is.Gate(); before != after {
		add("failover.gate %s -> %s: %s", before, after, map[fleet.Gate]string{
			fleet.TakeoverHealthy: "it leaves a cluster when others have taken over",
			fleet.Exclusive:       "it stops on one cluster before it starts on another",
			fleet.NoGate:          "it leaves a cluster at once",
		}[after])
	}
	if before, after := a.Failover.SoakOrDefault(), b.Failover.SoakOrDefault(); before != after {
		add("failover.soak %s -> %s", before, after)
	}
	if !same(a.Rollout.Waves, b.Rollout.Waves) {
		add("rollout.waves has changed, %s: new content takes another order", moves.Figures(len(a.Rollout.Waves), len(b.Rollout.Waves)))
	}
	if before, after := a.Rollout.MaxFailures, b.Rollout.MaxFailures; before != after {
		add("rollout.maxFailures %d -> %d", before, after)
	}
	if !same(a.DependsOn, b.DependsOn) {
		add("dependsOn %s -> %s", listed(a.DependsOn), listed(b.DependsOn))
	}
	if before, after := a.Health.TimeoutOrDefault(), b.Health.TimeoutOrDefault(); before != after {
		add("health.timeout %s -> %s", before, after)
	}
	return texts
}

// same compares two lists, of which none is the same as an empty one.
func same[T any](a, b []T) bool { return len(a)+len(b) == 0 || reflect.DeepEqual(a, b) }

// suspended says which apps are suspended or no longer are, by cluster: of those that are so before and after too
// the ones that may differ. It is a warning, since otherwise nothing of a cluster would tell that what runs there is
// on its own, or is about to change.
func (c *comparison) suspended(affected map[string][]string) map[string][]string {
	texts := map[string][]string{}
	for _, name := range c.appNames() {
		was, _ := c.base.Fleet.App(name)
		is, declared := c.head.Fleet.App(name)
		already := was != nil && was.Spec.Suspend
		if !declared || !already && !is.Spec.Suspend {
			continue
		}
		_, before, _ := placed(c.base.Fleet, name)
		_, after, _ := placed(c.head.Fleet, name)
		for _, cluster := range union(before.Clusters, after.Clusters) {
			if _, there := c.head.Fleet.Cluster(cluster); !there {
				continue // its own warning says what becomes of it
			}
			switch _, differs := slices.BinarySearch(affected[cluster], name); {
			case !is.Spec.Suspend:
				texts[cluster] = append(texts[cluster], fmt.Sprintf("app %q is no longer suspended: it catches up with all that has changed meanwhile", name))
			case !already || differs:
				texts[cluster] = append(texts[cluster], fmt.Sprintf("app %q is suspended: nothing of it is written, healed or deleted", name))
			}
		}
	}
	return texts
}
