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

	objs  map[object.ObjMetadata]*entry
	byKey map[string]*entry // see keyed; nil before anybody asked
	apps  map[string]*appEntry
	kinds map[schema.GroupKind]string // see Kinds; nil when it has to be made anew

	// Entries by what others find them by. An entry is in byKind and byNamespace as long as it exists.
	byKind      map[schema.GroupKind]entries
	byNamespace map[string]entries
	dependents  map[string]entries             // by the inventory keys that their records depend on
	wanting     map[object.ObjMetadata]entries // by the ids that their depends-on annotations name
	definitions map[schema.GroupKind]entries   // CustomResourceDefinitions by the kind that they define
	contested   entries                        // those that are declared more than once
	orphans     entries
	invalid     map[object.ObjMetadata]int // how many apps declare it wrongly
	cyclic      map[*entry]error
	// left counts the entries that are desired or may be; applied those that the brake takes for objects
	// of this cluster. See index.
	left, applied int
	pass          int  // counts comparisons of apps, see redeclare
	whole         bool // SetDesired takes everything for changed: for tests

	dirty   []*entry
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

type entries map[*entry]struct{}

func (s entries) add(o *entry) { s[o] = struct{}{} }

func (s entries) has(o *entry) bool {
	_, ok := s[o]
	return ok
}

// into adds an entry to the set under a key.
func into[K comparable](m map[K]entries, key K, o *entry) {
	if m[key] == nil {
		m[key] = entries{}
	}
	m[key].add(o)
}

// outOf is the reverse of into.
func outOf[K comparable](m map[K]entries, key K, o *entry) {
	delete(m[key], o)
	if len(m[key]) == 0 {
		delete(m, key)
	}
}

// appEntry is what the engine keeps per app.
type appEntry struct {
	App
	declared bool // Desired has it
	present  bool // while SetDesired compares: the new Desired has it
	entries  entries
	// successors are the objects that some of the app's prunes wait for; see Record.Awaited.
	successors entries
	// lost are the objects that another app has, and which.
	lost map[object.ObjMetadata]string
}

// entry is all that is known of one object. There is one for each, for as long as it exists: what most do not need is
// behind a pointer, and what takes one bit stands together.
type entry struct {
	id object.ObjMetadata

	// declared are the objects of that id in Desired: one, or several that contend for it.
	declared []*render.Object
	pass     int // see redeclare
	// desired is the one that counts. What is kept or claimed has it without being declared.
	desired *render.Object
	app     string // who declares it now, or declared it last
	claimed string // the app that will declare it once it adopts head
	bad     error  // cannot be applied as it is declared: no request is sent
	changed string // the commit that changed desired

	rec     *Record
	live    *live.View
	later   *observation
	drifted []metav1.ManagedFieldsEntry

	deps    []*entry
	rdeps   entries
	wants   object.ObjMetadataSet // what its depends-on annotation names
	wish    error                 // what is wrong with that annotation
	defines *schema.GroupKind     // by a CustomResourceDefinition that is declared

	task     *Task
	queued   readying // how it is in the queue; zero when it is not
	err      error
	failures int
	retry    time.Time
	orphaned time.Time // since when it waits to be pruned
	waking   time.Time
	wait     string // what it waits for, in words
	repairs  *repairs

	// What the indexes have of it.
	linked, left, applied bool

	kept     bool // its app's wish is unknown: neither applied nor pruned
	saved    bool // the id is in the stored inventory
	seen     bool // live is known: nil then means absent
	dirty    bool
	unsure   bool // an apply has failed since the last that did not: it may have had its effect all the same
	deleting bool
	expects  bool // what it waits for should happen by itself
	awaits   bool // an orphan: for what its commit brings
}

// repairs are those of an object that somebody has changed.
type repairs struct {
	recent    []time.Time // within fightWindow
	corrected int
	last      time.Time
	fight     bool
}

type observation struct {
	live *live.View // nil: gone
	rv   string
}

