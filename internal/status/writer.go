package status

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// How long a change may wait before it is written.
const (
	writeInterval  = time.Second     // at least, between two writes of one app
	transientDelay = 2 * time.Second // for an app that is neither settled nor new
	detailDelay    = 5 * time.Second // for counters and progress messages
	retryFirst     = time.Second
	retryMost      = time.Minute
	retryRefused   = 10 * time.Minute // at most, while the kind is missing or a permission is
	writeTimeout   = 15 * time.Second
)

// WriterOptions say where a Writer writes and in whose name.
type WriterOptions struct {
	// Client reaches the cluster.
	Client dynamic.Interface
	// Instance is the value of the label holdfast.dev/instance: objects of another one are never touched.
	Instance string
	// FieldManager is the agent's field manager.
	FieldManager string
	// OnUID, if set, is called after every first write with the UID of the app's AppStatus: see Recorder.Bind.
	OnUID func(app, object string, uid types.UID)
	Log   zerolog.Logger
}

// Writer keeps the AppStatus objects of this instance equal to the states it was last given. It
// writes in its own goroutine (Run), at a bounded rate, and retries what failed with a growing delay.
type Writer struct {
	store store
	onUID func(app, object string, uid types.UID)
	log   zerolog.Logger
	wake  chan struct{}

	// writing is held during requests: Run and Flush never write at the same time.
	writing sync.Mutex

	mu      sync.Mutex
	given   bool // Update has been called: before, nothing is known to be gone
	wanted  map[string]AppState
	entries map[string]*entry
	// outage is a failure that is not one object's: the API server is away, the kind or a permission is
	// missing. One request then tries for all.
	outage failure
}

// failure is a series of failed requests.
type failure struct {
	count   int
	retryAt time.Time
	text    string // the last one's, logged already
}

// entry is what the Writer knows of one app's object.
type entry struct {
	written *stored   // nil: not in the cluster
	wroteAt time.Time // the last write; zero after a restart
	dirtyAt time.Time // since when it differs from what is wanted; zero if it does not
	failure failure
}

// NewWriter returns a Writer that does nothing until Load, Update and Run are called.
func NewWriter(o WriterOptions) *Writer {
	return newWriter(&clusterStore{client: o.Client, instance: o.Instance, manager: o.FieldManager}, o)
}

func newWriter(s store, o WriterOptions) *Writer {
	return &Writer{store: s, onUID: o.OnUID, log: o.Log, wake: make(chan struct{}, 1), entries: map[string]*entry{}}
}

// Load reads what the cluster remembers of this instance's apps and returns it by app name: the
// adopted revision, the enforced placement, the proven contents, the drift counters, the gates that
// held. Errors and readiness have to be seen anew; only Since tells that an app was Ready. It is to be called once, before Update; an error means
// that nothing is known, not that there is nothing.
func (w *Writer) Load(ctx context.Context) (map[string]AppState, error) {
	found, err := w.store.list(ctx)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	states := make(map[string]AppState, len(found))
	for app, s := range found {
		w.entries[app] = &entry{written: &s}
		states[app] = s.status.state(app)
		w.bind(app, &s)
	}
	return states, nil
}

// Update says what the AppStatus objects should say from now on. The AppStatus of an app that is not
// among the states is deleted, so an app whose state is unknown must be among them. It never blocks.
// The map and the slices in it must not be altered afterwards.
func (w *Writer) Update(states map[string]AppState) {
	w.mu.Lock()
	w.wanted, w.given = states, true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Run writes until ctx ends. It returns nil then; what is still unwritten is left to Flush.
func (w *Writer) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-timer.C:
		}
		// A failed write has its own time to be tried again, so the error is not needed here.
		_ = w.write(ctx, false)
		if next, ok := w.next(time.Now()); ok {
			timer.Reset(max(time.Until(next), 10*time.Millisecond))
		} else {
			timer.Stop()
		}
	}
}

// Flush writes everything that is due or will be, without waiting for its time: for the end, and for
// a decision that must be on record before it is acted on.
func (w *Writer) Flush(ctx context.Context) error { return w.write(ctx, true) }

// write brings up to date the objects whose time has come, or all.
func (w *Writer) write(ctx context.Context, all bool) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	var errs []error
	for _, j := range w.jobs(time.Now(), all) {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		err := w.do(ctx, j)
		if err == nil {
			continue
		}
		errs = append(errs, err)
		if !all && !ofOneObject(err) {
			break
		}
	}
	return errors.Join(errs...)
}

// job is one request to make.
type job struct {
	app    string
	object string
	remove *stored // nil: apply
	status AppStatusStatus
}

// jobs returns what is to be done at the time now.
func (w *Writer) jobs(now time.Time, all bool) []job {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []job
	for _, p := range w.plan(now) {
		if !all && p.due.After(now) {
			continue
		}
		j := job{app: p.app, object: p.app, status: p.status}
		if e := w.entries[p.app]; e.written != nil {
			j.object = e.written.object
			if p.change == Gone {
				j.remove = e.written
			}
		}
		out = append(out, j)
	}
	return out
}

