package status

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// The reasons of Events.
const (
	EventSynced         = "Synced"
	EventApplyFailed    = "ApplyFailed"
	EventDriftCorrected = "DriftCorrected"
	EventDriftDetected  = "DriftDetected"
	EventFight          = "Fight"
	EventPruned         = "Pruned"
	EventHeld           = "Held"
	EventReleased       = "Released"
	EventSuspended      = "Suspended"
	EventResumed        = "Resumed"
	EventNote           = "Note"
)

// maxFailureEvents is how many of the new errors of one change become Events of their own.
const maxFailureEvents = 5

// Event is something worth telling about an app, at the moment it happens.
type Event struct {
	// App is the app's name.
	App string
	// Warning tells that somebody should look; else it is normal.
	Warning bool
	// Reason is one of the Event constants.
	Reason string
	// Message is one line. It never holds field values, which might be secret.
	Message string
}

func (e Event) kind() string {
	if e.Warning {
		return corev1.EventTypeWarning
	}
	return corev1.EventTypeNormal
}

// Transitions says what became of an app between two states; previous is nil for an app that is new here.
// A restart is no news: an app that was Ready at the same revision when it was last written, as Load
// tells, is not Synced again.
func Transitions(previous, next *AppState) []Event {
	if previous == nil {
		previous = &AppState{}
	}
	var out []Event
	add := func(warning bool, reason, format string, args ...any) {
		out = append(out, Event{App: next.Name, Warning: warning, Reason: reason, Message: fmt.Sprintf(format, args...)})
	}

	switch {
	case next.Suspended && !previous.Suspended:
		add(true, EventSuspended, "suspended in Git: nothing of it is written or healed here")
	case previous.Suspended && !next.Suspended:
		add(false, EventResumed, "no longer suspended")
	}
	for _, h := range next.Held {
		if !holds(previous.Held, h.Gate) {
			add(h.Gate.alarming(), EventHeld, "held by %s: %s", h.Gate, h.Reason)
		}
	}
	for _, h := range previous.Held {
		if !holds(next.Held, h.Gate) {
			add(false, EventReleased, "%s holds no longer", h.Gate)
		}
	}
	fresh := 0
	for _, e := range next.Errors {
		if slices.Contains(previous.Errors, e) {
			continue
		}
		if fresh++; fresh <= maxFailureEvents {
			add(true, EventApplyFailed, "%s", join(e.Object, e.Message))
		}
	}
	if fresh > maxFailureEvents {
		add(true, EventApplyFailed, "%d more errors", fresh-maxFailureEvents)
	}
	if next.Ready && !readyBefore(previous, next) {
		add(false, EventSynced, "Ready at %s, %d objects", Short(next.Changed), next.Objects)
	}
	return out
}

// ConcernsOthers tells whether other clusters, or people who watch the fleet, may wait to hear what became of an app
// between two states; previous is nil for one that is new here. Commits that moved on are not asked about, nor are counts.
func ConcernsOthers(previous, next *AppState) bool {
	if previous == nil {
		previous = &AppState{}
	}
	same := previous.Ready == next.Ready && previous.Content == next.Content && previous.Since.Equal(next.Since) &&
		previous.Replicas == next.Replicas && (previous.Objects == 0) == (next.Objects == 0) &&
		len(previous.Errors) == len(next.Errors) && previous.Suspended == next.Suspended &&
		slices.Equal(previous.ProvenContents, next.ProvenContents) &&
		slices.EqualFunc(previous.Held, next.Held, func(a, b Held) bool { return a.Gate == b.Gate && a.Reason == b.Reason })
	return !same
}

func readyBefore(previous, next *AppState) bool {
	return previous.Changed == next.Changed &&
		(previous.Ready || !previous.Since.IsZero())
}

func holds(held []Held, g Gate) bool {
	return slices.ContainsFunc(held, func(h Held) bool { return h.Gate == g })
}

// alarming tells that a hold of this gate is likely to need a person. Waves, dependencies and freezes
// are held by intent.
func (g Gate) alarming() bool {
	switch g {
	case GateWave, GateDependsOn, GateFreeze:
		return false
	default:
		return true
	}
}