// NewEngine returns an Engine for the instance (the value of the label of our objects) that starts
// from the stored inventory.
func NewEngine(instance string, records map[object.ObjMetadata]Record) *Engine {
	e := &Engine{
		instance:    instance,
		objs:        map[object.ObjMetadata]*entry{},
		apps:        map[string]*appEntry{},
		byKind:      map[schema.GroupKind]entries{},
		byNamespace: map[string]entries{},
		dependents:  map[string]entries{},
		wanting:     map[object.ObjMetadata]entries{},
		definitions: map[schema.GroupKind]entries{},
		contested:   entries{},
		orphans:     entries{},
		invalid:     map[object.ObjMetadata]int{},
		changed:     map[string]bool{},
		unsaved:     map[object.ObjMetadata]struct{}{},
	}
	commits := map[string]string{} // each of the few is kept once
	for id, r := range records {
		o := e.entry(id)
		rec := r
		if _, ok := commits[r.Commit]; !ok {
			commits[r.Commit] = r.Commit
		}
		rec.Commit = commits[r.Commit]
		o.rec, o.saved = &rec, true
		e.setApp(o, r.App)
		rec.App = o.app
		e.setDependsOn(o, r.DependsOn)
		e.index(o)
	}
	return e
}

func (e *Engine) entry(id object.ObjMetadata) *entry {
	o := e.objs[id]
	if o == nil {
		o = &entry{id: id}
		e.objs[id] = o
		if e.byKey != nil {
			e.byKey[id.String()] = o
		}
		into(e.byKind, id.GroupKind, o)
		into(e.byNamespace, id.Namespace, o)
	}
	return o
}

// keyed finds an entry by the key that records of others have of it. Few objects depend on others, so keys are not
// kept until there is one that does.
func (e *Engine) keyed(key string) *entry {
	if e.byKey == nil {
		e.byKey = make(map[string]*entry, len(e.objs))
		for id, o := range e.objs {
			e.byKey[id.String()] = o
		}
	}
	return e.byKey[key]
}

func (e *Engine) appEntry(name string) *appEntry {
	a := e.apps[name]
	if a == nil {
		a = &appEntry{App: App{Name: name}, entries: entries{}, successors: entries{}}
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
	a := e.appEntry(name)
	o.app = a.Name // one string for all that the app has
	a.entries.add(o)
}

// setDependsOn notes in an entry's record what it depends on.
func (e *Engine) setDependsOn(o *entry, keys []string) {
	for _, k := range o.rec.DependsOn {
		outOf(e.dependents, k, o)
	}
	o.rec.DependsOn = keys
	for _, k := range keys {
		into(e.dependents, k, o)
	}
}

// forget drops an entry that is neither desired nor in the inventory.
func (e *Engine) forget(o *entry) {
	o.kept, o.claimed = false, ""
	e.index(o)
	delete(e.objs, o.id)
	if e.byKey != nil {
		delete(e.byKey, o.id.String())
	}
	outOf(e.byNamespace, o.id.Namespace, o)
	outOf(e.byKind, o.id.GroupKind, o)
	if e.byKind[o.id.GroupKind] == nil {
		e.kinds = nil
	}
	if a := e.apps[o.app]; a != nil {
		delete(a.entries, o)
		delete(a.successors, o)
	}
}

// index keeps what the engine counts and lists of an entry as the entry is. Whoever changes what it is
// drawn from calls it.
func (e *Engine) index(o *entry) {
	left := o.desired != nil || o.kept || o.claimed != ""
	applied := o.rec != nil && !o.rec.Braked && o.rec.Hash != ""
	e.left += count(left) - count(o.left)
	e.applied += count(applied) - count(o.applied)
	o.left, o.applied = left, applied
	if e.orphan(o) {
		e.orphans.add(o)
	} else {
		delete(e.orphans, o)
	}
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// touch marks an entry to be decided about.
func (e *Engine) touch(o *entry) {
	if !o.dirty {
		o.dirty = true
		e.dirty = append(e.dirty, o)
	}
	e.changed[o.app] = true
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
	for _, o := range e.dirty {
		o.dirty = false
		switch t, at := e.decide(o, now); {
		case t != nil:
			e.ready.add(o, t)
		case !at.IsZero():
			e.wakeAt(o, at)
		}
	}
	clear(e.dirty)
	e.dirty = e.dirty[:0]
	var tasks []Task
	for len(tasks) < limit && e.ready.Len() > 0 {
		next := heap.Pop(&e.ready).(readying)
		o := next.entry
		if next != o.queued {
			continue // it was queued again, elsewhere
		}
		o.queued = readying{}
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
	if e.saving {
		at = time.Time{} // Saved is news
	}
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
