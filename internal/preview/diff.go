package preview

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/moves"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// Commit is one of the two commits that are compared.
type Commit struct {
	// ID is the full id, "" for files on disk.
	ID   string
	Tree tree.Tree
}

// Options say what is compared, and how.
type Options struct {
	// Cluster is the only one that is looked at; "" is every cluster.
	Cluster string
	// Now is the time by which permits have run out or not.
	Now time.Time
	// Progress, if set, is told how many of how many clusters are done. It is called from several goroutines.
	Progress func(done, total int)
	// Observe, if set, is told of each app on a cluster whether it was built or remembered. It is called from
	// several goroutines.
	Observe func(built bool)
}

// Diff is what a commit changes in the clusters of a fleet.
type Diff struct {
	// Base and Head are the full ids of the two commits.
	Base, Head string
	// Clusters are those that are affected, by name.
	Clusters []Cluster
	// Causes are what changes in the settings of the fleet, its clusters and its apps, a line each.
	Causes []string
	// Moves are the apps that are placed differently, by name.
	Moves []moves.App
	// Rollouts say of each app what its changes wait for, by name.
	Rollouts []Rollout
	// Permits are the lines of fleet.yaml that would release all that is held.
	Permits []Permit

	now    time.Time
	names  []string // of all clusters that head has
	of     int      // how many clusters there are in either commit
	single bool     // one of them alone was looked at
}

// Cluster is what a commit changes in one cluster.
type Cluster struct {
	Name string
	// Apps are those of which objects change, by name.
	Apps []App
	// Warnings are what is wrong or not known, in words.
	Warnings []string
	// Holds are deletions that the agent would hold.
	Holds []Hold
}

// App is what a commit changes in one cluster for one app.
type App struct {
	Name string
	// Place is how the app's place on the cluster changes.
	Place Place
	// Objects are those that change, sorted by ID.
	Objects []Object
}

// Place is how an app's place on a cluster changes.
type Place int

// The places.
const (
	Stays   Place = iota // it is there before and after
	New                  // it is declared newly
	Arrives              // it was declared before, and not placed there
	Leaves               // it is declared still, and not placed there any more
	Ends                 // it is not declared any more
)

// Action is what is done to an object.
type Action string

// The actions, as they stand in JSON.
const (
	Create    Action = "create"
	Configure Action = "configure"
	Delete    Action = "delete"
)

// Object is one object that changes.
type Object struct {
	ID     object.ObjMetadata
	Action Action
	// Diff is unified, of the object as YAML; the values of Secrets are masked.
	Diff string
	// Content is what a person is shown: Diff without the replicas where these are divided over clusters, "" if
	// nothing else changes; of an object that takes the place of Was, what is different from that.
	Content string
	// Was is the object of which this is a new version under a new name, as kustomize generates them: created
	// for a deleted one. Superseded marks that one.
	Was        string
	Superseded bool
	// Immutable are the fields that are changed and that the API server will not have changed.
	Immutable []string
	// Replace tells that the object is then deleted and created anew, which an annotation allows.
	Replace bool
	// Held is why its deletion is held, "" if it is not.
	Held Cause
	// Note says why nothing is written or deleted for another reason, "" if it is.
	Note string
}

// Counts are numbers of objects by action.
type Counts struct{ Create, Configure, Delete int }

// Counts counts the objects of a cluster.
func (c *Cluster) Counts() (n Counts) {
	for i := range c.Apps {
		for j := range c.Apps[i].Objects {
			switch c.Apps[i].Objects[j].Action {
			case Create:
				n.Create++
			case Configure:
				n.Configure++
			case Delete:
				n.Delete++
			}
		}
	}
	return n
}

// Empty tells whether there is nothing to say about any cluster.
func (d *Diff) Empty() bool { return len(d.Clusters) == 0 }

// comparison is one call of Compare.
type comparison struct {
	Options
	base, head side
	texts      *texts
}

// side is one of the two commits.
type side struct {
	render.Revision
	renderer *render.Renderer
}

func newSide(c Commit, observe func(built bool)) side {
	r := render.NewRenderer()
	r.Observe, r.ManyClusters = observe, true
	return side{render.Revision{Commit: c.ID, Tree: c.Tree}, r}
}

func newComparison(base, head Commit, o Options) *comparison {
	return &comparison{Options: o, base: newSide(base, o.Observe), head: newSide(head, o.Observe), texts: newTexts()}
}

