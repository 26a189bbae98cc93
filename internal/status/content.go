package status

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NewAppStatusStatus makes the content of an AppStatus from an app's state at the time now. previous
// is what the cluster has, nil if nothing: times of transition carry over from it. Lists and messages
// are bounded.
func NewAppStatusStatus(s *AppState, previous *AppStatusStatus, now time.Time) AppStatusStatus {
	out := AppStatusStatus{
		Revision:       s.Changed,
		RevisionShort:  Short(s.Changed),
		Placement:      s.Placement,
		Proven:         s.Proven,
		Content:        s.Content,
		ProvenContents: s.ProvenContents[:min(len(s.ProvenContents), ProvenContents)],
		Objects:        s.Objects,
		Replicas:       s.Replicas,
		Drift:          AppStatusDrift{Corrected: s.Drift.Corrected, Last: metaTime(s.Drift.normal().Last)},
	}
	for _, h := range s.Held[:min(len(s.Held), maxHeld)] {
		out.Held = append(out.Held, AppStatusHeld{Gate: h.Gate, Since: metav1.NewTime(utc(h.Since)), Reason: clip(h.Reason, maxHeldReason)})
	}
	for _, e := range s.Errors[:min(len(s.Errors), maxErrors)] {
		out.Errors = append(out.Errors, ObjectError{Object: clip(e.Object, maxErrorMessage), Message: clip(e.Message, maxErrorMessage)})
	}
	out.ErrorsOmitted = len(s.Errors) - len(out.Errors)
	var conditions []metav1.Condition
	if previous != nil {
		conditions = previous.Conditions
	}
	out.Conditions = Conditions(s, conditions, now)
	return out
}

// state returns what an AppStatus remembers of an app. What is only ever true of a running agent
// (errors, waiting, readiness) is not among it: it has to be seen anew. For how long the app has not been Ready is, or a
// restart would end every stall.
func (s *AppStatusStatus) state(name string) AppState {
	out := AppState{
		Name:           name,
		Revision:       s.Revision,
		Changed:        s.Revision,
		Placement:      s.Placement,
		Proven:         s.Proven,
		Content:        s.Content,
		ProvenContents: s.ProvenContents[:min(len(s.ProvenContents), ProvenContents)],
		Objects:        s.Objects,
		Replicas:       s.Replicas,
		Drift:          Drift{Corrected: s.Drift.Corrected},
	}
	for _, c := range s.Conditions {
		at := c.LastTransitionTime.Time
		switch {
		case c.Type == ConditionReady && c.Status == metav1.ConditionTrue:
			out.Since = at
		case c.Type == ConditionReady, c.Type == ConditionStalled && c.Status == metav1.ConditionFalse:
			// New content ends a stall, and has as long as any to become Ready.
			out.UnreadySince = later(out.UnreadySince, at)
		}
	}
	if !out.Since.IsZero() {
		out.UnreadySince = time.Time{}
	}
	if s.Drift.Last != nil {
		out.Drift.Last = &s.Drift.Last.Time
	}
	for _, h := range s.Held {
		out.Held = append(out.Held, Held{Gate: h.Gate, Since: h.Since.Time, Reason: h.Reason})
	}
	return out
}

func metaTime(t *time.Time) *metav1.Time {
	if t == nil {
		return nil
	}
	return &metav1.Time{Time: *t}
}
