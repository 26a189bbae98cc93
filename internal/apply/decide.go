package apply

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// decide returns what may be done about an entry now, or when to ask again, or neither: then an
// event will ask. It leaves in o.wait what the entry waits for.
func (e *Engine) decide(o *entry, now time.Time) (*Task, time.Time) {
	o.wait, o.expects, o.awaits = "", false, false
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
		if at := slowed(o, now); now.Before(at) {
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
	late := o.orphaned.Add(e.apps[o.app].healthTimeout() + time.Second)
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
	if !o.first() && o.rec.Hash != "" && e.awaits(e.apps[o.app], o.rec.Orphaned) {
		o.awaits, o.expects = true, true
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
	return &Task{Action: Prune, Cause: Sync, ID: o.id, App: o.app, SameAs: same, Last: e.apps[o.app].Exclusive, Absent: o.absent()}, never
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

// awaited are the objects of an app that a commit created or changed and that have not been Current yet: the
// commit's orphans wait for them.
func (e *Engine) awaited(a *appEntry, commit string) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for s := range a.successors {
			if s.desired != nil && !reconcileDisabled(s) && slices.Contains(s.rec.Awaited, commit) && !yield(s) {
				return
			}
		}
	}
}

// awaits tells whether a commit's orphans have to wait for any.
func (e *Engine) awaits(a *appEntry, commit string) bool {
	for range e.awaited(a, commit) {
		return true
	}
	return false
}

// dependedOn returns which object still needs the orphan, in words, or "".
func (e *Engine) dependedOn(o *entry) string {
	if len(e.dependents) > 0 {
		for d := range e.dependents[o.id.String()] {
			if d.rec.Hash != "" {
				return render.Name(d.id) + " depends on it"
			}
		}
	}
	switch o.id.GroupKind {
	case namespaceKind:
		for d := range e.byNamespace[o.id.Name] {
			if d.rec != nil {
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
