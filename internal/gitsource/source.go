package gitsource

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/gofrs/flock"
)

// blobCache bounds the file contents that are kept in memory, in bytes. Who renders keeps what it made of them,
// so that few are read again.
const blobCache = 512 << 10

// Update is news of the branch.
type Update struct {
	// Snapshot is the verified head; nil when Err is set.
	Snapshot *Snapshot
	// Err is why the newest attempt failed. The last verified head stays in force.
	Err error
	// Time is when it was found out.
	Time time.Time
}

// Source follows one branch. Make it with Open.
type Source struct {
	options Options
	address address
	lock    *flock.Flock
	blobs   *lru[plumbing.Hash, []byte]
	remote  *Remote // used by whoever holds network

	// network is held by the one operation that talks to the server or changes the data dir.
	network chan struct{}
	wake    chan struct{}
	updates chan Update

	mu       sync.Mutex
	state    state
	store    *store
	head     *Snapshot
	base     plumbing.Hash // of the cluster; zero when there is none or a head has been verified since
	refused  refusal
	damaged  error // why the store must be replaced
	failures int
	told     bool // an update with a head has been sent since the last failure
	compact  time.Time
}

// refusal remembers a decision, so that it is not worked out again at each poll.
type refusal struct {
	tip plumbing.Hash
	err error
}

// Open validates the options, locks the data dir and opens what it holds. It does not use the network.
// A data dir that another process holds, or of which nothing can be read, is an error; a damaged one is
// not: it is replaced by a fresh clone at the first poll.
func Open(ctx context.Context, o Options) (*Source, error) {
	a, err := o.validate()
	if err != nil {
		return nil, fmt.Errorf("open Git source: %w", err)
	}
	remote, err := NewRemote(o)
	if err != nil {
		return nil, fmt.Errorf("open Git source: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(o.DataDir, "git"), 0o700); err != nil {
		return nil, fmt.Errorf("open Git source: %w", err)
	}
	s := &Source{
		options: o, address: a,
		lock:    flock.New(filepath.Join(o.DataDir, "lock")),
		remote:  remote,
		blobs:   newLRU[plumbing.Hash, []byte](blobCache),
		network: make(chan struct{}, 1), wake: make(chan struct{}, 1), updates: make(chan Update, 1),
	}
	locked, err := s.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the data dir %s: %w", o.DataDir, err)
	}
	if !locked {
		return nil, fmt.Errorf("the data dir %s is in use by another agent: give each its own", o.DataDir)
	}
	if err := s.restore(ctx); err != nil {
		_ = s.lock.Unlock() // the first error counts
		return nil, fmt.Errorf("open Git source: %w", err)
	}
	return s, nil
}

// restore opens the current store, checks that its head can be read, and removes what was left behind.
func (s *Source) restore(_ context.Context) error {
	st, err := readState(s.options.DataDir)
	if errors.Is(err, errBadState) {
		s.options.Log.Warn().Err(err).Msg("the data dir is damaged, a fresh clone will replace it")
		st, err = state{}, nil
	}
	if err != nil {
		return err
	}
	if st.URL != "" && (st.URL != s.address.String() || st.Branch != s.options.Branch) {
		s.options.Log.Info().Str("was", st.URL).Str("branch", st.Branch).Msg("the data dir is of another repository or branch and starts anew")
		st = state{}
	}
	s.state = st
	if st.Store != "" {
		s.store, s.head, err = s.openHead(st)
		var path *PathError
		if errors.As(err, &path) {
			err = nil // the option has changed; the commit is still the base
		}
		if err != nil {
			s.options.Log.Warn().Err(err).Str("commit", st.Commit).Msg("the data dir is damaged, a fresh clone will replace it")
			s.damaged = err
		}
	}
	return s.sweep()
}

func (s *Source) openHead(st state) (*store, *Snapshot, error) {
	repo, err := openStore(s.storeDir(st.Store))
	if err != nil {
		return nil, nil, err
	}
	if err := repo.sweep(); err != nil {
		return nil, nil, err
	}
	head, err := newSnapshot(repo, s, s.blobs, plumbing.NewHash(st.Commit), s.options.Path)
	if err != nil {
		return repo, nil, err
	}
	return repo, head, nil
}

func (s *Source) storeDir(name string) string { return filepath.Join(s.options.DataDir, "git", name) }

