package apply

import (
	"errors"
	"strconv"
	"time"

	"sigs.k8s.io/cli-utils/pkg/object"
)

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
	e.index(o)
	if o.rec == nil && o.desired == nil {
		e.forget(o)
	}
	e.flushWhenIdle(now)
}

func (e *Engine) appliedOK(o *entry, r Result, now time.Time) {
	if o.rec == nil {
		return
	}
	before := *o.rec
	hash := r.Task.Object.Hash
	if o.rec.Hash != hash {
		o.rec.Hash, o.rec.Current, o.rec.Commit = hash, false, o.changed
		if o.rec.Commit == "" {
			o.rec.Commit = e.desired.Commit
		}
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
	if !o.rec.sameApply(&before) { // a repair brings back what is on record already
		e.save(o, now)
	}
	if r.Task.Cause == Drift && (r.Outcome != Unchanged || e.stillDrifted(o)) {
		if o.repairs == nil {
			o.repairs = &repairs{}
		}
		o.repairs.note(now, r.Outcome != Unchanged)
	}
	e.health(o, now)
	if settled(o) {
		for d := range o.rdeps {
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
		e.setDependsOn(o, nil)
		o.rec, o.live, o.deleting = nil, nil, false
		o.seen = true
		e.unsave(o.id, now)
		if o.desired != nil { // it came back to Git meanwhile
			o.rec = &Record{App: o.app, Commit: e.desired.Commit}
			o.saved = false
			e.save(o, now)
			e.recordDependencies(o, now)
		}
	}
}

// touchNeeded marks what may have waited for an object to go: what it depended on, its namespace, the
// definition of its kind, and the objects that were to follow it and failed, maybe for what it held.
func (e *Engine) touchNeeded(o *entry) {
	for _, key := range o.rec.DependsOn {
		if d := e.keyed(key); d != nil {
			e.touch(d)
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
func slowed(o *entry, now time.Time) time.Time {
	r := o.repairs
	if r == nil {
		return now
	}
	r.forget(now)
	if len(r.recent) <= fightLimit {
		return now
	}
	r.fight = true
	return r.recent[len(r.recent)-1].Add(fightWindow / (fightLimit + 1))
}

// note takes in a repair, and whether it changed anything.
func (r *repairs) note(now time.Time, corrected bool) {
	r.recent = append(r.recent, now)
	if corrected {
		r.corrected++
		r.last = now
	}
}

// forget drops what was long ago; with that a fight may end.
func (r *repairs) forget(now time.Time) {
	for len(r.recent) > 0 && now.Sub(r.recent[0]) > fightWindow {
		r.recent = r.recent[1:]
	}
	if len(r.recent) <= 1 {
		r.fight = false
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
