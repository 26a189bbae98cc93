package status

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCompare(t *testing.T) {
	for _, test := range []struct {
		name string
		edit func(*AppState)
		now  time.Time
		want Change
	}{
		{"nothing", func(*AppState) {}, noon, Same},
		{"time passes", func(*AppState) {}, noon.Add(time.Hour), Same},
		{"a commit that does not touch the app", func(s *AppState) { s.Revision, s.Placement, s.Proven = "next", "next", "next" }, noon, Same},
		{"a commit that does", func(s *AppState) { s.Changed = "next" }, noon, News},
		{"new content", func(s *AppState) { s.Content = "next" }, noon, News},
		{"a proven content", func(s *AppState) { s.ProvenContents = Prove(s.ProvenContents, "next") }, noon, News},
		{"ready anew between two writes", func(s *AppState) { s.Since = noon }, noon, Same},
		{"no longer ready", func(s *AppState) { s.Ready = false }, noon, News},
		{"released", func(s *AppState) { s.Held = nil }, noon, News},
		{"held for another reason", func(s *AppState) {
			s.Held = []Held{{Gate: GateWave, Since: s.Held[0].Since, Reason: "waits for eu-west-2"}}
		}, noon, Detail},
		{"an error", func(s *AppState) { s.Errors = broken().Errors }, noon, News},
		{"a correction", func(s *AppState) { s.Drift.Corrected++ }, noon, Tally},
		{"a correction, and an object more", func(s *AppState) { s.Drift.Corrected++; s.Objects++ }, noon, Detail},
		{"an object more", func(s *AppState) { s.Objects++ }, noon, Detail},
		{"a replica less", func(s *AppState) { s.Replicas.Ready-- }, noon, Detail},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := storefront()
			written := NewAppStatusStatus(&state, nil, noon)
			test.edit(&state)
			wanted := NewAppStatusStatus(&state, &written, test.now)
			// What is read back from a cluster has gone through JSON.
			data, err := json.Marshal(written)
			if err != nil {
				t.Fatal(err)
			}
			var read AppStatusStatus
			if err := json.Unmarshal(data, &read); err != nil {
				t.Fatal(err)
			}
			got := Compare(&read, &wanted)
			if got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}

func TestCompareWithNothing(t *testing.T) {
	s := NewAppStatusStatus(&AppState{}, nil, noon)
	if got := []Change{Compare(nil, nil), Compare(nil, &s), Compare(&s, nil)}; !slices.Equal(got, []Change{Same, Created, Gone}) {
		t.Errorf("%v, want the same, created and gone", got)
	}
}

func TestTransitions(t *testing.T) {
	ready := storefront()
	ready.Held = nil
	edit := func(f func(*AppState)) *AppState {
		s := ready
		f(&s)
		return &s
	}
	unready := edit(func(s *AppState) { s.Ready, s.Since = false, time.Time{} })
	remembered := edit(func(s *AppState) { s.Ready = false })
	many := edit(func(s *AppState) {
		s.Ready = false
		for range maxFailureEvents + 3 {
			s.Errors = append(s.Errors, ObjectError{Object: "ConfigMap/a/" + string(rune('a'+len(s.Errors))), Message: "no"})
		}
	})
	for _, test := range []struct {
		name       string
		prev, next *AppState
		want       []Event
	}{
		{"new and ready", nil, &ready, []Event{{"storefront", false, EventSynced, "Ready at beef0000beef, 42 objects"}}},
		{"new and not ready", nil, unready, nil},
		{"ready again", unready, edit(func(s *AppState) { s.Since = noon }), []Event{{"storefront", false, EventSynced, "Ready at beef0000beef, 42 objects"}}},
		{"still ready", &ready, &ready, nil},
		{"ready at a new revision", &ready, edit(func(s *AppState) { s.Changed = "feed" }), []Event{{"storefront", false, EventSynced, "Ready at feed, 42 objects"}}},
		{"ready after a restart", remembered, edit(func(s *AppState) { s.Since = noon }), nil},
		{"held by intent", &ready, edit(func(s *AppState) { s.Held = []Held{{Gate: GateFreeze, Reason: "quarter end"}} }), []Event{{"storefront", false, EventHeld, "held by Freeze: quarter end"}}},
		{"held by the brake", &ready, edit(func(s *AppState) { s.Held = []Held{{Gate: GatePrune, Reason: "all"}} }), []Event{{"storefront", true, EventHeld, "held by Prune: all"}}},
		{"released", edit(func(s *AppState) { s.Held = []Held{{Gate: GatePrune}} }), &ready, []Event{{"storefront", false, EventReleased, "Prune holds no longer"}}},
		{"suspended", &ready, edit(func(s *AppState) { s.Ready, s.Suspended = false, true }), []Event{{"storefront", true, EventSuspended, "suspended in Git: nothing of it is written or healed here"}}},
		{"an error stays", many, many, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if d := cmp.Diff(test.want, Transitions(test.prev, test.next)); d != "" {
				t.Error(d)
			}
		})
	}
	failed := Transitions(&ready, many)
	if len(failed) != maxFailureEvents+1 || failed[maxFailureEvents].Message != "3 more errors" || failed[0].Message != "ConfigMap/a/a: no" {
		t.Errorf("%v", failed)
	}
}
