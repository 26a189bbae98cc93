package agent

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-dev/holdfast/internal/apply"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/metrics"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// dryRun fetches the branch once, plans against the live cluster, prints the plan and ends. It
// writes nothing to the cluster.
func dryRun(ctx context.Context, o Options, clients *kube.Clients, source *gitsource.Source) error {
	l := newLoop(o, (*metrics.Metrics)(nil), clients, source)
	l.bus.off = "a dry run does not read them"
	stored, err := l.inventory.Load(ctx)
	if err != nil {
		return fmt.Errorf("read the inventory: %s", kube.Explain(err))
	}
	if err := source.SetBase(stored.Commit); err != nil {
		return err
	}
	head, err := firstSnapshot(ctx, source)
	if err != nil {
		return err
	}
	engine := apply.NewEngine(o.Namespace, stored.Records)
	now := time.Now()
	r := request{
		commit: head.Commit, tree: head, good: stored.Commit, apps: map[string]known{},
		records: stored.Apps, unrecorded: stored.Apps == nil, reports: l.bus.reports(head.Commit, now), now: now,
	}
	present := engine.Present()
	for name := range present {
		r.apps[name] = known{present: true}
	}
	if remembered, err := l.writer.Load(ctx); err == nil {
		for name, s := range remembered {
			a := restoredApp(s)
			r.apps[name] = known{adopted: a.adopted, defined: a.defined, proven: s.ProvenContents, present: present[name]}
		}
	}
	l.compiler.record = func(context.Context, string, map[string]apply.AppRecord) error { return nil }
	c, err := l.compiler.compile(ctx, r)
	if err != nil {
		return err
	}
	engine.SetDesired(c.desired, now)
	return printPlan(o.Out, o.Cluster, c, apply.Plan(ctx, engine, l.executor, now))
}

// firstSnapshot waits for the first answer of the Git server.
func firstSnapshot(ctx context.Context, source *gitsource.Source) (*gitsource.Snapshot, error) {
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return source.Run(ctx) })
	var u gitsource.Update
	select {
	case <-ctx.Done():
		u.Err = ctx.Err()
	case u = <-source.Updates():
	}
	cancel()
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return u.Snapshot, u.Err
}

// printPlan writes the plan for a person. It fails if anything in it would.
func printPlan(w io.Writer, cluster string, c *compilation, steps []apply.Step) error {
	fmt.Fprintf(w, "Dry run: cluster %s at commit %s. Nothing was written.\n\n", cluster, status.Short(c.commit))
	count := map[string]int{}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range steps {
		count[s.Verb]++
		if s.Verb == "unchanged" && s.Detail == "" {
			continue
		}
		fmt.Fprintf(tw, "%s\t%s\tapp %s\t%s\n", s.Verb, render.Name(s.ID), s.App, s.Detail) //nolint:errcheck // Flush tells
	}
	for _, name := range names(c.apps) {
		a := c.apps[name]
		if a.err != nil {
			count["fail"]++
			fmt.Fprintf(tw, "fail\t(whole app)\tapp %s\t%s\n", name, a.err) //nolint:errcheck // Flush tells
		}
		for _, h := range a.held {
			fmt.Fprintf(tw, "hold\t(%s)\tapp %s\t%s\n", h.Gate, name, h.Reason) //nolint:errcheck // Flush tells
		}
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print the plan: %w", err)
	}
	for _, err := range c.errs {
		fmt.Fprintf(w, "warning: %v\n", err)
	}
	_, err := fmt.Fprintf(w, "\n%d to create, %d to configure, %d unchanged, %d to prune, %d prunes held, %d failing\n",
		count["create"], count["configure"], count["unchanged"], count["prune"], count["hold"], count["fail"])
	if err != nil {
		return fmt.Errorf("print the plan: %w", err)
	}
	if count["fail"] > 0 {
		return fmt.Errorf("%d objects would fail", count["fail"])
	}
	return nil
}
