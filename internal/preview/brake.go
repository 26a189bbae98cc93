package preview

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/apply"
	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// Cause is why deletions are held.
type Cause string

// The causes.
const (
	// Brake: the commit deletes too many of the cluster's objects, or all.
	Brake Cause = "brake"
	// Protected: the kind is one that a permit has to name.
	Protected Cause = "protected"
	// Incomplete: what head declares is not fully known, so nothing is deleted.
	Incomplete Cause = "incomplete"
	// Suspended: nothing of the app is touched.
	Suspended Cause = "suspended"
)

// Hold is deletions of one app on one cluster that the agent holds for the same reason.
type Hold struct {
	App   string
	Cause Cause
	// Why is the agent's own account.
	Why string
	// Objects are sorted.
	Objects []object.ObjMetadata
}

// kinds are those of the objects, sorted.
func (h *Hold) kinds() (kinds []string) {
	for _, id := range h.Objects {
		kinds = append(kinds, id.GroupKind.Kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// first is how many apps are rendered at first to find out whether the brake holds.
const first = 8

// foresee asks the agent's engine which deletions it would hold. before and after are the apps that differ. The
// brake may need to know how much else there is: more apps only make it less likely to hold, so they are rendered
// until it does not, or until there are no more.
func (c *comparison) foresee(ctx context.Context, name string, apps []string, before, after *render.ClusterResult) ([]Hold, error) {
	var rest []string
	for _, app := range c.head.Fleet.Apps {
		if _, differs := slices.BinarySearch(apps, app.Name); differs {
			continue
		}
		if _, placed, known := placed(c.head.Fleet, app.Name); !known || slices.Contains(placed.Clusters, name) {
			rest = append(rest, app.Name)
		}
	}
	for n := first; ; n *= 2 {
		holds := c.holds(name, apps, before, after)
		if len(rest) == 0 || !slices.ContainsFunc(holds, func(h Hold) bool { return h.Cause == Brake }) {
			return holds, nil
		}
		more := rest[:min(n, len(rest))]
		rest = rest[len(more):]
		same, err := c.head.render(ctx, name, more, 1)
		if err != nil {
			return nil, err
		}
		before = &render.ClusterResult{Apps: slices.Concat(before.Apps, same.Apps)}
		after = &render.ClusterResult{Apps: slices.Concat(after.Apps, same.Apps)}
	}
}

// holds lets an engine that has what base declares take over what head declares.
func (c *comparison) holds(name string, apps []string, before, after *render.ClusterResult) (holds []Hold) {
	was, is := c.base.desired(name, apps, before), c.head.desired(name, apps, after)
	records := map[object.ObjMetadata]apply.Record{}
	for _, app := range was.Apps {
		for _, o := range app.Objects {
			records[o.ID] = apply.Record{App: app.Name, Hash: o.Hash, Fingerprint: settled, Current: true, Commit: c.base.Commit}
		}
	}
	engine := apply.NewEngine(instance, records)
	engine.SetDesired(was, c.Now)
	for _, app := range was.Apps {
		for _, o := range app.Objects {
			engine.Observe(live.View{
				ID: o.ID, UID: types.UID(o.ID.String()), ResourceVersion: "1", Fingerprint: settled, Status: status.CurrentStatus,
				Instance: instance, App: app.Name, Annotations: o.Annotations,
			}, c.Now)
		}
	}
	engine.SetDesired(is, c.Now)
	engine.Next(c.Now, 0) // nothing is to be done, but everything is decided about

	ids := map[string]object.ObjMetadata{} // as the manifests have them
	for i := range before.Apps {
		for j := range before.Apps[i].Objects {
			id := before.Apps[i].Objects[j].ID
			ids[render.Name(liveID(id))] = id
		}
	}
	for _, app := range was.Apps {
		for _, held := range engine.State(app.Name, c.Now).Held {
			if held.Expected {
				continue // it happens by itself
			}
			h := Hold{App: app.Name, Why: held.Reason}
			for _, name := range held.Objects {
				h.Objects = append(h.Objects, ids[name])
			}
			h.Cause = cause(app.Name, h.Objects[0].GroupKind.Kind, &is) // one reason, one cause
			slices.SortFunc(h.Objects, compareIDs)
			holds = append(holds, h)
		}
	}
	slices.SortStableFunc(holds, func(a, b Hold) int { return strings.Compare(a.App, b.App) })
	return holds
}

// settled is the fingerprint of objects that are as they should be.
const settled = "as applied"

// desired is what an agent gives its engine of some apps, once no gate holds any more.
func (s *side) desired(cluster string, apps []string, res *render.ClusterResult) apply.Desired {
	d := apply.Desired{Commit: s.Commit, Prune: s.Fleet.Settings.Spec.Prune, Incomplete: incomplete(s.Fleet)}
	self, ok := s.Fleet.Cluster(cluster)
	if !ok {
		return d
	}
	for i := range res.Apps {
		a := &res.Apps[i]
		app := apply.App{
			Name: a.App.Name, Suspended: a.App.Spec.Suspend, Drift: a.App.Spec.Drift,
			Exclusive: a.App.Gate() == fleet.Exclusive, HealthTimeout: a.App.Spec.Health.TimeoutOrDefault(),
		}
		switch {
		case a.Err != nil:
			app.Unknown = true
			d.Incomplete = append(d.Incomplete, fmt.Sprintf("app %q: %s", app.Name, strings.TrimPrefix(a.Err.Error(), fmt.Sprintf("app %q: ", app.Name))))
		case !a.Placed:
			app.Leaves = s.Fleet.Leaves(self, a.Placement)
		default:
			app.Objects = slices.Clone(a.Objects)
			for j := range app.Objects {
				app.Objects[j].ID = liveID(app.Objects[j].ID)
			}
			for _, e := range a.ObjectErrors {
				app.Invalid = append(app.Invalid, apply.ObjectError{ID: liveID(e.ID), Err: errors.New(e.Message)})
			}
		}
		d.Apps = append(d.Apps, app)
	}
	for _, name := range apps {
		if s.Fleet.AppUnknown(name) {
			d.Apps = append(d.Apps, apply.App{Name: name, Unknown: true})
		}
	}
	return d
}

// incomplete lists the files that leave an app unknown.
func incomplete(f *fleet.Fleet) (why []string) {
	for _, p := range f.Problems {
		if p.Kind != fleet.KindApp {
			continue
		}
		if _, usable := f.App(p.Name); !usable {
			why = append(why, p.String())
		}
	}
	return why
}

// cause tells what releases a held deletion.
func cause(app, kind string, head *apply.Desired) Cause {
	i := slices.IndexFunc(head.Apps, func(a apply.App) bool { return a.Name == app })
	switch {
	case i >= 0 && head.Apps[i].Suspended:
		return Suspended
	case len(head.Incomplete) > 0:
		return Incomplete
	case fleet.ProtectedKind(kind):
		return Protected
	}
	return Brake
}

// note marks the objects that are held.
func (c *Cluster) note() {
	held := map[object.ObjMetadata]Cause{}
	for _, h := range c.Holds {
		for _, id := range h.Objects {
			held[id] = h.Cause
		}
	}
	for i := range c.Apps {
		for j := range c.Apps[i].Objects {
			if o := &c.Apps[i].Objects[j]; o.Action == Delete {
				o.Held = held[o.ID]
			}
		}
	}
}

// Permit is an entry of spec.prune.permit in fleet.yaml that releases what is held.
type Permit struct {
	App   string
	Kinds []string
	Until time.Time
}

// cause is what it releases.
func (p Permit) cause() Cause {
	if len(p.Kinds) == 0 {
		return Brake
	}
	return Protected
}

// permitted is for how long a permit is proposed: long enough for a commit to reach every cluster.
const permitted = 7 * 24 * time.Hour

// String is the line to paste.
func (p Permit) String() string {
	kinds := ""
	if len(p.Kinds) > 0 {
		kinds = ", kinds: [" + strings.Join(p.Kinds, ", ") + "]"
	}
	return fmt.Sprintf("- {app: %s%s, until: %s}", p.App, kinds, p.Until.UTC().Format(time.DateOnly))
}

// permits are what releases the deletions that are held on some clusters: one permit for what the brake holds
// of an app, which leaves protected kinds out, and one that names those. The former come first.
func permits(clusters []Cluster, now time.Time) (all []Permit) {
	braked, kinds := map[string]bool{}, map[string][]string{}
	for i := range clusters {
		for _, h := range clusters[i].Holds {
			switch h.Cause {
			case Brake:
				braked[h.App] = true
			case Protected:
				kinds[h.App] = append(kinds[h.App], h.kinds()...)
			case Incomplete, Suspended: // no permit releases these
			}
		}
	}
	for _, app := range slices.Sorted(maps.Keys(braked)) {
		all = append(all, Permit{App: app, Until: now.Add(permitted)})
	}
	for _, app := range slices.Sorted(maps.Keys(kinds)) {
		named := kinds[app]
		slices.Sort(named)
		all = append(all, Permit{App: app, Kinds: slices.Compact(named), Until: now.Add(permitted)})
	}
	return all
}
