package drift

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/holdfast-dev/holdfast/internal/kube"
)

// A server that does not stream lists is read in pages, from its own store and not from a cache.
func TestPagedList(t *testing.T) {
	b := newBench(t)
	const n = 25
	for i := range n {
		b.apply(configMap(fmt.Sprintf("paged-%d", i)))
	}
	s := newSource(&b.watcher.opts, b.resource("v1", "ConfigMap"), make(chan Event, 1), func() {})
	mark, err := b.cluster.Mark()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	opts := metav1.ListOptions{ResourceVersion: "0", Limit: 10}
	for pages := 1; ; pages++ {
		page, err := s.list(context.Background(), opts)
		if err != nil {
			t.Fatal(err)
		}
		items, err := meta.ExtractListWithAlloc(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			seen[item.(*observed).view.ID.Name] = true
		}
		access, err := meta.ListAccessor(page)
		if err != nil {
			t.Fatal(err)
		}
		if opts.Continue = access.GetContinue(); opts.Continue == "" {
			if pages != 3 || access.GetResourceVersion() == "" {
				t.Errorf("%d pages, at version %q", pages, access.GetResourceVersion())
			}
			break
		}
	}
	if len(seen) != n {
		t.Errorf("got %d objects, want %d", len(seen), n)
	}
	requests, err := b.cluster.Requests(mark)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range requests {
		if r.Verb == "list" && strings.Contains(r.URI, "resourceVersion=0") {
			t.Errorf("a list from a cache: %s", r.URI)
		}
	}
}

// Whole objects are reduced on arrival: what stays does not grow with their contents.
func TestContentsAreNotKept(t *testing.T) {
	b := newBench(t)
	const n, size = 100, 200_000
	for i := range n {
		note := fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: big-%d, annotations: {note: %s}}, spec: {ports: [{port: 80}]}}", i, strings.Repeat("x", size))
		b.apply(note)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	b.watcher.Watch([]kube.Resource{b.resource("v1", "Service")})
	e := b.next(Synced, "")
	after := heap()
	if len(e.Lives) != n {
		t.Fatalf("got %d objects", len(e.Lives))
	}
	kept := int64(after) - int64(before)
	t.Logf("%d objects of %d bytes: %d kB kept", n, size, kept/1024)
	if kept > n*size/4 {
		t.Errorf("%d bytes are kept of %d", kept, n*size)
	}
	if text, err := json.Marshal(e.Lives); err != nil || len(text) > n*4096 {
		t.Errorf("the views have %d bytes (%v)", len(text), err)
	}
}

func TestOneVersionIsWatched(t *testing.T) {
	w := NewWatcher(Options{})
	r := func(version string) kube.Resource {
		return kube.Resource{GroupVersionKind: schema.GroupVersionKind{Group: "autoscaling", Version: version, Kind: "HorizontalPodAutoscaler"}, Plural: "horizontalpodautoscalers"}
	}
	for _, order := range [][]kube.Resource{{r("v1"), r("v2"), r("v2beta1")}, {r("v2beta1"), r("v2"), r("v1")}} {
		w.Watch(order)
		if got := w.wanted[r("v1").GroupResource()]; len(w.wanted) != 1 || got.Version != "v2" {
			t.Errorf("of %v, %v", order, w.wanted)
		}
	}
}
