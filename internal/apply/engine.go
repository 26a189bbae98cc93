package apply

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// Engine decides what is to be done, object by object. It does no I/O, starts nothing and asks no
// clock; it is owned by one goroutine.
type Engine struct {
	instance string
	desired  Desired
	started  bool // SetDesired was called

	objs   map[object.ObjMetadata]*entry
	byKind map[schema.GroupKind]map[*entry]struct{}
	apps   map[string]*appEntry
	// dependents maps an inventory key to the entries whose records depend on it.
	dependents map[string]map[*entry]struct{}

	// losers: of the objects that several apps declare, which app lost to which.
	losers map[object.ObjMetadata]map[string]string

	dirty   map[*entry]struct{}
	changed map[string]bool // apps, see TakeChanged
	ready   readyQueue
	wake    wakeQueue

	inFlight int
	seq      int

	// pause holds everything back while the API server cannot be reached.
	pause  time.Time
	paused int
	outage error

	unsaved map[object.ObjMetadata]struct{}
	flushAt time.Time // when unsaved records are due; zero = nothing is due
	settle  bool      // some of them are due as soon as nothing else is going on
	saving  bool
	saves   int // failed in a row
}

// appEntry is what the engine keeps per app.
type appEntry struct {
	App
	entries map[*entry]struct{}
	// successors are the objects that some of the app's prunes wait for; see Record.Awaited.
	successors map[*entry]struct{}
}

// entry is all that is known of one object.
type entry struct {
	id  object.ObjMetadata
	key string

	desired *render.Object
	app     string // who declares it now, or declared it last
	kept    bool   // its app's wish is unknown: neither applied nor pruned
	claimed string // the app that will declare it once it adopts head
	bad     error  // cannot be applied as it is declared: no request is sent
	changed string // the commit that changed desired

	rec   *Record
	saved bool // the id is in the stored inventory

	live    *live.View
	seen    bool // live is known: nil then means absent
	later   *observation
	drifted []metav1.ManagedFieldsEntry

	task     *Task
	deps     []*entry
	rdeps    []*entry
	err      error
	failures int
	unsure   bool // an apply has failed since the last that did not: it may have had its effect all the same
	retry    time.Time
	applied  time.Time // when the present hash was applied by this process
	orphaned time.Time // since when it waits to be pruned
	deleting bool
	waking   time.Time
	wait     string // what it waits for, in words
	expects  bool   // that should happen by itself

	repairs   []time.Time
	corrected int
	fight     bool
	lastDrift time.Time
}

type observation struct {
	live *live.View // nil: gone
	rv   string
}

// NewEngine returns an Engine for the instance (the value of the label of our objects) that starts
// from the stored inventory.
func NewEngine(instance string, records map[object.ObjMetadata]Record) *Engine {
	e := &Engine{
		instance:   instance,
		objs:       map[object.ObjMetadata]*entry{},
		byKind:     map[schema.GroupKind]map[*entry]struct{}{},
		apps:       map[string]*appEntry{},
		dependents: map[string]map[*entry]struct{}{},
		dirty:      map[*entry]struct{}{},
		changed:    map[string]bool{},
		unsaved:    map[object.ObjMetadata]struct{}{},
	}
	for id, r := range records {
		o := e.entry(id)
		rec := r
		o.rec, o.saved = &rec, true
		e.setApp(o, r.App)
		e.setDependsOn(o, r.DependsOn)
	}
	return e
}

func (e *Engine) entry(id object.ObjMetadata) *entry {
	o := e.objs[id]
	if o == nil {
		o = &entry{id: id, key: id.String()}
		e.objs[id] = o
		if e.byKind[id.GroupKind] == nil {
			e.byKind[id.GroupKind] = map[*entry]struct{}{}
		}
		e.byKind[id.GroupKind][o] = struct{}{}
	}
	return o
}

func (e *Engine) appEntry(name string) *appEntry {
	a := e.apps[name]
	if a == nil {
		a = &appEntry{App: App{Name: name}, entries: map[*entry]struct{}{}, successors: map[*entry]struct{}{}}
		e.apps[name] = a
	}
	return a
}

func (e *Engine) setApp(o *entry, name string) {
	if o.app == name && o.app != "" {
		return
	}
	if a := e.apps[o.app]; a != nil {
		delete(a.entries, o)
	}
	o.app = name
	e.appEntry(name).entries[o] = struct{}{}
}

