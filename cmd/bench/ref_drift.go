package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// watching is what the watch-and-patch program says when it is ready.
const watching = "watching"

// patcher applies a stored body again whenever its object was written or deleted by anybody but itself.
type patcher struct {
	client rest.Interface
	items  map[string]*item
	queue  chan *item

	mu    sync.Mutex
	wrote map[string]string // resource version by key
	// busy are the keys of what is being written, with the version that the watch has told of meanwhile.
	busy map[string]string
}

// refDrift watches and patches until it is told to stop: the least that a healer can do. It keeps no state but
// the versions that it wrote. Arguments: kubeconfig, file of the items, concurrency.
func refDrift(ctx context.Context, args []string) (any, error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	client, items, concurrency, err := patching(args, driftAgent)
	if err != nil {
		return nil, err
	}
	cfg, err := clientConfig(args[0], driftAgent)
	if err != nil {
		return nil, err
	}
	watcher, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	p := &patcher{client: client, items: map[string]*item{}, wrote: map[string]string{}, busy: map[string]string{}, queue: make(chan *item, len(items))}
	resources := map[schema.GroupVersionResource]bool{}
	for i := range items {
		p.items[items[i].key()] = &items[i]
		resources[items[i].gvr()] = true
	}
	g, running := errgroup.WithContext(ctx)
	for gvr := range resources {
		list, err := watcher.Resource(gvr).List(running, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		w, err := watcher.Resource(gvr).Watch(running, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		if err != nil {
			return nil, err
		}
		g.Go(func() error { p.follow(gvr.Resource, w); return nil })
	}
	for range concurrency {
		g.Go(func() error { return p.work(running) })
	}
	fmt.Fprintln(os.Stderr, watching)
	if err := g.Wait(); ctx.Err() == nil {
		return nil, err
	}
	return nil, nil //nolint:nilnil // it was told to stop, and has nothing to say
}

func (i *item) gvr() schema.GroupVersionResource {
	parts := strings.Split(strings.TrimPrefix(i.Path, "/"), "/")
	if parts[0] == "api" {
		return schema.GroupVersionResource{Version: parts[1], Resource: i.Resource}
	}
	return schema.GroupVersionResource{Group: parts[1], Version: parts[2], Resource: i.Resource}
}

// follow queues what others wrote.
func (p *patcher) follow(resource string, w watch.Interface) {
	for e := range w.ResultChan() {
		m, ok := e.Object.(*metav1.PartialObjectMetadata)
		if !ok || e.Type == watch.Added {
			continue
		}
		i := p.items[resource+"/"+m.Namespace+"/"+m.Name]
		if i == nil {
			continue
		}
		if p.take(i.key(), m.ResourceVersion) {
			p.queue <- i
		}
	}
}

// take tells whether an object has to be written for a version of it. While it is being written that is not known:
// the watch may tell of our own write before its answer is here.
func (p *patcher) take(key, version string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, busy := p.busy[key]; busy {
		p.busy[key] = version
		return false
	}
	if p.wrote[key] == version {
		return false
	}
	p.busy[key] = ""
	return true
}

// done takes in the version that was written, and tells whether the object has to be written again.
func (p *patcher) done(key, version string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrote[key] = version
	if seen := p.busy[key]; seen != "" && seen != version {
		p.busy[key] = ""
		return true
	}
	delete(p.busy, key)
	return false
}

func (p *patcher) work(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case i := <-p.queue:
			raw, err := p.client.Patch(types.ApplyPatchType).AbsPath(i.Path).Param("fieldManager", "holdfast").Param("force", "true").
				SetHeader("Accept", "application/json").Body([]byte(i.Body)).Do(ctx).Raw()
			if err != nil {
				return fmt.Errorf("apply %s: %w", i.key(), err)
			}
			var u unstructured.Unstructured
			if err := u.UnmarshalJSON(raw); err != nil {
				return err
			}
			if p.done(i.key(), u.GetResourceVersion()) {
				p.queue <- i
			}
		}
	}
}
