package apply

import (
	"container/heap"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"

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
