package render

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// ErrUnknownCluster is returned for a cluster that the commit does not declare (or whose file is
// broken). It is then unknown what the cluster should run: nothing may be pruned.
var ErrUnknownCluster = errors.New("the cluster is not declared in the fleet")

// ClusterRequest asks for the desired state of one cluster.
type ClusterRequest struct {
	// Head is the newest verified commit: it alone decides placement.
	Head       tree.Tree
	HeadCommit string
	// Fleet is what Head declares.
	Fleet *fleet.Fleet
	// Name is the cluster's name.
	Name string
	// Adopted returns the older revision at which an app's content is held, false for head.
	// nil means head for all.
	Adopted func(app string) (Revision, bool)
	// Enforced returns what of an app is to run here where that is not what head says, false where it is.
	// nil means head for all.
	Enforced func(app string) (Enforced, bool)
	// Instance is the value of LabelInstance.
	Instance string
	// Parallel bounds how many apps are built at once; 0 means one per core.
	Parallel int
	// Renderer holds the cache; nil builds everything.
	Renderer *Renderer

	// own is what the requests for all apps have in common.
	own Request
}

// Enforced is whether an app runs on the cluster, and with how many of its replicas: nil if they are not
// divided.
type Enforced struct {
	Placed bool
	Share  *int32
}

// Revision is one commit of the fleet repository.
type Revision struct {
	Commit string
	Tree   tree.Tree
	// Fleet is what Tree declares.
	Fleet *fleet.Fleet
}

// ClusterResult is the desired state of one cluster.
type ClusterResult struct {
	// Apps are all apps of the fleet, sorted by name, placed here or not.
	Apps []AppResult
}

// Duplicate is one object that several apps declare. The namespace "default" is left out of its ID.
type Duplicate struct {
	ID   object.ObjMetadata
	Apps []string
}

// AppResult is what one app should have on the cluster.
type AppResult struct {
	// App is head's definition.
	App *fleet.App
	// Enforced is whether the app runs here, and with what share. It means nothing if Err is set.
	Enforced
	// Placement is where the app runs at head, on this cluster or not.
	Placement fleet.Placed
	// Commit is the revision that Objects come from.
	Commit string
	// Overlay, Objects, ObjectErrors, Content and Warnings are those of Result; empty if the app
	// is not placed here.
	Overlay      string
	Objects      []Object
	ObjectErrors []ObjectError
	Content      string
	Warnings     []string
	// Built tells that the app was built now, not taken from the cache.
	Built bool
	// Err says why nothing is known of this app here: neither placement nor objects. Nothing of
	// it may be applied or pruned. Other apps are not touched by it.
	Err error
}

// IDs are all ids that the app should have here: good objects and those with an error.
func (a *AppResult) IDs() []object.ObjMetadata { return ids(a.Objects, a.ObjectErrors) }

func ids(objects []Object, faults []ObjectError) []object.ObjMetadata {
	all := make([]object.ObjMetadata, 0, len(objects)+len(faults))
	for i := range objects {
		all = append(all, objects[i].ID)
	}
	for _, f := range faults {
		all = append(all, f.ID)
	}
	slices.SortFunc(all, compare)
	return slices.Compact(all)
}

// Cluster computes the desired state of one cluster: a pure function of the request, the same for the
// agent, a preview and a test. It returns an error only if nothing can be said about the cluster, or
// when ctx ends; an app that cannot be rendered has its own.
func Cluster(ctx context.Context, req ClusterRequest) (*ClusterResult, error) {
	cluster, ok := req.Fleet.Cluster(req.Name)
	if !ok {
		return nil, fmt.Errorf("cluster %q at commit %s: %w", req.Name, req.HeadCommit, ErrUnknownCluster)
	}
	if req.Renderer == nil {
		req.Renderer = NewRenderer()
	}
	if req.Parallel <= 0 {
		req.Parallel = runtime.GOMAXPROCS(0)
	}
	facts := cluster.Facts()
	req.own = Request{
		Tree: req.Head, Facts: facts, Instance: req.Instance,
		factsOnce: sync.OnceValue(func() string { return factsText(facts) }),
	}
	res := &ClusterResult{Apps: make([]AppResult, len(req.Fleet.Apps))}
	var next atomic.Int64
	var work sync.WaitGroup
	for range min(req.Parallel, len(res.Apps)) {
		work.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(res.Apps) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				res.Apps[i] = req.app(ctx, req.Fleet.Apps[i])
			}
		})
	}
	work.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("render cluster %q: %w", req.Name, err)
	}
	return res, nil
}

