package status

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// outbox collects what a Recorder sends.
type outbox struct {
	mu   sync.Mutex
	sent []Event
}

func (o *outbox) emit(_ *corev1.ObjectReference, e Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent = append(o.sent, e)
}

// take returns what was sent since.
func (o *outbox) take() []Event {
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	sent := o.sent
	o.sent = nil
	return sent
}

func startRecorder(t *testing.T, load *Load) (*Recorder, *outbox) {
	t.Helper()
	o := &outbox{}
	r := newRecorder(load, o.emit)
	start(t, r.Run)
	return r, o
}

func synced(n int) Event {
	return Event{App: fmt.Sprintf("app-%04d", n), Reason: EventSynced, Message: "Ready"}
}

// A small fleet's Events are sent as they come; of a thousand at once the warnings and what fits are, and the rest
// is told as one, with its number.
func TestRecorderGathersWhatIsTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, box := startRecorder(t, nil)
		for i := range 1000 {
			e := synced(i)
			r.Bind(e.App, e.App, "uid")
			if i < eventBurst/2 {
				r.Record(e)
			}
		}
		if n := len(box.take()); n != eventBurst/2 {
			t.Errorf("%d Events of a small fleet, want all %d at once", n, eventBurst/2)
		}
		time.Sleep(time.Hour)

		events := make([]Event, 0, 1000)
		for i := range 999 {
			events = append(events, synced(i))
		}
		r.Record(append(events, Event{App: "app-0999", Warning: true, Reason: EventApplyFailed, Message: "no"})...)
		now := box.take()
		if len(now) != eventBurst || now[0].Reason != EventApplyFailed {
			t.Errorf("%d Events at once, the first is %+v; want %d and the warning first", len(now), now[0], eventBurst)
		}
		time.Sleep(time.Minute)
		then := box.take()
		if n := len(then); n < 2 || n > 10 {
			t.Fatalf("%d Events then: %+v", n, then)
		}
		last := then[len(then)-1]
		if want := fmt.Sprintf("one of %d such Events", 1000-len(now)-len(then)+1); !strings.Contains(last.Message, want) || !strings.Contains(last.Message, "app-0060") {
			t.Errorf("%q does not say %q", last.Message, want)
		}
	})
}

// While the cluster is busy only warnings are sent; the others come afterwards, and also when the agent ends.
func TestRecorderYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var load Load
		r, box := startRecorder(t, &load)
		load.Note(time.Now())
		r.Bind("app-0001", "app-0001", "uid")
		r.Record(synced(1), Event{App: "app-0001", Warning: true, Reason: EventHeld})
		if sent := box.take(); len(sent) != 1 || sent[0].Reason != EventHeld {
			t.Errorf("sent while busy: %+v", sent)
		}
		time.Sleep(2 * loadLasts)
		if sent := box.take(); len(sent) != 1 || sent[0].Reason != EventSynced {
			t.Errorf("sent then: %+v", sent)
		}
	})
}

// A look at what waits costs as much as there is of it, so a flood must not have one for each Event.
func TestRecorderLooksOnceForManyThatWait(t *testing.T) {
	r := newRecorder(nil, func(*corev1.ObjectReference, Event) {})
	r.BindNone()
	looks := func(e Event) int {
		r.Record(e)
		n := len(r.wake)
		for range n {
			<-r.wake
		}
		return n
	}
	normal := Event{App: "a", Reason: EventDriftCorrected}
	if got := []int{looks(normal), looks(normal), looks(Event{App: "a", Warning: true, Reason: EventFight})}; !slices.Equal(got, []int{1, 0, 1}) {
		t.Errorf("looks for the first Event, another and a warning: %v", got)
	}
	r.send(time.Now())
	if looks(normal) != 1 {
		t.Error("no look for the first Event after all were sent")
	}
}

// eventServer is an API server that takes Events.
type eventServer struct {
	typedcorev1.EventInterface
	take func(context.Context, *corev1.Event) error
}

func (s *eventServer) Events(string) typedcorev1.EventInterface { return s }

func (s *eventServer) CreateWithEventNamespaceWithContext(ctx context.Context, e *corev1.Event) (*corev1.Event, error) {
	return e, s.take(ctx, e)
}

// What is queued when the agent ends is still sent, and an API server that does not answer keeps it for a moment only:
// nothing is under way afterwards.
func TestRecorderEnds(t *testing.T) {
	const events = 20
	for name, test := range map[string]struct {
		take func(context.Context) error
		sent int
		took time.Duration
	}{
		"a slow server":                 {func(context.Context) error { time.Sleep(50 * time.Millisecond); return nil }, events, events * 50 * time.Millisecond},
		"a server that does not answer": {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 0, stopPatience},
		"a server that is away":         {func(context.Context) error { return context.DeadlineExceeded }, 0, stopPatience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				sent, underWay := map[string]bool{}, 0
				r := NewRecorder(&eventServer{take: func(ctx context.Context, e *corev1.Event) error {
					mu.Lock()
					underWay++
					mu.Unlock()
					err := test.take(ctx)
					mu.Lock()
					defer mu.Unlock()
					underWay--
					if err == nil {
						sent[e.InvolvedObject.Name] = true
					}
					return err
				}}, "", nil)
				r.BindNone()
				for i := range events {
					r.Record(synced(i))
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				began := time.Now()
				if err := r.Run(ctx); err != nil {
					t.Error(err)
				}
				took := time.Since(began)
				mu.Lock()
				defer mu.Unlock()
				if len(sent) != test.sent || underWay > 0 || took != test.took {
					t.Errorf("%d Events were sent in %s and %d are under way, want %d in %s", len(sent), took, underWay, test.sent, test.took)
				}
			})
		})
	}
}
