package statusbus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
)

const (
	defaultInterval = 3 * time.Second
	defaultSlow     = 15 * time.Second
	// slowAfter is how long the same is asked before Slow counts.
	slowAfter = 5 * time.Minute
	// roundTimeout ends a round. The server's silence ends it sooner (gitsource.Options.IdleTimeout).
	roundTimeout = 2 * time.Minute
	// minSpacing is the least time between the starts of two rounds, however often the question changes.
	minSpacing = 500 * time.Millisecond
	// mostReadPause is the longest wait after a failed round.
	mostReadPause = 30 * time.Second
)

// ReaderOptions say where a Reader reads, whom it believes, and how often it asks.
type ReaderOptions struct {
	// Remote is the status repository, for this Reader alone. Required.
	Remote *gitsource.Remote
	// Dir is where what was fetched is for a moment, in a folder "statusbus" of the Reader's own; default the
	// system's folder for temporary files.
	Dir string
	// AllowedSigners, if set, returns the content of an allowed-signers file, in each round anew; nil is that
	// signatures are not asked for, and an error of the round once it was not nil. See AllowedSignersFrom.
	AllowedSigners func() ([]byte, error)
	// Cluster is this cluster's name, whose own status is left out; "" is none.
	Cluster string

	// Interval is the time between two rounds, spread by 10 %; default 3 s.
	Interval time.Duration
	// Slow is the same after the same has been asked for five minutes; default 15 s.
	Slow time.Duration

	// Log gets what happens; the zero value discards it.
	Log zerolog.Logger
	// Observe, if set, is told of every round, from Reader's goroutine. It must not block.
	Observe func(Round)
}

// Round is one look at the status repository.
type Round struct {
	Start    time.Time
	Duration time.Duration
	// Listed is how many clusters have a ref, of those that are asked for; Read is how many of them had moved
	// and were read, Ignored how many of these were not believed.
	Listed, Read, Ignored int
	// Traffic is what it took.
	gitsource.Traffic
	// Err is why it failed.
	Err error
}

// Reader reads what other clusters publish, as long as something is asked of it. Make it with NewReader.
type Reader struct {
	o       ReaderOptions
	remote  remote
	asked   chan struct{}
	updates chan View

	mu       sync.Mutex
	question question

	// Owned by Run, or by ReadAll.
	memory   memory
	signed   bool // there were allowed signers, since this process runs
	failures int
	told     string // the last failure that was logged
}

// NewReader validates the options. It does not use the network.
func NewReader(o ReaderOptions) (*Reader, error) {
	if o.Remote == nil {
		return nil, errors.New("read status: no repository is set")
	}
	if o.Dir == "" {
		o.Dir = os.TempDir()
	}
	return newReader(o, gitRemote{o.Remote, o.Dir})
}

func newReader(o ReaderOptions, r remote) (*Reader, error) {
	if o.Interval < 0 || o.Slow < 0 {
		return nil, errors.New("read status: a time is negative")
	}
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	if o.Slow == 0 {
		o.Slow = max(defaultSlow, o.Interval)
	}
	return &Reader{o: o, remote: r, asked: make(chan struct{}, 1), updates: make(chan View, 1)}, nil
}

// Ask says what is waited for at the moment: the statuses of these clusters, or of all, or of none. Then
// no request is sent and nothing is kept. It never blocks, and to ask for the same again changes nothing.
func (r *Reader) Ask(clusters []string, all bool) {
	q := newQuestion(clusters, all, r.o.Cluster)
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.equal(r.question) {
		return
	}
	r.question = q
	select {
	case r.asked <- struct{}{}:
	default:
	}
}

func (r *Reader) current() question {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.question
}

// Updates delivers the newest view, after each round and once when nothing is asked for any more. An older
// one that nobody has taken is dropped.
func (r *Reader) Updates() <-chan View { return r.updates }

// publish replaces a view that nobody has taken.
func (r *Reader) publish(v View) {
	select {
	case <-r.updates:
	default:
	}
	r.updates <- v
}

// Run reads until ctx ends, and then returns nil. Failures are told in View and never end it.
func (r *Reader) Run(ctx context.Context) error {
	if g, ok := r.remote.(gitRemote); ok {
		if err := g.sweep(); err != nil {
			r.o.Log.Warn().Err(err).Msg("what an earlier run has left of others' status cannot be removed")
		}
	}
	// They may be gone by the time that something is asked. If they cannot be read, the first round tells it.
	_, _ = r.allowedSigners()
	var q question
	var since, start time.Time // when q was asked first, and when the last round began
	for {
		select {
		case <-r.asked: // is answered now
		default:
		}
		if next := r.current(); !next.equal(q) || since.IsZero() {
			if next.empty() && !q.empty() {
				r.publish(View{})
			}
			q, since = next, time.Now()
		}
		var wait time.Duration // until a further round; 0 is until one is asked for
		if q.empty() {
			r.memory = memory{}
			r.failures = 0
		} else {
			start = time.Now()
			v := r.round(ctx, q)
			if ctx.Err() == nil {
				r.publish(v)
			}
			wait = r.pause(time.Since(since))
		}
		if !r.sleep(ctx, start, wait) {
			return nil
		}
	}
}

// pause is how long to wait for the next round, if nothing else is asked.
func (r *Reader) pause(asked time.Duration) time.Duration {
	interval := r.o.Interval
	if asked >= slowAfter {
		interval = r.o.Slow
	}
	wait := gitsource.Spread(interval, rand.Float64()) //nolint:gosec // spreads load
	if r.failures > 0 {
		wait = max(wait, gitsource.Backoff(r.failures, mostReadPause, rand.Float64())) //nolint:gosec // spreads load
	}
	return wait
}

// sleep waits until the next round is due or something else is asked; false means that ctx has ended.
func (r *Reader) sleep(ctx context.Context, start time.Time, wait time.Duration) bool {
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-due:
		return true
	case <-r.asked:
	}
	spacing := minSpacing
	if r.failures > 0 {
		spacing = r.o.Interval // a server that is down is not asked more often because more is wanted
	}
	timer := time.NewTimer(time.Until(start.Add(spacing)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// round looks once at the repository and returns what is known after it.
func (r *Reader) round(ctx context.Context, q question) View {
	limited, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	round := Round{Start: time.Now()}
	round.Err = r.look(limited, q, &round)
	if ctx.Err() != nil {
		return View{} // called off: nobody sees it
	}
	round.Duration = time.Since(round.Start)
	if round.Err != nil {
		r.failures++
		if text := round.Err.Error(); text != r.told {
			r.told = text
			r.o.Log.Warn().Err(round.Err).Msg("the status of others cannot be read, what waits for them holds; it is tried again")
		}
	} else {
		if r.told != "" {
			r.o.Log.Info().Msg("the status of others is read again")
		}
		r.failures, r.told = 0, ""
	}
	if r.o.Observe != nil {
		r.o.Observe(round)
	}
	return View{Clusters: r.memory.view(), Asked: true, Err: round.Err, question: q}
}

// ReadAll looks once at the statuses of all clusters, with the options of a Reader that is not run. The
// error is why there are none, or not all.
func ReadAll(ctx context.Context, o ReaderOptions) (map[string]Seen, error) {
	dir, err := os.MkdirTemp(o.Dir, "holdfast-status-")
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // is empty
	o.Dir = dir
	r, err := NewReader(o)
	if err != nil {
		return nil, err
	}
	v := r.round(ctx, question{all: true})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return v.Clusters, v.Err
}