func (e *Engine) setDependsOn(o *entry, keys []string) {
	for _, k := range keys {
		if e.dependents[k] == nil {
			e.dependents[k] = map[*entry]struct{}{}
		}
		e.dependents[k][o] = struct{}{}
	}
}

// forget drops an entry that is neither desired nor in the inventory.
func (e *Engine) forget(o *entry) {
	delete(e.objs, o.id)
	delete(e.byKind[o.id.GroupKind], o)
	delete(e.dirty, o)
	if a := e.apps[o.app]; a != nil {
		delete(a.entries, o)
		delete(a.successors, o)
	}
	for k, m := range e.dependents {
		delete(m, o)
		if len(m) == 0 {
			delete(e.dependents, k)
		}
	}
}

// SetDesired replaces what Git wants. It returns the ids of the requests in flight that are out of
// date: the caller should cancel them.
func (e *Engine) SetDesired(d Desired, now time.Time) (stale []object.ObjMetadata) {
	e.desired, e.started = d, true
	desired, keep, invalid := e.assign(d)
	deps, bad := dependencies(desired)

	for id, obj := range desired {
		o := e.entry(id)
		e.setApp(o, obj.App)
		if o.desired == nil || o.desired.Hash != obj.Hash {
			if o.rec == nil || o.rec.Hash != obj.Hash {
				o.changed = d.Commit
			}
			o.retry, o.failures, o.err = time.Time{}, 0, nil
			if o.task != nil {
				stale = append(stale, id)
			}
		}
		o.desired, o.kept, o.claimed, o.wait = obj, false, "", ""
		o.bad = bad[id]
		o.orphaned, o.deleting = time.Time{}, false
		if o.rec == nil {
			o.rec = &Record{App: obj.App, Commit: d.Commit}
			e.save(o, now)
		} else if o.rec.Orphaned != "" || o.rec.Braked {
			o.rec.Orphaned, o.rec.Braked = "", false
			e.save(o, now)
		}
	}
	for id, o := range e.objs {
		if desired[id] != nil {
			continue
		}
		if o.desired != nil && o.task != nil {
			stale = append(stale, id)
		}
		o.kept = keep[o.app] || invalid[id]
		o.claimed = d.Claimed[id]
		o.bad, o.changed = nil, ""
		if o.kept || o.claimed != "" {
			continue // as it was: an object that was healed goes on being healed
		}
		if o.desired != nil {
			o.desired = nil
			o.retry, o.failures, o.err = time.Time{}, 0, nil
		}
	}
	e.link(deps, now)
	e.await(e.brake(now), now)
	for name, a := range e.apps {
		if len(a.entries) == 0 && a.Objects == nil {
			delete(e.apps, name)
		}
	}
	for _, o := range e.objs {
		e.touch(o)
	}
	return stale
}

// assign settles which app declares each object. An object that two apps declare stays with the app
// that has it; where neither has, with the first by name. The others are told.
func (e *Engine) assign(d Desired) (desired map[object.ObjMetadata]*render.Object, keep map[string]bool, invalid map[object.ObjMetadata]bool) {
	desired = map[object.ObjMetadata]*render.Object{}
	e.losers = map[object.ObjMetadata]map[string]string{}
	keep = map[string]bool{}
	invalid = map[object.ObjMetadata]bool{}
	for _, a := range e.apps {
		a.App = App{Name: a.Name}
	}
	apps := append([]App(nil), d.Apps...)
	sort.Slice(apps, func(i, j int) bool { return apps[i].Name < apps[j].Name })
	for _, a := range apps {
		e.appEntry(a.Name).App = a
		if a.Unknown {
			keep[a.Name] = true
		}
		for _, bad := range a.Invalid {
			invalid[bad.ID] = true
		}
		for i := range a.Objects {
			obj := &a.Objects[i]
			other := desired[obj.ID]
			if other == nil {
				desired[obj.ID] = obj
				continue
			}
			winner, loser := other, obj
			if o := e.objs[obj.ID]; o != nil && o.rec != nil && o.rec.App == obj.App {
				winner, loser = obj, other
			}
			desired[obj.ID] = winner
			if e.losers[obj.ID] == nil {
				e.losers[obj.ID] = map[string]string{}
			}
			e.losers[obj.ID][loser.App] = winner.App
		}
	}
	return desired, keep, invalid
}

