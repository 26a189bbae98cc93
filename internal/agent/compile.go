package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/apply"
	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// compiler turns a commit into what this cluster should have.
type compiler struct {
	cluster  string
	instance string
	renderer *render.Renderer
	// tree returns an older commit's files.
	tree func(ctx context.Context, commit string) (tree.Tree, error)
	// resolve finds the scope of a kind on the API server.
	resolve func(ctx context.Context, gvk schema.GroupVersionKind) (kube.Resource, error)
	// stage is told how long each stage took.
	stage func(stage string, d time.Duration)
}

// request is what the loop asks for: a commit, and what decides which content is adopted.
type request struct {
	commit string
	tree   tree.Tree
	// good is the last commit whose fleet files could be used, "" if none is known. It stands in
	// for a commit whose files cannot.
	good string
	// adopted is the content that each app has here.
	adopted map[string]adopted
	// ready maps the apps that are Ready here to the content they are Ready with.
	ready map[string]string
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
	// apps are those placed here, by name.
	apps map[string]compiledApp
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
	// wanted is the content of head, "" if that is not known.
	wanted string
	// held says which gate keeps the app from its content of head, and why.
	gate status.Gate
	held string
	// err is why the app's content of head is not known.
	err error
	// invalid are objects that are wrong by themselves.
	invalid []render.ObjectError
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
	bad := fmt.Errorf("commit %s cannot be used: %w", short(r.commit), err)
	if r.good == "" || r.good == r.commit {
		return nil, errors.Join(errNothing, bad)
	}
	older, err := c.tree(ctx, r.good)
	if err != nil {
		return nil, errors.Join(errNothing, bad, fmt.Errorf("last good commit %s: %w", short(r.good), err))
	}
	out, err = c.at(ctx, r, r.good, older)
	if err != nil {
		return nil, errors.Join(errNothing, bad, fmt.Errorf("last good commit %s: %w", short(r.good), err))
	}
	out.errs = append(out.errs, bad)
	out.desired.Incomplete = append(out.desired.Incomplete, bad.Error())
	return out, nil
}

