package drift

import (
	"context"
	"sync"

	"github.com/rs/zerolog"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/kube"
)

// Options say what a Watcher watches, and how.
type Options struct {
	// Dynamic and Metadata are the clients of the cluster.
	Dynamic  dynamic.Interface
	Metadata metadata.Interface
	// Instance is the value of our instance label: only such objects are watched.
	Instance string
	// Manager is our field manager.
	Manager string
	// Ignore returns the JSON pointers that do not count in an object (see Observe). It is called
	// from several goroutines, for every object that arrives. Nil ignores nothing.
	Ignore func(object.ObjMetadata) []string
	// Applied tells whether an object has the fingerprint that it got from our last apply; it is called as
	// Ignore is. Of such an object nobody will ask who owns which field, and the answer, larger than all the
	// rest, is dropped at once. Nil knows of none.
	Applied func(id object.ObjMetadata, fingerprint string) bool
	// Buffer is how many events wait for the consumer before the watches wait too; default 256.
	Buffer int
	// Log gets what happens to the watches.
	Log zerolog.Logger
}

// Watcher watches the objects of an instance. Create one with NewWatcher, say with Watch what to
// watch, and receive from Events while Run runs.
type Watcher struct {
	opts    Options
	events  chan Event
	changed chan struct{}

	mu      sync.Mutex
	wanted  map[schema.GroupResource]kube.Resource
	running map[schema.GroupResource]*source
}

// NewWatcher returns a Watcher that watches nothing yet.
func NewWatcher(opts Options) *Watcher {
	if opts.Buffer <= 0 {
		opts.Buffer = 256
	}
	if opts.Ignore == nil {
		opts.Ignore = func(object.ObjMetadata) []string { return nil }
	}
	if opts.Applied == nil {
		opts.Applied = func(object.ObjMetadata, string) bool { return false }
	}
	return &Watcher{
		opts:    opts,
		events:  make(chan Event, opts.Buffer),
		changed: make(chan struct{}, 1),
		wanted:  map[schema.GroupResource]kube.Resource{},
		running: map[schema.GroupResource]*source{},
	}
}

// Events is where the observations arrive. It is never closed. A consumer that is slow slows the watches
// down; nothing is dropped.
func (w *Watcher) Events() <-chan Event { return w.events }

// Watch sets what is watched: resources that are new are started, those that are not among them
// any more are stopped, the others go on undisturbed. It returns at once and may be called before Run, and by
// the consumer of Events. A resource that is named in several versions is watched once, in the version that
// sorts last by stability; one that is watched in another version than before starts anew, with a
// Synced. After a resource was stopped, one event of it may still arrive.
func (w *Watcher) Watch(resources []kube.Resource) {
	wanted := make(map[schema.GroupResource]kube.Resource, len(resources))
	for _, r := range resources {
		gr := r.GroupResource()
		if old, ok := wanted[gr]; !ok || older(old.Version, r.Version) {
			wanted[gr] = r
		}
	}
	w.mu.Lock()
	w.wanted = wanted
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default: // Run will look anyway
	}
}

// Run watches until ctx ends. It returns after everything that it started has returned; the error is
// always that of ctx, since a watch that fails is an event and is tried again.
func (w *Watcher) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	// Sources end with this Run, whatever the reason.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		w.adjust(ctx, &all)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.changed:
		}
	}
}

// adjust starts and stops sources until they are those that are wanted.
func (w *Watcher) adjust(ctx context.Context, all *sync.WaitGroup) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for gr, s := range w.running {
		if want, ok := w.wanted[gr]; !ok || want != s.resource {
			s.stop()
			s.stopped = true // kept, so that a successor waits for its end
		}
	}
	for gr, want := range w.wanted {
		before, ok := w.running[gr]
		if ok && !before.stopped && before.resource == want {
			continue
		}
		own, stop := context.WithCancel(ctx)
		s := newSource(&w.opts, want, w.events, stop)
		w.running[gr] = s
		all.Go(func() {
			defer close(s.done)
			defer stop()
			if before != nil {
				<-before.done // its events must not come after ours
			}
			s.run(own)
		})
	}
}