// link lays the edges between entries and records them where deletion will need them.
func (e *Engine) link(deps map[object.ObjMetadata][]object.ObjMetadata, now time.Time) {
	for _, o := range e.objs {
		o.deps, o.rdeps = o.deps[:0], o.rdeps[:0]
	}
	for id, o := range e.objs {
		if o.desired == nil || o.kept || o.claimed != "" {
			continue
		}
		var keys []string
		for _, d := range deps[id] {
			dep := e.objs[d]
			if dep == nil {
				continue // said by dependencies
			}
			o.deps = append(o.deps, dep)
			dep.rdeps = append(dep.rdeps, o)
			if d.GroupKind != namespaceKind && d.GroupKind != crdKind {
				keys = append(keys, dep.key)
			}
		}
		if o.bad == nil && !slices.Equal(keys, o.rec.DependsOn) { // a cycle could never be deleted
			o.rec.DependsOn = keys
			e.setDependsOn(o, keys)
			e.save(o, now)
		}
	}
}

// brake marks what the present commit orphaned, and holds it if the commit leaves nothing or deletes too
// much. It returns the apps that have new orphans.
func (e *Engine) brake(now time.Time) (orphaned map[string]bool) {
	var orphans []*entry
	all, counted, left := 0, 0, 0
	orphaned = map[string]bool{}
	for _, o := range e.objs {
		if o.desired != nil || o.kept || o.claimed != "" {
			left++
		}
		if o.rec == nil || o.rec.Braked {
			continue
		}
		if o.rec.Hash != "" {
			all++
		}
		if !e.orphan(o) {
			continue
		}
		if o.orphaned.IsZero() {
			o.orphaned = now
		}
		if len(e.desired.Incomplete) > 0 {
			continue
		}
		if o.rec.Orphaned == "" {
			orphaned[o.app] = true
			o.rec.Orphaned = e.desired.Commit
			e.saveLazily(o, now)
		}
		// A permit does not keep an object from being counted and marked: it may run out first.
		if e.leaves(o) || o.live != nil && keeps(o.live.Annotations) != "" {
			continue
		}
		// What was never applied for all that is known may be what the server is just adopting.
		orphans = append(orphans, o)
		if o.rec.Hash != "" {
			counted++
		}
	}
	if left == 0 || len(orphaned) > 0 && brakes(e.desired.Prune, counted, all) {
		for _, o := range orphans {
			o.rec.Braked = true
			e.save(o, now)
		}
	}
	return orphaned
}

// await notes on what the present commit created or changed, and is not healthy yet, that the commit's
// orphans wait for it. The note stays when later commits change the object again, until it is healthy
// or the orphans are gone or back. An app whose orphans could not be told from others at the commit that
// brought the object (see Desired.Incomplete) gets them now, and they wait for all that is noted.
func (e *Engine) await(orphaned map[string]bool, now time.Time) {
	head := e.desired.Commit
	for name, a := range e.apps {
		commits := map[string]bool{}
		for o := range a.entries {
			if e.orphan(o) {
				commits[o.rec.Orphaned] = true
			}
		}
		clear(a.successors)
		for s := range a.entries {
			if s.desired == nil || s.rec == nil {
				continue
			}
			var awaited []string
			if !settled(s) && len(commits) > 0 {
				for _, c := range s.rec.Awaited {
					if commits[c] || commits[""] {
						awaited = append(awaited, c)
					}
				}
				changed := s.changed == head || s.rec.Commit == head || orphaned[name] && len(s.rec.Awaited) > 0
				if changed && (commits[head] || commits[""]) && !slices.Contains(awaited, head) {
					awaited = append(awaited, head)
				}
			}
			if len(awaited) > 0 {
				a.successors[s] = struct{}{}
			}
			if !slices.Equal(awaited, s.rec.Awaited) {
				s.rec.Awaited = awaited
				e.save(s, now)
			}
		}
	}
}

func (e *Engine) orphan(o *entry) bool {
	return o.rec != nil && o.desired == nil && !o.kept && o.claimed == ""
}

func (e *Engine) leaves(o *entry) bool {
	a := e.apps[o.app]
	return a != nil && a.Leaves
}

func (e *Engine) permitted(o *entry, now time.Time) bool {
	return e.desired.Prune.Permits(o.app, o.id.GroupKind.Kind, now)
}

// touch marks an entry to be decided about.
func (e *Engine) touch(o *entry) {
	e.dirty[o] = struct{}{}
	e.changed[o.app] = true
}

func (e *Engine) touchOrphans(app string) {
	a := e.apps[app]
	if a == nil {
		return
	}
	for o := range a.entries {
		if e.orphan(o) {
			e.touch(o)
		}
	}
}

