package drift

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// Waiting after failures: doubled each time, with jitter so that the watches of an agent, and the agents
// of a fleet, do not come back all at once.
const (
	firstPause = 500 * time.Millisecond
	// A resource that is refused or not served will mostly stay so until somebody acts.
	maxPause = 30 * time.Second
	// A server that does not answer is tried more often: to be refused costs nothing, and healing waits.
	maxOutage = 5 * time.Second
	// steady is how long a watch must have lived for its end to be nothing unusual.
	steady = 10 * time.Second
)

// source is the watch of one resource. client-go's Reflector keeps the protocol (streamed lists,
// bookmarks, expired versions); the source adds what it is silent about: it tells of failures, it does all
// the waiting so that a stop is never late, and it reduces each object as soon as it is decoded.
type source struct {
	opts     *Options
	resource kube.Resource
	events   chan<- Event
	stop     context.CancelFunc
	done     chan struct{}
	stopped  bool // guarded by the Watcher
	log      zerolog.Logger

	// The Reflector calls from one goroutine at a time, but a list in one that it starts itself.
	mu      sync.Mutex
	failing error
	since   time.Time
	pauses  int
}

func newSource(opts *Options, r kube.Resource, events chan<- Event, stop context.CancelFunc) *source {
	return &source{
		opts: opts, resource: r, events: events, stop: stop,
		done: make(chan struct{}),
		log:  opts.Log.With().Str("resource", r.GroupResource().String()).Logger(),
	}
}

// run watches until ctx ends.
func (s *source) run(ctx context.Context) {
	reflector := cache.NewReflectorWithOptions(
		&cache.ListWatch{ListWithContextFunc: s.list, WatchFuncWithContext: s.watch},
		nil, // objects are *unstructured.Unstructured or *metav1.PartialObjectMetadata
		&sink{source: s, ctx: ctx},
		cache.ReflectorOptions{
			Name:            "drift",
			TypeDescription: s.resource.GroupResource().String(),
			// Its own waiting does not end with ctx, and is for streams that break off with 429 only.
			Backoff: &wait.Backoff{Duration: firstPause, Factor: 1, Cap: 2 * time.Second, Steps: 1},
		})
	for ctx.Err() == nil {
		start := time.Now()
		err := reflector.ListAndWatchWithContext(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.failed(ctx, err)
		} else if time.Since(start) >= steady {
			s.reset()
			continue // an expired version: list again at once
		}
		s.pause(ctx, maxPause)
	}
}

// list reads one page. Each object is reduced before the next page is read.
func (s *source) list(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	opts.LabelSelector = s.selector()
	if opts.ResourceVersion == "0" {
		// Whatever some cache has is not enough to conclude that an object is gone.
		opts.ResourceVersion = ""
	}
	page, err := s.fetch(ctx, opts)
	if err != nil {
		return nil, err
	}
	access, err := meta.ListAccessor(page)
	if err != nil {
		return nil, fmt.Errorf("read the list: %w", err)
	}
	out := &internalversion.List{}
	out.ResourceVersion = access.GetResourceVersion()
	out.Continue = access.GetContinue()
	out.RemainingItemCount = access.GetRemainingItemCount()
	err = meta.EachListItem(page, func(item runtime.Object) error {
		o, err := s.observe(item)
		if err == nil {
			out.Items = append(out.Items, o)
		}
		return err
	})
	return out, err
}

func (s *source) fetch(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	// A typed nil must not become an interface that is not nil.
	if live.MetadataOnly(s.resource.GroupKind()) {
		page, err := s.opts.Metadata.Resource(s.resource.GVR()).List(ctx, opts)
		if err != nil {
			return nil, err
		}
		return page, nil
	}
	page, err := s.opts.Dynamic.Resource(s.resource.GVR()).List(ctx, opts)
	if err != nil {
		return nil, err
	}
	return page, nil
}

// watch opens a stream. As long as the server gives no answer about the resource itself (it is down,
// overloaded, or an aggregated API is) it tries again with the same version, which costs no
// list; only a verdict goes back to the Reflector.
func (s *source) watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	opts.LabelSelector = s.selector()
	for {
		w, err := s.open(ctx, opts)
		if err == nil {
			if opts.SendInitialEvents == nil {
				s.recovered(ctx) // it goes on where it was: nothing was missed
			}
			return w, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if kube.IsVerdict(err) || opts.SendInitialEvents != nil && isAnswer(err) {
			return nil, err // a streamed list that the server does not do is read as pages instead
		}
		s.failed(ctx, err)
		s.pause(ctx, maxOutage)
	}
}

func (s *source) open(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	if live.MetadataOnly(s.resource.GroupKind()) {
		return s.opts.Metadata.Resource(s.resource.GVR()).Watch(ctx, opts)
	}
	return s.opts.Dynamic.Resource(s.resource.GVR()).Watch(ctx, opts)
}

