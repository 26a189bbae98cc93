package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// change measures how long a pushed change of one object takes to be live, by webhook, at three sizes.
func change(ctx context.Context, l *lab) error {
	medians := map[int]float64{}
	sizes := []int{1000, 10000, 5000}
	for _, n := range sizes {
		s, err := l.steady(ctx, l.size(n), rare)
		if err != nil {
			return err
		}
		r, err := s.pushes(ctx, l.many())
		if err != nil {
			return err
		}
		medians[n] = median(r.ours)
		what := thousands(l.size(n)) + " objects, one changed: "
		l.add(
			row{What: what + "push to live by webhook", Unit: "ms", Ours: r.ours, Reference: "git fetch and one PATCH", Theirs: r.theirs, Target: ratioAtMost(3)},
			row{What: what + "API requests", Unit: "", Ours: r.requests, Reference: "git fetch and one PATCH", Theirs: []float64{1}, Target: worstAtMost(3), Note: r.note},
		)
	}
	l.add(row{
		What: fmt.Sprintf("one changed: growth from %s to %s objects", thousands(l.size(sizes[0])), thousands(l.size(sizes[1]))), Unit: "ms",
		Ours: []float64{medians[sizes[1]]}, Reference: "Holdfast at " + thousands(l.size(sizes[0])), Theirs: []float64{medians[sizes[0]]}, Target: ratioAtMost(1.5),
	})
	return nil
}

// pushResult are samples: milliseconds, and requests for each change.
type pushResult struct {
	ours, theirs, requests []float64
	note                   string
}

func (s *site) pushes(ctx context.Context, n int) (r pushResult, err error) {
	if err := s.referenceObject(ctx); err != nil {
		return r, err
	}
	for k := range n {
		app := (k*37 + 11) % (s.fleet.objects / perApp)
		value, err := s.fleet.change(app) //nolint:contextcheck // quick and local
		if err != nil {
			return r, err
		}
		requests, err := follow(s.cluster, "holdfast/")
		if err != nil {
			return r, err
		}
		took, err := s.untilLive(ctx, app, value, s.agent.notify)
		if err != nil {
			return r, err
		}
		r.ours = append(r.ours, milliseconds(took))
		if err := requests.quiet(ctx, 1200*time.Millisecond); err != nil {
			return r, err
		}
		counted := requests.counted()
		r.requests, r.note = append(r.requests, float64(len(counted))), histogram(counted)
		theirs, err := s.fetchAndPatch(ctx, k)
		if err != nil {
			return r, err
		}
		r.theirs = append(r.theirs, milliseconds(theirs))
	}
	return r, nil
}

// untilLive tells the agent of a change and returns how long that took to be live.
func (s *site) untilLive(ctx context.Context, app int, value string, tell func(context.Context) error) (time.Duration, error) {
	o, err := s.observe(ctx, appNamespace(app), appName(app))
	if err != nil {
		return 0, err
	}
	defer o.stop()
	start := time.Now()
	if err := tell(ctx); err != nil {
		return 0, err
	}
	at, err := o.live(ctx, app, value)
	return at.Sub(start), err
}

// referenceNamespace holds what the reference writes: nothing of the agent's.
const referenceNamespace = "bench-reference"

func (s *site) referenceObject(ctx context.Context) error {
	body := `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "` + referenceNamespace + `"}}`
	i := item{Path: "/api/v1/namespaces/" + referenceNamespace, Resource: "namespaces", Name: referenceNamespace, Body: []byte(body)}
	if err := send(ctx, s.raw, &i, "reference"); err != nil {
		return err
	}
	_, err := s.fetchAndPatch(ctx, -1)
	return err
}

// fetchAndPatch is the least that a pushed change can cost: git fetch as a process, into a bare clone, and one
// server-side-apply PATCH of the same ConfigMap on a warm connection.
func (s *site) fetchAndPatch(ctx context.Context, k int) (time.Duration, error) {
	i, err := newItem(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "reference", "namespace": referenceNamespace, "labels": map[string]any{"app": "reference"}},
		"data":     map[string]any{"greeting": fmt.Sprint("change ", k), "log.level": "info", "settings.yaml": "cache: {size: 128, ttl: 5m}\nfeatures: [search, checkout, wishlist]\n"},
	})
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if _, err := gittest.Git(ctx, s.clone, "fetch", "--quiet", "origin", "+main:main"); err != nil {
		return 0, err
	}
	if err := send(ctx, s.raw, &i, "reference"); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// poll measures the same without a webhook: the push falls anywhere between two polls.
func poll(ctx context.Context, l *lab) error {
	const interval = 2 * time.Second
	s, err := l.steady(ctx, l.size(5000), interval)
	if err != nil {
		return err
	}
	if err := s.referenceObject(ctx); err != nil {
		return err
	}
	var ours, reference []float64
	for k := range max(l.many()/3, 2) {
		if err := pause(ctx, time.Duration(rand.Int64N(int64(interval)))); err != nil { //nolint:gosec // spreads the samples
			return err
		}
		app := (k*41 + 17) % (s.fleet.objects / perApp)
		o, err := s.observe(ctx, appNamespace(app), appName(app))
		if err != nil {
			return err
		}
		value, err := s.fleet.change(app) //nolint:contextcheck // quick and local
		if err != nil {
			return err
		}
		start := time.Now()
		at, err := o.live(ctx, app, value)
		o.stop()
		if err != nil {
			return err
		}
		ours = append(ours, milliseconds(at.Sub(start)))
		theirs, err := s.fetchAndPatch(ctx, 1000+k)
		if err != nil {
			return err
		}
		reference = append(reference, milliseconds(theirs))
	}
	// The interval is spread by a tenth.
	limit := milliseconds(interval)*1.1 + 3*median(reference)
	l.add(row{
		What: thousands(s.fleet.objects) + " objects, one changed: push to live by a poll of 2 s", Unit: "ms", Ours: ours, Target: worstAtMost(limit),
		Note: "the limit is the interval, which is spread by a tenth, and three times git fetch and one PATCH",
	})
	return nil
}