// Next returns at most limit tasks that may be done now. The caller runs each and tells Done.
func (e *Engine) Next(now time.Time, limit int) []Task {
	if !e.started || now.Before(e.pause) {
		return nil
	}
	for e.wake.due(now) {
		o := heap.Pop(&e.wake).(waking).entry
		o.waking = time.Time{}
		e.touch(o)
	}
	for o := range e.dirty {
		delete(e.dirty, o)
		switch t, at := e.decide(o, now); {
		case t != nil:
			e.ready.add(o, t)
		case !at.IsZero():
			e.wakeAt(o, at)
		}
	}
	var tasks []Task
	for len(tasks) < limit && e.ready.Len() > 0 {
		o := heap.Pop(&e.ready).(readying).entry
		t, at := e.decide(o, now) // things may have changed since it was queued
		if t == nil {
			if !at.IsZero() {
				e.wakeAt(o, at)
			}
			continue
		}
		e.seq++
		t.seq = e.seq
		o.task = t
		e.inFlight++
		tasks = append(tasks, *t)
	}
	return tasks
}

// wakeAt sees to it that an entry is decided about again at that time, at the latest.
func (e *Engine) wakeAt(o *entry, at time.Time) {
	if o.waking.IsZero() || at.Before(o.waking) {
		o.waking = at
		heap.Push(&e.wake, waking{at, o})
	}
}

// Wake returns when Next or Unsaved should be called again though nothing happened; zero = never.
func (e *Engine) Wake() time.Time {
	at := e.flushAt
	earlier := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if len(e.wake) > 0 {
		next := e.wake[0].at
		if next.Before(e.pause) {
			next = e.pause
		}
		earlier(next)
	}
	if e.ready.Len() > 0 || len(e.dirty) > 0 {
		earlier(e.pause)
	}
	return at
}

// Busy tells whether something is being done or could be done at once.
func (e *Engine) Busy() bool { return e.inFlight > 0 || e.ready.Len() > 0 || len(e.dirty) > 0 }

// InFlight tells how many requests are under way.
func (e *Engine) InFlight() int { return e.inFlight }

// decide returns what may be done about an entry now, or when to ask again, or neither: then an
// event will ask. It leaves in o.wait what the entry waits for.
func (e *Engine) decide(o *entry, now time.Time) (*Task, time.Time) {
	o.wait, o.expects = "", false
	switch {
	case o.task != nil:
		return nil, time.Time{}
	case o.desired != nil:
		return e.decideDesired(o, now)
	case e.orphan(o):
		return e.decideOrphan(o, now)
	}
	return nil, time.Time{}
}

func (e *Engine) decideDesired(o *entry, now time.Time) (*Task, time.Time) {
	never := time.Time{}
	app := e.apps[o.app]
	if app == nil || o.bad != nil || app.Suspended || reconcileDisabled(o) {
		return nil, never
	}
	cause, missing := e.differs(o, app)
	if cause == "" {
		return nil, never
	}
	if o.live != nil && o.live.Deleting {
		o.wait = "is being deleted; waits for its finalizers"
		return nil, never
	}
	if !o.saved {
		return nil, never // Saved asks again
	}
	if now.Before(o.retry) {
		return nil, o.retry
	}
	if cause == Sync {
		for _, d := range o.deps {
			if !settled(d) {
				o.wait = "waits for " + render.Name(d.id)
				return nil, never
			}
		}
	} else {
		if app.Drift.ModeOrDefault() == fleet.Detect {
			return nil, never
		}
		if at := e.slowed(o, now); now.Before(at) {
			return nil, at
		}
	}
	t := &Task{
		Action: Apply, Cause: cause, ID: o.id, App: o.app, Object: o.desired,
		First:   o.rec.Hash == "",
		Ignore:  app.Ignore[o.id],
		Human:   o.live != nil && o.live.Human && app.Drift.ModeOrDefault() == fleet.Strict,
		Drifted: o.drifted, Missing: missing,
		Fingerprint: o.rec.Fingerprint,
		Replace: o.desired.Annotations[live.AnnotationReplace] == "enabled" ||
			o.live != nil && o.live.Annotations[live.AnnotationReplace] == "enabled",
	}
	switch {
	case o.live != nil:
		t.ResourceVersion, t.NotReplicas = o.live.ResourceVersion, !o.live.OwnsReplicas && !o.unsure
	case o.seen:
		t.NotReplicas = t.First && !o.unsure // else it may be there, without our label
	}
	return t, never
}

