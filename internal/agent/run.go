package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/httpapi"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/metrics"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// Run runs an agent until ctx ends, and then returns nil; it returns after everything that it started
// has ended. An error means that the agent could not start: a wrong option, a data dir in use, an
// address that cannot be listened on. A cluster or a Git server that is down is waited for.
func Run(ctx context.Context, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	m := metrics.New(o.Version)
	cfg, err := kube.Config(o.Kubeconfig, userAgent(o))
	if err != nil {
		return err
	}
	cfg.Wrap(m.Transport)
	clients, err := kube.New(cfg, o.Log)
	if err != nil {
		return err
	}
	p := &polls{}
	source, err := gitsource.Open(ctx, sourceOptions(o, m, p))
	if err != nil {
		return err
	}
	defer closeSource(source, o)
	if o.DryRun {
		return dryRun(ctx, o, clients, source)
	}
	l := newLoop(o, m, clients, source)
	l.polls = p
	record := func(ctx context.Context, _ status.Report) error { return l.inventory.RecordHead(ctx) }
	if l.bus, err = newBus(o, m, p, l.busReport, record); err != nil {
		return err
	}
	if o.StatusRepo == "" {
		o.Log.Warn().Msg("status reports go to the fleet repository, so this agent needs the right to push to it; " +
			"a repository of their own is better: --status-repo URL, or none")
	}
	group, ctx := errgroup.WithContext(ctx)
	if o.Listen != "" {
		if err := l.serve(ctx, group); err != nil {
			return err
		}
	}
	group.Go(func() error { return l.run(ctx) })
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func closeSource(s *gitsource.Source, o Options) {
	if err := s.Close(); err != nil {
		o.Log.Warn().Err(err).Msg("release the data dir")
	}
}

// serve starts the HTTP server; that it cannot listen is known at once.
func (l *loop) serve(ctx context.Context, group *errgroup.Group) error {
	server, err := httpapi.New(httpapi.Options{
		Listen:  l.o.Listen,
		Status:  l.report,
		Ready:   l.readiness,
		Metrics: l.metrics.Handler(),
		Token:   httpapi.TokenFile(l.o.Credentials),
		Poll:    l.source.Poll,
		Branch:  l.o.Branch,
		Log:     l.log,

		StuckAfter: l.o.StuckAfter,
	})
	if err != nil {
		return err
	}
	addr, err := server.Listen(ctx)
	if err != nil {
		return err
	}
	l.beat = server.Beat
	l.log.Info().Str("address", addr.String()).Msg("serving HTTP")
	group.Go(func() error { return server.Run(ctx) })
	return nil
}

func userAgent(o Options) string { return "holdfast/" + o.Version }

func sourceOptions(o Options, m *metrics.Metrics, p *polls) gitsource.Options {
	return gitsource.Options{
		URL: o.Repo, Branch: o.Branch, Path: o.Path,
		DataDir: filepath.Join(o.DataDir, "source"), CredentialsDir: o.Credentials,
		Poll: o.Poll, UserAgent: userAgent(o), Log: o.Log,
		Observe: func(a gitsource.Attempt) {
			p.note(a)
			if a.Err != nil {
				m.PollFailed(string(gitsource.KindOf(a.Err)))
				return
			}
			m.Polled(a.Start, a.Duration, a.Changed, a.Received)
		},
		AcceptHistory: func(s *gitsource.Snapshot) (string, error) { return fleet.AcceptHistory(s) },
	}
}

// ensureNamespace creates the agent's namespace where it is missing: run by hand, nobody else does.
// That it may not look is no error; writing the inventory will tell.
func ensureNamespace(ctx context.Context, c *kube.Clients, name, manager string) error {
	_, err := c.Kubernetes.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err == nil || apierrors.IsForbidden(err) {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for namespace %s: %w", name, err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err = c.Kubernetes.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{FieldManager: manager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	return nil
}

// retry calls do until it succeeds or ctx ends, with growing pauses.
func (l *loop) retry(ctx context.Context, what string, do func(context.Context) error) error {
	pause := time.Second / 2
	for {
		err := do(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		l.notReady(fmt.Errorf("%s: %s", what, kube.Explain(err)))
		l.log.Warn().Str("reason", kube.Explain(err)).Dur("retry_in", pause).Msg(what + " failed")
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		l.beat()
		pause = min(2*pause, 5*time.Second) // to be refused costs nothing, and everything waits
	}
}
