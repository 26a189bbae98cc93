package apply

import (
	"errors"
	"fmt"
	"sort"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// AppState is how one app stands, for status, metrics and Events.
type AppState struct {
	Name string
	// Objects are desired; Current of them are applied and healthy.
	Objects, Current int
	// Failed and Orphans count objects with an error and those still to be pruned. Stay are those orphans that
	// are of a protected kind.
	Failed, Orphans, Stay int
	// Kept are here though they are neither desired nor to be pruned, since what Git wants of them is not known
	// yet, or another app will have them; those of a protected kind are not counted.
	Kept int
	// Ready: every desired object is applied with its present hash, healthy, and not drifted.
	Ready bool
	// Suspended is the app's own wish.
	Suspended bool
	// Waiting are the objects that are not applied or not healthy yet, and why.
	Waiting []ObjectWait
	// Unseen are those of Waiting that have not been looked at since the start, and that Git has not changed: for all
	// that is known they are well.
	Unseen []object.ObjMetadata
	// Errors are all errors, by object.
	Errors []ObjectError
	// Held are the prunes that wait, by reason.
	Held []HeldPrune
	// Replicas are those of the workload by which the app's replicas are divided (App.Divided), or else of all its
	// Deployments and StatefulSets: those that are desired, or if nothing is, those that are not gone yet.
	Replicas, ReadyReplicas int32
	// Corrected counts repairs since the process started; LastDrift is the last one's time.
	Corrected int
	LastDrift time.Time
	// Fights are objects that somebody keeps overwriting.
	Fights []string
	// Detected are objects that drifted and are left so (mode Detect).
	Detected []string
}

// ObjectError is what is wrong with one object.
type ObjectError struct {
	ID  object.ObjMetadata
	Err error
}

// ObjectWait is what one object waits for.
type ObjectWait struct {
	ID  object.ObjMetadata
	Why string
}

// HeldPrune is a set of deletions that wait for the same reason.
type HeldPrune struct {
	Since   time.Time
	Reason  string
	Objects []string
	// Expected is set while they wait for something that should happen by itself, and have not waited
	// longer for it than the app's health timeout.
	Expected bool
}

// State tells how an app stands.
func (e *Engine) State(name string, now time.Time) AppState {
	a := e.apps[name]
	if a == nil {
		return AppState{Name: name}
	}
	s := AppState{Name: name, Suspended: a.Suspended}
	held := map[string]*HeldPrune{}
	awaited := map[string]string{} // by commit, in words
	var left live.View             // the replicas of what is not gone yet
	for o := range a.entries {
		if r := o.repairs; r != nil {
			s.Corrected += r.corrected
			if r.last.After(s.LastDrift) {
				s.LastDrift = r.last
			}
		}
		if o.desired == nil && o.rec != nil && o.live != nil && a.runs(o) {
			left.Replicas += o.live.Replicas
			left.ReadyReplicas += o.live.ReadyReplicas
		}
		if e.orphan(o) {
			s.Orphans++
			if e.stays(o) {
				s.Stay++
			}
			why := o.wait
			if o.awaits {
				if awaited[o.rec.Orphaned] == "" {
					awaited[o.rec.Orphaned] = e.awaitedInWords(a, o.rec.Orphaned)
				}
				why = awaited[o.rec.Orphaned]
			}
			addHeld(held, why, o)
			if o.err != nil {
				s.Errors = append(s.Errors, ObjectError{o.id, fmt.Errorf("prune: %w", o.err)})
			}
			continue
		}
		if o.desired == nil {
			if o.rec != nil && !fleet.ProtectedKind(o.id.GroupKind.Kind) {
				s.Kept++
			}
			continue
		}
		s.Objects++
		if o.live != nil && a.runs(o) {
			s.Replicas += o.live.Replicas
			s.ReadyReplicas += o.live.ReadyReplicas
		}
		switch why, err := e.trouble(o, a, &s, now); {
		case err != nil:
			s.Failed++
			s.Errors = append(s.Errors, ObjectError{o.id, err})
		case why != "":
			s.Waiting = append(s.Waiting, ObjectWait{o.id, why})
		default:
			s.Current++
		}
	}
	if s.Objects == 0 {
		s.Replicas, s.ReadyReplicas = left.Replicas, left.ReadyReplicas
	}
	s.Errors = append(s.Errors, a.Invalid...)
	s.Failed += len(a.Invalid)
	for id, winner := range a.lost {
		s.Errors = append(s.Errors, ObjectError{id, fmt.Errorf("also declared by app %q, whose content stays", winner)})
	}
	sort.Slice(s.Errors, func(i, j int) bool { return before(s.Errors[i].ID, s.Errors[j].ID) })
	sort.Slice(s.Waiting, func(i, j int) bool { return before(s.Waiting[i].ID, s.Waiting[j].ID) })
	sort.Strings(s.Fights)
	sort.Strings(s.Detected)
	for _, h := range held {
		sort.Strings(h.Objects)
		h.Expected = h.Expected && now.Sub(h.Since) <= a.healthTimeout()
		s.Held = append(s.Held, *h)
	}
	sort.Slice(s.Held, func(i, j int) bool { return s.Held[i].Reason < s.Held[j].Reason })
	s.Ready = s.Current == s.Objects && len(s.Errors) == 0 && !a.Unknown && !a.Suspended
	return s
}

// trouble tells why a desired object is not as it should be: an error, or what it waits for.
func (e *Engine) trouble(o *entry, a *appEntry, s *AppState, now time.Time) (waits string, err error) {
	if r := o.repairs; r != nil {
		if r.forget(now); r.fight {
			s.Fights = append(s.Fights, render.Name(o.id))
		}
	}
	switch {
	case o.bad != nil:
		return "", o.bad
	case o.err != nil:
		return "", o.err
	}
	cause, missing := e.differs(o, a)
	switch {
	case cause != "" && reconcileDisabled(o):
		return "", nil // left alone, whatever it is like
	case cause == Sync && o.wait != "":
		return o.wait, nil
	case cause == Sync:
		return "to be applied", nil
	case cause == Drift:
		s.Detected = append(s.Detected, render.Name(o.id))
		if missing {
			return "is missing", nil
		}
		return "has drifted", nil
	case !o.seen:
		s.Unseen = append(s.Unseen, o.id)
		return "not looked at yet", nil
	case o.live.Status == status.FailedStatus:
		return "", errors.New(o.live.Message)
	case o.live.Status != status.CurrentStatus:
		return o.live.Message, nil
	case a.divides(o) && o.live.ReadyReplicas < o.live.Replicas:
		// Others count these replicas. A kind whose status does not tell how many are ready would keep them waiting, and
		// nothing here would say so.
		return fmt.Sprintf("%d of %d replicas are ready by its status.readyReplicas", o.live.ReadyReplicas, o.live.Replicas), nil
	}
	return "", nil
}

// divides tells whether the app's replicas are divided by an object.
func (a *appEntry) divides(o *entry) bool { return render.Divides(a.Divided, o.id) }

// runs tells whether an object's replicas count as the app's.
func (a *appEntry) runs(o *entry) bool {
	if a.Divided != nil {
		return a.divides(o)
	}
	return render.Workload(o.id.GroupKind)
}

// Drifted returns what an object that drifted should be and its managedFields as they were seen; nil for
// one that is gone or did not drift. It takes the name that AppState.Detected has.
func (e *Engine) Drifted(app, name string) (*render.Object, []metav1.ManagedFieldsEntry) {
	a := e.apps[app]
	if a == nil {
		return nil, nil
	}
	for o := range a.entries {
		if o.drifted != nil && o.desired != nil && o.live != nil && render.Name(o.id) == name {
			return o.desired, o.drifted
		}
	}
	return nil, nil
}

// awaitedInWords names the first of the objects that a commit's orphans wait for.
func (e *Engine) awaitedInWords(a *appEntry, commit string) string {
	first := ""
	for s := range e.awaited(a, commit) {
		if name := render.Name(s.id); first == "" || name < first {
			first = name
		}
	}
	if first == "" {
		return "waits for what the same commit brings"
	}
	return fmt.Sprintf("waits for %s, which the same commit brings, to become Ready", first)
}

func addHeld(held map[string]*HeldPrune, why string, o *entry) {
	if why == "" {
		return
	}
	h := held[why]
	if h == nil {
		h = &HeldPrune{Reason: why, Since: o.orphaned, Expected: true}
		held[why] = h
	}
	h.Objects = append(h.Objects, render.Name(o.id))
	if o.orphaned.Before(h.Since) {
		h.Since = o.orphaned
	}
	h.Expected = h.Expected && o.expects
}

// healthTimeout is the app's, or the default for an app that is no longer declared.
func (a *appEntry) healthTimeout() time.Duration {
	if a.HealthTimeout == 0 {
		return fleet.Health{}.TimeoutOrDefault()
	}
	return a.HealthTimeout
}

// Present lists the apps of which something is here or is to be: objects that are desired, or in the inventory and
// not of a kind that stays.
func (e *Engine) Present() map[string]bool {
	apps := make(map[string]bool, len(e.apps))
	for name, a := range e.apps {
		for o := range a.entries {
			if o.desired != nil || o.rec != nil && !e.stays(o) {
				apps[name] = true
				break
			}
		}
	}
	return apps
}

// AppsOf lists the apps that have objects of a kind.
func (e *Engine) AppsOf(gk schema.GroupKind) map[string]bool {
	apps := map[string]bool{}
	for o := range e.byKind[gk] {
		apps[o.app] = true
	}
	return apps
}

// TakeChanged returns the apps about which something may be new since it was called before.
func (e *Engine) TakeChanged() map[string]bool {
	changed := e.changed
	e.changed = map[string]bool{}
	return changed
}

// Kinds lists the kinds that have to be watched: those of every object that is desired or ours. The caller
// leaves the map as it is.
func (e *Engine) Kinds() map[schema.GroupKind]string {
	if e.kinds != nil {
		return e.kinds
	}
	e.kinds = make(map[schema.GroupKind]string, len(e.byKind))
	for gk, entries := range e.byKind {
		e.kinds[gk] = ""
		for o := range entries {
			if o.desired != nil {
				e.kinds[gk] = o.desired.Version
				break
			}
		}
	}
	return e.kinds
}

// Outage tells why nothing can be done at all at the moment: the API server cannot be reached or
// refuses the agent's credentials.
func (e *Engine) Outage() error { return e.outage }