// differs tells why an object has to be applied; "" if it is as it should be as far as is known.
func (e *Engine) differs(o *entry, app *appEntry) (cause Cause, missing bool) {
	switch {
	case o.rec.Hash != o.desired.Hash, o.rec.Ignored != ignoredKey(app.Ignore[o.id]):
		// With other fields ignored, the fingerprint of the last apply says nothing any more.
		return Sync, false
	case !o.seen:
		return "", false // unknown is not drifted
	case o.live == nil || o.live.Instance != e.instance:
		return Drift, true
	case !live.Same(o.live.Fingerprint, o.rec.Fingerprint):
		return Drift, false
	case o.live.Human && app.Drift.ModeOrDefault() == fleet.Strict:
		return Drift, false
	}
	return "", false
}

// settled tells whether what depends on an object may go on.
func settled(d *entry) bool {
	return d.rec != nil && d.desired != nil && (d.rec.Hash == d.desired.Hash && d.rec.Current || reconcileDisabled(d))
}

// reconcileDisabled tells whether a desired object is left alone. One that is not there yet is created first.
func reconcileDisabled(o *entry) bool {
	if o.desired.Annotations[live.AnnotationReconcile] == "disabled" {
		return o.rec.Hash != "" || o.live != nil
	}
	return o.live != nil && o.live.Annotations[live.AnnotationReconcile] == "disabled"
}

func (e *Engine) decideOrphan(o *entry, now time.Time) (*Task, time.Time) {
	never := time.Time{}
	if a := e.apps[o.app]; a != nil && a.Suspended {
		o.wait = "the app is suspended"
		return nil, never
	}
	// When what should happen by itself has not, it is said; see HeldPrune.Expected.
	late := o.orphaned.Add(e.appEntry(o.app).healthTimeout() + time.Second)
	if !late.After(now) {
		late = never
	}
	if o.deleting && o.seen && o.live != nil {
		o.expects = true
		o.wait = "is being deleted; waits for its finalizers"
		if now.Before(o.retry) {
			return nil, o.retry
		}
	}
	if why := e.held(o, now); why != "" {
		o.wait = why
		return nil, now.Add(holdRecheck)
	}
	if s := e.successor(o); s != nil && !o.first() && o.rec.Hash != "" {
		o.wait, o.expects = fmt.Sprintf("waits for %s, which the same commit brings, to become Ready", render.Name(s.id)), true
		return nil, late
	}
	if why := e.dependedOn(o); why != "" {
		o.expects = true
		o.wait = why
		return nil, late
	}
	if now.Before(o.retry) {
		return nil, o.retry
	}
	same, unknown := e.sameAs(o)
	if unknown != nil {
		o.wait, o.expects = fmt.Sprintf("may be the same object as %s, which has not been looked at yet", render.Name(unknown.id)), true
		return nil, late
	}
	return &Task{Action: Prune, Cause: Sync, ID: o.id, App: o.app, SameAs: same, Absent: o.absent()}, never
}

// absent tells whether the object is known not to be there, or not with our label.
func (o *entry) absent() bool { return o.seen && o.live == nil }

// sameAs returns the live UIDs of desired objects of the same kind, namespace and name in another
// API group: one of them may be the orphan itself. Where one has not been seen, that cannot be told yet.
func (e *Engine) sameAs(o *entry) (uids map[types.UID]bool, unknown *entry) {
	for gk := range e.byKind {
		if gk.Kind != o.id.GroupKind.Kind || gk == o.id.GroupKind {
			continue
		}
		x := e.objs[object.ObjMetadata{GroupKind: gk, Namespace: o.id.Namespace, Name: o.id.Name}]
		switch {
		case x == nil || x.desired == nil:
		case !x.seen:
			return nil, x
		case x.live != nil:
			if uids == nil {
				uids = map[types.UID]bool{}
			}
			uids[x.live.UID] = true
		}
	}
	return uids, nil
}

// holdRecheck is how often a held prune is looked at again without an event: permits begin to hold
// by a commit, but run out by the clock.
const holdRecheck = time.Minute

