package preview

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/apply"
	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// compared is one cluster with what the rollouts are told from.
type compared struct {
	Cluster
	contents []content
}

// content is the change of an app's content on a cluster where it is before and after: hashes as
// render.Result has them.
type content struct {
	app     *fleet.App
	was, is string
}

// declared is what one commit declares of some apps on one cluster.
type declared struct {
	// objects are the good ones, wrong the ids of those that are wrong by themselves and why.
	objects map[object.ObjMetadata]*render.Object
	wrong   map[object.ObjMetadata]string
	// apps are those that the commit declares; unknown those of which nothing is known, and why.
	apps    map[string]*render.AppResult
	unknown map[string]error
}

// cluster compares some apps on one cluster.
func (c *comparison) cluster(ctx context.Context, name string, apps []string, parallel int) (out compared, err error) {
	out.Name = name
	_, here := c.base.Fleet.Cluster(name)
	if _, stays := c.head.Fleet.Cluster(name); !stays {
		out.Warnings = c.absent(name, here)
		return out, nil
	}
	out.Warnings = c.problems(name)
	if c.base.Fleet.ClusterUnknown(name) {
		out.Warnings = append(out.Warnings, "its file could not be used at base, so what is there is not known: all that it should have is shown as created")
	}
	if len(apps) == 0 {
		return out, nil
	}
	before, err := c.base.render(ctx, name, apps, parallel)
	if err != nil {
		return out, err
	}
	after, err := c.head.render(ctx, name, apps, parallel)
	if err != nil {
		return out, err
	}
	was := read(before, &c.base, apps, nil)
	is := read(after, &c.head, apps, was.objects)
	if err := c.objects(&out, was, is); err != nil {
		return out, err
	}
	out.Warnings = append(out.Warnings, doubts(apps, was, is)...)
	out.Warnings = append(out.Warnings, duplicates(before, after)...)
	if out.Counts().Delete > 0 {
		if out.Holds, err = c.foresee(ctx, name, apps, before, after); err != nil {
			return out, err
		}
		out.note()
	}
	for _, app := range apps {
		a, b := was.apps[app], is.apps[app]
		if a != nil && b != nil && a.Placed && b.Placed && a.Content != b.Content {
			out.contents = append(out.contents, content{b.App, a.Content, b.Content})
		}
	}
	return out, nil
}

// render renders some apps on a cluster at one of the commits, which is nothing where that commit does not have
// the cluster.
func (s *side) render(ctx context.Context, cluster string, apps []string, parallel int) (*render.ClusterResult, error) {
	if _, ok := s.Fleet.Cluster(cluster); !ok {
		return &render.ClusterResult{}, nil
	}
	some := *s.Fleet // no app's placement depends on other apps
	some.Apps = nil
	for _, name := range apps {
		if app, ok := s.Fleet.App(name); ok {
			some.Apps = append(some.Apps, app)
		}
	}
	return render.Cluster(ctx, render.ClusterRequest{
		Head: s.Tree, HeadCommit: s.Commit, Fleet: &some, Name: cluster, Instance: instance, Parallel: parallel, Renderer: s.renderer,
	})
}

// read sorts out what was rendered. An object that several apps declare is that of the app that owns it, else
// of the first by name, as the engine has it.
func read(res *render.ClusterResult, rev *side, apps []string, owned map[object.ObjMetadata]*render.Object) declared {
	d := declared{
		objects: map[object.ObjMetadata]*render.Object{}, wrong: map[object.ObjMetadata]string{},
		apps: map[string]*render.AppResult{}, unknown: map[string]error{},
	}
	for i := range res.Apps {
		a := &res.Apps[i]
		d.apps[a.App.Name] = a
		if a.Err != nil {
			d.unknown[a.App.Name] = a.Err
			continue
		}
		for j := range a.Objects {
			o := &a.Objects[j]
			id := liveID(o.ID)
			if d.objects[id] == nil || owned[id] != nil && owned[id].App == o.App {
				d.objects[id] = o
			}
		}
		for _, e := range a.ObjectErrors {
			d.wrong[liveID(e.ID)] = e.Error()
		}
	}
	for _, app := range apps {
		if d.apps[app] == nil && rev.Fleet.AppUnknown(app) {
			d.unknown[app] = errors.New(brokenFile(rev.Fleet, app))
		}
	}
	for id := range d.wrong {
		delete(d.objects, id)
	}
	return d
}

