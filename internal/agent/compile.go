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
	"github.com/holdfast-dev/holdfast/internal/gate"
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
	// lineage answers what the gates ask of the branch.
	lineage *lineage
	// record stores what is to be enforced of all apps; at once if that is what the cluster has.
	record func(ctx context.Context, commit string, apps map[string]apply.AppRecord) error
	// resolve finds the scope of a kind on the API server, in any version if none is given.
	resolve func(ctx context.Context, gvk schema.GroupVersionKind) (kube.Resource, error)
	// stage is told how long each stage took.
	stage func(stage string, d time.Duration)

	// prepared is what was made of each app's objects last; one compilation at a time uses it.
	prepared map[string]*prepared
	ignore   map[object.ObjMetadata][]string
}

// request is what the loop asks for: a commit, and all that decides what of it is enforced and adopted.
type request struct {
	commit string
	tree   tree.Tree
	// good is the last commit whose fleet files could be used, "" if none is known. It stands in
	// for a commit whose files cannot.
	good string
	// apps is what is known of the apps on this cluster, by name.
	apps map[string]known
	// records is what the cluster has on record as enforced, by app. unrecorded is set if it has no such
	// records at all, so that nothing follows from an app's having none.
	records    map[string]apply.AppRecord
	unrecorded bool
	// reports is what other clusters say.
	reports reports
	now     time.Time
}

// known is what is known of one app on this cluster.
type known struct {
	// adopted is the content that it has here.
	adopted adopted
	// defined is the last commit that is known to have a usable file of it and to place it here; "" if none is.
	defined string
	// ready tells that it is Ready with the adopted content, since then; proven are contents that have soaked here.
	ready  bool
	since  time.Time
	proven []string
	// present tells that something of it is here.
	present bool
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
	// again is when time alone may open a gate; zero if it cannot.
	again time.Time
	// gives is set when something is to be here less, or no longer, because of what others have reported.
	gives bool
	// desired is for the engine.
	desired apply.Desired
	// ignore are the fields of all apps that are left to others, by object.
	ignore map[object.ObjMetadata][]string
	// apps are those that run here, are to run here, or are held here, by name.
	apps map[string]*compiledApp
	// absent are the Exclusive apps of which nothing is to be here: others wait to hear so.
	absent []string
	// enforced is what is to be enforced of the apps in Git, records what is on record as enforced of all apps.
	enforced, records map[string]apply.AppRecord
	// notes are what people should know about an app, though nothing failed.
	notes []note
	// errs are what is wrong with the commit as a whole, or with files of it.
	errs []error
	// unresolved are kinds that are not served, or could not be asked for: their scope is a guess.
	unresolved map[schema.GroupKind]bool
}

// adopted is the content that is enforced here for one app.
type adopted struct {
	// Revision is a commit that has this content.
	Revision string
	// Content is its hash.
	Content string
	// unknown is set instead of these when the app has been here before, and what was adopted could
	// not be found out.
	unknown bool
}

// none tells that there is no content to keep.
func (a adopted) none() bool { return a.Revision == "" }

// compiledApp is one app of this cluster.
type compiledApp struct {
	// app is its definition, nil if there is none: an app that has left.
	app *fleet.App
	// placed is where it runs at head.
	placed fleet.Placed
	// adopted is what is enforced; zero if nothing is (yet).
	adopted adopted
	// defined is the commit whose definition of the app is used: head, or an older one while the file is broken.
	defined string
	// promised is the commit by which its placement was decided, "" if nothing was.
	promised string
	// wanted is the content of head, "" if that is not known or head does not place it here.
	wanted string
	// held are the gates that hold it, and asks whose reports they wait for.
	held []gate.Held
	asks gate.Asks
	// err is why the app's content of head is not known.
	err error
	// dependsOn are the apps it may wait for, and keptFor those that it stays for until they have left.
	dependsOn, keptFor []string
}

// declares tells whether Git has an app.
func (c *compilation) declares(app string) bool {
	_, ok := slices.BinarySearchFunc(c.desired.Apps, app, func(a apply.App, name string) int { return strings.Compare(a.Name, name) })
	return ok
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
	out, err := c.at(ctx, r, r.commit, r.tree, false)
	if err == nil {
		out.good = true
		return c.recorded(ctx, r, out)
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
	out, err = c.at(ctx, r, r.good, older, true)
	if err != nil {
		return nil, errors.Join(errNothing, bad, fmt.Errorf("last good commit %s: %w", status.Short(r.good), err))
	}
	out.errs = append(out.errs, bad)
	out.desired.Incomplete = append(out.desired.Incomplete, bad.Error())
	return c.recorded(ctx, r, out)
}

// recordWithin is how long storing may take what other clusters have to provide for from then on.
const recordWithin = 30 * time.Second

// recorded stores what is to be enforced, before anybody acts on it.
func (c *compiler) recorded(ctx context.Context, r request, out *compilation) (*compilation, error) {
	out.records = out.enforced
	for name, a := range r.records {
		if _, ok := out.enforced[name]; ok {
			continue
		}
		// An app that is gone from Git keeps what is known of it until nothing of it is left.
		if r.apps[name].present && !out.declares(name) {
			out.records[name] = a
		}
	}
	head := ""
	if out.good {
		head = out.commit
	}
	if out.gives {
		// It was decided by reports of this moment. Who has taken over may be dead by the time that a server which does
		// not answer now has it on record.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, recordWithin)
		defer cancel()
	}
	if err := c.record(ctx, head, out.records); err != nil {
		return nil, fmt.Errorf("record what is to be enforced: %w", err)
	}
	return out, nil
}

// at compiles one commit as head. One that stands in for head decides nothing: what is enforced and adopted
// stays.
func (c *compiler) at(ctx context.Context, r request, commit string, t tree.Tree, standIn bool) (*compilation, error) {
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
	out := &compilation{
		commit: commit, labels: self.Labels, apps: make(map[string]*compiledApp, len(f.Apps)),
		enforced: make(map[string]apply.AppRecord, len(f.Apps)),
	}
	out.desired = apply.Desired{
		Commit: commit, Prune: f.Settings.Spec.Prune, Claimed: map[object.ObjMetadata]string{}, Apps: make([]apply.App, 0, len(f.Apps)),
	}
	older := c.older(ctx)
	d := &decision{
		c: c, r: r, commit: commit, fleet: f, self: self, standIn: standIn, older: older, out: out,
		broken: restoreBroken(f, r, older, out),
	}

	start = time.Now()
	d.place(ctx)
	req := render.ClusterRequest{
		Head: t, HeadCommit: commit, Fleet: f, Name: c.cluster, Instance: c.instance, Renderer: c.renderer, Enforced: d.wantedAtHead,
	}
	if d.head, err = render.Cluster(ctx, req); err != nil {
		return nil, err
	}
	c.retain(f)
	d.adopt(ctx)
	kept, err := d.keep(ctx, req)
	if err != nil {
		return nil, err
	}
	c.stage("render", time.Since(start))
	for i := range d.head.Apps {
		res := &d.head.Apps[i]
		if k := kept[res.App.Name]; k != nil {
			res = k
		}
		d.add(&d.head.Apps[i], res)
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

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