// held returns why an orphan may not be deleted now, in words, or "".
func (e *Engine) held(o *entry, now time.Time) string {
	if len(e.desired.Incomplete) > 0 {
		return "what Git wants is not fully known: " + e.desired.Incomplete[0]
	}
	if o.absent() {
		return "" // nothing is left to be kept
	}
	free := e.permitted(o, now)
	if fleet.ProtectedKind(o.id.GroupKind.Kind) && !free {
		return fmt.Sprintf("%s is a protected kind; release it with a permit for app %q, kinds [%s], in fleet.yaml", o.id.GroupKind.Kind, o.app, o.id.GroupKind.Kind)
	}
	if o.rec.Braked && !free && !e.leaves(o) {
		return fmt.Sprintf("commit %s deletes too many objects at once; release it with a permit for app %q in fleet.yaml", short(o.rec.Orphaned), o.app)
	}
	return ""
}

func (o *entry) first() bool {
	return o.live != nil && o.live.Annotations[live.AnnotationPrune] == "first"
}

// successor returns an object of the orphan's app that the orphan's commit created or changed and
// that has not been Current yet, or nil.
func (e *Engine) successor(o *entry) *entry {
	a := e.apps[o.app]
	if a == nil {
		return nil
	}
	var first *entry
	for s := range a.successors {
		if s.desired == nil || reconcileDisabled(s) || !slices.Contains(s.rec.Awaited, o.rec.Orphaned) {
			continue
		}
		if first == nil || s.key < first.key {
			first = s
		}
	}
	return first
}

// dependedOn returns which object still needs the orphan, in words, or "".
func (e *Engine) dependedOn(o *entry) string {
	for d := range e.dependents[o.key] {
		if d.rec != nil && d.rec.Hash != "" && slices.Contains(d.rec.DependsOn, o.key) {
			return render.Name(d.id) + " depends on it"
		}
	}
	switch o.id.GroupKind {
	case namespaceKind:
		for _, d := range e.objs {
			if d.id.Namespace == o.id.Name && d.rec != nil {
				return render.Name(d.id) + " is in it"
			}
		}
	case crdKind:
		for gk, entries := range e.byKind {
			if !definedBy(gk, o.id.Name) {
				continue
			}
			for d := range entries {
				if d.rec != nil {
					return render.Name(d.id) + " is of its kind"
				}
			}
		}
	}
	return ""
}

// definedBy tells whether a CRD of that name (plural.group) may define the kind.
func definedBy(gk schema.GroupKind, crd string) bool {
	return gk.Group != "" && len(crd) > len(gk.Group) && crd[len(crd)-len(gk.Group)-1:] == "."+gk.Group
}

// Observe takes in one object as it is live. What is older than what is known already is dropped:
// the answer to our own write often overtakes the watch.
func (e *Engine) Observe(l live.View, now time.Time) {
	if o := e.objs[l.ID]; o != nil {
		e.observe(o, &l, l.ResourceVersion, now)
	}
}

// Gone takes in that an object no longer exists with our label; rv is the resource version of
// that event.
func (e *Engine) Gone(id object.ObjMetadata, rv string, now time.Time) {
	if o := e.objs[id]; o != nil {
		e.observe(o, nil, rv, now)
	}
}

// Synced takes in the whole list of a kind at resource version rv: what it lacks is not there.
func (e *Engine) Synced(gk schema.GroupKind, rv string, lives []live.View, now time.Time) {
	present := make(map[object.ObjMetadata]bool, len(lives))
	for i := range lives {
		present[lives[i].ID] = true
		e.Observe(lives[i], now)
	}
	for o := range e.byKind[gk] {
		if !present[o.id] {
			e.observe(o, nil, rv, now)
		}
	}
}

func (e *Engine) observe(o *entry, l *live.View, rv string, now time.Time) {
	if o.task != nil {
		if o.later == nil || !older(rv, o.later.rv) {
			o.later = &observation{live: l, rv: rv}
		}
		return
	}
	if o.live != nil && older(rv, o.live.ResourceVersion) {
		return
	}
	e.see(o, l, now)
}

// see stores what is live and draws the consequences.
func (e *Engine) see(o *entry, l *live.View, now time.Time) {
	if !o.seen || (o.live == nil) != (l == nil) {
		e.touchTwins(o)
	}
	if o.live == nil && l != nil {
		e.came(o)
	}
	o.seen = true
	o.live = l
	if l != nil {
		managed := l.Managed
		l.Managed = nil
		o.drifted = nil
		if o.rec != nil && o.rec.Fingerprint != "" && !live.Same(l.Fingerprint, o.rec.Fingerprint) {
			o.drifted = managed
		}
		e.health(o, now)
		if o.desired != nil && o.rec != nil && reconcileDisabled(o) {
			for _, d := range o.rdeps {
				e.touch(d) // they need not wait for it any more
			}
		}
	}
	if o.deleting && l == nil {
		o.retry = time.Time{}
	}
	e.touch(o)
}