// liveID is an id without the namespace that is also meant where none is given.
func liveID(id object.ObjMetadata) object.ObjMetadata {
	if id.Namespace == metav1.NamespaceDefault {
		id.Namespace = ""
	}
	return id
}

// objects compares object by object. What is unknown at head stays as it is.
func (c *comparison) objects(out *compared, was, is declared) error {
	found := map[string][]Object{}
	for id, after := range is.objects {
		before := was.objects[id]
		if before != nil && before.Hash == after.Hash {
			continue
		}
		a, b := was.apps[after.App], is.apps[after.App]
		divided := a != nil && a.Share != nil && b.Share != nil && render.Divides(b.App.Spec.Replicas, after.ID)
		o, err := c.texts.object(before, after, divided)
		if err != nil {
			return fmt.Errorf("cluster %q: %w", out.Name, err)
		}
		switch {
		case b.App.Spec.Suspend:
			o.Note = "not written: the app is suspended"
		case before != nil:
			o.Note = leftAlone(before, after)
		}
		found[after.App] = append(found[after.App], o)
	}
	for id, before := range was.objects {
		_, wrong := is.wrong[id]
		if is.objects[id] != nil || wrong || is.unknown[before.App] != nil {
			continue
		}
		o, err := c.texts.object(before, nil, false)
		if err != nil {
			return fmt.Errorf("cluster %q: %w", out.Name, err)
		}
		if key := apply.Keeps(before.Annotations); key != "" {
			o.Note = "stays, and is let go of: annotation " + key
		}
		found[before.App] = append(found[before.App], o)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		slices.SortFunc(found[name], func(a, b Object) int { return compareIDs(a.ID, b.ID) })
		if err := c.texts.succeed(found[name], was.objects, is.objects); err != nil {
			return fmt.Errorf("cluster %q: %w", out.Name, err)
		}
		out.Apps = append(out.Apps, App{Name: name, Place: c.place(name, was.apps[name], is.apps[name]), Objects: found[name]})
	}
	return nil
}

// leftAlone says that an object that is there already is not written because of an annotation, "" if it is. Agents
// honour the live one too, and what is live is what base has.
func leftAlone(before, after *render.Object) string {
	switch {
	case after.Annotations[live.AnnotationReconcile] == "disabled":
		return "not written: annotation " + live.AnnotationReconcile
	case before.Annotations[live.AnnotationReconcile] == "disabled":
		return "not written until annotation " + live.AnnotationReconcile + " is taken off the live object by hand"
	}
	return ""
}

func (c *comparison) place(app string, was, is *render.AppResult) Place {
	switch {
	case is == nil:
		return Ends
	case !is.Placed:
		return Leaves
	case was != nil && was.Placed:
		return Stays
	}
	if _, declared := c.base.Fleet.App(app); declared {
		return Arrives
	}
	return New
}

// absent says what becomes of a cluster that head does not declare.
func (c *comparison) absent(name string, here bool) []string {
	if !c.head.Fleet.ClusterUnknown(name) {
		return []string{fmt.Sprintf("clusters/%s/cluster.yaml is gone: the agent there goes on healing what it has, and deletes nothing", name)}
	}
	var texts []string
	for _, p := range c.news(func(p fleet.Problem) bool { return p.Kind == fleet.KindCluster && p.Name == name }) {
		texts = append(texts, fmt.Sprintf("its file cannot be used, so the agent there keeps what it has and deletes nothing: %s", p))
	}
	if here && len(texts) == 0 {
		texts = []string{"its file cannot be used, so the agent there keeps what it has and deletes nothing"}
	}
	return texts
}

