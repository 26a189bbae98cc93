package apply

import (
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// SetDesired replaces what Git wants. It returns the ids of the requests in flight that are out of
// date: the caller should cancel them.
//
// The work follows what is different from the Desired before: what an app declares is compared only if
// it comes in another slice, and an entry is looked at again only if its own wish, its app's policy or
// what it depends on has changed. What waits to be pruned is always looked at.
func (e *Engine) SetDesired(d Desired, now time.Time) (stale []object.ObjMetadata) {
	c := e.compare(d)
	e.desired, e.started, e.kinds = d, true, nil
	for o := range c.entries {
		if e.assign(o, &c, now) {
			stale = append(stale, o.id)
		}
	}
	e.link(&c, now)
	orphaned := e.brake(now)
	for o := range e.orphans {
		c.apps[o.app] = true
		e.touch(o)
	}
	for name, a := range e.apps {
		if c.apps[name] || len(a.successors) > 0 {
			e.await(a, orphaned[name], now)
		}
		if len(a.entries) == 0 && !a.declared {
			delete(e.apps, name)
		}
	}
	return stale
}

// change is what a SetDesired has to look at again.
type change struct {
	entries entries         // their wishes may be others
	edges   entries         // their dependencies may be others
	apps    map[string]bool // their orphans or successors may be others
}

// compare takes in what each app declares and finds what may be different for it.
func (e *Engine) compare(d Desired) change {
	c := change{entries: entries{}, edges: entries{}, apps: map[string]bool{}}
	for _, app := range d.Apps {
		a := e.appEntry(app.Name)
		a.present = true
		if e.whole || !a.declared || !same(a.App, app) {
			e.redeclare(a, app, &c)
		}
		a.declared = true
	}
	for _, a := range e.apps {
		if a.declared && !a.present {
			e.redeclare(a, App{Name: a.Name}, &c)
			a.declared = false
		}
		a.present = false
	}
	again := func(id object.ObjMetadata) {
		if o := e.objs[id]; o != nil {
			c.entries.add(o)
		}
	}
	for id, app := range d.Claimed {
		if e.desired.Claimed[id] != app {
			again(id)
		}
	}
	for id := range e.desired.Claimed {
		if _, ok := d.Claimed[id]; !ok {
			again(id)
		}
	}
	for o := range e.contested { // what the inventory says of them may have changed
		c.entries.add(o)
	}
	if e.whole || !e.started {
		for _, o := range e.objs {
			c.entries.add(o)
			c.edges.add(o)
			e.touch(o)
		}
	}
	return c
}

// same tells whether an app wants what it wanted before. Objects in another slice count as others.
func same(a, b App) bool {
	return len(a.Objects) == len(b.Objects) && (len(a.Objects) == 0 || &a.Objects[0] == &b.Objects[0]) &&
		a.Leaves == b.Leaves && a.HealthTimeout == b.HealthTimeout && samePolicy(a, b) && sameTarget(a.Divided, b.Divided) &&
		slices.EqualFunc(a.Invalid, b.Invalid, func(x, y ObjectError) bool { return x.ID == y.ID && x.Err.Error() == y.Err.Error() })
}

// samePolicy compares what holds for every object of an app.
func samePolicy(a, b App) bool {
	return a.Suspended == b.Suspended && a.Exclusive == b.Exclusive && a.Unknown == b.Unknown && a.Drift.Mode == b.Drift.Mode && sameIgnore(a.Ignore, b.Ignore)
}

// sameTarget tells whether replicas are divided by the same workload.
func sameTarget(a, b *fleet.Replicas) bool {
	if a == nil || b == nil || a.Target == nil || b.Target == nil {
		return (a == nil) == (b == nil) && (a == nil || a.Target == b.Target)
	}
	return *a.Target == *b.Target
}

func sameIgnore(a, b map[object.ObjMetadata][]string) bool {
	if len(a) != len(b) {
		return false
	}
	for id, fields := range a {
		if !slices.Equal(fields, b[id]) {
			return false
		}
	}
	return true
}

// redeclare replaces what an app declares.
func (e *Engine) redeclare(a *appEntry, app App, c *change) {
	old := a.App
	a.App = app
	c.apps[a.Name] = true
	e.changed[a.Name] = true
	if !samePolicy(old, app) {
		for o := range a.entries {
			c.entries.add(o)
			e.touch(o)
		}
	}
	e.pass++
	for i := range app.Objects {
		obj := &app.Objects[i]
		o := e.entry(obj.ID)
		if o.pass != e.pass && len(o.declared) == 1 && o.declared[0].App == obj.App && o.declared[0].Hash == obj.Hash && o.desired == o.declared[0] {
			o.pass, o.declared[0], o.desired = e.pass, obj, obj // what is equal only takes the other's place
			continue
		}
		if o.pass != e.pass {
			o.withdraw(a.Name)
		}
		o.pass = e.pass
		o.declared = append(o.declared, obj)
		c.entries.add(o)
	}
	for i := range old.Objects {
		if o := e.objs[old.Objects[i].ID]; o != nil && o.pass != e.pass {
			o.withdraw(a.Name)
			delete(a.lost, o.id)
			c.entries.add(o)
		}
	}
	e.invalidate(old.Invalid, -1, c)
	e.invalidate(app.Invalid, 1, c)
}

// withdraw takes an app's declarations back.
func (o *entry) withdraw(app string) {
	o.declared = slices.DeleteFunc(o.declared, func(d *render.Object) bool { return d.App == app })
}

// invalidate counts wrong declarations.
func (e *Engine) invalidate(objects []ObjectError, n int, c *change) {
	for _, bad := range objects {
		e.invalid[bad.ID] += n
		if e.invalid[bad.ID] == 0 {
			delete(e.invalid, bad.ID)
		}
		if o := e.objs[bad.ID]; o != nil {
			c.entries.add(o)
		}
	}
}

// assign settles what is wanted of an entry. It tells whether a request in flight for it is out of date.
func (e *Engine) assign(o *entry, c *change, now time.Time) (stale bool) {
	type wish struct {
		desired string
		app     string
		known   bool
		claimed string
	}
	look := func() wish {
		w := wish{app: o.app, known: !o.kept, claimed: o.claimed}
		if o.desired != nil {
			w.desired = o.desired.Hash
		}
		return w
	}
	before := look()
	obj := e.winner(o)
	if obj != nil {
		stale = e.want(o, obj, now)
	} else {
		stale = e.unwant(o)
	}
	after := look()
	e.index(o)
	if linked := obj != nil; linked != o.linked {
		o.linked = linked
		c.edges.add(o)
		e.relied(o, c)
	} else if before.desired != after.desired {
		c.edges.add(o)
	}
	if o.id.GroupKind == crdKind && c.edges.has(o) {
		e.define(o, c)
	}
	if before == after {
		return stale
	}
	for _, app := range []string{before.app, after.app} {
		c.apps[app] = true
		e.changed[app] = true
	}
	e.touch(o)
	for d := range o.rdeps {
		e.touch(d)
	}
	return stale
}

// winner finds which declaration of an id counts; nil if there is none. An object that several apps
// declare stays with the app that has it; where none has, with the first by name. The others are told.
func (e *Engine) winner(o *entry) *render.Object {
	if len(o.declared) == 0 {
		delete(e.contested, o)
		return nil
	}
	if len(o.declared) == 1 && !e.contested.has(o) {
		return o.declared[0]
	}
	e.contested.add(o)
	slices.SortStableFunc(o.declared, func(a, b *render.Object) int { return strings.Compare(a.App, b.App) })
	first := o.declared[0]
	for _, d := range o.declared {
		if o.rec != nil && o.rec.App == d.App {
			first = d
			break
		}
	}
	for _, d := range o.declared {
		a := e.appEntry(d.App)
		e.changed[d.App] = true
		if d == first {
			delete(a.lost, o.id)
			continue
		}
		if a.lost == nil {
			a.lost = map[object.ObjMetadata]string{}
		}
		a.lost[o.id] = first.App
	}
	if len(o.declared) == 1 {
		delete(e.contested, o)
	}
	return first
}

// want makes an object desired.
func (e *Engine) want(o *entry, obj *render.Object, now time.Time) (stale bool) {
	e.setApp(o, obj.App)
	if o.desired == nil || o.desired.Hash != obj.Hash {
		if o.rec == nil || o.rec.Hash != obj.Hash {
			o.changed = e.desired.Commit
		}
		o.retry, o.failures, o.err, o.wait = time.Time{}, 0, nil, ""
		stale = o.task != nil
	}
	if o.rec != nil && o.rec.Hash == obj.Hash {
		o.rec.Hash = obj.Hash // one string for both
	}
	o.desired, o.kept, o.claimed = obj, false, ""
	o.orphaned, o.deleting = time.Time{}, false
	if o.rec == nil {
		o.rec = &Record{App: obj.App, Commit: e.desired.Commit}
		e.save(o, now)
	} else if o.rec.Orphaned != "" || o.rec.Braked {
		o.rec.Orphaned, o.rec.Braked = "", false
		e.save(o, now)
	}
	return stale
}

// unwant has an object no longer desired, unless that is not known.
func (e *Engine) unwant(o *entry) (stale bool) {
	a := e.apps[o.app]
	o.kept = a != nil && a.Unknown || e.invalid[o.id] > 0
	o.claimed = e.desired.Claimed[o.id]
	o.changed = ""
	if o.kept || o.claimed != "" {
		return o.linked && o.task != nil // as it was: an object that was healed goes on being healed
	}
	if o.desired == nil {
		return false
	}
	o.desired = nil
	o.retry, o.failures, o.err = time.Time{}, 0, nil
	return o.task != nil
}