// came has what depends on an object that is there (again) tried at once: what failed may have failed for it, as
// everything does whose namespace is gone.
func (e *Engine) came(o *entry) {
	for _, d := range o.rdeps {
		if d.err != nil {
			d.retry = time.Time{}
			e.touch(d)
		}
	}
}

// touchTwins marks the orphans that may be the same object under another API group.
func (e *Engine) touchTwins(o *entry) {
	for gk := range e.byKind {
		if gk.Kind != o.id.GroupKind.Kind || gk == o.id.GroupKind {
			continue
		}
		if x := e.objs[object.ObjMetadata{GroupKind: gk, Namespace: o.id.Namespace, Name: o.id.Name}]; x != nil && e.orphan(x) {
			e.touch(x)
		}
	}
}

// health notes when an object becomes Current with its present hash.
func (e *Engine) health(o *entry, now time.Time) {
	if o.rec == nil || o.desired == nil || o.rec.Current || o.live == nil ||
		o.rec.Hash != o.desired.Hash || o.live.Status != status.CurrentStatus {
		return
	}
	o.rec.Current = true
	e.saveLazily(o, now)
	for _, d := range o.rdeps {
		if d.err != nil && d.desired != nil && d.rec.Hash != d.desired.Hash {
			d.retry = time.Time{} // what it failed for may have been this
		}
		e.touch(d)
	}
	if o.rec.Awaited != nil {
		o.rec.Awaited = nil
		if a := e.apps[o.app]; a != nil {
			delete(a.successors, o)
		}
		e.touchOrphans(o.app)
	}
}

// Served takes in that the API server serves a kind from now on: what failed for that need not
// wait for its next attempt.
func (e *Engine) Served(gk schema.GroupKind) {
	for o := range e.byKind[gk] {
		var missing *NoMatchError
		if errors.As(o.err, &missing) {
			o.retry = time.Time{}
			e.touch(o)
		}
	}
}

// Done takes in how a task ended.
func (e *Engine) Done(r Result, now time.Time) {
	o := e.objs[r.Task.ID]
	if o == nil || o.task == nil || o.task.seq != r.Task.seq {
		return
	}
	o.task = nil
	e.inFlight--
	e.touch(o)
	if r.Err != nil {
		o.unsure = o.unsure || r.Task.Action == Apply
		e.failed(o, r, now)
	} else {
		e.paused, e.outage = 0, nil
		o.err, o.failures, o.retry = nil, 0, time.Time{}
		if r.Task.Action == Prune {
			e.pruned(o, r, now)
		} else {
			e.appliedOK(o, r, now)
		}
	}
	if l := o.later; l != nil {
		o.later = nil
		e.observe(o, l.live, l.rv, now)
	}
	if o.rec == nil && o.desired == nil {
		e.forget(o)
	}
	e.flushWhenIdle(now)
}

func (e *Engine) appliedOK(o *entry, r Result, now time.Time) {
	if o.rec == nil {
		return
	}
	hash := r.Task.Object.Hash
	if o.rec.Hash != hash {
		o.rec.Hash, o.rec.Current, o.rec.Commit = hash, false, o.changed
		if o.rec.Commit == "" {
			o.rec.Commit = e.desired.Commit
		}
		o.applied = now
	}
	o.unsure = false
	o.rec.App, o.rec.Ignored = r.Task.App, ignoredKey(r.Task.Ignore)
	if r.Live != nil {
		if !o.seen {
			e.touchTwins(o)
		}
		if o.live == nil {
			e.came(o)
		}
		o.rec.Fingerprint = r.Live.Fingerprint
		view := *r.Live
		view.Managed = nil
		o.live, o.seen = &view, true
	}
	o.drifted = nil
	e.save(o, now)
	if r.Task.Cause == Drift && (r.Outcome != Unchanged || e.stillDrifted(o)) {
		o.repairs = append(o.repairs, now)
	}
	if r.Task.Cause == Drift && r.Outcome != Unchanged {
		o.corrected++
		o.lastDrift = now
	}
	e.health(o, now)
	if settled(o) {
		for _, d := range o.rdeps {
			e.touch(d)
		}
	}
}

