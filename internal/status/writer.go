package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// How long a change may wait before it is written.
const (
	writeInterval  = time.Second      // at least, between two writes of one app
	transientDelay = 2 * time.Second  // for an app that is not settled
	busyDelay      = 30 * time.Second // for such an app while the cluster is busy
	detailDelay    = 5 * time.Second  // for counters and progress messages
	tallyDelay     = 5 * time.Second  // for corrections, since the first that is not written
	retryFirst     = time.Second
	retryMost      = 30 * time.Second // longer, and a server that was overloaded for a while shows a minute of old news
	retryRefused   = 10 * time.Minute // at most, while the kind is missing or a permission is
	writeTimeout   = 15 * time.Second
)

// How many writes there are at a time: parallel ones to catch up, and few beside the writes that matter
// more, since each costs the API server as much as one of those.
const (
	parallelWrites = 4
	slowInterval   = 250 * time.Millisecond // between two writes while the cluster is busy, or of corrections alone
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
	// Load tells when the cluster is busy with what matters more; nil is never.
	Load *Load
	Log  zerolog.Logger
}

// Writer keeps the AppStatus objects of this instance equal to the states it was last given. It
// writes in its own goroutine (Run), at a bounded rate, and retries what failed with a growing delay.
type Writer struct {
	store store
	onUID func(app, object string, uid types.UID)
	load  *Load
	log   zerolog.Logger
	wake  chan struct{}

	// writing is held during requests: Run and Flush never write at the same time.
	writing sync.Mutex

	mu      sync.Mutex
	entries map[string]*entry
	changed map[string]bool      // apps to be compared anew
	open    map[string]bool      // apps whose object differs from what is wanted
	stalls  map[string]time.Time // when apps will count as stalled, and be compared anew
	slowAt  time.Time            // the last write that was to be one of few
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
	given   bool      // Update has named the app: before, nothing is known of what is wanted
	wanted  *AppState // nil: no object
	written *stored   // nil: not in the cluster
	wroteAt time.Time // the last write; zero after a restart
	dirtyAt time.Time // since when it differs from what is wanted; zero if it does not
	// change and transient are how it differs, while it does.
	change    Change
	transient bool
	failure   failure
}

// NewWriter returns a Writer that does nothing until Load, Update and Run are called.
func NewWriter(o WriterOptions) *Writer {
	return newWriter(&clusterStore{client: o.Client, instance: o.Instance, manager: o.FieldManager}, o)
}

func newWriter(s store, o WriterOptions) *Writer {
	return &Writer{
		store: s, onUID: o.OnUID, load: o.Load, log: o.Log, wake: make(chan struct{}, 1),
		entries: map[string]*entry{}, changed: map[string]bool{}, open: map[string]bool{}, stalls: map[string]time.Time{},
	}
}

// Load reads what the cluster remembers of this instance's apps and returns it by app name: the
// adopted revision, the enforced placement, the proven contents, the drift counters, the gates that
// held. Errors and readiness have to be seen anew; only Since and UnreadySince tell whether an app was Ready. It is to be called once, before Update; an error means
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

