package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/localcluster"
)

// follower counts one contestant's requests.
type follower struct {
	cluster  *localcluster.Cluster
	agent    string // prefix of its user agent
	since    localcluster.Mark
	requests []localcluster.Request
}

func follow(c *localcluster.Cluster, userAgent string) (*follower, error) {
	mark, err := c.Mark()
	return &follower{cluster: c, agent: userAgent, since: mark}, err
}

// read takes in what is new.
func (f *follower) read() error {
	all, err := f.cluster.Requests(f.since)
	if err != nil {
		return err
	}
	f.since += localcluster.Mark(len(all))
	for _, r := range all {
		if strings.HasPrefix(r.UserAgent, f.agent) {
			f.requests = append(f.requests, r)
		}
	}
	return nil
}

// counted are the requests that an object costs: without watches, and without the bookkeeping of
// AppStatus objects, Events and Leases.
func (f *follower) counted() (counted []localcluster.Request) {
	for _, r := range f.requests {
		if r.Verb != "watch" && !bookkeeping(r) {
			counted = append(counted, r)
		}
	}
	return counted
}

// uncounted are all others.
func (f *follower) uncounted() (rest []localcluster.Request) {
	for _, r := range f.requests {
		if r.Verb == "watch" || bookkeeping(r) {
			rest = append(rest, r)
		}
	}
	return rest
}

func bookkeeping(r localcluster.Request) bool {
	switch r.Resource.Resource {
	case "appstatuses", "events", "leases":
		return true
	}
	return false
}

// histogram counts requests by verb and resource, the most frequent first.
func histogram(requests []localcluster.Request) string {
	counts := map[string]int{}
	for _, r := range requests {
		what := r.Resource.String()
		if what == "" {
			what, _, _ = strings.Cut(r.URI, "?")
		}
		counts[r.Verb+" "+what]++
	}
	keys := make([]string, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		if counts[keys[i]] != counts[keys[j]] {
			return counts[keys[i]] > counts[keys[j]]
		}
		return keys[i] < keys[j]
	})
	var b []string
	for i, k := range keys {
		if i == 12 {
			b = append(b, fmt.Sprintf("%d more kinds", len(keys)-i))
			break
		}
		b = append(b, fmt.Sprintf("%d %s", counts[k], k))
	}
	return strings.Join(b, ", ")
}

// quiet waits until the contestant has sent nothing that counts for so long.
func (f *follower) quiet(ctx context.Context, calm time.Duration) error {
	last, since := -1, time.Now()
	return until(ctx, "the contestant does not come to rest", 5*time.Minute, func() (bool, error) {
		if err := f.read(); err != nil {
			return false, err
		}
		if n := len(f.requests); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > calm, nil
	})
}

// after reads once more when some time has passed.
func (f *follower) after(ctx context.Context, d time.Duration) error {
	if err := pause(ctx, d); err != nil {
		return err
	}
	return f.read()
}

// writes is when objects were written for the first time.
type writes struct {
	missing     map[string]bool
	first, last time.Time
	next        int // request that was not looked at yet
}

func expect(items []item) *writes {
	w := &writes{missing: map[string]bool{}}
	for i := range items {
		w.missing[items[i].key()] = true
	}
	return w
}

// take looks at new requests and tells whether all objects are live. The first is when the first
// PATCH was received, the last when the answer to the last one that was needed was complete.
func (w *writes) take(f *follower) bool {
	for ; w.next < len(f.requests); w.next++ {
		r := f.requests[w.next]
		key := r.Resource.Resource + "/" + r.Namespace + "/" + r.Name
		if r.Resource.Resource == "namespaces" {
			key = "namespaces//" + r.Name
		}
		if r.Resource.Subresource != "" || r.Code >= 300 || (r.Verb != "patch" && r.Verb != "create") || !w.missing[key] {
			continue
		}
		delete(w.missing, key)
		if w.first.IsZero() || r.Time.Before(w.first) {
			w.first = r.Time
		}
		if r.Done.After(w.last) {
			w.last = r.Done
		}
	}
	return len(w.missing) == 0
}