// stillDrifted tells that a repair had no effect, as when admission takes our label off again: it is then counted
// as one of a fight, so that it is not repeated without end.
func (e *Engine) stillDrifted(o *entry) bool {
	app := e.apps[o.app]
	if app == nil || o.desired == nil {
		return false
	}
	cause, _ := e.differs(o, app)
	return cause == Drift
}

func (e *Engine) pruned(o *entry, r Result, now time.Time) {
	switch r.Outcome {
	case Deleting:
		o.deleting = true
		o.retry = now.Add(deletionRecheck)
		if r.Live != nil {
			o.live, o.seen = r.Live, true
		}
		return
	case Unchanged: // it was taken for gone, and is not
		if r.Live != nil {
			o.live, o.seen = r.Live, true
		}
	default: // Pruned, Released
		e.touchNeeded(o)
		o.rec, o.live, o.deleting = nil, nil, false
		o.seen = true
		e.unsave(o.id, now)
		if o.desired != nil { // it came back to Git meanwhile
			o.rec = &Record{App: o.app, Commit: e.desired.Commit}
			o.saved = false
			e.save(o, now)
		}
	}
}

// touchNeeded marks what may have waited for an object to go: what it depended on, its namespace, the
// definition of its kind, and the objects that were to follow it and failed, maybe for what it held.
func (e *Engine) touchNeeded(o *entry) {
	if len(o.rec.DependsOn) > 0 { // not every key can be read back as an id
		for _, d := range e.objs {
			if slices.Contains(o.rec.DependsOn, d.key) {
				e.touch(d)
			}
		}
	}
	if ns := e.objs[object.ObjMetadata{GroupKind: namespaceKind, Name: o.id.Namespace}]; ns != nil {
		e.touch(ns)
	}
	for crd := range e.byKind[crdKind] {
		if definedBy(o.id.GroupKind, crd.id.Name) {
			e.touch(crd)
		}
	}
	if a := e.apps[o.app]; a != nil {
		for s := range a.successors {
			if s.err != nil {
				s.retry = time.Time{}
				e.touch(s)
			}
		}
	}
}

// deletionRecheck is how long after an accepted deletion the object is looked at again if no event came.
const deletionRecheck = 15 * time.Second

func (e *Engine) failed(o *entry, r Result, now time.Time) {
	var out *UnavailableError
	switch {
	case errors.Is(r.Err, ErrSuperseded):
		o.retry = time.Time{}
		return
	case errors.As(r.Err, &out):
		// Not this object's fault: everything waits, nothing is blamed.
		e.outage = r.Err
		e.paused++
		e.pause = now.Add(backoff(e.paused, time.Second/2, 15*time.Second))
		return
	}
	o.err = r.Err
	o.failures++
	o.retry = now.Add(backoff(o.failures, time.Second, 5*time.Minute))
	var missing *NoMatchError
	if errors.As(r.Err, &missing) {
		o.retry = now.Add(backoff(o.failures, 250*time.Millisecond, 30*time.Second))
	}
}

// backoff doubles from first up to most.
func backoff(n int, first, most time.Duration) time.Duration {
	d := first
	for i := 1; i < n && d < most; i++ {
		d *= 2
	}
	return min(d, most)
}

// A fight is more than fightLimit repairs of one object within fightWindow.
const (
	fightLimit  = 5
	fightWindow = time.Minute
)

// slowed returns when an object may be repaired again. Repairs are immediate until somebody has
// overwritten the object more than fightLimit times within fightWindow: then one in ten seconds.
func (e *Engine) slowed(o *entry, now time.Time) time.Time {
	e.forgetRepairs(o, now)
	if len(o.repairs) <= fightLimit {
		return now
	}
	o.fight = true
	return o.repairs[len(o.repairs)-1].Add(fightWindow / (fightLimit + 1))
}

func (e *Engine) forgetRepairs(o *entry, now time.Time) {
	for len(o.repairs) > 0 && now.Sub(o.repairs[0]) > fightWindow {
		o.repairs = o.repairs[1:]
	}
	if len(o.repairs) <= 1 {
		o.fight = false
	}
}

// older tells whether resource version a is before b. Resource versions are comparable decimal
// numbers (KEP-5504); where one is not, nothing is known and the news counts.
func older(a, b string) bool {
	x, err1 := strconv.ParseUint(a, 10, 64)
	y, err2 := strconv.ParseUint(b, 10, 64)
	return err1 == nil && err2 == nil && x < y
}

func short(commit string) string {
	if len(commit) > 12 {
		return commit[:12]
	}
	return commit
}