// problems are the broken files that come with head and concern a cluster, but for those of which doubts tells:
// what a new file wants nobody knows, so it concerns all.
func (c *comparison) problems(cluster string) (texts []string) {
	for _, p := range c.news(func(p fleet.Problem) bool { return p.Kind == fleet.KindApp }) {
		if app, usable := c.head.Fleet.App(p.Name); usable {
			if _, placed, known := placed(c.head.Fleet, app.Name); !known || slices.Contains(placed.Clusters, cluster) {
				texts = append(texts, fmt.Sprintf("app %q adopts no new content: %s", app.Name, p))
			}
		} else if c.formerly(p) == "" {
			texts = append(texts, fmt.Sprintf("%s (where this app goes is not known, and nothing is deleted anywhere before it is)", p))
		}
	}
	return texts
}

// news are the problems of head that base does not have.
func (c *comparison) news(of func(fleet.Problem) bool) (all []fleet.Problem) {
	for _, p := range c.head.Fleet.Problems {
		if of(p) && !slices.ContainsFunc(c.base.Fleet.Problems, func(q fleet.Problem) bool { return q.Path == p.Path && q.Message == p.Message }) {
			all = append(all, p)
		}
	}
	return all
}

// formerly is the app that a broken file declared at base, "" if none.
func (c *comparison) formerly(p fleet.Problem) string {
	for _, app := range c.base.Fleet.Apps {
		if app.Name == p.Name || app.Dir+"/app.yaml" == p.Path && !app.Implicit {
			return app.Name
		}
	}
	return ""
}

// brokenFile says why an app is unknown.
func brokenFile(f *fleet.Fleet, app string) string {
	var nameless string
	for _, p := range f.Problems {
		switch {
		case p.Kind == fleet.KindApp && p.Name == app:
			return p.String()
		case p.Kind == fleet.KindApp && p.Name == "" && nameless == "":
			nameless = p.String()
		}
	}
	return nameless
}

// doubts says what is not known of some apps on a cluster, as far as that is new.
func doubts(apps []string, was, is declared) (texts []string) {
	add := func(format string, args ...any) { texts = append(texts, fmt.Sprintf(format, args...)) }
	for _, app := range apps {
		before, after := was.unknown[app], is.unknown[app]
		a, b := was.apps[app], is.apps[app]
		here := a != nil && a.Placed
		starts := b != nil && b.Placed
		switch {
		case after != nil && !here && !starts: // nobody knows whether it concerns this cluster
		case after != nil && (before == nil || before.Error() != after.Error()):
			stays := "It stays as it is here"
			if !here {
				stays = "It cannot start here"
			}
			does := ":" // its file or its placement, which the error names
			if starts {
				does = " does not render:"
			}
			add("app %q%s %s. %s", app, does, strings.TrimPrefix(after.Error(), fmt.Sprintf("app %q: ", app)), stays)
		case before != nil && after == nil && starts:
			add("app %q could not be rendered at base: what it should have is shown as created, and what it leaves behind is not known", app)
		case b != nil && b.Err == nil && !b.App.Implicit && (here || starts) && b.Placement.Short != "" && (a == nil || a.Placement.Short != b.Placement.Short):
			add("app %q: %s", app, b.Placement.Short)
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(is.wrong), compareIDs) {
		if was.wrong[id] != is.wrong[id] {
			add("%s. It stays as it is", is.wrong[id])
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(was.wrong), compareIDs) {
		if is.objects[id] != nil {
			add("%s was wrong at base: it is shown as created", render.Name(id))
		}
	}
	return texts
}

// duplicates names the objects that several of the apps declare, as far as that is new.
func duplicates(before, after *render.ClusterResult) (texts []string) {
	old := before.Duplicates()
	for _, d := range after.Duplicates() {
		if !slices.ContainsFunc(old, func(o render.Duplicate) bool { return o.ID == d.ID && slices.Equal(o.Apps, d.Apps) }) {
			texts = append(texts, fmt.Sprintf("%s is declared by several apps: %s. It stays with the one that has it", render.Name(d.ID), strings.Join(d.Apps, ", ")))
		}
	}
	return texts
}
