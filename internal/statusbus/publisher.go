package statusbus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/rs/zerolog"
	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// DefaultHeartbeat is the time between two pushes without a change.
const DefaultHeartbeat = 2 * time.Minute

const (
	defaultMinInterval = 3 * time.Second
	defaultGather      = 250 * time.Millisecond
	// pushTimeout ends an attempt. The server's silence ends it sooner (gitsource.Options.IdleTimeout).
	pushTimeout = 2 * time.Minute
	// mostPause is the longest wait after a failure that passes by itself, mostRefused after one that only a
	// person can help with.
	mostPause   = time.Minute
	mostRefused = 2 * time.Minute
	// sharedAgain is how often it is told that two agents write the same ref.
	sharedAgain = 10 * time.Minute
)

// PublisherOptions say what a Publisher publishes, where and how often.
type PublisherOptions struct {
	// Remote is the status repository, for this Publisher alone. Required.
	Remote *gitsource.Remote
	// Cluster is this cluster's name. Required.
	Cluster string
	// Report makes the newest report, each time that one is about to be pushed. It is called from
	// Publisher's goroutine. While the report has no commit, there is nothing to publish. Required.
	Report func() status.Report
	// Record, if set, puts on record in the cluster what a report promises; it is pushed only after that.
	Record func(context.Context, status.Report) error
	// Signer, if set, returns the key to sign with, nil for none: see SignerFrom. It is called for each push.
	Signer func() (ssh.Signer, error)

	// Heartbeat is the time between two pushes without a change, spread by 10 %; default DefaultHeartbeat.
	// Readers take three of the default for the time after which a cluster is silent.
	Heartbeat time.Duration
	// MinInterval is the least time from one push to the next; default 3 s.
	MinInterval time.Duration
	// Gather is how long after a change others are waited for; default 250 ms.
	Gather time.Duration

	// Log gets what happens; the zero value discards it.
	Log zerolog.Logger
	// Observe, if set, is told of every attempt, from Publisher's goroutine. It must not block.
	Observe func(PushAttempt)
}

// PushAttempt is one attempt to publish.
type PushAttempt struct {
	Start    time.Time
	Duration time.Duration
	// Commit is what was to be published, "" if it did not come to that.
	Commit string
	// Traffic is what it took.
	gitsource.Traffic
	// Err is why it failed.
	Err error
}

// Publisher publishes this cluster's status. Make it with NewPublisher.
type Publisher struct {
	o       PublisherOptions
	push    func(context.Context, *gitsource.Traffic, gitsource.Push) error
	changed chan struct{}

	// Owned by Run.
	schedule schedule
	failures int
	told     string // the last failure that was logged
	// ref is what the cluster's ref is believed to be. tried are the commits that were sent since it was
	// known and may or may not have arrived. published tells that ref is this process's own work.
	ref       plumbing.Hash
	tried     []plumbing.Hash
	published bool
	shared    time.Time // when it was last told that another agent writes the ref

	mu  sync.Mutex
	err error
}

// NewPublisher validates the options. It does not use the network.
func NewPublisher(o PublisherOptions) (*Publisher, error) {
	if o.Remote == nil {
		return nil, errors.New("publish status: no repository is set")
	}
	return newPublisher(o, o.Remote.Push)
}

func newPublisher(o PublisherOptions, push func(context.Context, *gitsource.Traffic, gitsource.Push) error) (*Publisher, error) {
	if err := checkName(o.Cluster); err != nil {
		return nil, fmt.Errorf("publish status: %w", err)
	}
	if o.Report == nil {
		return nil, errors.New("publish status: nothing makes reports")
	}
	for d, value := range map[*time.Duration]time.Duration{&o.Heartbeat: DefaultHeartbeat, &o.MinInterval: defaultMinInterval, &o.Gather: defaultGather} {
		if *d < 0 {
			return nil, errors.New("publish status: a time is negative")
		}
		if *d == 0 {
			*d = value
		}
	}
	return &Publisher{o: o, push: push, changed: make(chan struct{}, 1)}, nil
}

// Changed says that something changed that others may wait for. It never blocks.
func (p *Publisher) Changed() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Err is why the last attempt failed; nil if it did not.
func (p *Publisher) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Run publishes until ctx ends, and then returns nil. Failures are logged, told by Err and tried again.
func (p *Publisher) Run(ctx context.Context) error {
	p.schedule = schedule{beat: time.Now()}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.changed:
			p.schedule.change(time.Now().Add(p.o.Gather))
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return nil
		}
		if !time.Now().Before(p.schedule.next()) {
			p.attempt(ctx)
		}
		timer.Reset(time.Until(p.schedule.next()))
	}
}

// schedule tells when the next push is due.
type schedule struct {
	beat     time.Time // without any change
	changes  time.Time // for the changes since the last push; zero if there are none
	earliest time.Time // but not before
}

// change notes that changes are to be pushed at that time, unless older ones are sooner.
func (s *schedule) change(at time.Time) {
	if s.changes.IsZero() {
		s.changes = at
	}
}

func (s *schedule) next() time.Time {
	at := s.beat
	if !s.changes.IsZero() && s.changes.Before(at) {
		at = s.changes
	}
	if at.Before(s.earliest) {
		at = s.earliest
	}
	return at
}

