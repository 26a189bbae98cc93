package status

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

const (
	// component is the source of our Events.
	component = "holdfast"
	// maxEventMessage is just below what the API server accepts of an Event.
	maxEventMessage = 1000
	// maxPending is how many Events of one app wait for its AppStatus to be created.
	maxPending = 20
	// maxListed is how many objects or fields one Event names.
	maxListed = 10
)

// Recorder sends Kubernetes Events about AppStatus objects, where `kubectl describe appstatus` and
// `kubectl get events` show them. It is client-go's recorder: similar Events are merged, an object has
// a burst of 25 and then one in five minutes, and what the API server does not take in time is
// dropped. No method blocks.
//
// An Event refers to its object by UID, so the Events of an app wait until Bind has told it. All
// methods of a nil Recorder do nothing.
type Recorder struct {
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder

	mu      sync.Mutex
	unbound bool
	refs    map[string]*corev1.ObjectReference
	pending map[string][]Event
}

// NewRecorder returns a Recorder that sends its Events once Run is called. host is the source's host:
// the agent's pod, or empty.
func NewRecorder(client typedcorev1.EventsGetter, host string) *Recorder {
	r := &Recorder{
		broadcaster: record.NewBroadcaster(),
		refs:        map[string]*corev1.ObjectReference{},
		pending:     map[string][]Event{},
	}
	r.recorder = r.broadcaster.NewRecorder(runtime.NewScheme(), corev1.EventSource{Component: component, Host: host})
	// A cluster-scoped object has no namespace; the recorder puts its Events into "default".
	r.broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.Events("")})
	return r
}

// Run lets Events through until ctx ends.
func (r *Recorder) Run(ctx context.Context) error {
	if r == nil {
		return nil
	}
	<-ctx.Done()
	r.broadcaster.Shutdown()
	return nil
}

// Bind tells the object and UID of an app's AppStatus, and sends what has waited for it. It is made for
// WriterOptions.OnUID.
func (r *Recorder) Bind(app, object string, uid types.UID) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refs[app] = reference(object, uid)
	r.flush(app)
}

// BindNone tells that there will be no AppStatus objects, as the kind could not be created: Events are
// sent without a UID from now on, and only `kubectl get events` shows them.
func (r *Recorder) BindNone() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unbound = true
	for app := range r.pending {
		r.flush(app)
	}
}

func reference(object string, uid types.UID) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: GVK.GroupVersion().String(), Kind: GVK.Kind, Name: object, UID: uid}
}

// Record sends Events, such as those of Transitions.
func (r *Recorder) Record(events ...Event) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		if r.refs[e.App] == nil && !r.unbound {
			if len(r.pending[e.App]) < maxPending {
				r.pending[e.App] = append(r.pending[e.App], e)
			}
			continue
		}
		r.send(e)
	}
}

// flush sends the Events that waited for the app. The caller holds mu.
func (r *Recorder) flush(app string) {
	for _, e := range r.pending[app] {
		r.send(e)
	}
	delete(r.pending, app)
}

func (r *Recorder) send(e Event) {
	ref := r.refs[e.App]
	if ref == nil {
		ref = reference(e.App, "")
	}
	r.recorder.Event(ref, e.kind(), e.Reason, clip(e.Message, maxEventMessage))
}

// DriftCorrected makes the Event of an object that was corrected: which manager had changed it, and
// which fields. An unknown manager is "".
func DriftCorrected(app, object, manager string, fields []string) Event {
	return Event{App: app, Reason: EventDriftCorrected, Message: drifted("corrected", object, manager, fields)}
}

// DriftDetected makes the Event of an object that differs and is left so, as drift.mode is Detect.
func DriftDetected(app, object, manager string, fields []string) Event {
	return Event{App: app, Warning: true, Reason: EventDriftDetected, Message: drifted("drift in", object, manager, fields)}
}

func drifted(what, object, manager string, fields []string) string {
	text := what + " " + object
	if manager != "" {
		text += fmt.Sprintf(", changed by %q", clip(manager, 128))
	}
	if len(fields) > 0 {
		text += ": " + listed(fields)
	}
	return text
}

// Fight makes the Event of an object that somebody else overwrites again and again.
func Fight(app, object, manager string) Event {
	return Event{App: app, Warning: true, Reason: EventFight,
		Message: fmt.Sprintf("%s is overwritten again and again by %q; corrected at a slower rate until that ends", object, clip(manager, 128))}
}

// Pruned makes the Event of objects that were deleted because Git no longer has them.
func Pruned(app string, objects []string) Event {
	return Event{App: app, Reason: EventPruned, Message: "pruned " + listed(objects)}
}

// listed names the first of many, in order.
func listed(items []string) string {
	items = slices.Sorted(slices.Values(items))
	if len(items) <= maxListed {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:maxListed], ", "), len(items)-maxListed)
}