// Update says how apps stand that have changed, and which are gone: the AppStatus of those is deleted. An
// app that was never named in an Update keeps the AppStatus that it has, since nothing is known of it. It
// never blocks. The slices in the states must not be altered afterwards.
func (w *Writer) Update(changed map[string]AppState, gone []string) {
	w.mu.Lock()
	for app := range changed {
		s := changed[app]
		w.give(app, &s)
	}
	for _, app := range gone {
		w.give(app, nil)
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// give notes what is wanted of an app. The caller holds mu.
func (w *Writer) give(app string, s *AppState) {
	e := w.entries[app]
	if e == nil {
		e = &entry{}
		w.entries[app] = e
	}
	e.given, e.wanted = true, s
	w.changed[app] = true
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

// Flush writes everything that is due or will be, without waiting for its time: for the end.
func (w *Writer) Flush(ctx context.Context) error { return w.write(ctx, true) }

// write brings up to date the objects whose time has come, or all.
func (w *Writer) write(ctx context.Context, all bool) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	jobs := w.jobs(time.Now(), all)
	errs := make([]error, len(jobs))
	var stopped atomic.Bool
	var group errgroup.Group
	group.SetLimit(parallelWrites)
	for i, j := range jobs {
		if ctx.Err() != nil {
			errs[i] = ctx.Err()
			break
		}
		if stopped.Load() || !all && len(jobs) > 1 && w.load.Busy(time.Now()) {
			break
		}
		group.Go(func() error {
			errs[i] = w.do(ctx, j)
			if errs[i] != nil && !all && !ofOneObject(errs[i]) {
				stopped.Store(true)
			}
			return nil
		})
	}
	_ = group.Wait() // they are in errs
	return errors.Join(errs...)
}

// job is one request to make.
type job struct {
	app    string
	object string
	remove *stored // nil: apply
	status AppStatusStatus
}

// jobs returns what is to be done at the time now, what people wait for first and corrections last. While the
// cluster is busy, or nothing can be written, it is one thing at a time, and so it is while nothing but
// corrections is left to tell.
func (w *Writer) jobs(now time.Time, all bool) []job {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.compare(now)
	busy := !all && w.load.Busy(now)
	var due []string
	for app := range w.open {
		if all || !w.due(w.entries[app], busy).After(now) {
			due = append(due, app)
		}
	}
	slices.SortFunc(due, func(a, b string) int {
		x, y := w.entries[a], w.entries[b]
		return cmp.Or(cmp.Compare(x.rank(), y.rank()), x.dirtyAt.Compare(y.dirtyAt), cmp.Compare(a, b))
	})
	if !all && len(due) > 0 {
		tallies := slices.IndexFunc(due, func(app string) bool { return w.entries[app].change == Tally })
		switch {
		case busy || tallies == 0:
			due = due[:1]
			w.slowAt = now
		case w.outage.count > 0:
			due = due[:1]
		case tallies > 0:
			due = due[:tallies]
		}
	}
	out := make([]job, 0, len(due))
	for _, app := range due {
		e := w.entries[app]
		j := job{app: app, object: app}
		if e.written != nil {
			j.object = e.written.object
		}
		if e.change == Gone {
			j.remove = e.written
		} else {
			j.status = NewAppStatusStatus(e.wanted, e.said(), now)
		}
		out = append(out, j)
	}
	return out
}

// next tells when to look again: when the next write is due, the cluster may be busy no longer, or an
// app begins to count as stalled.
func (w *Writer) next(now time.Time) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.compare(now)
	var next time.Time
	earlier := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	busy := w.load.Busy(now)
	for app := range w.open {
		earlier(w.due(w.entries[app], busy))
	}
	if busy && len(w.open) > 0 {
		earlier(w.load.until())
	}
	for _, at := range w.stalls {
		earlier(at)
	}
	return next, !next.IsZero()
}

// compare finds out how the objects of the apps that have changed differ from what is wanted, and since
// when. The caller holds mu.
func (w *Writer) compare(now time.Time) {
	for app, at := range w.stalls {
		if !at.After(now) {
			delete(w.stalls, app)
			w.changed[app] = true
		}
	}
	for app := range w.changed {
		delete(w.changed, app)
		e := w.entries[app]
		if e == nil || !e.given {
			continue
		}
		delete(w.stalls, app)
		var wanted *AppStatusStatus
		if e.wanted != nil {
			s := NewAppStatusStatus(e.wanted, e.said(), now)
			wanted, e.transient = &s, e.wanted.transient(now)
			if at, ok := e.wanted.StallsAt(); ok && at.After(now) {
				w.stalls[app] = at
			}
		}
		e.change = Compare(e.said(), wanted)
		if e.change == Same {
			e.dirtyAt, e.failure = time.Time{}, failure{}
			delete(w.open, app)
			if e.wanted == nil {
				delete(w.entries, app)
			}
			continue
		}
		w.open[app] = true
		if e.dirtyAt.IsZero() {
			e.dirtyAt = now
		}
	}
}

// transient tells that the state is about to change by itself, so that it can be worth waiting for.
func (s *AppState) transient(now time.Time) bool {
	if at, ok := s.StallsAt(); ok && !now.Before(at) {
		return false
	}
	return !s.Ready && !s.Suspended && len(s.Errors) == 0 && len(s.Held) == 0
}

// said is what the cluster has, nil if nothing.
func (e *entry) said() *AppStatusStatus {
	if e.written == nil {
		return nil
	}
	return &e.written.status
}

// rank orders what is due: first what somebody may be waiting for, to learn what failed or what holds.
func (e *entry) rank() int {
	switch {
	case e.change == Tally:
		return 2
	case e.wanted == nil || e.change == Detail || len(e.wanted.Errors) == 0 && len(e.wanted.Held) == 0 && !e.wanted.Suspended:
		return 1
	}
	return 0
}

// due tells when a change may be written.
func (w *Writer) due(e *entry, busy bool) time.Time {
	due := e.dirtyAt
	switch {
	case e.change == Tally:
		due = due.Add(tallyDelay)
	case e.change == Detail:
		due = later(due.Add(writeInterval), e.wroteAt.Add(detailDelay))
	case e.change != Gone && e.transient && busy:
		due = due.Add(busyDelay)
	case e.change != Gone && e.transient:
		due = due.Add(transientDelay)
	}
	if busy || e.change == Tally {
		due = later(due, w.slowAt.Add(slowInterval))
	}
	due = later(due, e.wroteAt.Add(writeInterval))
	return later(due, later(e.failure.retryAt, w.outage.retryAt))
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
	if e == nil { // gone before it was there
		e = &entry{given: true}
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
	w.changed[j.app] = true // while it was written, perhaps
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