// next tells when to look again: when the next write is due, or an app begins to count as stalled.
func (w *Writer) next(now time.Time) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var next time.Time
	earlier := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, p := range w.plan(now) {
		earlier(p.due)
	}
	for app := range w.wanted {
		s := w.wanted[app]
		if at, ok := s.StallsAt(); ok && at.After(now) {
			earlier(at)
		}
	}
	return next, !next.IsZero()
}

// planned is one object that differs from what is wanted.
type planned struct {
	app    string
	change Change
	status AppStatusStatus
	due    time.Time
}

// plan compares what is written with what is wanted, and notes since when they differ. The caller
// holds mu.
func (w *Writer) plan(now time.Time) []planned {
	if !w.given {
		return nil
	}
	wanted := make(map[string]AppStatusStatus, len(w.wanted))
	written := make(map[string]AppStatusStatus, len(w.entries))
	for app, e := range w.entries {
		if e.written != nil {
			written[app] = e.written.status
		}
	}
	for app := range w.wanted {
		s := w.wanted[app]
		var previous *AppStatusStatus
		if have, ok := written[app]; ok {
			previous = &have
		}
		wanted[app] = NewAppStatusStatus(&s, previous, now)
	}
	diff := Diff(written, wanted)
	different := make(map[string]bool, len(diff))
	out := make([]planned, 0, len(diff))
	for _, d := range diff {
		e := w.entries[d.App]
		if e == nil {
			e = &entry{}
			w.entries[d.App] = e
		}
		if e.dirtyAt.IsZero() {
			e.dirtyAt = now
		}
		different[d.App] = true
		s := w.wanted[d.App]
		out = append(out, planned{app: d.App, change: d.Change, status: wanted[d.App], due: later(e.due(d.Change, s.transient(now)), w.outage.retryAt)})
	}
	for app, e := range w.entries {
		if !different[app] {
			e.dirtyAt, e.failure = time.Time{}, failure{}
			if _, ok := w.wanted[app]; !ok && e.written == nil {
				delete(w.entries, app)
			}
		}
	}
	return out
}

// transient tells that the state is about to change by itself, so that it can be worth waiting for.
func (s *AppState) transient(now time.Time) bool {
	if at, ok := s.StallsAt(); ok && !now.Before(at) {
		return false
	}
	return !s.Ready && !s.Suspended && len(s.Errors) == 0 && len(s.Held) == 0
}

// due tells when a change may be written.
func (e *entry) due(change Change, transient bool) time.Time {
	due := e.dirtyAt
	switch {
	case change == Detail:
		due = later(due.Add(writeInterval), e.wroteAt.Add(detailDelay))
	case change == News && transient:
		due = due.Add(transientDelay)
	}
	return later(due, later(e.wroteAt.Add(writeInterval), e.failure.retryAt))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// do makes one request and notes its outcome.
func (w *Writer) do(ctx context.Context, j job) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var err error
	var result stored
	if j.remove != nil {
		err = w.store.remove(ctx, j.remove.object, j.remove.uid)
	} else {
		result, err = w.store.apply(ctx, j.app, j.object, &j.status)
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entries[j.app]
	if e == nil { // forgotten meanwhile: it was neither written nor wanted
		e = &entry{}
		w.entries[j.app] = e
	}
	if err != nil {
		f := &w.outage
		if ofOneObject(err) {
			f = &e.failure
		}
		w.failed(j.app, f, err)
		return err
	}
	e.wroteAt = time.Now()
	e.dirtyAt, e.failure, w.outage = time.Time{}, failure{}, failure{}
	if j.remove != nil {
		e.written = nil
		return nil
	}
	if e.written == nil || e.written.uid != result.uid {
		w.bind(j.app, &result)
	}
	e.written = &result
	return nil
}

// ofOneObject tells whether a request failed because of what it carried: others may succeed.
func ofOneObject(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsConflict(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// failed notes a failure and when to try again: twice as long after each, with up to a quarter of
// jitter. The caller holds mu.
func (w *Writer) failed(app string, f *failure, err error) {
	most := retryMost
	refused := apierrors.IsForbidden(err) || apierrors.IsNotFound(err)
	if refused {
		most = retryRefused
	}
	delay := min(retryFirst<<min(f.count, 16), most)
	f.count++
	f.retryAt = time.Now().Add(delay + rand.N(delay/4)) //nolint:gosec // jitter
	text := err.Error()
	if text == f.text {
		return
	}
	f.text = text
	event := w.log.Warn().Err(err).Str("app", app).Dur("retry", delay)
	if refused {
		event = event.Str("hint", fmt.Sprintf("the cluster must have the CRD of %s, and the agent must be allowed to list, get, create, patch and delete them", Kind))
	}
	event.Msg("AppStatus not written")
}

func (w *Writer) bind(app string, s *stored) {
	if w.onUID != nil {
		w.onUID(app, s.object, s.uid)
	}
}
