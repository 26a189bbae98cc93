package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/apply"
	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// compiler turns a commit into what this cluster should have.
type compiler struct {
	cluster  string
	instance string
	fleets   *fleet.Loader
	renderer *render.Renderer
	// tree returns an older commit's files.
	tree func(ctx context.Context, commit string) (tree.Tree, error)
	// resolve finds the scope of a kind on the API server, in any version if none is given.
	resolve func(ctx context.Context, gvk schema.GroupVersionKind) (kube.Resource, error)
	// stage is told how long each stage took.
	stage func(stage string, d time.Duration)

	// prepared is what was made of each app's objects last; one compilation at a time uses it.
	prepared map[string]*prepared
	ignore   map[object.ObjMetadata][]string
}

// request is what the loop asks for: a commit, and what decides which content is adopted.
type request struct {
	commit string
	tree   tree.Tree
	// good is the last commit whose fleet files could be used, "" if none is known. It stands in
	// for a commit whose files cannot.
	good string
	// apps is what is known of the apps on this cluster, by name.
	apps map[string]known
}

// known is what is known of one app on this cluster.
type known struct {
	// adopted is the content that it has here.
	adopted adopted
	// defined is the last commit that is known to have a usable file of it and to place it here; "" if none is.
	defined string
	// ready tells that it is Ready with the adopted content.
	ready bool
}

// compilation is the answer.
type compilation struct {
	commit string
	// good tells that the commit's own fleet files were used.
	good bool
	// labels are those of this cluster.
	labels map[string]string
	// uncertain is set when something could not be found out for a reason that may pass: the API server
	// or the Git server did not answer. It is worth compiling again.
	uncertain bool
	// desired is for the engine.
	desired apply.Desired
	// ignore are the fields of all apps that are left to others, by object.
	ignore map[object.ObjMetadata][]string
	// apps are those placed here, by name.
	apps map[string]*compiledApp
	// notes are what people should know about an app, though nothing failed.
	notes []note
	// errs are what is wrong with the commit as a whole, or with files of it.
	errs []error
	// unresolved are kinds that are not served, or could not be asked for: their scope is a guess.
	unresolved map[schema.GroupKind]bool
}

// compiledApp is one app that is placed here.
type compiledApp struct {
	// adopted is what is enforced; zero if nothing is (yet).
	adopted adopted
	// defined is the commit whose definition of the app is used: head, or an older one while the file is broken.
	defined string
	// wanted is the content of head, "" if that is not known.
	wanted string
	// held says which gate keeps the app from its content of head, and why.
	gate status.Gate
	held string
	// err is why the app's content of head is not known.
	err error
	// dependsOn are the apps it may wait for.
	dependsOn []string
}

// note is for people: about an app, in words.
type note struct{ app, text string }

// errNothing is returned when nothing at all is known about what the cluster should have.
var errNothing = errors.New("there is no usable commit")

