package main

import (
	"context"
	"math"
	"strings"
	"testing"
)

// scaleLab is a lab for few agents.
func scaleLab(t *testing.T) *lab {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	l, err := newLab(t.Context(), &scaleSuite, flags{quick: true, runs: 1, refs: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// TestScaleCosts: what a poll, a push and a round of reading cost in requests and bytes, with the refs of other
// clusters in the same repository. Times are not looked at.
func TestScaleCosts(t *testing.T) {
	t.Parallel()
	l := scaleLab(t)
	ctx := t.Context()
	if err := pollCosts(ctx, l.crowd); err != nil {
		t.Fatal(err)
	}
	if r := l.find(t, "beside the branch: requests"); median(r.Ours) != 1 || median(r.Theirs) != 1 {
		t.Errorf("a poll takes %v requests, with protocol version 0 %v", r.Ours, r.Theirs)
	}
	if r := l.find(t, "500 status refs beside the branch: bytes"); median(r.Ours) > 1024 || median(r.Theirs) < 500*60 {
		t.Errorf("a poll beside 500 refs takes %v bytes, with protocol version 0 %v", r.Ours, r.Theirs)
	}
	if err := pushCosts(ctx, l.crowd); err != nil {
		t.Fatal(err)
	}
	if r := l.find(t, "50 clusters: requests"); median(r.Ours) != 1 {
		t.Errorf("a push takes %v requests", r.Ours)
	}
	if err := readCosts(ctx, l.crowd); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]float64{
		"2 clusters asked for, none moved: requests": 1, "2 clusters asked for, 1 moved: requests": 2,
		"all 50 asked for, none moved: requests": 1, "all 50 asked for, 25 moved: requests": 2,
	} {
		if r := l.find(t, what); median(r.Ours) != want {
			t.Errorf("%s: %v, want %v", what, r.Ours, want)
		}
	}
}

// TestScaleAgents: a few agents poll, report and wait for each other, and nothing fails.
func TestScaleAgents(t *testing.T) {
	t.Parallel()
	l := scaleLab(t)
	c := l.crowd
	for _, run := range []func(context.Context, *crowd) error{load, gateDelay, storm} {
		if err := run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for _, what := range []string{"a report in 2 min: requests", "CPU of the server per request", "waiting Reader's view, median", "wait for 4 clusters each: requests", "wait for all 50 clusters: requests"} {
		if r := l.find(t, what); !(median(r.Ours) > 0) {
			t.Errorf("%s: %v", what, r.Ours)
		}
	}
}

func TestMost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ limit, want int }{{99, 0}, {100, 100}, {149, 100}, {150, 150}, {399, 300}, {800, 800}} {
		got, err := most(100, func(n int) (bool, error) { return n <= c.limit, nil })
		if err != nil || got != c.want {
			t.Errorf("up to %d: %d, %v, want %d", c.limit, got, err, c.want)
		}
	}
}

func TestUsageSince(t *testing.T) {
	t.Parallel()
	before := usage{Requests: map[string]int{"push": 2, "fetch": 1}, Sent: 10, CPU: 5}
	after := usage{Requests: map[string]int{"push": 5, "fetch": 1, "ls-refs": 1}, Sent: 30, CPU: 9}
	d := after.since(before)
	if d.requests() != 4 || d.Requests["push"] != 3 || d.Sent != 20 || d.CPU != 4 {
		t.Errorf("got %+v", d)
	}
}

func TestCurve(t *testing.T) {
	t.Parallel()
	c := curve{{10, 20}, {1000, 40}, {10000, 400}}
	for clusters, want := range map[int]float64{10: 20, 505: 30, 1000: 40, 5500: 220, 10000: 400, 19000: 760} {
		if got := c.at(clusters); math.Abs(got-want) > 0.01 {
			t.Errorf("at %d: %v, want %v", clusters, got, want)
		}
	}
}

func TestPlans(t *testing.T) {
	t.Parallel()
	c := costs{
		refs: 1000, poll: 6, pollBytes: 700, oldPollBytes: 80_000, pushBytes: 3000, fetch: 9, garbage: 12_000,
		push: curve{{10, 20}, {1000, 40}, {10000, 400}}, collected: curve{{10, 20}, {1000, 22}, {10000, 40}}, list: curve{{10, 6}, {1000, 15}, {10000, 100}},
	}
	p := c.plan(1000, pollInterval)
	for what, v := range map[string][2]float64{
		"requests": {p.Requests, 75},
		"bytes":    {p.Bytes, 66.67*700 + 8.333*3000},
		"cores":    {p.Cores, 0.4 + 0.3333},
		"after gc": {p.Collected, 0.4 + 0.1833},
		"version0": {p.OldBytes, 66.67*80_000 + 8.333*3000},
		"storm":    {p.StormCores, 0.4 + 166.67*0.024 + 100*0.04},
		"garbage":  {p.Garbage, 8.64e9},
	} {
		if math.Abs(v[0]/v[1]-1) > 0.01 {
			t.Errorf("%s: %v, want %v", what, v[0], v[1])
		}
	}
	large := c.plan(10000, pollInterval)
	if large.OldBytes < 90*p.OldBytes || math.Abs(large.Sharded-10*p.Cores) > 0.01 || large.Cores < 4*large.Sharded {
		t.Errorf("ten times the clusters: %+v after %+v", large, p)
	}
	if text := planMarkdown(c.plans()); strings.Count(text, "\n| 10,000 | ") != 3 {
		t.Errorf("got\n%s", text)
	}
	c.garbage = 0
	if c.plans() != nil {
		t.Error("a plan from figures that are missing")
	}
}
