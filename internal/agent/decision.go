package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/apply"
	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gate"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// decision is what one compilation decides about each app: whether and with what share it runs here (place),
// with which content (adopt, keep), and what that makes of it for the engine (add). The decisions
// themselves are package gate's.
type decision struct {
	c      *compiler
	r      request
	commit string
	fleet  *fleet.Fleet
	self   *fleet.Cluster
	// standIn is set while commit only stands in for a head that cannot be used.
	standIn bool
	broken  map[string]brokenApp
	older   func(commit string) *render.Revision
	out     *compilation

	placings []placing // of the fleet's apps
	head     *render.ClusterResult
	holdings map[string]holding
	held     map[string][]gate.Held
}

// placing is what is enforced of one app here, and what head says.
type placing struct {
	gate.Placement
	placed fleet.Placed
	// atHead tells that head places the app here, by its last usable definition; err why that is not known.
	atHead bool
	err    error
	// decided is set if head decides; else what is here stays.
	decided bool
	// keptFor are the apps whose leaving it waits for.
	keptFor []string
}

// holding is why an app does not have the content of head.
type holding struct {
	// revision is the commit whose content it has instead, "" if there is none.
	revision string
	// err is why the content of head is not known.
	err error
	// nothing is set when the content of revision cannot be had either.
	nothing bool
}

// enforced is what the cluster has on record of an app.
func (r *request) enforced(app string) gate.Enforced {
	record, ok := r.records[app]
	present := r.apps[app].present
	switch {
	case record.Unknown, r.unrecorded && present:
		return gate.Enforced{Unknown: true, Present: present}
	case !ok:
		return gate.Enforced{Present: present}
	}
	return gate.Enforced{Placed: true, Share: record.Share, Present: present}
}

// place decides what of each app runs here. What head does not decide stays as it is.
func (d *decision) place(ctx context.Context) {
	d.placings = make([]placing, len(d.fleet.Apps))
	d.held = map[string][]gate.Held{}
	leaving := false
	for i, app := range d.fleet.Apps {
		p := &d.placings[i]
		now := d.r.enforced(app.Name)
		p.placed, p.err = d.fleet.Place(app)
		_, p.atHead = slices.BinarySearch(p.placed.Clusters, d.c.cluster)
		_, broken := d.broken[app.Name]
		switch {
		case broken, p.err != nil, d.standIn:
			p.Enforced = gate.Keep(app, now)
			continue
		case gate.Unchanged(d.c.cluster, app, p.placed, now): // as most are at most commits
			p.Placement = gate.Placement{Enforced: now, Commit: d.commit}
		default:
			p.Placement = gate.Enforce(d.input(ctx, app, p.placed), now)
		}
		p.decided = true
		leaving = leaving || now.Placed && !p.Placed
	}
	if leaving {
		d.follow(ctx)
	}
	for i := range d.placings {
		name, p := d.fleet.Apps[i].Name, &d.placings[i]
		d.hold(name, p.Held)
		d.out.gives = d.out.gives || p.decided && p.Held == nil && gate.Gives(d.r.enforced(name), p.Enforced)
	}
}

// follow keeps what others that are still here depend on.
func (d *decision) follow(ctx context.Context) {
	dependents := map[string][]string{}
	for _, app := range d.fleet.Apps {
		for _, on := range app.Spec.DependsOn {
			dependents[on] = append(dependents[on], app.Name)
		}
	}
	for again := true; again; { // what is kept may keep others
		again = false
		for i, app := range d.fleet.Apps {
			p := &d.placings[i]
			if !p.decided || p.Placed || len(dependents[app.Name]) == 0 {
				continue
			}
			here := slices.DeleteFunc(slices.Clone(dependents[app.Name]), func(name string) bool {
				return !d.placingOf(name).Placed && !d.r.apps[name].present
			})
			if p.Placement = gate.Follow(d.input(ctx, app, p.placed), d.r.enforced(app.Name), p.Placement, here); p.Placed {
				p.keptFor, again = here, true
			}
		}
	}
}

// placingOf finds the placing of an app; that of one which the fleet does not have is empty.
func (d *decision) placingOf(name string) *placing {
	i, ok := slices.BinarySearchFunc(d.fleet.Apps, name, func(a *fleet.App, name string) int { return strings.Compare(a.Name, name) })
	if !ok {
		return &placing{}
	}
	return &d.placings[i]
}

func (d *decision) hold(app string, held *gate.Held) {
	if held != nil {
		d.held[app] = append(d.held[app], *held)
	}
}

// input is what the gates are told of an app.
func (d *decision) input(ctx context.Context, app *fleet.App, placed fleet.Placed) gate.Input {
	return gate.Input{
		Cluster: d.c.cluster, Head: d.commit, Fleet: d.fleet, App: app, Placed: placed,
		Others: d.r.reports.others, Asked: d.r.reports.asked, Unread: d.r.reports.unread, Trouble: d.r.reports.trouble,
		NoReports: d.r.reports.never,
		Descends:  func(commit, ancestor string) bool { return d.c.lineage.descends(ctx, commit, ancestor) },
		NotPlaced: func(cluster, since string) bool { return d.notPlaced(ctx, app.Name, cluster, since) },
	}
}