// app renders one app: placement and share as they are enforced, content of the adopted revision.
func (req *ClusterRequest) app(ctx context.Context, app *fleet.App) AppResult {
	res := AppResult{App: app, Commit: req.HeadCommit}
	enforced, decided := Enforced{}, false
	if req.Enforced != nil {
		enforced, decided = req.Enforced(app.Name)
	}
	var err error
	if res.Placement, err = req.Fleet.Place(app); !decided {
		enforced, res.Err = headPlaces(res.Placement, req.Name), err
	}
	if res.Enforced = enforced; res.Err != nil || !res.Placed {
		return res
	}
	head := req.own
	head.App, head.Share = app, res.Share
	if app.Spec.Replicas != nil {
		head.Target = app.Spec.Replicas.Target
	}
	content := head
	if older, held := req.adopted(app.Name); held {
		res.Commit = older.Commit
		if content, res.Err = older.request(head, req.Name); res.Err != nil {
			return res
		}
	}
	built, now, err := req.Renderer.Build(ctx, content)
	if err != nil {
		res.Err = err
		return res
	}
	res.Overlay, res.Objects, res.ObjectErrors = built.Overlay, built.Objects, built.Errors
	res.Content, res.Warnings, res.Built = built.Content, built.Warnings, now
	return res
}

// headPlaces is what head says of an app on a cluster.
func headPlaces(placed fleet.Placed, cluster string) Enforced {
	_, here := slices.BinarySearch(placed.Clusters, cluster)
	e := Enforced{Placed: here}
	if here && placed.Replicas != nil {
		share := placed.Replicas[cluster]
		e.Share = &share
	}
	return e
}

func (req *ClusterRequest) adopted(app string) (Revision, bool) {
	if req.Adopted == nil {
		return Revision{}, false
	}
	older, held := req.Adopted(app)
	return older, held && older.Commit != req.HeadCommit
}

// request changes a request for head into one for the content of an older revision.
func (r Revision) request(head Request, cluster string) (Request, error) {
	app, ok := r.Fleet.App(head.App.Name)
	if !ok {
		return Request{}, fmt.Errorf("app %q is not declared at its adopted commit %s", head.App.Name, r.Commit)
	}
	c, ok := r.Fleet.Cluster(cluster)
	if !ok {
		return Request{}, fmt.Errorf("cluster %q at adopted commit %s: %w", cluster, r.Commit, ErrUnknownCluster)
	}
	held := head
	held.Tree, held.App, held.Facts, held.factsOnce = r.Tree, app, c.Facts(), nil
	return held, nil
}

// Duplicates finds the objects that several apps declare, with the apps' names, sorted. Whose object it
// is, is decided when it is applied.
func (r *ClusterResult) Duplicates() []Duplicate {
	owners := map[object.ObjMetadata][]string{}
	for i := range r.Apps {
		for _, id := range r.Apps[i].IDs() {
			if id.Namespace == "default" {
				id.Namespace = "" // what apply fills in for a namespaced kind
			}
			owners[id] = append(owners[id], r.Apps[i].App.Name)
		}
	}
	var found []Duplicate
	for id, names := range owners {
		if len(names) > 1 {
			found = append(found, Duplicate{ID: id, Apps: names})
		}
	}
	slices.SortFunc(found, func(a, b Duplicate) int { return compare(a.ID, b.ID) })
	return found
}
