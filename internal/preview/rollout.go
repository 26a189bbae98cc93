package preview

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gate"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// Rollout is what an app's new content waits for, on the clusters that have the app already. It is empty where
// they all take it at once.
type Rollout struct {
	App string
	// Waves are those of clusters that get new content, in order; none if the app has no waves.
	Waves []Wave
	// Frozen are clusters that take no new content, by the reason that fleet.yaml gives.
	Frozen map[string][]string
	// After are the apps that change too and must be Ready with that first, on the same cluster.
	After []string
	// Nowhere are apps that it depends on and that are not placed on the cluster, so that it never takes new
	// content there, by cluster.
	Nowhere map[string]string
}

// Wave is the clusters of one wave.
type Wave struct {
	// Number counts from 1.
	Number   int
	Clusters []string
	// Soak is how long they prove the content for those that come after.
	Soak time.Duration
	// Stuck tells that the wave waits for a cluster that is frozen, and so until that ends.
	Stuck bool
}

// rollouts asks, for every app whose content changes, the gates that agents ask.
func (c *comparison) rollouts(clusters []compared) (all []Rollout) {
	changes := map[string]map[string]content{} // by app and cluster
	for i := range clusters {
		for _, change := range clusters[i].contents {
			if changes[change.app.Name] == nil {
				changes[change.app.Name] = map[string]content{}
			}
			changes[change.app.Name][clusters[i].Name] = change
		}
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		app, placed, _ := placed(c.head.Fleet, name)
		if app.Spec.Suspend {
			continue
		}
		r := Rollout{App: name, Frozen: map[string][]string{}, Nowhere: map[string]string{}}
		waves := map[int]*Wave{}
		for _, cluster := range slices.Sorted(maps.Keys(changes[name])) {
			c.waits(&r, waves, app, placed, cluster, changes)
		}
		for _, k := range slices.Sorted(maps.Keys(waves)) {
			r.Waves = append(r.Waves, *waves[k])
		}
		if len(r.Waves)+len(r.Frozen)+len(r.After)+len(r.Nowhere) > 0 {
			all = append(all, r)
		}
	}
	return all
}

// waits adds what one cluster waits for.
func (c *comparison) waits(r *Rollout, waves map[int]*Wave, app *fleet.App, placed fleet.Placed, cluster string, changes map[string]map[string]content) {
	in := gate.Input{
		Cluster: cluster, Head: c.head.Commit, Fleet: c.head.Fleet, App: app, Placed: placed,
		Descends: func(string, string) bool { return false },
	}
	change := changes[app.Name][cluster]
	ask := gate.Content{
		Revision: cmp.Or(c.base.Commit, "base"), Content: change.was, Head: change.is,
		Usable: func(string) bool { return true },
		Placed: func(other string) bool { return c.placedOn(other, cluster) },
		Ready: func(other, _ string) bool {
			_, changes := changes[other][cluster]
			return !changes
		},
	}
	held := gate.Adopt(in, ask).Held
	self, _ := c.head.Fleet.Cluster(cluster)
	if held != nil && held.Gate == status.GateFreeze {
		freeze, _ := c.head.Fleet.Frozen(self)
		r.Frozen[freeze.Reason] = append(r.Frozen[freeze.Reason], cluster)
		return
	}
	if declared := app.Spec.Rollout.Waves; len(declared) > 0 {
		k := app.WaveOf(self.Labels)
		w := waves[k]
		if w == nil {
			w = &Wave{Number: k + 1}
			if k < len(declared) {
				w.Soak = declared[k].Soak.Duration
			}
			waves[k] = w
		}
		w.Clusters = append(w.Clusters, cluster)
		if held != nil && held.Gate == status.GateWave {
			in.Others = c.proven(app, placed)
			held = gate.Adopt(in, ask).Held
			w.Stuck = w.Stuck || held != nil && held.Gate == status.GateWave
		}
	}
	if held == nil || held.Gate != status.GateDependsOn {
		return
	}
	for _, other := range app.Spec.DependsOn {
		switch {
		case !ask.Placed(other):
			r.Nowhere[cluster] = other
		case !ask.Ready(other, "") && !slices.Contains(r.After, other):
			r.After = append(r.After, other)
		}
	}
}

