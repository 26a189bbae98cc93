package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/holdfast-dev/holdfast/localcluster"
)

// contestant fills an empty cluster.
type contestant struct {
	name      string
	userAgent string
	// start runs it as a process. ends tells that the process ends by itself when it is done.
	start func(ctx context.Context, c *localcluster.Cluster, f *fleetData) (*process, error)
	ends  bool
	// once: it takes so long that one sample must do.
	once bool
}

// coldResult is one run.
type coldResult struct {
	span     float64 // seconds from the first PATCH received to the last answered
	live     float64 // seconds from the start of the process to the last
	requests float64 // for each object
	memory   float64 // MiB at most
	cpu      float64 // seconds of the process, which sees less of what else the machine does
	note     string
}

func coldSync(ctx context.Context, l *lab) error {
	for _, n := range []int{1000, 5000} {
		if err := l.coldSize(ctx, l.size(n), n == 1000); err != nil {
			return err
		}
	}
	return nil
}

// coldSize measures one size. The contestants take turns, and in each round another one begins.
func (l *lab) coldSize(ctx context.Context, objects int, small bool) error {
	f, err := l.fleet(ctx, objects)
	if err != nil {
		return err
	}
	if err := l.calibrate(ctx); err != nil {
		return err
	}
	all := l.contestants(small)
	runs := map[string][]coldResult{}
	for round := range l.samples() {
		for i := range all {
			c := &all[(i+round)%len(all)]
			if c.once && len(runs[c.name]) > 0 {
				continue
			}
			r, err := l.cold(ctx, c, f)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			l.say("  %s, %s objects: %.2f s from the first PATCH to the last, %.2f s from its start; %.2f requests per object; %.1f s of CPU; %.0f MiB",
				c.name, thousands(objects), r.span, r.live, r.requests, r.cpu, r.memory)
			runs[c.name] = append(runs[c.name], r)
		}
	}
	column := func(name string, value func(coldResult) float64) (samples []float64) {
		for _, r := range runs[name] {
			samples = append(samples, value(r))
		}
		return samples
	}
	span, live := func(r coldResult) float64 { return r.span }, func(r coldResult) float64 { return r.live }
	cpu := func(r coldResult) float64 { return r.cpu }
	requests, memory := func(r coldResult) float64 { return r.requests }, func(r coldResult) float64 { return r.memory }
	size := thousands(objects) + " objects: "
	ours, limit, watches := all[0].name, all[1].name, all[2].name
	l.add(
		row{What: size + "first PATCH to last", Unit: "s", Ours: column(ours, span), Reference: limit, Theirs: column(limit, span), Target: ratioAtMost(1.15)},
		row{What: size + "process start to all live", Unit: "s", Ours: column(ours, live), Reference: limit, Theirs: column(limit, span), Target: ratioAtMost(1.6),
			Note: "the reference's time is from its first PATCH to its last"},
		row{What: size + "requests per object", Unit: "", Ours: column(ours, requests), Reference: limit, Theirs: column(limit, requests), Target: atMost(1.2), Note: runs[ours][0].note},
		row{What: size + "CPU of the process", Unit: "s", Ours: column(ours, cpu), Reference: limit, Theirs: column(limit, cpu)},
		row{What: size + "first PATCH to last", Unit: "s", Ours: column(ours, span), Reference: watches, Theirs: column(watches, span),
			Note: "the reference's watches of the same kinds are read and thrown away"},
	)
	l.peaks[objects] = append(l.peaks[objects], column(ours, memory)...)
	for _, c := range all[3:] {
		l.add(
			row{What: size + "process start to all live", Unit: "s", Ours: column(ours, live), Reference: c.name, Theirs: column(c.name, live)},
			row{What: size + "requests per object", Unit: "", Ours: column(ours, requests), Reference: c.name, Theirs: column(c.name, requests)},
			row{What: size + "CPU of the process", Unit: "s", Ours: column(ours, cpu), Reference: c.name, Theirs: column(c.name, cpu)},
			row{What: size + "peak memory", Unit: "MiB", Ours: column(ours, memory), Reference: c.name, Theirs: column(c.name, memory)},
		)
	}
	return nil
}

