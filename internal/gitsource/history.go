package gitsource

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// RewrittenError is a branch that no longer descends from what was verified or recorded.
type RewrittenError struct {
	// Base is the commit that the branch has lost, Head the branch's commit.
	Base, Head string
	// Reason says why an acknowledgement in Head does not count, "" if there is none.
	Reason string
}

func (e *RewrittenError) Error() string {
	text := fmt.Sprintf("the branch was rewritten: %s does not descend from %s, so it is not followed; "+
		"to follow it, set spec.acceptHistory: %s in its fleet.yaml", short(e.Head), short(e.Base), e.Base)
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	return text
}

// relation is what a store knows of two commits.
type relation int

const (
	unknown     relation = iota // the store does not hold enough history to tell
	descends                    // or equal
	notDescends                 //
)

// relate tells whether commit descends from ancestor, as far as st knows.
func relate(ctx context.Context, st *store, commit, ancestor plumbing.Hash) (relation, error) {
	if commit == ancestor {
		return descends, nil
	}
	found := false
	ends, err := st.walk(ctx, commit, func(h plumbing.Hash) bool {
		found = h == ancestor
		return !found
	})
	switch {
	case err != nil:
		return unknown, err
	case found:
		return descends, nil
	case len(ends) == 0:
		return notDescends, nil
	}
	// Beyond the shallow boundary nothing is known. But a commit that descends from the boundary is not beyond it.
	here, err := st.has(ancestor)
	if err != nil || !here {
		return unknown, err
	}
	beyond := map[plumbing.Hash]bool{}
	for _, h := range ends {
		beyond[h] = true
	}
	if _, err := st.walk(ctx, ancestor, func(h plumbing.Hash) bool {
		delete(beyond, h)
		return len(beyond) > 0
	}); err != nil {
		return unknown, err
	}
	if len(beyond) == 0 {
		return notDescends, nil
	}
	return unknown, nil
}

var fullSHA = regexp.MustCompile(`^[0-9a-f]{40}$`)

// errUndecided means that the store lacks the history to decide; a clone of the whole branch has it.
var errUndecided = errors.New("not enough history")

// verdict is the outcome of checking a candidate.
type verdict struct {
	// abandoned are the bases that the candidate does not descend from, acknowledged.
	abandoned []string
}

// check tells whether candidate may become the head: it must descend from every base, or acknowledge
// those it does not. It returns errUndecided when st cannot tell, unless last is set: then what is
// unknown counts as rewritten. The error is a *RewrittenError when the candidate is refused.
func (s *Source) check(ctx context.Context, st *store, candidate plumbing.Hash, last bool) (verdict, error) {
	var v verdict
	for _, base := range s.bases() {
		r, err := relate(ctx, st, candidate, base)
		if err != nil {
			return v, err
		}
		if r == descends {
			continue
		}
		if r == unknown && !last {
			return v, errUndecided
		}
		if slices.Contains(s.abandonedBases(), base.String()) {
			continue
		}
		if err := s.acknowledged(ctx, st, candidate, base); err != nil {
			return v, err
		}
		v.abandoned = append(v.abandoned, base.String())
	}
	return v, nil
}

// acknowledged returns nil if the candidate itself says that losing base is meant.
func (s *Source) acknowledged(ctx context.Context, st *store, candidate, base plumbing.Hash) error {
	refusal := &RewrittenError{Base: base.String(), Head: candidate.String()}
	if s.options.AcceptHistory == nil {
		return refusal
	}
	snap, err := newSnapshot(st, s, s.blobs, candidate, s.options.Path)
	if err != nil {
		return err
	}
	text, err := s.options.AcceptHistory(snap)
	switch {
	case isCorrupt(err):
		return err
	case err != nil:
		refusal.Reason = "acceptHistory cannot be read: " + oneLine(err.Error())
		return refusal
	case text == "":
		return refusal
	case !fullSHA.MatchString(text):
		refusal.Reason = fmt.Sprintf("acceptHistory %q is not a full commit id", text)
		return refusal
	}
	sha := plumbing.NewHash(text)
	if sha == base {
		return nil
	}
	// An old acknowledgement must not let a new rewrite pass: the commit has to be new in this one.
	in, err := relate(ctx, st, candidate, sha)
	if err != nil {
		return err
	}
	if in != descends {
		refusal.Reason = fmt.Sprintf("acceptHistory %s is not in the new history", short(text))
		return refusal
	}
	here, err := st.has(base)
	if err != nil {
		return err
	}
	old := unknown
	if here {
		if old, err = relate(ctx, st, base, sha); err != nil {
			return err
		}
	}
	switch old {
	case notDescends:
		return nil
	case descends:
		refusal.Reason = fmt.Sprintf("acceptHistory %s is older than the rewrite", short(text))
	default:
		refusal.Reason = fmt.Sprintf("whether acceptHistory %s is older than the rewrite cannot be told here", short(text))
	}
	return refusal
}