// sweep removes stores that are not the current one, and unfinished state files.
func (s *Source) sweep() error {
	unfinished, err := filepath.Glob(filepath.Join(s.options.DataDir, "."+stateFile+"-*"))
	if err != nil {
		return err
	}
	for _, path := range unfinished {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(filepath.Join(s.options.DataDir, "git"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != s.state.Store {
			if err := os.RemoveAll(s.storeDir(e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close releases the data dir. Run must have returned. Snapshots stay readable.
func (s *Source) Close() error {
	s.remote.Close()
	if err := s.lock.Unlock(); err != nil {
		return fmt.Errorf("unlock the data dir: %w", err)
	}
	return nil
}

// SetBase names the commit that the cluster has recorded, as a full id ("" is none): the branch must
// descend from it. It is to be called before Run.
func (s *Source) SetBase(commit string) error {
	if commit != "" && !fullSHA.MatchString(commit) {
		return fmt.Errorf("the base %q is not a full commit id", commit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base = plumbing.ZeroHash
	if commit != "" {
		s.base = plumbing.NewHash(commit)
	}
	return nil
}

// Head returns the last verified commit of the data dir; false when there is none. It needs no network.
func (s *Source) Head() (*Snapshot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head, s.head != nil
}

// Updates delivers the newest news: the verified head when it has moved, when it is known for the first
// time or again after a failure, and when the data dir was repaired; and each failure. Older news that
// nobody has taken is dropped.
func (s *Source) Updates() <-chan Update { return s.updates }

// Poll asks for a poll now. Calls while one waits or runs coalesce, and two polls start at least 250 ms apart.
func (s *Source) Poll() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run polls until ctx ends, and then returns nil. Failures are reported through Updates and never end it.
func (s *Source) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watching.Go(func() { s.watchCredentials(ctx) })
	for {
		start := time.Now()
		err := s.attempt(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var wait time.Duration
		s.mu.Lock()
		if err != nil {
			s.failures++
			wait = s.pause(KindOf(err))
		} else {
			s.failures = 0
			wait = Spread(s.options.Poll, rand.Float64()) //nolint:gosec // spreads load
		}
		s.mu.Unlock()
		if !s.sleep(ctx, start, wait) {
			return nil
		}
	}
}

// pause is how long to wait after a failure. Where the server is well and only a push can help, that is
// the usual time. The caller holds mu.
func (s *Source) pause(kind Kind) time.Duration {
	switch kind {
	case KindRewritten, KindPath, KindBranch, KindEmpty:
		return Spread(s.options.Poll, rand.Float64()) //nolint:gosec // spreads load
	default:
		return Backoff(s.failures, backoffMost, rand.Float64()) //nolint:gosec // spreads load
	}
}

// sleep waits until the next poll is due or asked for; false means that ctx has ended.
func (s *Source) sleep(ctx context.Context, start time.Time, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	case <-s.wake:
	}
	timer.Reset(minSpacing - time.Since(start))
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// attempt is one poll with everything that follows from it.
func (s *Source) attempt(ctx context.Context) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	a := Attempt{Start: time.Now()}
	err := s.poll(ctx, &a)
	if ctx.Err() != nil {
		return ctx.Err() // called off, not failed
	}
	if err != nil || !a.told {
		a.Duration = time.Since(a.Start)
	}
	a.Err = err
	if s.options.Observe != nil {
		s.options.Observe(a)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		s.told = false
		s.publish(Update{Err: err, Time: time.Now()})
	case a.news || !s.told:
		s.told = true
		s.publish(Update{Snapshot: s.head, Time: time.Now()})
	}
	return err
}

// announce publishes the head that the attempt has found, before the attempt is at its end.
func (s *Source) announce(a *Attempt) {
	a.Duration, a.news, a.told = time.Since(a.Start), false, true
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = true
	s.publish(Update{Snapshot: s.head, Time: time.Now()})
}

// publish replaces news that nobody has taken. The caller holds mu.
func (s *Source) publish(u Update) {
	select {
	case <-s.updates:
	default:
	}
	s.updates <- u
}

func (s *Source) acquire(ctx context.Context) error {
	select {
	case s.network <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Source) release() { <-s.network }

// bases are the commits that a candidate must descend from.
func (s *Source) bases() []plumbing.Hash {
	s.mu.Lock()
	defer s.mu.Unlock()
	var hs []plumbing.Hash
	if s.state.Commit != "" {
		hs = append(hs, plumbing.NewHash(s.state.Commit))
	}
	if !s.base.IsZero() && (len(hs) == 0 || hs[0] != s.base) {
		hs = append(hs, s.base)
	}
	return hs
}

func (s *Source) abandonedBases() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Abandoned
}

func (s *Source) currentStore() *store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store
}

// reportDamage has the store replaced at once.
func (s *Source) reportDamage(err error) {
	s.mu.Lock()
	first := s.damaged == nil
	s.damaged = err
	s.mu.Unlock()
	if first {
		s.options.Log.Warn().Err(err).Msg("the data dir is damaged, a fresh clone will replace it")
		s.Poll()
	}
}
