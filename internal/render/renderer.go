package render

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

const (
	// keep is how many results one app has in the cache for one overlay: head, the adopted revision, and
	// one of each before.
	keep = 4
	// keepTrees is how many trees are kept to compare later ones with, the last used ones.
	keepTrees = 4
	// keepChanges is how many comparisons of two trees are kept.
	keepChanges = 16
)

// Renderer builds apps and remembers what it built. A result is used again as long as every read
// of the build gives the same answer in the new tree, and the facts are the same where they count;
// so a commit costs only the apps that it touches. Which those are, one comparison of the two trees
// decides for all apps. It is safe for concurrent use, and builds nothing twice at the same time.
//
// Trees without object hashes (working directories) are never taken from the cache.
type Renderer struct {
	// Observe, if set before the first Build, is told of each app whether it was built or remembered. It
	// is called from several goroutines.
	Observe func(built bool)
	// ManyClusters, if set before the first Build, keeps what kustomize made of an overlay for the facts of other
	// clusters: where facts are only substituted, 50 clusters cost one run of kustomize. It takes some ten kilobytes an
	// object, and is of no use to an agent, which has one cluster.
	ManyClusters bool

	mu      sync.Mutex
	cache   map[cacheKey][]*cached
	flights map[flightKey]*flight
	// trees are those last used, the newest first.
	trees   []rooted
	changes map[pair]func() *tree.Changes
	// made are the documents of the tree that was built from last, with ManyClusters.
	made     *documents
	madeFrom tree.Hash
}

// documents remembers what was made of overlays.
type documents struct {
	mu   sync.Mutex
	made map[documentsKey]made
}

type documentsKey struct{ overlay, namespace string }

// of returns what is remembered of an overlay, or makes it. What depends on facts is not remembered.
func (d *documents) of(overlay, namespace string, build func() (made, error)) (made, error) {
	if d == nil {
		return build()
	}
	k := documentsKey{overlay, namespace}
	d.mu.Lock()
	m, ok := d.made[k]
	d.mu.Unlock()
	if ok {
		return m, nil
	}
	m, err := build()
	if err == nil && !m.usesFacts {
		d.mu.Lock()
		d.made[k] = m
		d.mu.Unlock()
	}
	return m, err
}

// documentsOf returns the documents of a tree, nil without ManyClusters.
func (r *Renderer) documentsOf(root tree.Hash) *documents {
	if !r.ManyClusters {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.made == nil || r.madeFrom != root {
		r.made, r.madeFrom = &documents{made: map[documentsKey]made{}}, root
	}
	return r.made
}

// cached is one result and the facts it was built with, "" if it used none.
type cached struct {
	facts  string
	result Result
	// root is the tree over which the result was last known to hold; the Renderer's mu guards it.
	root tree.Hash
}

// rooted is a tree and the object id of its root, which stands for all in it.
type rooted struct {
	root tree.Hash
	tree tree.Tree
}

type pair struct{ from, to tree.Hash }

// NewRenderer returns a Renderer with an empty cache.
func NewRenderer() *Renderer {
	return &Renderer{
		cache: map[cacheKey][]*cached{}, flights: map[flightKey]*flight{}, changes: map[pair]func() *tree.Changes{},
	}
}

// Build is the function Build with a cache. The second result tells that it was built now, not taken
// from the cache or from a build that was under way.
func (r *Renderer) Build(ctx context.Context, req Request) (res Result, built bool, err error) {
	if r.Observe != nil {
		defer func() { r.Observe(built) }()
	}
	overlay, err := req.App.Overlay(req.Facts.Labels)
	if err != nil {
		return Result{}, false, err
	}
	root, err := req.Tree.Stat(".")
	if err != nil || root.Hash.IsZero() {
		res, err = build(ctx, req, overlay)
		return res, true, err
	}
	at := rooted{root: root.Hash, tree: req.Tree}
	req.made = r.documentsOf(at.root)
	key := keyOfRequest(req, overlay)
	for {
		if c := r.find(key, &req, at); c != nil {
			return c.result, false, nil
		}
		f, first := r.board(key, &req, at)
		if f == nil {
			continue // it has just been built
		}
		if first {
			res, err := build(ctx, req, overlay)
			r.land(key, &req, at, f, res, err)
			return res, true, err
		}
		select {
		case <-ctx.Done():
			return Result{}, false, ctx.Err()
		case <-f.done:
		}
		if f.err != nil && f.facts == req.factsKey() {
			return Result{}, false, f.err
		}
	}
}

// find returns a result in the cache that holds, nil if there is none.
func (r *Renderer) find(key cacheKey, req *Request, at rooted) *cached {
	r.mu.Lock()
	r.use(at)
	candidates := r.cache[key]
	for _, c := range candidates {
		if c.serves(req, at) {
			r.mu.Unlock()
			return c
		}
	}
	var roots [keep]tree.Hash
	for i, c := range candidates { // the list is never changed in place, its members' roots are
		roots[i] = c.root
	}
	r.mu.Unlock()
	for i, c := range candidates {
		if (c.facts == "" || c.facts == req.factsKey()) && r.holds(c.result.Reads, roots[i], at) {
			r.mu.Lock()
			c.root = at.root
			r.mu.Unlock()
			return c
		}
	}
	return nil
}

// serves tells whether a result is known to be that of a request. The caller holds mu.
func (c *cached) serves(req *Request, at rooted) bool {
	return c.root == at.root && (c.facts == "" || c.facts == req.factsKey())
}

// use keeps a tree to compare later ones with. The caller holds mu.
func (r *Renderer) use(at rooted) {
	if len(r.trees) > 0 && r.trees[0].root == at.root {
		return
	}
	r.trees = slices.DeleteFunc(r.trees, func(t rooted) bool { return t.root == at.root })
	r.trees = slices.Insert(r.trees, 0, at)
	r.trees = r.trees[:min(len(r.trees), keepTrees)]
}

// holds tells whether reads that hold over the tree with one root do so over another. A tree that is not
// kept any more, or cannot be compared, leaves only to look at every read.
func (r *Renderer) holds(reads Reads, from tree.Hash, at rooted) bool {
	if c := r.compare(from, at); c != nil {
		return reads.HoldAfter(c, at.tree)
	}
	return reads.Hold(at.tree)
}

// compare returns where two trees differ, nil if that is not known. Each pair is compared once.
func (r *Renderer) compare(from tree.Hash, at rooted) *tree.Changes {
	k := pair{from, at.root}
	r.mu.Lock()
	changes, ok := r.changes[k]
	i := -1
	if !ok {
		i = slices.IndexFunc(r.trees, func(t rooted) bool { return t.root == from })
	}
	if i >= 0 {
		before := r.trees[i].tree
		changes = sync.OnceValue(func() *tree.Changes {
			c, err := tree.Compare(before, at.tree)
			if err != nil {
				return nil
			}
			return c
		})
		if len(r.changes) >= keepChanges {
			clear(r.changes)
		}
		r.changes[k] = changes
	}
	r.mu.Unlock()
	if changes == nil {
		return nil
	}
	return changes()
}

// flight is a build that is under way. Others who want the same wait for it.
type flight struct {
	done chan struct{}
	// err is why it failed with these facts; nil if it was given up by who wanted it first.
	err   error
	facts string
}

type flightKey struct {
	cacheKey
	root  tree.Hash
	facts string // "" until it is known that they count
}

// board joins the build of what the request asks for, or begins it; nil if that has ended since nothing was
// found in the cache.
func (r *Renderer) board(key cacheKey, req *Request, at rooted) (f *flight, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.cache[key], func(c *cached) bool { return c.serves(req, at) }) {
		return nil, false
	}
	k := r.flightKey(key, req, at)
	if f, ok := r.flights[k]; ok {
		return f, false
	}
	f = &flight{done: make(chan struct{})}
	r.flights[k] = f
	return f, true
}