// compile computes what the cluster should have at a commit. A commit whose fleet files cannot be
// used at all (fleet.yaml is broken, this cluster's file is gone) is replaced by the last good one,
// so that healing goes on; then, and whenever anything that head may declare is unknown, the result
// says so and nothing is pruned.
func (c *compiler) compile(ctx context.Context, r request) (*compilation, error) {
	out, err := c.at(ctx, r, r.commit, r.tree)
	if err == nil {
		out.good = true
		return out, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	bad := fmt.Errorf("commit %s cannot be used: %w", status.Short(r.commit), err)
	if r.good == "" || r.good == r.commit {
		return nil, errors.Join(errNothing, bad)
	}
	older, err := c.tree(ctx, r.good)
	if err != nil {
		return nil, errors.Join(errNothing, bad, fmt.Errorf("last good commit %s: %w", status.Short(r.good), err))
	}
	out, err = c.at(ctx, r, r.good, older)
	if err != nil {
		return nil, errors.Join(errNothing, bad, fmt.Errorf("last good commit %s: %w", status.Short(r.good), err))
	}
	out.errs = append(out.errs, bad)
	out.desired.Incomplete = append(out.desired.Incomplete, bad.Error())
	return out, nil
}

// at compiles one commit as head.
func (c *compiler) at(ctx context.Context, r request, commit string, t tree.Tree) (*compilation, error) {
	start := time.Now()
	f, err := c.fleets.Load(t)
	c.stage("load", time.Since(start))
	if err != nil {
		return nil, err
	}
	self, ok := f.Cluster(c.cluster)
	if !ok {
		return nil, missingCluster(f, c.cluster)
	}
	out := &compilation{commit: commit, labels: self.Labels, apps: make(map[string]*compiledApp, len(f.Apps))}
	out.desired = apply.Desired{
		Commit: commit, Prune: f.Settings.Spec.Prune, Claimed: map[object.ObjMetadata]string{}, Apps: make([]apply.App, 0, len(f.Apps)),
	}
	older := c.older(ctx)
	broken := restoreBroken(f, r, older, out)

	start = time.Now()
	req := render.ClusterRequest{Head: t, HeadCommit: commit, Fleet: f, Name: c.cluster, Instance: c.instance, Renderer: c.renderer}
	head, err := render.Cluster(ctx, req)
	if err != nil {
		return nil, err
	}
	c.retain(f)
	held := c.hold(head, f, self, r, broken, out)
	kept, err := c.keep(ctx, req, held, r, older, out)
	if err != nil {
		return nil, err
	}
	c.stage("render", time.Since(start))
	empties := empties(f, self)
	for i := range head.Apps {
		res := &head.Apps[i]
		if k := kept[res.App.Name]; k != nil {
			res = k
		}
		c.add(out, &head.Apps[i], res, held, broken, r, empties)
	}
	c.prepare(ctx, out)
	return out, nil
}

func missingCluster(f *fleet.Fleet, name string) error {
	for _, p := range f.Problems {
		if p.Kind == "Cluster" && p.Name == name {
			return errors.New(p.String())
		}
	}
	return fmt.Errorf("clusters/%s/cluster.yaml is not there: this cluster is not (or no longer) part of the fleet; what runs here is healed and nothing is pruned", name)
}

// older returns a function that finds an older commit with its fleet, nil if that cannot be had. Each is
// looked for once.
func (c *compiler) older(ctx context.Context) func(commit string) *render.Revision {
	found := map[string]*render.Revision{"": nil}
	return func(commit string) *render.Revision {
		rev, ok := found[commit]
		if ok {
			return rev
		}
		if t, err := c.tree(ctx, commit); err == nil {
			if f, err := c.fleets.Load(t); err == nil {
				rev = &render.Revision{Commit: commit, Tree: t, Fleet: f}
			}
		}
		found[commit] = rev
		return rev
	}
}

// retain lets the renderer forget the apps that are not in the fleet any more.
func (c *compiler) retain(f *fleet.Fleet) {
	apps := make(map[string]bool, len(f.Apps))
	for _, a := range f.Apps {
		apps[a.Name] = true
	}
	c.renderer.Retain(apps)
}

// brokenApp is an app whose file at head cannot be used.
type brokenApp struct {
	// commit is where its definition was found.
	commit string
	// problem is what is wrong with the file.
	problem fleet.Problem
}

// restoreBroken puts the last usable definition of every app that is known here, and whose file is broken,
// back into the fleet: the app goes on being healed, and says what is wrong with it. It returns these apps;
// what else is broken only means that the list of objects is not whole.
func restoreBroken(f *fleet.Fleet, r request, older func(commit string) *render.Revision, out *compilation) map[string]brokenApp {
	byName, byPath := map[string]fleet.Problem{}, map[string]fleet.Problem{}
	for _, p := range f.Problems {
		out.errs = append(out.errs, errors.New(p.String()))
		if p.Kind != fleet.KindApp {
			continue
		}
		if _, ok := f.App(p.Name); ok && p.Name != "" {
			continue // it is usable: only its dependsOn is wrong
		}
		out.desired.Incomplete = append(out.desired.Incomplete, p.String())
		if _, ok := byPath[p.Path]; !ok { // the first is enough
			byPath[p.Path], byName[p.Name] = p, p
		}
	}
	if len(byPath) == 0 {
		return nil
	}
	restored := map[string]brokenApp{}
	apps := slices.Clone(f.Apps)
	restore := func(name, commit string) {
		if _, ok := f.App(name); ok || restored[name].commit != "" {
			return
		}
		rev := older(commit)
		if rev == nil {
			return
		}
		app, ok := rev.Fleet.App(name)
		if !ok {
			return
		}
		problem, ok := byName[name]
		if !ok {
			problem, ok = byPath[app.Dir+"/app.yaml"]
		}
		if ok {
			restored[name] = brokenApp{commit, problem}
			apps = append(apps, app)
		}
	}
	for name, k := range r.apps {
		restore(name, k.defined)
		restore(name, k.adopted.Revision)
	}
	slices.SortFunc(apps, func(a, b *fleet.App) int { return strings.Compare(a.Name, b.Name) })
	f.Apps = apps
	return restored
}

// holding is why an app keeps its adopted content.
type holding struct {
	gate status.Gate
	why  string
	err  error
	// nothing is set when there is no older content either.
	nothing bool
}

// hold decides which apps do not adopt head.
func (c *compiler) hold(head *render.ClusterResult, f *fleet.Fleet, self *fleet.Cluster, r request, broken map[string]brokenApp, out *compilation) map[string]holding {
	atHead := func(name string) *render.AppResult {
		i, ok := slices.BinarySearchFunc(head.Apps, name, func(a render.AppResult, name string) int { return strings.Compare(a.App.Name, name) })
		if !ok {
			return nil
		}
		return &head.Apps[i]
	}
	g := gates{
		Placed: func(app string) bool { a := atHead(app); return a != nil && (a.Placed || a.Err != nil) },
		Ready: func(app string) bool {
			a, k := atHead(app), r.apps[app]
			return a != nil && a.Err == nil && a.Content != "" && k.ready && k.adopted.Content == a.Content
		},
	}
	if fr, ok := f.Frozen(self); ok {
		g.Frozen = &fr
	}
	held := map[string]holding{}
	for i := range head.Apps {
		a := &head.Apps[i]
		name := a.App.Name
		b, isBroken := broken[name]
		switch {
		case isBroken:
			held[name] = holding{err: fmt.Errorf("its app.yaml at head cannot be used, so what was adopted before stays: %s", b.problem)}
		case a.Err != nil:
			out.desired.Incomplete = append(out.desired.Incomplete, fmt.Sprintf("app %q: %s", name, a.Err))
			held[name] = holding{err: a.Err}
		case !a.Placed:
		default:
			if take, gate, why := adopt(a.App, r.apps[name].adopted, a.Content, g); !take {
				held[name] = holding{gate: gate, why: why}
			}
		}
	}
	slices.Sort(out.desired.Incomplete)
	return held
}

// keep renders the apps that are held with the content that they have. Those whose content cannot be had are
// marked in held.
func (c *compiler) keep(ctx context.Context, req render.ClusterRequest, held map[string]holding, r request, older func(commit string) *render.Revision, out *compilation) (map[string]*render.AppResult, error) {
	if len(held) == 0 {
		return nil, nil //nolint:nilnil // nothing is kept
	}
	revisions := map[string]*render.Revision{}
	some := *req.Fleet
	some.Apps = nil
	for _, app := range req.Fleet.Apps {
		h, ok := held[app.Name]
		if !ok {
			continue
		}
		now := r.apps[app.Name].adopted
		if rev := older(now.Revision); rev != nil {
			revisions[app.Name] = rev
		} else {
			out.uncertain = out.uncertain || !now.none()
			h.nothing = true
			held[app.Name] = h
		}
		some.Apps = append(some.Apps, app)
	}
	req.Fleet = &some
	req.Adopted = func(app string) (render.Revision, bool) {
		if rev := revisions[app]; rev != nil {
			return *rev, true
		}
		return render.Revision{}, false
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

// add puts one app into the compilation. head is the app as head renders it, res as it is enforced; empties
// tells that the fleet wants this cluster to be left.
func (c *compiler) add(out *compilation, head, res *render.AppResult, held map[string]holding, broken map[string]brokenApp, r request, empties bool) {
	name := res.App.Name
	h, keeps := held[name]
	out.desired.Apps = append(out.desired.Apps, apply.App{
		Name: name, Suspended: res.App.Spec.Suspend, Drift: res.App.Spec.Drift,
		HealthTimeout: res.App.Spec.Health.TimeoutOrDefault(),
	})
	app := &out.desired.Apps[len(out.desired.Apps)-1]
	ca := &compiledApp{defined: out.commit, wanted: head.Content, gate: h.gate, held: h.why, err: h.err, dependsOn: res.App.Spec.DependsOn}
	switch {
	case keeps && (h.nothing && res.Placed || res.Err != nil):
		// Nothing of its content is known here: what there is stays as it is.
		app.Unknown = true
		ca.adopted = r.apps[name].adopted
		if res.Err != nil && h.err == nil {
			ca.err = res.Err
		}
	case !res.Placed:
		// It goes by failover if it is placed on others, or the cluster is to be left by all.
		app.Leaves = empties || res.Err == nil && len(res.Placement.Clusters) > 0
		return
	default:
		if res.Placement.Short != "" {
			out.notes = append(out.notes, note{name, res.Placement.Short})
		}
		for _, text := range notHonoured(res.App, out.labels) {
			out.notes = append(out.notes, note{name, text})
		}
		for _, w := range res.Warnings {
			out.notes = append(out.notes, note{name, w})
		}
		app.Objects = res.Objects
		for _, e := range res.ObjectErrors {
			app.Invalid = append(app.Invalid, apply.ObjectError{ID: e.ID, Err: errors.New(e.Message)})
		}
		ca.adopted = adopted{Revision: res.Commit, Content: res.Content}
	}
	if b, ok := broken[name]; ok {
		ca.defined = b.commit
	}
	if res.HeadErr != nil && h.err == nil {
		out.desired.Incomplete = append(out.desired.Incomplete, fmt.Sprintf("app %q: %s", name, res.HeadErr))
	}
	if keeps {
		for _, id := range head.IDs() {
			out.desired.Claimed[id] = name
		}
	}
	out.apps[name] = ca
}

// notHonoured says which wishes of an app this version reads without acting on them.
func notHonoured(app *fleet.App, labels map[string]string) []string {
	var texts []string
	if n := len(app.Spec.Rollout.Waves); n > 0 {
		texts = append(texts, fmt.Sprintf("rollout.waves are not honoured by this version: this cluster is in wave %d of %d, and adopts new content at once",
			app.WaveOf(labels)+1, max(n, app.WaveOf(labels)+1)))
	}
	if gate := app.Spec.Failover.Gate; gate != "" && gate != fleet.NoGate {
		texts = append(texts, fmt.Sprintf("failover.gate %s is not honoured by this version: the app leaves a drained cluster, and starts elsewhere, at once", gate))
	}
	return texts
}

// empties tells whether the fleet wants a cluster to be left by everything.
func empties(f *fleet.Fleet, self *fleet.Cluster) bool {
	_, drained := f.Drained(self)
	return drained || self.State() != fleet.Active
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