// attempt publishes the newest report and decides when the next one is due.
func (p *Publisher) attempt(ctx context.Context) {
	// What has changed until now is in the report.
	select {
	case <-p.changed:
	default:
	}
	a := PushAttempt{Start: time.Now()}
	report := p.o.Report()
	if report.Commit == "" {
		at := a.Start.Add(p.o.MinInterval)
		p.schedule = schedule{beat: at, earliest: at}
		return
	}
	limited, cancel := context.WithTimeout(ctx, pushTimeout)
	err := p.publish(limited, report, &a)
	cancel()
	if ctx.Err() != nil {
		return // called off, not failed
	}
	end := time.Now()
	a.Duration, a.Err = end.Sub(a.Start), err
	if p.o.Observe != nil {
		p.o.Observe(a)
	}
	p.settle(report, a, end)
}

// settle notes the outcome of an attempt.
func (p *Publisher) settle(report status.Report, a PushAttempt, now time.Time) {
	random := rand.Float64() //nolint:gosec // spreads load
	p.mu.Lock()
	p.err = a.Err
	p.mu.Unlock()
	if a.Err != nil {
		p.failures++
		at := now.Add(max(p.o.MinInterval, gitsource.Backoff(p.failures, pauseOf(a.Err), random)))
		p.schedule = schedule{beat: at, earliest: at}
		if text := a.Err.Error(); text != p.told {
			p.told = text
			p.o.Log.Warn().Err(a.Err).Msg("the status is not published, others that wait for this cluster hold; it is tried again")
		}
		return
	}
	p.schedule = schedule{beat: now.Add(gitsource.Spread(p.o.Heartbeat, random)), earliest: now.Add(p.o.MinInterval)}
	if p.told != "" {
		p.o.Log.Info().Msg("the status is published again")
	}
	p.failures, p.told = 0, ""
	p.o.Log.Debug().Str("commit", report.Commit).Dur("took", a.Duration).Msg("status published")
}

// pauseOf is how long to wait at most after a failure.
func pauseOf(err error) time.Duration {
	if lasting(err) {
		return mostRefused
	}
	return mostPause
}

// lasting tells a failure that does not pass by itself.
func lasting(err error) bool {
	return slices.Contains([]gitsource.Kind{
		gitsource.KindAuth, gitsource.KindRefused, gitsource.KindNotFound,
		gitsource.KindCredentials, gitsource.KindHostKey, gitsource.KindCertificate,
	}, gitsource.KindOf(err))
}

// publish puts a report on record and then where others read it.
func (p *Publisher) publish(ctx context.Context, report status.Report, a *PushAttempt) error {
	if report.Cluster != p.o.Cluster {
		return fmt.Errorf("publish status: the report is of the cluster %q", report.Cluster)
	}
	if p.o.Record != nil {
		if err := p.o.Record(ctx, report); err != nil {
			return fmt.Errorf("record what the status promises: %w", err)
		}
	}
	var signer ssh.Signer
	if p.o.Signer != nil {
		var err error
		if signer, err = p.o.Signer(); err != nil {
			return fmt.Errorf("publish status: %w", err)
		}
	}
	u, err := newPush(report, signer)
	if err != nil {
		return fmt.Errorf("publish status: %w", err)
	}
	a.Commit = u.New.String()
	if err := p.replace(ctx, &a.Traffic, u); err != nil {
		if lasting(err) {
			return fmt.Errorf("publish status: %w (the status repository and what to reach it with are set by --status-repo and --status-credentials)", err)
		}
		return fmt.Errorf("publish status: %w", err)
	}
	return nil
}

// replace pushes, whatever the ref is now.
func (p *Publisher) replace(ctx context.Context, t *gitsource.Traffic, u gitsource.Push) error {
	const attempts = 3 // each time that another one was faster
	var err error
	for range attempts {
		u.Old = p.ref
		p.try(u.New)
		err = p.push(ctx, t, u)
		var moved *gitsource.RefMovedError
		if !errors.As(err, &moved) {
			break
		}
		p.meet(moved.Now)
	}
	if err != nil {
		return err
	}
	p.ref, p.tried, p.published = u.New, nil, true
	return nil
}

// try remembers a commit whose fate may stay unknown.
func (p *Publisher) try(h plumbing.Hash) {
	const most = 16
	if !slices.Contains(p.tried, h) {
		p.tried = append(p.tried, h)
	}
	p.tried = p.tried[max(0, len(p.tried)-most):]
}

// meet takes note of what the ref is instead of what it was believed to be. After a start that is what an
// earlier process left. Later it is one of our own pushes whose answer was lost, a deletion, or the work of
// another agent.
func (p *Publisher) meet(now plumbing.Hash) {
	foreign := p.published && !now.IsZero() && !slices.Contains(p.tried, now)
	p.ref = now
	if !foreign || !p.shared.IsZero() && time.Since(p.shared) < sharedAgain {
		return
	}
	p.shared = time.Now()
	p.o.Log.Error().Str("cluster", p.o.Cluster).Str("ref", Ref(p.o.Cluster)).Str("found", now.String()).
		Msg("another agent reports as this cluster: others believe now the one, now the other; give each agent a --cluster of its own, " +
			"or find out who pushes to that ref")
}
