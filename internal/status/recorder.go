package status

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

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

	// eventBurst Events are sent at once, and one more each eventInterval: a small fleet tells all, a
	// large one what fits.
	eventBurst    = 50
	eventInterval = 2 * time.Second
	// eventPatience is how long an Event waits for its turn; those that waited in vain become one.
	eventPatience = 10 * time.Second
	// eventTick is how often the Recorder looks, while Events wait.
	eventTick = 250 * time.Millisecond
)

// Recorder sends Kubernetes Events about AppStatus objects, where `kubectl describe appstatus` and
// `kubectl get events` show them. Warnings go first, and Events that would be too many are told as one, with
// their number: a thousand apps that are synced at once are no thousand news. Nothing but warnings is
// sent while the cluster is busy. Beneath is client-go's recorder: similar Events are merged, an object has
// a burst of 25 and then one in five minutes, and what the API server does not take in time is
// dropped. No method blocks.
//
// An Event refers to its object by UID, so the Events of an app wait until Bind has told it. All
// methods of a nil Recorder do nothing.
type Recorder struct {
	load *Load
	emit func(*corev1.ObjectReference, Event)
	// begin has what is emitted sent, until end.
	begin func(context.Context) (end func())
	wake  chan struct{}

	mu      sync.Mutex
	unbound bool
	refs    map[string]*corev1.ObjectReference
	pending map[string][]Event
	queue   []queued
	tokens  int
	tokenAt time.Time // when the last one came
}

// queued is an Event that waits for its turn.
type queued struct {
	Event
	at time.Time
}

// NewRecorder returns a Recorder that sends its Events while Run runs. host is the source's host: the
// agent's pod, or empty. load tells when the cluster is busy; nil is never.
func NewRecorder(client typedcorev1.EventsGetter, host string, load *Load) *Recorder {
	broadcaster := record.NewBroadcaster()
	recorder := broadcaster.NewRecorder(runtime.NewScheme(), corev1.EventSource{Component: component, Host: host})
	// A cluster-scoped object has no namespace; the recorder puts its Events into "default".
	r := newRecorder(load, func(ref *corev1.ObjectReference, e Event) {
		recorder.Event(ref, e.kind(), e.Reason, clip(e.Message, maxEventMessage))
	})
	r.begin = func(ctx context.Context) (end func()) {
		ctx, cancel := context.WithCancel(ctx)
		s := newSink(ctx, client.Events(""))
		broadcaster.StartRecordingToSink(s)
		return func() {
			// Shutdown drops what is still queued.
			recorder.Event(&afterLast, corev1.EventTypeNormal, "", "")
			select {
			case <-s.emptied:
			case <-time.After(stopPatience):
			}
			broadcaster.Shutdown()
			cancel()
			s.end()
		}
	}
	return r
}

func newRecorder(load *Load, emit func(*corev1.ObjectReference, Event)) *Recorder {
	return &Recorder{
		load: load, emit: emit, begin: func(context.Context) func() { return func() {} }, wake: make(chan struct{}, 1), tokens: eventBurst,
		refs: map[string]*corev1.ObjectReference{}, pending: map[string][]Event{},
	}
}

// Run sends Events until ctx ends, and then those that have not been sent, if the API server takes them soon.
func (r *Recorder) Run(ctx context.Context) error {
	if r == nil {
		return nil
	}
	end := r.begin(context.WithoutCancel(ctx))
	defer end()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			r.send(time.Now().Add(eventPatience))
			return nil
		case <-r.wake:
		case <-timer.C:
		}
		if r.send(time.Now()) {
			timer.Reset(eventTick)
		}
	}
}

// send sends what may be sent at the time now, and tells whether something still waits.
func (r *Recorder) send(now time.Time) (waiting bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if more := int(now.Sub(r.tokenAt) / eventInterval); more > 0 {
		r.tokens = min(r.tokens+more, eventBurst)
		r.tokenAt = now
	}
	busy := r.load.Busy(now)
	slices.SortStableFunc(r.queue, func(a, b queued) int { return cmp.Compare(b.rank(), a.rank()) })
	left := r.queue[:0]
	var late []Event
	for _, q := range r.queue {
		switch {
		case busy && !q.Warning:
			left = append(left, q)
		case r.tokens > 0:
			r.tokens--
			r.emit(r.ref(q.App), q.Event)
		case now.Sub(q.at) >= eventPatience:
			late = append(late, q.Event)
		default:
			left = append(left, q)
		}
	}
	for _, e := range gathered(late) {
		r.emit(r.ref(e.App), e)
	}
	clear(r.queue[len(left):])
	r.queue = left
	return len(left) > 0
}

func (e Event) rank() int {
	if e.Warning {
		return 1
	}
	return 0
}

// gathered makes one Event of all that have the same reason, about the app of the last.
func gathered(events []Event) []Event {
	byReason := map[string][]Event{}
	for _, e := range events {
		byReason[e.Reason] = append(byReason[e.Reason], e)
	}
	var out []Event
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		of := byReason[reason]
		last := of[len(of)-1]
		if len(of) > 1 {
			apps := map[string]bool{}
			for _, e := range of {
				apps[e.App] = true
			}
			last.Message = fmt.Sprintf("%s (one of %d such Events, too many to send, of: %s)", clip(last.Message, maxEventMessage/2), len(of), listed(slices.Collect(maps.Keys(apps))))
		}
		out = append(out, last)
	}
	return out
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
		r.enqueue(e)
	}
}

// flush lets the Events go on that waited for the app. The caller holds mu.
func (r *Recorder) flush(app string) {
	for _, e := range r.pending[app] {
		r.enqueue(e)
	}
	delete(r.pending, app)
}

// enqueue has an Event sent when its turn comes. The caller holds mu.
func (r *Recorder) enqueue(e Event) {
	r.queue = append(r.queue, queued{e, time.Now()})
	if len(r.queue) > 1 && !e.Warning {
		return // Run looks again soon for those before it
	}
	select {
	case r.wake <- struct{}{}:
	default: // Run will look anyway
	}
}

// ref is what the Events of an app refer to. The caller holds mu.
func (r *Recorder) ref(app string) *corev1.ObjectReference {
	if ref := r.refs[app]; ref != nil {
		return ref
	}
	return reference(app, "")
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