// flightKey says which requests one build is enough for. The caller holds mu.
func (r *Renderer) flightKey(key cacheKey, req *Request, at rooted) flightKey {
	k := flightKey{cacheKey: key, root: at.root}
	if all := r.cache[key]; key.substitute || len(all) > 0 && all[0].facts != "" {
		k.facts = req.factsKey()
	}
	return k
}

// land ends a build: its result is remembered, an error is not, as it may be gone at the next attempt.
func (r *Renderer) land(key cacheKey, req *Request, at rooted, f *flight, res Result, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.flights, func(_ flightKey, other *flight) bool { return other == f })
	switch {
	case err == nil:
		c := &cached{result: res, root: at.root}
		if res.UsesFacts {
			c.facts = req.factsKey()
		}
		all := r.cache[key]
		if len(all) > 0 {
			share(res.Objects, all[0].result.Objects)
		}
		all = slices.Insert(all[:len(all):len(all)], 0, c)
		r.cache[key] = all[:min(len(all), keep)]
	case !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded):
		f.err, f.facts = err, req.factsKey()
	}
	close(f.done)
}

// share replaces objects by equal ones of an earlier result, so that what did not change is in memory
// once. Both are sorted by ID.
func share(objects, earlier []Object) {
	j := 0
	for i := range objects {
		for j < len(earlier) && compare(earlier[j].ID, objects[i].ID) < 0 {
			j++
		}
		if j < len(earlier) && earlier[j].ID == objects[i].ID && earlier[j].Hash == objects[i].Hash {
			objects[i] = earlier[j]
		}
	}
}

// Retain forgets all apps but the named ones.
func (r *Renderer) Retain(apps map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.cache, func(k cacheKey, _ []*cached) bool { return !apps[k.app] })
}

// cacheKey holds all of a request that a result depends on, but the tree and the facts.
type cacheKey struct {
	app, overlay, namespace string
	substitute, allowEmpty  bool
	share                   int64 // -1: the manifest's own number
	target                  fleet.Target
	instance                string
}

func keyOfRequest(req Request, overlay string) cacheKey {
	spec := &req.App.Spec
	k := cacheKey{
		app: req.App.Name, overlay: overlay, namespace: spec.Namespace,
		substitute: spec.Substitute, allowEmpty: spec.AllowEmpty, share: -1, instance: req.Instance,
	}
	if req.Share != nil {
		k.share = int64(*req.Share)
	}
	if req.Target != nil {
		k.target = *req.Target
	}
	return k
}

// factsKey holds the facts in a fixed order. It is computed once for all apps of a cluster.
func (req *Request) factsKey() string {
	if req.factsOnce == nil {
		facts := req.Facts
		req.factsOnce = func() string { return factsText(facts) }
	}
	return req.factsOnce()
}

func factsText(facts fleet.Facts) string {
	data := factData(facts)
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(data)) {
		fmt.Fprintf(&b, "%q=%q\n", k, data[k])
	}
	return b.String()
}
