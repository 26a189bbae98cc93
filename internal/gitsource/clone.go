package gitsource

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// replace makes a fresh clone the current store. It is a shallow one if the branch's commit is all that
// has to be verified; otherwise the whole branch, in which the bases are looked for. l may be a link
// that has not been used to fetch, or nil.
func (s *Source) replace(ctx context.Context, l *link, a *Attempt, why error) error {
	if l == nil || l.used {
		var err error
		if l, err = s.dial(ctx, "clone", a); err != nil {
			return err
		}
		defer l.close()
	}
	tip := l.tip
	full := errors.Is(why, errUndecided)
	for _, base := range s.bases() {
		full = full || base != tip
	}
	s.mu.Lock()
	refused := s.refused
	repaired := s.damaged != nil
	s.mu.Unlock()
	if refused.tip == tip && refused.err != nil {
		return refused.err
	}
	err := s.cloneAndSwap(ctx, l, a, full)
	if err != nil {
		return s.remember(ctx, tip, err)
	}
	if repaired {
		a.Changed, a.news = true, true // those who could not read are told to try again
		s.options.Log.Info().Str("commit", tip.String()).Msg("the data dir was repaired by a fresh clone")
	}
	return nil
}

// cloneAndSwap clones beside the current store, verifies the branch's commit in the clone, and makes it
// the current store.
func (s *Source) cloneAndSwap(ctx context.Context, l *link, a *Attempt, full bool) (err error) {
	st, name, err := s.clone(l, full)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.discard(st)
		}
	}()
	v, err := s.check(ctx, st, l.tip, full)
	if err != nil {
		return err
	}
	head, err := newSnapshot(st, s, s.blobs, l.tip, s.options.Path)
	if err != nil {
		return err
	}
	_, bytes, err := st.usage()
	if err != nil {
		return s.local(err)
	}
	s.mu.Lock()
	next := s.state
	s.mu.Unlock()
	next.URL, next.Branch = s.address.String(), s.options.Branch
	next.Store, next.Commit, next.Bytes = name, head.Commit, bytes
	next.Abandoned = append(append([]string(nil), next.Abandoned...), v.abandoned...)
	return s.swap(st, head, next, a)
}

// swap makes st the current store. The old one goes when no snapshot needs it any more.
func (s *Source) swap(st *store, head *Snapshot, next state, a *Attempt) error {
	s.mu.Lock()
	old := s.store
	s.mu.Unlock()
	if err := s.commit(st, head, next, a); err != nil {
		return err
	}
	s.mu.Lock()
	s.damaged = nil
	s.mu.Unlock()
	if old != nil {
		s.retire(old)
	}
	return nil
}

// retire removes a store's directory once nothing refers to the store.
func (s *Source) retire(st *store) {
	log := s.options.Log
	runtime.AddCleanup(st, func(dir string) {
		if err := os.RemoveAll(dir); err != nil {
			log.Warn().Err(err).Msg("an old clone could not be removed, the next start tries again")
		}
	}, st.dir)
}

func (s *Source) discard(st *store) {
	if err := os.RemoveAll(st.dir); err != nil {
		s.options.Log.Warn().Err(err).Msg("an unfinished clone could not be removed, the next start tries again")
	}
}

// clone makes a new store with the branch's commit, and all its history if full.
func (s *Source) clone(l *link, full bool) (*store, string, error) {
	name := time.Now().UTC().Format("20060102T150405.000000000")
	st, err := createStore(s.storeDir(name), s.options.Branch)
	if err != nil {
		return nil, "", s.local(err)
	}
	w := wanted{tip: l.tip}
	if !full {
		w.depth = 1
	}
	if err := l.fetch("clone", st, w); err != nil {
		s.discard(st)
		return nil, "", err
	}
	return st, name, nil
}

// Snapshot returns the commit with this full id: from the data dir, or else from one clone of the whole
// branch. A commit that is not in the branch's history either gives ErrUnknownCommit; any other error
// means that it is not known whether there is such a commit.
func (s *Source) Snapshot(ctx context.Context, commit string) (*Snapshot, error) {
	if !fullSHA.MatchString(commit) {
		return nil, fmt.Errorf("%q is not a full commit id", commit)
	}
	h := plumbing.NewHash(commit)
	snap, err := s.lookup(h)
	if snap != nil || err != nil {
		return snap, err
	}
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	defer s.release()
	// Another caller may have brought it meanwhile.
	if snap, err := s.lookup(h); snap != nil || err != nil {
		return snap, err
	}
	l, err := s.dial(ctx, "clone", new(Attempt))
	if err != nil {
		return nil, err
	}
	defer l.close()
	if st := s.currentStore(); st != nil && st.complete() {
		here, err := st.has(l.tip)
		if err != nil {
			return nil, err
		}
		if here {
			return nil, fmt.Errorf("%s: %w", short(commit), ErrUnknownCommit)
		}
	}
	return s.deepen(ctx, l, h)
}

