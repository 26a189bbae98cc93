package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/localcluster"
)

// idle measures what an agent costs while nothing changes.
func idle(ctx context.Context, l *lab) error {
	interval, window := 15*time.Second, time.Minute
	if l.quick {
		interval, window = 5*time.Second, 10*time.Second
	}
	s, err := l.steady(ctx, l.size(5000), interval)
	if err != nil {
		return err
	}
	what := thousands(s.fleet.objects) + " objects: "
	requests, err := follow(s.cluster, "holdfast/")
	if err != nil {
		return err
	}
	l.git.ResetRequests()
	before, known := cpuTime(s.agent.cmd.Process.Pid)
	begin := time.Now()
	if err := pause(ctx, window); err != nil {
		return err
	}
	after, _ := cpuTime(s.agent.cmd.Process.Pid)
	took := time.Since(begin)
	if err := requests.read(); err != nil {
		return err
	}
	var counted, rest []localcluster.Request
	for _, r := range requests.requests {
		if r.Verb == "watch" || r.Resource.Resource == "leases" {
			rest = append(rest, r)
		} else {
			counted = append(counted, r)
		}
	}
	l.add(row{
		What: fmt.Sprintf("%srequests in %.0f s but watches and leases", what, took.Seconds()), Unit: "", Ours: []float64{float64(len(counted))}, Target: atMost(0),
		Note: fmt.Sprintf("counted: %s; not counted: %s", or(histogram(counted), "none"), or(histogram(rest), "none")),
	})
	if known {
		l.add(row{What: what + "CPU, polls of Git included", Unit: "% of a core", Ours: []float64{100 * (after - before).Seconds() / took.Seconds()}, Target: atMost(0.5)})
	}
	return s.polls(ctx, interval, what)
}

// polls compares what a poll of an unchanged branch sends with git ls-remote.
func (s *site) polls(ctx context.Context, interval time.Duration, what string) error {
	// A poll is one POST of protocol version 2, with a GET before it unless the version is known, or one GET.
	byMethod := map[string]int{}
	for _, r := range s.lab.git.Requests() {
		byMethod[r.Method]++
	}
	polls, requests := max(byMethod[http.MethodGet], byMethod[http.MethodPost]), byMethod[http.MethodGet]+byMethod[http.MethodPost]
	if polls == 0 {
		return fmt.Errorf("no poll within four intervals of %s", interval)
	}
	s.lab.git.ResetRequests()
	if _, err := gittest.Git(ctx, s.clone, "ls-remote", "--quiet", "origin", "refs/heads/main"); err != nil {
		return err
	}
	s.lab.add(row{
		What: what + "requests to the Git server for each poll", Unit: "", Ours: []float64{float64(requests) / float64(polls)},
		Reference: "git ls-remote", Theirs: []float64{float64(len(s.lab.git.Requests()))}, Target: ratioAtMost(1),
	})
	return nil
}

func or(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}