// at compiles one commit as head.
func (c *compiler) at(ctx context.Context, r request, commit string, t tree.Tree) (*compilation, error) {
	start := time.Now()
	f, err := fleet.Load(t)
	c.stage("load", time.Since(start))
	if err != nil {
		return nil, err
	}
	self, ok := f.Cluster(c.cluster)
	if !ok {
		return nil, missingCluster(f, c.cluster)
	}
	out := &compilation{commit: commit, labels: self.Labels, apps: map[string]compiledApp{}}
	out.desired = apply.Desired{Commit: commit, Prune: f.Settings.Spec.Prune, Claimed: map[object.ObjMetadata]string{}}
	broken := c.restoreBroken(ctx, f, r, out)

	start = time.Now()
	defer func() { c.stage("render", time.Since(start)) }()
	req := render.ClusterRequest{Head: t, HeadCommit: commit, Fleet: f, Name: c.cluster, Instance: c.instance, Renderer: c.renderer}
	head, err := render.Cluster(ctx, req)
	if err != nil {
		return nil, err
	}
	held := c.hold(head, f, self, r, broken, out)
	res := head
	if len(held) > 0 {
		older := c.revisions(ctx, held, r)
		req.Adopted = func(app string) (render.Revision, bool) { rev, ok := older[app]; return rev, ok }
		if res, err = render.Cluster(ctx, req); err != nil {
			return nil, err
		}
		for name, h := range held {
			if _, ok := older[name]; !ok {
				out.uncertain = out.uncertain || !r.adopted[name].none()
				held[name] = holding{gate: h.gate, why: h.why, nothing: true}
			}
		}
	}
	for i := range res.Apps {
		c.add(out, f, &head.Apps[i], &res.Apps[i], held, r)
	}
	c.scopes(ctx, out)
	for i := range out.desired.Apps {
		out.desired.Apps[i].Ignore = ignored(out.desired.Apps[i].Drift, out.desired.Apps[i].Objects)
	}
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

// restoreBroken puts the last good definition of every app whose file is broken back into the fleet,
// so that the app goes on being healed. It returns their names; what else is broken only means that
// the list of objects is not whole.
func (c *compiler) restoreBroken(ctx context.Context, f *fleet.Fleet, r request, out *compilation) map[string]bool {
	var dirs []string
	names := map[string]bool{}
	for _, p := range f.Problems {
		out.errs = append(out.errs, errors.New(p.String()))
		if p.Kind != "App" {
			continue
		}
		if _, ok := f.App(p.Name); ok && p.Name != "" {
			continue // it is usable: only its dependsOn is wrong
		}
		out.desired.Incomplete = append(out.desired.Incomplete, p.String())
		dirs = append(dirs, p.Path)
		names[p.Name] = true
	}
	restored := map[string]bool{}
	if len(dirs) == 0 {
		return restored
	}
	revisions := map[string]bool{}
	for _, a := range r.adopted {
		revisions[a.Revision] = true
	}
	if r.good != "" {
		revisions[r.good] = true
	}
	fleets := map[string]*fleet.Fleet{}
	for rev := range revisions {
		if t, err := c.tree(ctx, rev); err == nil {
			if old, err := fleet.Load(t); err == nil {
				fleets[rev] = old
			}
		}
	}
	for name, a := range r.adopted {
		if _, ok := f.App(name); ok {
			continue
		}
		old := fleets[a.Revision]
		if old == nil {
			continue
		}
		app, ok := old.App(name)
		if ok && (names[name] || slices.Contains(dirs, app.Dir+"/app.yaml")) {
			f.Apps = append(f.Apps, app)
			restored[name] = true
		}
	}
	slices.SortFunc(f.Apps, func(a, b *fleet.App) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
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
func (c *compiler) hold(head *render.ClusterResult, f *fleet.Fleet, self *fleet.Cluster, r request, broken map[string]bool, out *compilation) map[string]holding {
	byName := map[string]*render.AppResult{}
	for i := range head.Apps {
		byName[head.Apps[i].App.Name] = &head.Apps[i]
	}
	g := gates{
		Placed: func(app string) bool { a := byName[app]; return a != nil && (a.Placed || a.Err != nil) },
		Ready: func(app string) bool {
			a := byName[app]
			return a != nil && a.Err == nil && a.Content != "" && r.ready[app] == a.Content
		},
	}
	if fr, ok := f.Frozen(self); ok {
		g.Frozen = &fr
	}
	held := map[string]holding{}
	for name, a := range byName {
		switch {
		case broken[name]:
			held[name] = holding{err: errors.New("its app.yaml at head cannot be used; the content adopted before stays")}
		case a.Err != nil:
			out.desired.Incomplete = append(out.desired.Incomplete, fmt.Sprintf("app %q: %s", name, a.Err))
			held[name] = holding{err: a.Err}
		case !a.Placed:
		default:
			if take, gate, why := adopt(a.App, r.adopted[name], a.Content, g); !take {
				held[name] = holding{gate: gate, why: why}
			}
		}
	}
	slices.Sort(out.desired.Incomplete)
	return held
}

// revisions finds the adopted content of the apps that keep it.
func (c *compiler) revisions(ctx context.Context, held map[string]holding, r request) map[string]render.Revision {
	revs := map[string]render.Revision{}
	loaded := map[string]*render.Revision{}
	for name := range held {
		commit := r.adopted[name].Revision
		if commit == "" {
			continue
		}
		rev, ok := loaded[commit]
		if !ok {
			if t, err := c.tree(ctx, commit); err == nil {
				if f, err := fleet.Load(t); err == nil {
					rev = &render.Revision{Commit: commit, Tree: t, Fleet: f}
				}
			}
			loaded[commit] = rev
		}
		if rev != nil {
			revs[name] = *rev
		}
	}
	return revs
}

// add puts one app into the compilation. head is the app as head renders it, res as it is enforced.
func (c *compiler) add(out *compilation, f *fleet.Fleet, head, res *render.AppResult, held map[string]holding, r request) {
	name := res.App.Name
	h, keeps := held[name]
	app := apply.App{
		Name: name, Suspended: res.App.Spec.Suspend, Drift: res.App.Spec.Drift,
		HealthTimeout: res.App.Spec.Health.TimeoutOrDefault(),
	}
	ca := compiledApp{wanted: head.Content, gate: h.gate, held: h.why, err: h.err, dependsOn: res.App.Spec.DependsOn}
	switch {
	case keeps && (h.nothing || res.Err != nil):
		// Nothing of its content is known here: what there is stays as it is.
		app.Unknown = true
		ca.adopted = r.adopted[name]
		if res.Err != nil && h.err == nil {
			ca.err = res.Err
		}
	case !res.Placed:
		app.Leaves = leaves(f, res.App, c.cluster)
		out.desired.Apps = append(out.desired.Apps, app)
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
		app.Objects, ca.invalid = res.Objects, res.ObjectErrors
		ca.adopted = adopted{Revision: res.Commit, Content: res.Content}
	}
	if res.HeadErr != nil && h.err == nil {
		out.desired.Incomplete = append(out.desired.Incomplete, fmt.Sprintf("app %q: %s", name, res.HeadErr))
	}
	for _, e := range ca.invalid {
		app.Invalid = append(app.Invalid, apply.ObjectError{ID: e.ID, Err: errors.New(e.Message)})
	}
	if keeps {
		for _, id := range head.IDs() {
			out.desired.Claimed[id] = name
		}
	}
	out.desired.Apps = append(out.desired.Apps, app)
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

// ignored lists the fields that are left to others: those that the app's drift policy names, and the
// replicas of what an autoscaler scales.
func ignored(policy fleet.DriftPolicy, objects []render.Object) map[object.ObjMetadata][]string {
	var m map[object.ObjMetadata][]string
	for i := range objects {
		o := &objects[i]
		fields := policy.IgnoredFields(o.ID.GroupKind.Group, o.ID.GroupKind.Kind, o.ID.Namespace, o.ID.Name)
		if live.Scaled(o.ID.GroupKind) {
			if u, err := o.Unstructured(); err == nil {
				fields = append(fields, live.Implied(u)...)
			}
		}
		if len(fields) == 0 {
			continue
		}
		if m == nil {
			m = map[object.ObjMetadata][]string{}
		}
		m[o.ID] = fields
	}
	return m
}

// leaves tells whether an app that is not placed here goes by failover: the fleet says that this
// cluster is to be emptied, or the app is placed on others.
func leaves(f *fleet.Fleet, app *fleet.App, cluster string) bool {
	if self, ok := f.Cluster(cluster); ok {
		if _, drained := f.Drained(self); drained || self.State() != fleet.Active {
			return true
		}
	}
	p, err := f.Place(app)
	return err == nil && len(p.Clusters) > 0
}

// scopes fills in the namespace that a manifest may leave out ("default"), and drops the one that a
// cluster-scoped object must not have, so that ids are those of the live objects. A scope that could
// not be found out makes the list of objects unknown.
func (c *compiler) scopes(ctx context.Context, out *compilation) {
	defined := definedScopes(out.desired.Apps)
	known := map[schema.GroupVersionKind]*bool{}
	namespaced := func(o *render.Object) (is, ok bool) {
		gvk := o.GVK()
		if is, ok := defined[gvk.GroupKind()]; ok {
			return is, true
		}
		if b, ok := known[gvk]; ok {
			return b != nil && *b, b != nil
		}
		res, err := c.resolve(ctx, gvk)
		if err == nil {
			known[gvk] = &res.Namespaced
			return res.Namespaced, true
		}
		known[gvk] = nil
		out.uncertain = out.uncertain || !meta.IsNoMatchError(err)
		if out.unresolved == nil {
			out.unresolved = map[schema.GroupKind]bool{}
		}
		out.unresolved[gvk.GroupKind()] = true
		if !meta.IsNoMatchError(err) || o.ID.Namespace == "" {
			out.desired.Incomplete = append(out.desired.Incomplete, fmt.Sprintf("the scope of kind %s is not known: %s", gvk.Kind, kube.Explain(err)))
		}
		return false, false
	}
	for i := range out.desired.Apps {
		app := &out.desired.Apps[i]
		cloned := false
		for j := range app.Objects {
			is, ok := namespaced(&app.Objects[j])
			ns := app.Objects[j].ID.Namespace
			if !ok || is == (ns != "") {
				continue
			}
			if !cloned {
				app.Objects, cloned = slices.Clone(app.Objects), true // the cache has them too
			}
			app.Objects[j] = rescoped(app.Objects[j], is)
		}
	}
}

// rescoped gives an object the namespace "default", or none.
func rescoped(o render.Object, namespaced bool) render.Object {
	if namespaced {
		o.ID.Namespace = "default"
		return o
	}
	o.ID.Namespace = ""
	if u, err := o.Unstructured(); err == nil {
		u.SetNamespace("")
		if b, err := u.MarshalJSON(); err == nil {
			o.JSON = b
		}
	}
	return o
}

// definedScopes are the scopes of the kinds that the desired CustomResourceDefinitions define.
func definedScopes(apps []apply.App) map[schema.GroupKind]bool {
	m := map[schema.GroupKind]bool{}
	for i := range apps {
		for j := range apps[i].Objects {
			o := &apps[i].Objects[j]
			if o.ID.GroupKind.Kind != "CustomResourceDefinition" {
				continue
			}
			u, err := o.Unstructured()
			if err != nil {
				continue
			}
			spec, _ := u.Object["spec"].(map[string]any)
			names, _ := spec["names"].(map[string]any)
			group, _ := spec["group"].(string)
			kind, _ := names["kind"].(string)
			m[schema.GroupKind{Group: group, Kind: kind}] = spec["scope"] == "Namespaced"
		}
	}
	return m
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func short(commit string) string {
	if len(commit) > 12 {
		return commit[:12]
	}
	return commit
}
