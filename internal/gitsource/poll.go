package gitsource

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// dial asks the server for the branch's commit. Its errors are classified.
func (s *Source) dial(ctx context.Context, op string, a *Attempt) (*link, error) {
	name := "refs/heads/" + s.options.Branch
	l, err := s.remote.dial(ctx, op, &a.Traffic, name)
	if err != nil {
		return nil, err
	}
	for _, ref := range l.refs {
		if ref.Name == name {
			l.tip = ref.Hash
			return l, nil
		}
	}
	defer l.close()
	n, err := l.branches()
	switch {
	case err != nil:
		return nil, l.classify(op, err)
	case n == 0:
		return nil, l.classify(op, fail(KindEmpty, "the repository is empty: push a first commit to %s", s.options.Branch))
	default:
		return nil, l.classify(op, fail(KindBranch, "the repository has no branch %s (of %d): nothing is deleted; "+
			"push it again, or correct the branch option", s.options.Branch, n))
	}
}

// poll brings the head to the branch's commit, if that may be.
func (s *Source) poll(ctx context.Context, a *Attempt) error {
	l, err := s.dial(ctx, "poll", a)
	if err != nil {
		return err
	}
	defer l.close()
	tip := l.tip
	a.Commit = tip.String()

	s.mu.Lock()
	st, damaged := s.store, s.damaged
	same := s.head != nil && s.head.Commit == tip.String() && s.base.IsZero()
	refused := s.refused
	s.mu.Unlock()

	switch {
	case st == nil || damaged != nil:
		return s.replace(ctx, l, a, damaged)
	case same:
		return s.compactIfDue(ctx, l, a)
	case refused.tip == tip && refused.err != nil:
		return refused.err
	}

	here, err := st.has(tip)
	if err == nil && !here {
		err = s.fetchInto(l, st)
	}
	if KindOf(err) == KindProtocol || isCorrupt(err) {
		s.options.Log.Warn().Err(err).Msg("the clone cannot be extended, a fresh one will replace it")
		return s.replace(ctx, nil, a, err)
	}
	if err != nil {
		return err
	}
	err = s.adopt(ctx, st, tip, a, st.complete())
	switch {
	case errors.Is(err, errUndecided):
		return s.replace(ctx, nil, a, err)
	case isCorrupt(err):
		s.reportDamage(err)
		return s.replace(ctx, nil, a, err)
	case err != nil:
		return s.remember(ctx, tip, err)
	}
	s.announce(a) // what is left to do takes nothing back
	return s.compactIfDue(ctx, nil, a)
}

// fetchInto extends the store by the branch's new commits.
func (s *Source) fetchInto(l *link, st *store) error {
	w := wanted{tip: l.tip, shallow: st.boundaries()}
	s.mu.Lock()
	if s.state.Commit != "" {
		w.haves = []plumbing.Hash{plumbing.NewHash(s.state.Commit)}
	}
	s.mu.Unlock()
	return l.fetch("fetch", st, w)
}

// adopt makes tip the head if it is readable, holds the fleet's directory, and may follow the bases.
func (s *Source) adopt(ctx context.Context, st *store, tip plumbing.Hash, a *Attempt, last bool) error {
	v, err := s.check(ctx, st, tip, last)
	if err != nil {
		return err
	}
	head, err := newSnapshot(st, s, s.blobs, tip, s.options.Path)
	if err != nil {
		return err
	}
	s.mu.Lock()
	next := s.state
	s.mu.Unlock()
	next.URL, next.Branch, next.Commit = s.address.String(), s.options.Branch, tip.String()
	for _, base := range v.abandoned {
		s.options.Log.Warn().Str("base", base).Str("commit", tip.String()).Msg("the rewritten branch is acknowledged and followed")
		next.Abandoned = append(slices.Clone(next.Abandoned), base)
	}
	if over := len(next.Abandoned) - maxAbandoned; over > 0 {
		next.Abandoned = next.Abandoned[over:]
	}
	return s.commit(st, head, next, a)
}

// commit records the head in the data dir, which is the moment it counts, and then in memory.
func (s *Source) commit(st *store, head *Snapshot, next state, a *Attempt) error {
	if err := st.setHead(s.options.Branch, plumbing.NewHash(head.Commit)); err != nil {
		return s.local(err)
	}
	if err := writeState(s.options.DataDir, next); err != nil {
		return s.local(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.news = s.head == nil || s.head.Commit != head.Commit || s.store != st
	a.Changed = a.Changed || a.news
	s.state, s.store, s.head = next, st, head
	s.base, s.refused = plumbing.ZeroHash, refusal{}
	return nil
}

func (s *Source) local(err error) error {
	return &Error{Kind: KindLocal, Op: "record", URL: s.address.String(), Reason: err.Error()}
}

// remember keeps a decision about a commit that only a new commit can change.
func (s *Source) remember(ctx context.Context, tip plumbing.Hash, err error) error {
	if k := KindOf(err); k == KindRewritten || k == KindPath {
		s.mu.Lock()
		s.refused = refusal{tip: tip, err: err}
		s.mu.Unlock()
		return err
	}
	if KindOf(err) == "" {
		return classify(ctx, "verify", s.address, nil, err)
	}
	return err
}

func isCorrupt(err error) bool {
	var c *corruptError
	return errors.As(err, &c)
}

// compactPause is how long to wait after a compaction that did not work out.
const compactPause = 10 * time.Minute

// errMovedOn is a compaction that found a newer commit than the head.
var errMovedOn = errors.New("the branch has moved on")

// compactIfDue replaces a store that has grown by a fresh clone. It never fails the poll: the old
// store serves as well.
func (s *Source) compactIfDue(ctx context.Context, l *link, a *Attempt) error {
	s.mu.Lock()
	st, before, not := s.store, s.state.Bytes, s.compact
	s.mu.Unlock()
	packs, bytes, err := st.usage()
	if err != nil {
		return s.local(err)
	}
	const small = 16 << 20
	if packs <= s.options.MaxPacks && (bytes <= 2*before || bytes < small) || time.Now().Before(not) {
		return nil
	}
	err = s.compactNow(ctx, l, a)
	if errors.Is(err, errMovedOn) {
		return nil // nothing is wrong: the next poll fetches that commit and tries again
	}
	if err != nil {
		s.options.Log.Warn().Err(err).Msg("the data dir could not be compacted")
		s.mu.Lock()
		s.compact = time.Now().Add(compactPause)
		s.mu.Unlock()
		return nil
	}
	s.options.Log.Info().Int("packs", packs).Int64("bytes", bytes).Msg("the data dir was compacted by a fresh clone")
	return nil
}

func (s *Source) compactNow(ctx context.Context, l *link, a *Attempt) error {
	if l == nil || l.used {
		var err error
		if l, err = s.dial(ctx, "compact", a); err != nil {
			return err
		}
		defer l.close()
	}
	s.mu.Lock()
	commit, full := s.state.Commit, s.store.complete()
	s.mu.Unlock()
	if l.tip.String() != commit {
		return errMovedOn
	}
	return s.cloneAndSwap(ctx, l, a, full)
}
