package status

import (
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Change says how a wanted AppStatus differs from the written one.
type Change int

// The changes, the least first.
const (
	// Same: there is nothing new to say. Fields that move with every commit may differ.
	Same Change = iota
	// Tally: nothing but the count of corrections differs.
	Tally
	// Detail: other counters or a progress message differ.
	Detail
	// News: what the app is, what it was given, or what holds or fails differs.
	News
	// Created: it is not in the cluster yet.
	Created
	// Gone: it is in the cluster and wanted no longer.
	Gone
)

// Compare tells how what the cluster says of an app differs from what it should say; nil is no object.
func Compare(have, want *AppStatusStatus) Change {
	switch {
	case have == nil && want == nil:
		return Same
	case have == nil:
		return Created
	case want == nil:
		return Gone
	}
	a, b := news(have), news(want)
	if !reflect.DeepEqual(a, b) {
		return News
	}
	a, b = details(have), details(want)
	if reflect.DeepEqual(a, b) {
		return Same
	}
	a.Drift, b.Drift = AppStatusDrift{}, AppStatusDrift{}
	if reflect.DeepEqual(a, b) {
		return Tally
	}
	return Detail
}

// details returns s without what moves with every commit and without the times of transition, which follow
// from the conditions. Times and empty lists get the form that they have after a round trip.
func details(s *AppStatusStatus) AppStatusStatus {
	out := *s
	out.Placement, out.Proven = "", ""
	out.Drift.Last = round(s.Drift.Last)
	out.ProvenContents = append([]string(nil), s.ProvenContents...)
	out.Errors = append([]ObjectError(nil), s.Errors...)
	out.Held = append([]AppStatusHeld(nil), s.Held...)
	for i := range out.Held {
		out.Held[i].Since = *round(&out.Held[i].Since)
	}
	out.Conditions = slices.Clone(s.Conditions)
	for i := range out.Conditions {
		out.Conditions[i].LastTransitionTime = metav1.Time{}
	}
	return out
}

// news returns details without counters and progress messages.
func news(s *AppStatusStatus) AppStatusStatus {
	out := details(s)
	out.Objects, out.Replicas, out.Drift = 0, Replicas{}, AppStatusDrift{}
	for i := range out.Held {
		out.Held[i].Reason = ""
	}
	for i := range out.Errors {
		out.Errors[i].Message = ""
	}
	for i := range out.Conditions {
		out.Conditions[i].Message = ""
	}
	return out
}

func round(t *metav1.Time) *metav1.Time {
	if t == nil {
		return nil
	}
	return &metav1.Time{Time: utc(t.Time)}
}