// proven is what the clusters report once each that may take new content has done so and proven it.
func (c *comparison) proven(app *fleet.App, placed fleet.Placed) map[string]gate.Observed {
	reports := map[string]gate.Observed{}
	for _, name := range placed.Clusters {
		cluster, ok := c.head.Fleet.Cluster(name)
		if !ok {
			continue
		}
		if _, frozen := c.head.Fleet.Frozen(cluster); frozen {
			continue
		}
		since := c.Now
		reports[name] = gate.Observed{Fresh: true, Report: &status.Report{Cluster: name, Time: c.Now, Commit: c.head.Commit, Apps: []status.App{{
			Name: app.Name, Revision: c.head.Commit, Placement: c.head.Commit, Proven: c.head.Commit, Ready: true, Since: &since,
		}}}}
	}
	return reports
}

// placedOn tells whether an app is placed on a cluster at head, or may be.
func (c *comparison) placedOn(app, cluster string) bool {
	_, placed, known := placed(c.head.Fleet, app)
	return !known || slices.Contains(placed.Clusters, cluster)
}

// causes says what changes in the settings of the fleet, of its clusters and of its apps.
func (c *comparison) causes() (lines []string) {
	where := map[string][]string{}
	for _, name := range c.clusterNames() {
		if c.Cluster != "" && c.Cluster != name {
			continue
		}
		was, before := c.base.Fleet.Cluster(name)
		is, after := c.head.Fleet.Cluster(name)
		for _, text := range c.clusterCauses(was, is, before, after) {
			where[text] = append(where[text], name)
		}
	}
	for _, text := range slices.Sorted(maps.Keys(where)) {
		lines = append(lines, text+": "+listed(where[text]))
	}
	for _, app := range c.head.Fleet.Apps {
		if _, before := c.base.Fleet.App(app.Name); before || app.Implicit {
			continue
		}
		if p, err := c.head.Fleet.Place(app); err == nil && len(p.Clusters) == 0 {
			lines = append(lines, fmt.Sprintf("app %s is new and runs nowhere: %s", app.Name, p.Short))
		}
	}
	lines = append(lines, c.appCauses()...)
	was, is := c.base.Fleet.Settings.Spec.Prune, c.head.Fleet.Settings.Spec.Prune
	if a, b := was.MaxPercentOrDefault(), is.MaxPercentOrDefault(); a != b {
		lines = append(lines, fmt.Sprintf("brake on deletions: maxPercent %d -> %d", a, b))
	}
	if a, b := was.MinObjectsOrDefault(), is.MinObjectsOrDefault(); a != b {
		lines = append(lines, fmt.Sprintf("brake on deletions: minObjects %d -> %d", a, b))
	}
	for _, p := range is.Permit {
		if !slices.ContainsFunc(was.Permit, func(q fleet.Permit) bool {
			return q.App == p.App && slices.Equal(q.Kinds, p.Kinds) && q.Until.Equal(p.Until.Time)
		}) {
			line := Permit{App: p.App, Kinds: p.Kinds, Until: p.Until.Time}.String()
			if p.Until.Before(c.Now) {
				line += ", which has run out"
			}
			lines = append(lines, "new permit: "+strings.TrimPrefix(line, "- "))
		}
	}
	return lines
}

func (c *comparison) clusterCauses(was, is *fleet.Cluster, before, after bool) (texts []string) {
	switch {
	case !before && after && !c.base.Fleet.ClusterUnknown(is.Name):
		return []string{"new cluster"}
	case !before || !after:
		return nil // a warning of the cluster says so
	}
	drain, drained := c.head.Fleet.Drained(is)
	old, wasDrained := c.base.Fleet.Drained(was)
	switch {
	case drained && (!wasDrained || old.Force != drain.Force):
		text := "drained"
		if drain.Force {
			text += " by force"
		}
		texts = append(texts, text+because(drain.Reason))
	case wasDrained && !drained:
		texts = append(texts, "no longer drained")
	}
	freeze, frozen := c.head.Fleet.Frozen(is)
	_, wasFrozen := c.base.Fleet.Frozen(was)
	switch {
	case frozen && !wasFrozen:
		texts = append(texts, "frozen"+because(freeze.Reason))
	case wasFrozen && !frozen:
		texts = append(texts, "no longer frozen")
	}
	if was.State() != is.State() {
		texts = append(texts, fmt.Sprintf("state %s -> %s", was.State(), is.State()))
	}
	if was.Weight() != is.Weight() {
		texts = append(texts, fmt.Sprintf("weight %d -> %d", was.Weight(), is.Weight()))
	}
	if !maps.Equal(was.Labels, is.Labels) {
		texts = append(texts, "labels changed")
	}
	if !maps.Equal(was.Spec.Vars, is.Spec.Vars) {
		texts = append(texts, "vars changed")
	}
	return texts
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + strings.Join(strings.Fields(reason), " ") + ")"
}
