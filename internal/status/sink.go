package status

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// stopPatience is how long the end of a Recorder waits until the API server has taken what was sent last.
const stopPatience = 2 * time.Second

// afterLast is the object of an Event that nobody gets: it follows the last one through client-go's queue, which does not
// tell when it is empty.
var afterLast = corev1.ObjectReference{Name: "after-the-last"}

// sink hands Events to the API server, one at a time. The requests of client-go's own sink can outlive the Recorder, since
// they have no context; those of this one end with that which it was made with.
type sink struct {
	create, update func(*corev1.Event) (*corev1.Event, error)
	patch          func(*corev1.Event, []byte) (*corev1.Event, error)
	// emptied is closed when afterLast has come.
	emptied chan struct{}

	mu    sync.Mutex // held during a request
	ended bool
}

func newSink(ctx context.Context, events typedcorev1.EventInterface) *sink {
	return &sink{
		create: func(e *corev1.Event) (*corev1.Event, error) {
			return events.CreateWithEventNamespaceWithContext(ctx, e)
		},
		update: func(e *corev1.Event) (*corev1.Event, error) {
			return events.UpdateWithEventNamespaceWithContext(ctx, e)
		},
		patch: func(e *corev1.Event, data []byte) (*corev1.Event, error) {
			return events.PatchWithEventNamespaceWithContext(ctx, e, data)
		},
		emptied: make(chan struct{}),
	}
}

// Create is part of record.EventSink.
func (s *sink) Create(e *corev1.Event) (*corev1.Event, error) {
	if e.InvolvedObject == afterLast {
		close(s.emptied)
		return e, nil
	}
	return s.send(func() (*corev1.Event, error) { return s.create(e) })
}

// Update is part of record.EventSink.
func (s *sink) Update(e *corev1.Event) (*corev1.Event, error) {
	return s.send(func() (*corev1.Event, error) { return s.update(e) })
}

// Patch is part of record.EventSink.
func (s *sink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	return s.send(func() (*corev1.Event, error) { return s.patch(e, data) })
}

func (s *sink) send(request func() (*corev1.Event, error)) (*corev1.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, context.Canceled
	}
	return request()
}

// end waits for the request that is under way; no other begins.
func (s *sink) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}
