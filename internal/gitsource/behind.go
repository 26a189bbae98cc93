package gitsource

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// Standing is where a commit is, seen from a head.
type Standing int

// The standings.
const (
	Unsettled Standing = iota // it could not be found out
	Behind                    // the head descends from it
	Ahead                     // it descends from the head
	Apart                     // neither: the branch was rewritten, or the commit is another branch's, or nobody's
)

// Lag is how far a commit is behind a head.
type Lag struct {
	Standing Standing
	// Commits is how many commits a commit that is Behind lacks: what `git rev-list --count commit..head` counts.
	Commits int
}

// mostQuestions bounds the requests for one answer. Honest clusters are at few commits.
const mostQuestions = 20

// Bounds of what is received to count commits, and of what it inflates to, in bytes. More than that is not worth
// a number.
const (
	maxCommits = 128 << 20 // of commits alone: some 200,000
	maxChanges = 64 << 20  // of commits with the files that they changed
)

// Lags tells how far commits, full ids, are behind head. What the data dir cannot tell is asked of the server: the
// commits since the one in question, without their files where the server can leave them out (protocol
// capability "filter"), else with what they changed. One answer often tells of several commits, and nothing of it
// is kept. What would take too much, and what is no full id, is Unsettled. With an error, the result is what was
// found out before.
func (s *Source) Lags(ctx context.Context, head *Snapshot, commits []string) (map[string]Lag, error) {
	lags := make(map[string]Lag, len(commits))
	var pending []string
	for _, commit := range commits {
		if _, ok := lags[commit]; ok {
			continue
		}
		lag, err := s.localLag(ctx, head, commit)
		if err != nil {
			return lags, err
		}
		if lags[commit] = lag; lag.Standing == Unsettled && fullSHA.MatchString(commit) {
			pending = append(pending, commit)
		}
	}
	if len(pending) == 0 {
		return lags, nil
	}
	return lags, s.askLags(ctx, head, pending, lags)
}

// askLags asks the server about commits of which the data dir knows nothing, and puts what it says into lags.
func (s *Source) askLags(ctx context.Context, head *Snapshot, pending []string, lags map[string]Lag) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	// The answer about the oldest tells of all. Which it is is not known, but in an order that has nothing to do with
	// age few are older than all before them.
	slices.Sort(pending)
	var strangers []string // are no ancestors of head, but may descend from it
	for n := 0; len(pending) > 0 && n < mostQuestions; n++ {
		g, err := s.fetchSince(ctx, head, pending[:1])
		if g == nil || err != nil {
			return err
		}
		lags[pending[0]] = g.lag(pending[0])
		rest := pending[:0]
		for _, commit := range pending[1:] {
			switch lag := g.lag(commit); {
			case lag.Standing != Unsettled:
				lags[commit] = lag
			case g.whole():
				strangers = append(strangers, commit)
			default:
				rest = append(rest, commit)
			}
		}
		pending = rest
	}
	if len(strangers) == 0 {
		return nil
	}
	g, err := s.fetchSince(ctx, head, strangers)
	if g == nil || err != nil {
		return err
	}
	for _, commit := range strangers {
		switch {
		case len(g.parents) > 0: // otherwise some descend from it
			lags[commit] = Lag{Standing: Apart}
		case len(strangers) == 1:
			lags[commit] = Lag{Standing: Ahead}
		}
	}
	return nil
}

// localLag is what the data dir knows.
func (s *Source) localLag(ctx context.Context, head *Snapshot, commit string) (Lag, error) {
	if commit == head.Commit {
		return Lag{Standing: Behind}, nil
	}
	older, known, err := s.Ancestry(ctx, head.Commit, commit)
	if err != nil || !known {
		return Lag{}, err
	}
	if older {
		since, known, err := s.Between(ctx, commit, head.Commit)
		if err != nil || !known {
			return Lag{}, err
		}
		return Lag{Behind, len(since)}, nil
	}
	newer, known, err := s.Ancestry(ctx, commit, head.Commit)
	switch {
	case err != nil || !known:
		return Lag{}, err
	case newer:
		return Lag{Standing: Ahead}, nil
	}
	return Lag{Standing: Apart}, nil
}