// lookup looks for a commit in the data dir; nil without an error means that it is not there.
func (s *Source) lookup(h plumbing.Hash) (*Snapshot, error) {
	s.mu.Lock()
	st, head := s.store, s.head
	s.mu.Unlock()
	if head != nil && head.Commit == h.String() {
		return head, nil
	}
	if st == nil {
		return nil, nil //nolint:nilnil // nothing is there
	}
	if here, err := st.has(h); err != nil || !here {
		return nil, nil //nolint:nilerr,nilnil // a damaged store is as good as none: the clone decides
	}
	snap, err := newSnapshot(st, s, s.blobs, h, s.options.Path)
	if isCorrupt(err) {
		s.reportDamage(err)
		return nil, nil //nolint:nilnil // the clone decides
	}
	return snap, err
}

// deepen clones the whole branch to find h in it. The clone becomes the current store if the head is in it.
func (s *Source) deepen(ctx context.Context, l *link, h plumbing.Hash) (*Snapshot, error) {
	st, name, err := s.clone(l, true)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	head, next := s.head, s.state
	s.mu.Unlock()
	kept := false
	if head != nil {
		r, err := relate(ctx, st, l.tip, plumbing.NewHash(head.Commit))
		if err == nil && r == descends {
			kept, err = s.keep(st, name, next)
		}
		if err != nil {
			s.discard(st)
			return nil, err
		}
	}
	here, err := st.has(h)
	if err != nil || !here {
		if !kept {
			s.discard(st)
		}
		if err == nil {
			err = fmt.Errorf("%s: %w", short(h.String()), ErrUnknownCommit)
		}
		return nil, err
	}
	if !kept {
		s.retire(st)
	}
	return newSnapshot(st, s, s.blobs, h, s.options.Path)
}

// keep makes a whole clone the current store at the same head.
func (s *Source) keep(st *store, name string, next state) (bool, error) {
	_, bytes, err := st.usage()
	if err != nil {
		return false, s.local(err)
	}
	head, err := newSnapshot(st, s, s.blobs, plumbing.NewHash(next.Commit), s.options.Path)
	if err != nil {
		return false, err
	}
	next.Store, next.Bytes = name, bytes
	s.mu.Lock()
	base, refused := s.base, s.refused
	s.mu.Unlock()
	var a Attempt
	if err := s.swap(st, head, next, &a); err != nil {
		return false, err
	}
	s.mu.Lock()
	s.base, s.refused = base, refused // the head was not verified anew
	s.mu.Unlock()
	return true, nil
}

// Descends tells whether commit is ancestor or descends from it; both are full ids. What the data dir
// cannot tell is decided by one clone of the whole branch. ErrUnknownCommit: the branch lacks commit.
func (s *Source) Descends(ctx context.Context, commit, ancestor string) (bool, error) {
	if !fullSHA.MatchString(commit) || !fullSHA.MatchString(ancestor) {
		return false, fmt.Errorf("%q or %q is not a full commit id", commit, ancestor)
	}
	if commit == ancestor {
		return true, nil
	}
	snap, err := s.Snapshot(ctx, commit)
	var path *PathError
	if err != nil && !errors.As(err, &path) {
		return false, err
	}
	st := s.currentStore()
	if snap != nil {
		st = snap.store
	}
	r, err := relate(ctx, st, plumbing.NewHash(commit), plumbing.NewHash(ancestor))
	if err != nil || r != unknown {
		return r == descends, err
	}
	// The ancestor's snapshot brings the whole branch, if it is in it at all.
	older, err := s.Snapshot(ctx, ancestor)
	switch {
	case errors.Is(err, ErrUnknownCommit):
		st = s.currentStore()
	case err != nil && !errors.As(err, &path):
		return false, err
	case older != nil:
		st = older.store
	default:
		st = s.currentStore()
	}
	r, err = relate(ctx, st, plumbing.NewHash(commit), plumbing.NewHash(ancestor))
	if isCorrupt(err) {
		return false, fmt.Errorf("%s: %w", short(commit), ErrUnknownCommit)
	}
	return r == descends, err
}