// notPlaced tells whether it is known that no commit since then has placed the app on a cluster ("": on any but
// this one).
func (d *decision) notPlaced(ctx context.Context, app, cluster, since string) bool {
	clusters, known := d.c.placedSince(ctx, since, d.commit, app)
	if cluster != "" {
		return known && !clusters[cluster]
	}
	return known && (len(clusters) == 0 || len(clusters) == 1 && clusters[d.c.cluster])
}

// wantedAtHead is what is rendered to see what head wants: what head places here, with the share that is enforced.
func (d *decision) wantedAtHead(app string) (render.Enforced, bool) {
	p := d.placingOf(app)
	if !p.Placed || p.err != nil {
		return render.Enforced{}, false
	}
	return render.Enforced{Placed: p.atHead, Share: p.Share}, true
}

// adopt decides which content the apps that run here have.
func (d *decision) adopt(ctx context.Context) {
	d.holdings = map[string]holding{}
	for i := range d.head.Apps {
		a := &d.head.Apps[i]
		name := a.App.Name
		p, now := &d.placings[i], d.r.apps[name].adopted
		b, isBroken := d.broken[name]
		switch {
		case isBroken:
			d.holdings[name] = holding{now.Revision, fmt.Errorf("its app.yaml at head cannot be used, so what was adopted before stays: %s", b.problem), false}
		case a.Err != nil:
			d.out.desired.Incomplete = append(d.out.desired.Incomplete, fmt.Sprintf("app %q: %s", name, a.Err))
			d.holdings[name] = holding{revision: now.Revision, err: a.Err}
		case !p.Placed, p.atHead && !now.none() && now.Content == a.Content: // nothing changes
		case !p.atHead, d.standIn && !now.none() && now.Content != a.Content:
			d.holdings[name] = holding{revision: now.Revision}
		case d.standIn:
		default:
			in, c := d.input(ctx, a.App, a.Placement), d.content(ctx, a)
			adoption := gate.Adopt(in, c)
			d.hold(name, adoption.Held)
			if adoption.Held != nil && !c.SoaksUntil.IsZero() {
				d.out.again = earliest(d.out.again, c.SoaksUntil)
			}
			if adoption.Revision != d.commit {
				d.holdings[name] = holding{revision: adoption.Revision}
			}
		}
	}
	slices.Sort(d.out.desired.Incomplete)
}

// content is what the gates are told of an app's content.
func (d *decision) content(ctx context.Context, a *render.AppResult) gate.Content {
	k := d.r.apps[a.App.Name]
	c := gate.Content{
		Revision: k.adopted.Revision, Content: k.adopted.Content, Unknown: k.adopted.unknown, Head: a.Content, Proven: k.proven,
		Usable: func(revision string) bool {
			rev := d.older(revision)
			if rev == nil {
				return false
			}
			_, app := rev.Fleet.App(a.App.Name)
			_, cluster := rev.Fleet.Cluster(d.c.cluster)
			return app && cluster
		},
		Placed: func(app string) bool {
			return d.placingOf(app).atHead || d.resultOf(app) != nil && d.resultOf(app).Err != nil
		},
		Ready: func(app, revision string) bool { return d.ready(ctx, app, revision) },
	}
	if len(a.App.Spec.Rollout.Waves) > 0 {
		_, c.SoaksUntil = gate.Soaked(a.App, d.self.Labels, k.since, d.r.now)
	}
	return c
}

// ready tells whether an app is Ready here with its content of a revision, or of a later one.
func (d *decision) ready(ctx context.Context, app, revision string) bool {
	k := d.r.apps[app]
	if !k.ready {
		return false
	}
	if revision == d.commit {
		a := d.resultOf(app)
		return a != nil && a.Err == nil && a.Content != "" && k.adopted.Content == a.Content
	}
	return d.c.lineage.descends(ctx, k.adopted.Revision, revision)
}

// resultOf is what head renders of an app, nil if there is no such app.
func (d *decision) resultOf(app string) *render.AppResult {
	i, ok := slices.BinarySearchFunc(d.head.Apps, app, func(a render.AppResult, name string) int { return strings.Compare(a.App.Name, name) })
	if !ok {
		return nil
	}
	return &d.head.Apps[i]
}

