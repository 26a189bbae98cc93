package gitsource

import (
	"context"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
)

// Ancestry tells whether commit is ancestor or descends from it, as far as the data dir knows: nothing goes
// over the network. known is false where it lacks a commit, or the history between them.
func (s *Source) Ancestry(ctx context.Context, commit, ancestor string) (yes, known bool, err error) {
	if commit == ancestor {
		return true, true, nil
	}
	st, c, a := s.currentStore(), plumbing.NewHash(commit), plumbing.NewHash(ancestor)
	if st == nil {
		return false, false, nil
	}
	for _, h := range []plumbing.Hash{c, a} {
		if here, err := st.has(h); err != nil || !here {
			return false, false, err
		}
	}
	// Most questions are about neighbours. Asked the wrong way round, the answer would take the whole
	// history; and two commits cannot descend from each other.
	first, err := st.commit(c)
	if err != nil {
		return false, false, err
	}
	second, err := st.commit(a)
	if err != nil {
		return false, false, err
	}
	if first.Committer.When.Before(second.Committer.When) {
		if r, err := relate(ctx, st, a, c); err != nil || r == descends {
			return false, err == nil, err
		}
	}
	r, err := relate(ctx, st, c, a)
	return r == descends, r != unknown, err
}

// Complete tells whether the data dir holds the whole history of what it holds.
func (s *Source) Complete() bool {
	st := s.currentStore()
	return st != nil && st.complete()
}

// Deepen brings the whole history of the branch into the data dir, by one clone if it is not there yet.
func (s *Source) Deepen(ctx context.Context) error {
	if s.Complete() {
		return nil
	}
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	if s.Complete() { // another caller may have brought it meanwhile
		return nil
	}
	l, err := s.dial(ctx, "clone", new(Attempt))
	if err != nil {
		return err
	}
	defer l.close()
	_, err = s.deepen(ctx, l, l.tip)
	return err
}

// Between lists the commits that head descends from and since does not, head among them; all that head
// descends from if since is "". known is false where the data dir lacks one of the two or the history
// between them.
func (s *Source) Between(ctx context.Context, since, head string) (commits []string, known bool, err error) {
	st := s.currentStore()
	if st == nil {
		return nil, false, nil
	}
	before := map[plumbing.Hash]bool{}
	if since != "" {
		h := plumbing.NewHash(since)
		if here, err := st.has(h); err != nil || !here {
			return nil, false, err
		}
		if _, err := st.walk(ctx, h, func(h plumbing.Hash) bool {
			before[h] = true
			return true
		}); err != nil {
			return nil, false, fmt.Errorf("walk the history of %s: %w", short(since), err)
		}
	}
	h := plumbing.NewHash(head)
	if here, err := st.has(h); err != nil || !here {
		return nil, false, err
	}
	ends, err := st.walk(ctx, h, func(h plumbing.Hash) bool {
		if !before[h] {
			commits = append(commits, h.String())
		}
		return true
	})
	if err != nil {
		return nil, false, fmt.Errorf("walk the history of %s: %w", short(head), err)
	}
	for _, end := range ends {
		if !before[end] {
			return nil, false, nil // what came before it is not known
		}
	}
	return commits, true, nil
}
