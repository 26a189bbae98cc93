package status

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func TestConditions(t *testing.T) {
	waiting := []Waiting{{Object: "apps/Deployment/shop/web", Message: "1 of 3 replicas available"}, {Object: "Service/shop/web"}}
	held := []Held{{Gate: GatePrune, Since: noon, Reason: "would delete 12 objects"}}
	errs := broken().Errors
	long := ObjectError{Object: "ConfigMap/shop/x", Message: strings.Repeat("ä", 4000)}
	for _, test := range []struct {
		name    string
		state   AppState
		want    string // Ready, Reconciling, Stalled with their reasons
		message string
		kstatus kstatus.Status
	}{
		{"ready", AppState{Ready: true}, "True/Ready False/Ready False/Ready", "", kstatus.CurrentStatus},
		{"ready but held", AppState{Ready: true, Held: held}, "True/Held True/Held False/Held", "held by Prune: would delete 12 objects", kstatus.InProgressStatus},
		{"held by two", AppState{Ready: true, Held: append(held, Held{Gate: GateFreeze})}, "True/Held True/Held False/Held", "held by Prune: would delete 12 objects; and 1 more", kstatus.InProgressStatus},
		{"new", AppState{UnreadySince: noon, HealthTimeout: time.Minute}, "False/Progressing True/Progressing False/WithinDeadline", "being applied", kstatus.InProgressStatus},
		{"waiting", AppState{Waiting: waiting, UnreadySince: noon, HealthTimeout: time.Minute}, "False/Progressing True/Progressing False/WithinDeadline", "waiting for apps/Deployment/shop/web: 1 of 3 replicas available; and 1 more", kstatus.InProgressStatus},
		{"waiting for too long", AppState{Waiting: waiting, UnreadySince: noon.Add(-time.Minute), HealthTimeout: time.Minute}, "False/Progressing False/HealthTimeout True/HealthTimeout", "waiting for apps/Deployment/shop/web: 1 of 3 replicas available; and 1 more", kstatus.FailedStatus},
		{"failed", AppState{Errors: errs, UnreadySince: noon, HealthTimeout: time.Minute}, "False/Failed True/Failed False/WithinDeadline", "apps/Deployment/shop/web: spec.template: required; and 1 more", kstatus.InProgressStatus},
		{"failed for too long", AppState{Errors: errs, UnreadySince: noon.Add(-time.Hour), HealthTimeout: time.Minute}, "False/Failed False/HealthTimeout True/HealthTimeout", "apps/Deployment/shop/web: spec.template: required; and 1 more", kstatus.FailedStatus},
		{"failed as a whole", AppState{Errors: []ObjectError{{Message: "render: no overlay matches"}}}, "False/Failed True/Failed False/WithinDeadline", "render: no overlay matches", kstatus.InProgressStatus},
		{"an error comes before a hold", AppState{Errors: errs[:1], Held: held}, "False/Failed True/Failed False/WithinDeadline", "apps/Deployment/shop/web: spec.template: required", kstatus.InProgressStatus},
		{"held and never ready", AppState{Held: held}, "False/Held True/Held False/WithinDeadline", "held by Prune: would delete 12 objects", kstatus.InProgressStatus},
		{"suspended", AppState{Suspended: true, Ready: true, Errors: errs}, "False/Suspended False/Suspended True/Suspended", "suspended in Git: nothing of it is written or healed here", kstatus.FailedStatus},
		{"a long error leaves room for the count", AppState{Errors: []ObjectError{long, long, long}}, "False/Failed True/Failed False/WithinDeadline", "; and 2 more", kstatus.InProgressStatus},
	} {
		t.Run(test.name, func(t *testing.T) {
			conditions := Conditions(&test.state, nil, noon)
			var got []string
			for _, c := range conditions {
				got = append(got, fmt.Sprintf("%s/%s", c.Status, c.Reason))
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			message := conditions[0].Message
			if len(message) > maxMessage || !utf8.ValidString(message) || !strings.HasSuffix(message, test.message) {
				t.Errorf("message %q, want %q", message, test.message)
			}
			if s := verdict4kstatus(t, &test.state); s != test.kstatus {
				t.Errorf("kstatus says %s, want %s", s, test.kstatus)
			}
		})
	}
}

// verdict4kstatus asks kstatus what it makes of our AppStatus.
func verdict4kstatus(t *testing.T, s *AppState) kstatus.Status {
	t.Helper()
	object := AppStatus{Status: NewAppStatusStatus(s, nil, noon)}
	object.APIVersion, object.Kind, object.Name, object.Generation = APIVersion, Kind, "a", 7
	u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&object)
	if err != nil {
		t.Fatal(err)
	}
	result, err := kstatus.Compute(&unstructured.Unstructured{Object: u})
	if err != nil {
		t.Fatal(err)
	}
	return result.Status
}

