package render

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// keep is how many results one app has in the cache for one overlay: head, the adopted revision, and
// one of each before.
const keep = 4

// Renderer builds apps and remembers what it built. A result is used again as long as every read
// of the build gives the same answer in the new tree, and the facts are the same where they count;
// so a commit costs only the apps that it touches. It is safe for concurrent use.
//
// Trees without object hashes (working directories) are never taken from the cache.
type Renderer struct {
	mu    sync.Mutex
	cache map[string][]cached
}

// cached is one result and the facts it was built with, "" if it used none.
type cached struct {
	facts  string
	result Result
}

// NewRenderer returns a Renderer with an empty cache.
func NewRenderer() *Renderer { return &Renderer{cache: map[string][]cached{}} }

// Build is the function Build with a cache. The second result tells that it was built now.
func (r *Renderer) Build(ctx context.Context, req Request) (res Result, built bool, err error) {
	overlay, err := req.App.Overlay(req.Facts.Labels)
	if err != nil {
		return Result{}, false, err
	}
	k, facts := cacheKey(req, overlay), factsKey(req)
	for _, c := range r.candidates(k) {
		if (c.facts == "" || c.facts == facts) && c.result.Reads.Hold(req.Tree) {
			return c.result, false, nil
		}
	}
	res, err = build(ctx, req, overlay)
	if err != nil {
		return Result{}, true, err // not remembered: a failed read may be gone at the next attempt
	}
	if !res.UsesFacts {
		facts = ""
	}
	r.remember(k, cached{facts: facts, result: res})
	return res, true, nil
}

func (r *Renderer) candidates(k string) []cached {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.cache[k])
}

func (r *Renderer) remember(k string, c cached) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append([]cached{c}, r.cache[k]...)
	r.cache[k] = all[:min(len(all), keep)]
}

// Retain forgets all apps but the named ones.
func (r *Renderer) Retain(apps map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.cache, func(k string, _ []cached) bool {
		app, _, _ := strings.Cut(k, "\x00")
		return !apps[app]
	})
}

// cacheKey holds all of a request that a result depends on, but the tree and the facts.
func cacheKey(req Request, overlay string) string {
	spec := req.App.Spec
	share, target := "", ""
	if req.Share != nil {
		share = fmt.Sprint(*req.Share)
	}
	if req.Target != nil {
		target = req.Target.Kind + "/" + req.Target.Name
	}
	return strings.Join([]string{
		req.App.Name, overlay, spec.Namespace, fmt.Sprint(spec.Substitute), fmt.Sprint(spec.AllowEmpty),
		share, target, req.Instance,
	}, "\x00")
}

// factsKey holds the facts in a fixed order.
func factsKey(req Request) string {
	data := factData(req.Facts)
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(data)) {
		fmt.Fprintf(&b, "%q=%q\n", k, data[k])
	}
	return b.String()
}