// Compare finds what changes from one commit to another. It returns an error if nothing can be said: a commit
// without a fleet, or whose fleet.yaml cannot be used. What is wrong with single files and apps is in the
// warnings of the clusters concerned.
func Compare(ctx context.Context, base, head Commit, o Options) (*Diff, error) {
	c := newComparison(base, head, o)
	if err := c.load(); err != nil {
		return nil, err
	}
	affected, err := c.affected(ctx)
	if err != nil {
		return nil, err
	}
	clusters, rollouts, err := c.clusters(ctx, affected)
	if err != nil {
		return nil, err
	}
	d := &Diff{
		Base: base.ID, Head: head.ID, Clusters: clusters,
		Causes: c.causes(), Moves: c.moves(), Rollouts: rollouts, now: o.Now, of: len(c.clusterNames()), single: o.Cluster != "",
	}
	for _, cluster := range c.head.Fleet.Clusters {
		d.names = append(d.names, cluster.Name)
	}
	d.Permits = permits(d.Clusters, o.Now)
	return d, nil
}

// load reads both fleets.
func (c *comparison) load() error {
	loader := fleet.NewLoader() // files that are the same are decoded once
	for _, one := range []struct {
		name string
		of   *side
	}{{"base", &c.base}, {"head", &c.head}} {
		f, err := loader.Load(one.of.Tree)
		if err != nil {
			return fmt.Errorf("%s %s: %w", one.name, one.of.Commit, err)
		}
		one.of.Fleet = f
	}
	if c.Cluster == "" {
		return nil
	}
	for _, f := range []*fleet.Fleet{c.base.Fleet, c.head.Fleet} {
		if _, ok := f.Cluster(c.Cluster); ok || f.ClusterUnknown(c.Cluster) {
			return nil
		}
	}
	return &UnknownClusterError{Name: c.Cluster, Known: c.clusterNames()}
}

// UnknownClusterError is returned for a cluster that neither commit has.
type UnknownClusterError struct {
	Name  string
	Known []string
}

// Error names the cluster.
func (e *UnknownClusterError) Error() string {
	return fmt.Sprintf("neither commit has a cluster %q", e.Name)
}

// clusters compares the clusters that may be affected.
func (c *comparison) clusters(ctx context.Context, affected map[string][]string) ([]Cluster, []Rollout, error) {
	var names []string
	for _, name := range c.clusterNames() {
		if c.Cluster == "" || c.Cluster == name {
			names = append(names, name)
		}
	}
	compared, suspended := make([]compared, len(names)), c.suspended(affected)
	var done atomic.Int64
	cores := runtime.GOMAXPROCS(0)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(cores)
	for i, name := range names {
		group.Go(func() (err error) {
			compared[i], err = c.cluster(ctx, name, affected[name], max(1, cores/len(names)))
			compared[i].Warnings = append(compared[i].Warnings, suspended[name]...)
			if c.Progress != nil {
				c.Progress(int(done.Add(1)), len(names))
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	var clusters []Cluster
	for i := range compared {
		if one := compared[i].Cluster; len(one.Apps)+len(one.Warnings) > 0 {
			clusters = append(clusters, one)
		}
	}
	return clusters, c.rollouts(compared), nil
}

// clusterNames are the clusters of either commit, those of head whose file cannot be used among them, sorted.
func (c *comparison) clusterNames() (names []string) {
	for _, f := range []*fleet.Fleet{c.base.Fleet, c.head.Fleet} {
		for _, cluster := range f.Clusters {
			names = append(names, cluster.Name)
		}
	}
	for _, p := range c.head.Fleet.Problems {
		if p.Kind == fleet.KindCluster {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// appNames are the apps of either commit, sorted.
func (c *comparison) appNames() (names []string) {
	for _, f := range []*fleet.Fleet{c.base.Fleet, c.head.Fleet} {
		for _, app := range f.Apps {
			names = append(names, app.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// moves are the apps of both commits that are placed differently. What is on a cluster that head does not have
// stays there, so it does not move.
func (c *comparison) moves() (all []moves.App) {
	for _, is := range c.head.Fleet.Apps {
		was, ok := c.base.Fleet.App(is.Name)
		if !ok {
			continue
		}
		a := moves.Of(c.base.Fleet, c.head.Fleet, was, is)
		a.Before.Clusters = slices.DeleteFunc(slices.Clone(a.Before.Clusters), func(name string) bool {
			_, ok := c.head.Fleet.Cluster(name)
			return !ok
		})
		if a.Err == nil && slices.ContainsFunc(a.Moves(), func(m moves.Move) bool { return c.Cluster == "" || c.Cluster == m.Cluster }) {
			all = append(all, a)
		}
	}
	return all
}

// compareIDs orders ids as render does.
func compareIDs(a, b object.ObjMetadata) int {
	return cmp.Or(
		cmp.Compare(a.GroupKind.Group, b.GroupKind.Group), cmp.Compare(a.GroupKind.Kind, b.GroupKind.Kind),
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name),
	)
}

// instance is the owner of objects in a preview: the label that agents set unless told otherwise.
const instance = kube.DefaultInstance