func TestConditionsKeepTheirTimes(t *testing.T) {
	first := Conditions(&AppState{}, nil, noon)
	ready := Conditions(&AppState{Ready: true}, first, noon.Add(time.Hour))
	for i, want := range []time.Time{noon.Add(time.Hour), noon.Add(time.Hour), noon} { // Stalled was and is false
		if got := ready[i].LastTransitionTime; !got.Equal(&metav1.Time{Time: want}) {
			t.Errorf("%s changed at %s, want %s", ready[i].Type, got, want)
		}
	}
}

// A restart neither ends a stall nor makes one: what is read back says the same again, when it is seen to be as it was.
func TestARestartLeavesStalls(t *testing.T) {
	waits := func(since time.Time) *AppState {
		return &AppState{HealthTimeout: time.Hour, UnreadySince: since, Waiting: []Waiting{{Object: "Service/shop/web"}}}
	}
	ready := &AppState{HealthTimeout: time.Hour, Ready: true, Since: noon}
	day := 24 * time.Hour
	for _, test := range []struct {
		name         string
		states       []*AppState // one a day
		unreadySince time.Time
		stalled      string
	}{
		{"it was Ready", []*AppState{waits(noon), ready}, time.Time{}, "False/Ready"},
		{"not yet Ready", []*AppState{ready, waits(noon.Add(day))}, noon.Add(day), "False/WithinDeadline"},
		{"stalled since a day", []*AppState{ready, waits(noon.Add(day)), waits(noon.Add(day))}, noon.Add(day), "True/HealthTimeout"},
		{"new content after a stall", []*AppState{waits(noon), waits(noon), waits(noon.Add(2 * day))}, noon.Add(2 * day), "False/WithinDeadline"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var said AppStatusStatus
			now := noon
			for i, s := range test.states {
				now = noon.Add(time.Duration(i) * day)
				said = NewAppStatusStatus(s, &said, now)
			}
			restored := said.state("web")
			if !restored.UnreadySince.Equal(test.unreadySince) {
				t.Errorf("not Ready since %s, want %s", restored.UnreadySince, test.unreadySince)
			}
			seen := *test.states[len(test.states)-1]
			seen.UnreadySince = restored.UnreadySince
			again := NewAppStatusStatus(&seen, &said, now.Add(time.Minute))
			if change := Compare(&said, &again); change != Same {
				t.Errorf("it is told again: %d", change)
			}
			if c := again.Conditions[2]; fmt.Sprintf("%s/%s", c.Status, c.Reason) != test.stalled {
				t.Errorf("Stalled is %s/%s, want %s", c.Status, c.Reason, test.stalled)
			}
		})
	}
}

func TestAppStatusIsBounded(t *testing.T) {
	state := broken()
	for i := range 5000 {
		state.Errors = append(state.Errors, ObjectError{Object: fmt.Sprintf("ConfigMap/shop/c%d", i), Message: strings.Repeat("x", 10000)})
		state.Held = append(state.Held, Held{Reason: strings.Repeat("y", 10000)})
		state.ProvenContents = append(state.ProvenContents, "hash")
	}
	out := NewAppStatusStatus(&state, nil, noon)
	if len(out.Errors) != maxErrors || out.ErrorsOmitted != 5002-maxErrors || len(out.Held) != maxHeld || len(out.ProvenContents) != ProvenContents {
		t.Errorf("%d errors, %d omitted, %d held, %d proven", len(out.Errors), out.ErrorsOmitted, len(out.Held), len(out.ProvenContents))
	}
	if len(out.Errors[10].Message) > maxErrorMessage {
		t.Error("an error is too long")
	}
}

func TestProve(t *testing.T) {
	var list []string
	for i := range 12 {
		list = Prove(list, fmt.Sprint(i))
	}
	list = Prove(list, "5")
	if got := strings.Join(list, " "); got != "5 11 10 9 8 7 6 4 3 2" {
		t.Error(got)
	}
}

func TestClip(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"short", "short"},
		{"exactly te", "exactly te"},
		{"more than ten", "more th…"},
		{"ääääää", "äää…"},
		{"a\xffb", "a\uFFFDb"},
	} {
		if got := clip(test.in, 10); got != test.want {
			t.Errorf("clip(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}