// keep renders the apps that run here with other content than that of head. Those whose content cannot be had
// are marked in holdings.
func (d *decision) keep(ctx context.Context, req render.ClusterRequest) (map[string]*render.AppResult, error) {
	if len(d.holdings) == 0 {
		return nil, nil //nolint:nilnil // nothing is kept
	}
	revisions := map[string]*render.Revision{}
	some := *req.Fleet
	some.Apps = nil
	for _, app := range req.Fleet.Apps {
		h, ok := d.holdings[app.Name]
		if !ok || !d.placingOf(app.Name).Placed {
			continue
		}
		rev := d.older(h.revision)
		if rev == nil {
			d.out.uncertain = d.out.uncertain || h.revision != ""
			h.nothing = true
			d.holdings[app.Name] = h
			continue
		}
		revisions[app.Name] = rev
		some.Apps = append(some.Apps, app)
	}
	req.Fleet = &some
	req.Adopted = func(app string) (render.Revision, bool) { return *revisions[app], true }
	req.Enforced = func(app string) (render.Enforced, bool) {
		return render.Enforced{Placed: true, Share: d.placingOf(app).Share}, true
	}
	res, err := render.Cluster(ctx, req)
	if err != nil {
		return nil, err
	}
	kept := make(map[string]*render.AppResult, len(res.Apps))
	for i := range res.Apps {
		kept[res.Apps[i].App.Name] = &res.Apps[i]
	}
	return kept, nil
}

// add puts one app into the compilation. head is the app as head renders it, res as it is enforced.
func (d *decision) add(head, res *render.AppResult) {
	out, name := d.out, res.App.Name
	p := d.placingOf(name)
	h, keeps := d.holdings[name]
	out.desired.Apps = append(out.desired.Apps, apply.App{
		Name: name, Suspended: res.App.Spec.Suspend, Drift: res.App.Spec.Drift,
		Exclusive:     res.App.Gate() == fleet.Exclusive,
		HealthTimeout: res.App.Spec.Health.TimeoutOrDefault(),
	})
	app := &out.desired.Apps[len(out.desired.Apps)-1]
	if p.Share != nil {
		app.Divided = res.App.Spec.Replicas
	}
	ca := &compiledApp{
		app: res.App, placed: p.placed, defined: out.commit, promised: p.Commit, err: h.err, dependsOn: res.App.Spec.DependsOn,
		keptFor: p.keptFor,
	}
	if b, ok := d.broken[name]; ok {
		ca.defined = b.commit
	}
	if p.atHead {
		ca.wanted = head.Content
	}
	for _, held := range d.held[name] {
		ca.asks = ca.asks.And(held.Asks)
		if !held.Pending {
			ca.held = append(ca.held, held)
		}
	}
	switch {
	case p.Unknown, !p.Placed && head.Err != nil, p.Placed && keeps && (h.nothing || res.Err != nil):
		// Nothing is known of what should be here: what there is stays as it is.
		app.Unknown = true
		ca.adopted = d.r.apps[name].adopted
		if ca.err == nil {
			ca.err = res.Err
		}
	case !p.Placed:
		app.Leaves = p.atHead || d.fleet.Leaves(d.self, p.placed)
		if !p.atHead {
			if app.Exclusive {
				out.absent = append(out.absent, name)
			}
			return
		}
	default:
		d.take(app, ca, res)
	}
	if p.Placed || p.Unknown {
		out.enforced[name] = d.record(p, ca, d.r.records[name])
	}
	if keeps || !p.Placed {
		for _, id := range head.IDs() {
			out.desired.Claimed[id] = name
		}
	}
	out.apps[name] = ca
}

// take has an app run here as it was rendered.
func (d *decision) take(app *apply.App, ca *compiledApp, res *render.AppResult) {
	name := res.App.Name
	tell := func(text string) { d.out.notes = append(d.out.notes, note{name, text}) }
	if res.Placement.Short != "" && d.placingOf(name).atHead {
		tell(res.Placement.Short)
	}
	for _, w := range res.Warnings {
		tell(w)
	}
	app.Objects = res.Objects
	for _, e := range res.ObjectErrors {
		app.Invalid = append(app.Invalid, apply.ObjectError{ID: e.ID, Err: errors.New(e.Message)})
	}
	ca.adopted = adopted{Revision: res.Commit, Content: res.Content}
}

// record is what is stored of what is enforced of an app. The content is among it where it may be held back: an agent
// that was killed after it had adopted some must not go back to what it had before.
func (d *decision) record(p *placing, ca *compiledApp, before apply.AppRecord) apply.AppRecord {
	if p.Unknown {
		return apply.AppRecord{Unknown: true}
	}
	r := apply.AppRecord{Share: p.Share}
	_, frozen := d.fleet.Frozen(d.self)
	held := frozen || len(ca.app.Spec.Rollout.Waves) > 0 || len(ca.app.Spec.DependsOn) > 0
	if held && !ca.adopted.none() {
		r.Revision, r.Content = ca.adopted.Revision, ca.adopted.Content
		if before.Content == r.Content {
			r.Revision = before.Revision // has it as well, and saves a write at each commit
		}
	}
	return r
}

// earliest is the earlier of two times that are not zero.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