// isAnswer tells an answer of the API server from a connection that failed, or one that it has no time for.
func isAnswer(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && !apierrors.IsTooManyRequests(err)
}

func (s *source) selector() string {
	return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: map[string]string{render.LabelInstance: s.opts.Instance}})
}

// observe reduces an object; the whole of it can be collected afterwards.
func (s *source) observe(obj any) (*observed, error) {
	if o, ok := obj.(*observed); ok {
		return o, nil
	}
	o, ok := obj.(live.Object)
	if !ok {
		return nil, fmt.Errorf("a watch of %s brought a %T", s.resource.GroupResource(), obj)
	}
	// Metadata alone does not say of what kind it is.
	o.GetObjectKind().SetGroupVersionKind(s.resource.GroupVersionKind)
	id := object.ObjMetadata{GroupKind: s.resource.GroupKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
	view := live.Observe(o, s.opts.Manager, s.opts.Ignore(id))
	if s.opts.Applied(id, view.Fingerprint) {
		view.Managed = nil
	}
	return &observed{
		ObjectMeta: metav1.ObjectMeta{Namespace: id.Namespace, Name: id.Name, ResourceVersion: view.ResourceVersion},
		view:       view,
	}, nil
}

// failed tells of a failure, once for each different one.
func (s *source) failed(ctx context.Context, err error) {
	s.mu.Lock()
	news := s.failing == nil || s.failing.Error() != err.Error()
	if s.failing == nil {
		s.since = time.Now()
	}
	s.failing = err
	since := s.since
	s.mu.Unlock()
	if !news {
		return
	}
	s.log.Debug().Err(err).Msg("watch failed")
	s.send(ctx, Event{Kind: Failed, Err: err, Since: since})
}

// recovered ends a failure, if there was one.
func (s *source) recovered(ctx context.Context) {
	s.mu.Lock()
	was, since := s.failing, s.since
	s.failing, s.since, s.pauses = nil, time.Time{}, 0
	s.mu.Unlock()
	if was != nil {
		s.send(ctx, Event{Kind: Recovered, Since: since})
	}
}

func (s *source) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pauses = 0
}

// pause waits before the next attempt, or until ctx ends.
func (s *source) pause(ctx context.Context, longest time.Duration) {
	s.mu.Lock()
	d := min(firstPause<<min(s.pauses, 10), longest)
	s.pauses++
	s.mu.Unlock()
	d = d/2 + rand.N(d/2) //nolint:gosec // jitter
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (s *source) send(ctx context.Context, e Event) {
	e.Resource, e.At = s.resource, time.Now()
	select {
	case s.events <- e:
	case <-ctx.Done():
	}
}

// observed carries an observation through the Reflector, which wants objects.
type observed struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	view live.View
}

// DeepCopyObject implements runtime.Object. Observations are not changed after they are made.
func (o *observed) DeepCopyObject() runtime.Object {
	c := *o
	return &c
}

// sink is the store that a Reflector fills. It keeps nothing: it turns what arrives into events.
type sink struct {
	source *source
	// ctx is that of run, which a store's methods are not given.
	ctx context.Context //nolint:containedctx // the store lives within one run
}

// Transformer implements cache.TransformingStore: it is applied to each object of a streamed list as
// it arrives, so that no two whole objects are in memory at once.
func (k *sink) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) { return k.source.observe(obj) }
}

// Add implements cache.ReflectorStore.
func (k *sink) Add(obj any) error { return k.event(Changed, obj) }

// Update implements cache.ReflectorStore.
func (k *sink) Update(obj any) error { return k.event(Changed, obj) }

// Delete implements cache.ReflectorStore.
func (k *sink) Delete(obj any) error { return k.event(Deleted, obj) }

func (k *sink) event(kind EventKind, obj any) error {
	o, err := k.source.observe(obj)
	if err != nil {
		return err
	}
	k.source.send(k.ctx, Event{Kind: kind, Live: o.view})
	return nil
}

// Replace implements cache.ReflectorStore: a complete list has arrived.
func (k *sink) Replace(items []any, resourceVersion string) error {
	views := make([]live.View, 0, len(items))
	for _, item := range items {
		o, err := k.source.observe(item)
		if err != nil {
			return err
		}
		views = append(views, o.view)
	}
	k.source.send(k.ctx, Event{Kind: Synced, Lives: views, ResourceVersion: resourceVersion})
	k.source.recovered(k.ctx)
	return nil
}

// Resync implements cache.ReflectorStore. There is none: nothing is kept that could be sent again.
func (k *sink) Resync() error { return nil }

// older orders API versions: v1beta1 before v1 before v2.
func older(a, b string) bool { return version.CompareKubeAwareVersionStrings(a, b) < 0 }
