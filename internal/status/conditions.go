package status

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The condition types. Reconciling and Stalled are kstatus' own: the one says that work is going on, the other
// that it will not end by itself.
const (
	ConditionReady       = "Ready"
	ConditionReconciling = "Reconciling"
	ConditionStalled     = "Stalled"
)

// The reasons of the conditions.
const (
	ReasonReady          = "Ready"          // everything is live and healthy
	ReasonHeld           = "Held"           // a gate holds; what is adopted may well be Ready
	ReasonProgressing    = "Progressing"    // applied, not yet healthy
	ReasonFailed         = "Failed"         // at least one error
	ReasonSuspended      = "Suspended"      // suspended in Git
	ReasonHealthTimeout  = "HealthTimeout"  // not Ready for longer than health.timeout
	ReasonWithinDeadline = "WithinDeadline" // not Ready, but not yet for so long
)

// Conditions computes the conditions Ready, Reconciling and Stalled of an app at the time now. The
// times of transition are taken from previous where the value is the same, else they are now.
func Conditions(s *AppState, previous []metav1.Condition, now time.Time) []metav1.Condition {
	message := clip(s.message(), maxMessage)
	ready, reconciling, stalled := s.verdicts(now)
	out := []metav1.Condition{
		condition(ConditionReady, ready, message),
		condition(ConditionReconciling, reconciling, ""),
		condition(ConditionStalled, stalled, ""),
	}
	if stalled.value {
		out[2].Message = message
	}
	for i := range out {
		out[i].LastTransitionTime = metav1.NewTime(utc(now))
		for j := range previous {
			if previous[j].Type == out[i].Type && previous[j].Status == out[i].Status {
				out[i].LastTransitionTime = previous[j].LastTransitionTime
			}
		}
	}
	return out
}

type verdict struct {
	value  bool
	reason string
}

func condition(kind string, v verdict, message string) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: v.reason, Message: message}
	if v.value {
		c.Status = metav1.ConditionTrue
	}
	return c
}

// verdicts decides the three conditions. A hold is never a stall: gates are meant to hold, for as long
// as it takes. A suspended app is one: it needs a person.
func (s *AppState) verdicts(now time.Time) (ready, reconciling, stalled verdict) {
	if s.Suspended {
		return verdict{false, ReasonSuspended}, verdict{false, ReasonSuspended}, verdict{true, ReasonSuspended}
	}
	held := len(s.Held) > 0
	failed := len(s.Errors) > 0
	switch {
	case s.Ready && held:
		return verdict{true, ReasonHeld}, verdict{true, ReasonHeld}, verdict{false, ReasonHeld}
	case s.Ready:
		return verdict{true, ReasonReady}, verdict{false, ReasonReady}, verdict{false, ReasonReady}
	case failed:
		ready = verdict{false, ReasonFailed}
	case held && len(s.Waiting) == 0:
		ready = verdict{false, ReasonHeld}
	default:
		ready = verdict{false, ReasonProgressing}
	}
	if at, ok := s.StallsAt(); ok && !now.Before(at) {
		return ready, verdict{false, ReasonHealthTimeout}, verdict{true, ReasonHealthTimeout}
	}
	return ready, verdict{true, ready.reason}, verdict{false, ReasonWithinDeadline}
}

// message says in one line what a person wants to know first: what failed, else what is held, else
// what it waits for.
func (s *AppState) message() string {
	switch {
	case s.Suspended:
		return "suspended in Git: nothing of it is written or healed here"
	case len(s.Errors) > 0:
		e := s.Errors[0]
		// The first error is shortened on its own: the count of the others must survive.
		return join(e.Object, clip(e.Message, maxMessage/2)) + more(len(s.Errors))
	case len(s.Held) > 0:
		h := s.Held[0]
		return fmt.Sprintf("held by %s: %s", h.Gate, clip(h.Reason, maxMessage/2)) + more(len(s.Held))
	case len(s.Waiting) > 0:
		w := s.Waiting[0]
		return "waiting for " + join(w.Object, clip(w.Message, maxMessage/2)) + more(len(s.Waiting))
	case s.Ready:
		return ""
	default:
		return "being applied"
	}
}
