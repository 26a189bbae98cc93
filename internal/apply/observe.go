package apply

import (
	"errors"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/live"
)

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
		e.share(o, l)
		managed := l.Managed
		l.Managed = nil
		o.drifted = nil
		if o.rec != nil && o.rec.Fingerprint != "" && !live.Same(l.Fingerprint, o.rec.Fingerprint) {
			o.drifted = managed
		}
		e.health(o, now)
		if o.desired != nil && o.rec != nil && reconcileDisabled(o) {
			for d := range o.rdeps {
				e.touch(d) // they need not wait for it any more
			}
		}
	}
	if o.deleting && l == nil {
		o.retry = time.Time{}
	}
	e.touch(o)
}

// share has an observation refer to what the engine holds already: there is one for each object.
func (e *Engine) share(o *entry, l *live.View) {
	l.ID = o.id
	if l.App == o.app {
		l.App = o.app
	}
	if l.Instance == e.instance {
		l.Instance = e.instance
	}
	if o.rec != nil && l.Fingerprint == o.rec.Fingerprint {
		l.Fingerprint = o.rec.Fingerprint
	}
}

// came has what depends on an object that is there (again) tried at once: what failed may have failed for it, as
// everything does whose namespace is gone.
func (e *Engine) came(o *entry) {
	for d := range o.rdeps {
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
	for d := range o.rdeps {
		if d.err != nil && d.desired != nil && d.rec.Hash != d.desired.Hash {
			d.retry = time.Time{} // what it failed for may have been this
		}
		e.touch(d)
	}
	if awaited := o.rec.Awaited; awaited != nil {
		o.rec.Awaited = nil
		a := e.apps[o.app]
		delete(a.successors, o)
		if slices.ContainsFunc(awaited, func(commit string) bool { return !e.awaits(a, commit) }) {
			e.touchOrphans(a)
		}
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