// fetchSince fetches the commits that head descends from and none of others does; nil if the server does not hand
// them out, or there are too many.
func (s *Source) fetchSince(ctx context.Context, head *Snapshot, others []string) (*lineage, error) {
	g, err := s.tryFetchSince(ctx, head, others, true)
	if KindOf(err) == KindProtocol {
		// A server may know filters and refuse this one.
		g, err = s.tryFetchSince(ctx, head, others, false)
	}
	if k := KindOf(err); k == KindProtocol || k == KindTooLarge {
		return nil, nil //nolint:nilnil // it is not known, as has been said
	}
	return g, err
}

func (s *Source) tryFetchSince(ctx context.Context, head *Snapshot, others []string, filter bool) (g *lineage, err error) {
	const op = "count commits"
	l, err := s.remote.dialBlind(ctx, op, new(Traffic))
	if err != nil {
		return nil, err
	}
	defer l.close()
	tip := plumbing.NewHash(head.Commit)
	// Before version 2 only what refs point at may be asked for.
	if !l.ad.v2 && !slices.ContainsFunc(l.refs, func(r Ref) bool { return r.Hash == tip }) {
		return nil, nil //nolint:nilnil // the branch has moved on
	}
	st, err := temporaryStore(filepath.Join(s.options.DataDir, "git"))
	if err != nil {
		return nil, l.classify(op, err)
	}
	defer func() { err = errors.Join(err, (&Tips{st}).Close()) }()
	w := wanted{tip: tip, intake: intake{limit: maxChanges, temporary: true}}
	for _, commit := range others {
		w.haves = append(w.haves, plumbing.NewHash(commit))
	}
	if filter && l.ad.caps["filter"] {
		w.filter, w.intake.limit = "tree:0", maxCommits
	}
	if err := l.fetch(op, st, w); err != nil {
		return nil, err
	}
	return newLineage(ctx, st, tip, others[0])
}

// lineage is the commits that head descends from and since does not, each with its parents. A server that does
// not know since sends all that head descends from.
type lineage struct {
	since   plumbing.Hash
	parents map[plumbing.Hash][]plumbing.Hash
	// edges are parents that were left out: since, and what it descends from.
	edges map[plumbing.Hash]bool
}

func newLineage(ctx context.Context, st *store, head plumbing.Hash, since string) (*lineage, error) {
	g := &lineage{since: plumbing.NewHash(since), parents: map[plumbing.Hash][]plumbing.Hash{}, edges: map[plumbing.Hash]bool{}}
	for todo := []plumbing.Hash{head}; len(todo) > 0; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, seen := g.parents[h]; seen || g.edges[h] {
			continue
		}
		here, err := st.has(h)
		if err != nil {
			return nil, err
		}
		if !here {
			g.edges[h] = true
			continue
		}
		c, err := st.commit(h)
		if err != nil {
			return nil, err
		}
		g.parents[h] = c.ParentHashes
		todo = append(todo, c.ParentHashes...)
	}
	return g, nil
}

// whole tells that nothing that head descends from was left out.
func (g *lineage) whole() bool { return len(g.parents) > 0 && len(g.edges) == 0 }

// lag tells of a commit that is not the head. What it says of since is final.
func (g *lineage) lag(id string) Lag {
	commit := plumbing.NewHash(id)
	if len(g.parents) == 0 { // since descends from the head
		if commit == g.since {
			return Lag{Standing: Ahead}
		}
		return Lag{}
	}
	// Any path from the head to since leads through one of its children, which does not descend from it and
	// is here.
	if commit == g.since {
		if !g.edges[commit] {
			return Lag{Standing: Apart}
		}
		return Lag{Behind, len(g.parents)}
	}
	if _, here := g.parents[commit]; !here {
		return Lag{} // older than since, newer than the head, or neither
	}
	older := map[plumbing.Hash]bool{}
	for todo := []plumbing.Hash{commit}; len(todo) > 0; {
		h := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !older[h] {
			older[h] = true
			todo = append(todo, g.parents[h]...)
		}
	}
	// Unless it descends from since, it may lack some of what since descends from.
	if !g.whole() && !older[g.since] {
		return Lag{}
	}
	n := 0
	for h := range g.parents {
		if !older[h] {
			n++
		}
	}
	return Lag{Behind, n}
}