// contestants are Holdfast, LIMIT, LIMIT with watches, and then the others.
func (l *lab) contestants(small bool) []contestant {
	watching := l.limit(l.best, andWatch)
	watching.name = "LIMIT that watches too"
	all := []contestant{
		{
			name: "Holdfast", userAgent: "holdfast/",
			start: func(ctx context.Context, c *localcluster.Cluster, f *fleetData) (*process, error) {
				dir, err := l.temp("data")
				if err != nil {
					return nil, err
				}
				a, err := l.startAgent(ctx, c, f, dir, 10*time.Minute)
				if err != nil {
					return nil, err
				}
				return a.process, nil
			},
		},
		l.limit(l.best),
		watching,
	}
	if _, err := os.Stat(l.applier); err != nil {
		l.say("  without cli-utils' Applier: %v", err)
	} else {
		all = append(all, contestant{
			name: "cli-utils Applier", userAgent: applierAgent, ends: true, once: !small,
			start: func(_ context.Context, c *localcluster.Cluster, f *fleetData) (*process, error) {
				return l.start("applier", nil, l.applier, c.Kubeconfig(), f.bodies, applierAgent)
			},
		})
	}
	if l.kubectl == "" || !small {
		return all
	}
	kubectl := func(args ...string) func(context.Context, *localcluster.Cluster, *fleetData) (*process, error) {
		return func(_ context.Context, c *localcluster.Cluster, f *fleetData) (*process, error) {
			args := append([]string{"apply", "--server-side", "--kubeconfig", c.Kubeconfig(), "-f", f.manifests}, args...)
			return l.start("kubectl", nil, l.kubectl, args...)
		}
	}
	return append(all,
		contestant{name: "kubectl apply --server-side", userAgent: "kubectl", ends: true, once: true, start: kubectl()},
		contestant{name: "the same with --validate=ignore", userAgent: "kubectl", ends: true, start: kubectl("--validate=ignore")},
	)
}

// limit is the raw client, with these arguments.
func (l *lab) limit(concurrency int, args ...string) contestant {
	return contestant{
		name: fmt.Sprintf("LIMIT (%d at a time)", concurrency), userAgent: limitAgent, ends: true,
		start: func(_ context.Context, c *localcluster.Cluster, f *fleetData) (*process, error) {
			return l.start("limit", nil, l.self, append([]string{"ref", "limit", c.Kubeconfig(), f.bodies, strconv.Itoa(concurrency)}, args...)...)
		},
	}
}

// calibrate finds out at which concurrency the raw client is fastest.
func (l *lab) calibrate(ctx context.Context) error {
	if l.best > 0 {
		return nil
	}
	if l.quick {
		l.best = 8
		return nil
	}
	f, err := l.fleet(ctx, l.size(1000))
	if err != nil {
		return err
	}
	fastest := 0.0
	for _, n := range []int{4, 8, 16} {
		c := l.limit(n)
		r, err := l.cold(ctx, &c, f)
		if err != nil {
			return err
		}
		l.say("  LIMIT with %d at a time: %.2f s", n, r.span)
		if fastest == 0 || r.span < fastest {
			l.best, fastest = n, r.span
		}
	}
	return nil
}

// cold runs one contestant on a fresh cluster.
func (l *lab) cold(ctx context.Context, c *contestant, f *fleetData) (res coldResult, err error) {
	cluster, err := l.cluster(ctx)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	requests, err := follow(cluster, c.userAgent)
	if err != nil {
		return res, err
	}
	p, err := c.start(ctx, cluster, f)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	w := expect(f.items)
	if c.ends {
		if err := p.wait(ctx); err != nil {
			return res, err
		}
	}
	err = until(ctx, "all objects live", 10*time.Minute, func() (bool, error) {
		p.observe()
		if !c.ends {
			if err := p.alive(); err != nil {
				return false, err
			}
		}
		if err := requests.read(); err != nil {
			return false, err
		}
		all := w.take(requests)
		if c.ends && !all {
			return false, fmt.Errorf("%d objects were not applied", len(w.missing))
		}
		return all, nil
	})
	if err != nil {
		return res, err
	}
	if !c.ends {
		if err := requests.quiet(ctx, 2*time.Second); err != nil {
			return res, err
		}
	}
	if err := p.stop(); err != nil {
		return res, err
	}
	counted := requests.counted()
	return coldResult{
		cpu:  p.cpu(),
		span: seconds(w.last.Sub(w.first)), live: seconds(w.last.Sub(p.started)),
		requests: float64(len(counted)) / float64(f.objects), memory: p.peak(), note: fmt.Sprintf("%s; not counted: %s", histogram(counted), or(histogram(requests.uncounted()), "none")),
	}, nil
}
