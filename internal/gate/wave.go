package gate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// Soaked tells whether the adopted content has proven itself on a cluster with these labels, which has
// been Ready with it since then (zero: it is not). If not yet, at is when it will have; zero if only
// something else can change that.
func Soaked(app *fleet.App, labels map[string]string, since, now time.Time) (soaked bool, at time.Time) {
	if since.IsZero() {
		return false, time.Time{}
	}
	if at = since.Add(soakOf(app, app.WaveOf(labels))); now.Before(at) {
		return false, at
	}
	return true, time.Time{}
}

func soakOf(app *fleet.App, wave int) time.Duration {
	if waves := app.Spec.Rollout.Waves; wave < len(waves) {
		return waves[wave].Soak.Duration
	}
	return 0
}

// wave finds the newest revision that this cluster may take: head and no hold if nothing is waited for,
// and "" if there is nothing newer than what is adopted.
func (in *Input) wave(c Content) (revision string, held *Held) {
	if slices.Contains(c.Proven, c.Head) {
		return in.Head, nil
	}
	if !c.SoaksUntil.IsZero() && in.awaited() {
		return "", in.asking(status.GateWave, nil,
			"lets commit %s soak until %s, for the waves after it; a revert to content that has proven itself here need not wait",
			short(c.Revision), stamp(c.SoaksUntil))
	}
	waves := in.before()
	if len(waves) == 0 {
		return in.Head, nil
	}
	if revision = in.provenByAll(waves); revision == in.Head {
		return in.Head, nil
	}
	if revision != "" && (in.descends(c.Revision, revision) || !c.Usable(revision)) {
		revision = ""
	}
	var waits []string
	earlier := slices.Concat(waves...)
	for _, cluster := range earlier {
		if in.provenBy(cluster) != in.Head {
			waits = append(waits, in.proving(cluster))
		}
	}
	return revision, in.asking(status.GateWave, earlier, "waits for earlier waves to prove commit %s: %s", short(in.Head), list(waits))
}

// awaited tells whether a later wave than this cluster's has a cluster.
func (in *Input) awaited() bool {
	self, ok := in.Fleet.Cluster(in.Cluster)
	return ok && slices.ContainsFunc(in.Placed.Clusters, func(name string) bool {
		c, ok := in.Fleet.Cluster(name)
		return ok && in.App.WaveOf(c.Labels) > in.App.WaveOf(self.Labels)
	})
}

// before lists the clusters of each wave before this cluster's that have the app at head. Waves without
// any are left out.
func (in *Input) before() [][]string {
	self, ok := in.Fleet.Cluster(in.Cluster)
	if !ok {
		return nil
	}
	waves := make([][]string, in.App.WaveOf(self.Labels))
	for _, name := range in.Placed.Clusters {
		if c, ok := in.Fleet.Cluster(name); ok {
			if k := in.App.WaveOf(c.Labels); k < len(waves) {
				waves[k] = append(waves[k], name)
			}
		}
	}
	return slices.DeleteFunc(waves, func(clusters []string) bool { return len(clusters) == 0 })
}

// provenByAll finds the newest revision that enough clusters of each wave have proven, at it or at a later
// one; "" if there is none. It is always one that a cluster has proven itself: that its successors are
// good says nothing of a revision that everybody has skipped.
func (in *Input) provenByAll(waves [][]string) string {
	newest := ""
	counts := make([]map[string]int, len(waves)) // of clusters, by the revision that they have proven
	for i, clusters := range waves {
		counts[i] = map[string]int{}
		for _, cluster := range clusters {
			counts[i][in.provenBy(cluster)]++
		}
	}
	for _, proven := range counts {
		for r := range proven {
			if in.descends(in.Head, r) && (newest == "" || r != newest && in.descends(r, newest)) && in.enough(waves, counts, r) {
				newest = r
			}
		}
	}
	return newest
}

// enough tells whether so many clusters of each wave have proven a revision, or a later one, that no more
// than rollout.maxFailures have not, and one has.
func (in *Input) enough(waves [][]string, counts []map[string]int, revision string) bool {
	for i, clusters := range waves {
		n := 0
		for r, of := range counts[i] {
			if in.descends(r, revision) {
				n += of
			}
		}
		if n < max(1, len(clusters)-in.App.Spec.Rollout.MaxFailures) {
			return false
		}
	}
	return true
}

// provenBy is the revision that a cluster has proven; "" if that is not known, or if it is not Ready with it
// any more.
func (in *Input) provenBy(cluster string) string {
	o := in.Others[cluster]
	app := o.app(in.App.Name)
	if app == nil || !o.Fresh || o.Problem != "" || !app.Ready && app.Revision == app.Proven {
		return ""
	}
	return app.Proven
}

// proving says why a cluster has not proven head.
func (in *Input) proving(cluster string) string {
	o := in.Others[cluster]
	app := o.app(in.App.Name)
	switch {
	case o.Report == nil || o.Problem != "":
		return in.missing(cluster)
	case !o.Fresh:
		return in.silent(cluster)
	case app == nil:
		return fmt.Sprintf("%s does not have the app yet (it has seen commit %s)", cluster, short(o.Report.Commit))
	}
	for _, gate := range []status.Gate{status.GateFreeze, status.GateDependsOn} {
		if slices.ContainsFunc(app.Held, func(h status.Held) bool { return h.Gate == gate }) {
			return fmt.Sprintf("%s is itself held by %s", cluster, gate)
		}
	}
	if !app.Ready || app.Since == nil {
		return fmt.Sprintf("%s is not Ready with commit %s%s", cluster, short(app.Revision), trouble(app))
	}
	if app.Revision != app.Proven {
		return fmt.Sprintf("%s is Ready with commit %s since %s and must stay so for its soak", cluster, short(app.Revision), stamp(*app.Since))
	}
	return fmt.Sprintf("%s has proven commit %s", cluster, short(app.Proven))
}

// newestProven is the newest revision that any other cluster has proven and that has a content for this
// one; head if there is none. It is no gate, so the report may be of any age.
func (in *Input) newestProven(usable func(string) bool) string {
	newest := ""
	for _, cluster := range slices.Sorted(maps.Keys(in.Others)) {
		app := in.Others[cluster].app(in.App.Name)
		if app == nil || !in.descends(in.Head, app.Proven) || newest != "" && !in.descends(app.Proven, newest) {
			continue
		}
		if app.Proven == in.Head || usable(app.Proven) {
			newest = app.Proven
		}
	}
	return cmp.Or(newest, in.Head)
}
