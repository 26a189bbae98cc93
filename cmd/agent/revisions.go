package main

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// revisions finds commits in a repository of this machine.
type revisions struct {
	dir  string
	repo *git.Repository
}

// openRevisions opens the repository as gitsource.OpenLocal does.
func openRevisions(dir string) (*revisions, error) {
	options := &git.PlainOpenOptions{EnableDotGitCommonDir: true, DetectDotGit: !bare(dir)}
	repo, err := git.PlainOpenWithOptions(dir, options)
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return nil, fmt.Errorf("%s is not a Git repository: diff compares commits", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open the repository %s: %w", dir, err)
	}
	return &revisions{dir, repo}, nil
}

// find returns the commit that a revision names.
func (r *revisions) find(rev string) (plumbing.Hash, error) {
	h, err := r.repo.ResolveRevision(plumbing.Revision(rev))
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("%q is not in the clone %s: %w. Fetch it first%s", rev, r.dir, err, r.shallow())
	}
	return *h, nil
}

// defaultBases are tried in turn where no base is given.
var defaultBases = []string{"origin/HEAD", "origin/main", "origin/master"}

// base returns the commit to compare with.
func (r *revisions) base(rev string) (plumbing.Hash, error) {
	if rev != "" {
		return r.find(rev)
	}
	for _, name := range defaultBases {
		if h, err := r.repo.ResolveRevision(plumbing.Revision(name)); err == nil {
			return *h, nil
		}
	}
	return plumbing.ZeroHash, misusef("name a commit to compare with, since the clone has no branch origin/main")
}

// shallow says, of a clone that lacks history, how to get it.
func (r *revisions) shallow() string {
	if commits, err := r.repo.Storer.Shallow(); err != nil || len(commits) == 0 {
		return ""
	}
	return "; the clone is shallow: git fetch --unshallow (in GitHub Actions, fetch-depth: 0 of actions/checkout; in GitLab CI, GIT_DEPTH: 0)"
}

// mergeBase finds the newest commit that both commits descend from: where they have parted. It walks from both in
// the order of their dates, as git merge-base does, so that the cost is what they have gone since, and a shallow
// clone serves if it reaches so far.
func (r *revisions) mergeBase(one, other plumbing.Hash) (plumbing.Hash, error) {
	const (
		ofOne = 1 << iota
		ofOther
		stale // an ancestor of a common commit
		both  = ofOne | ofOther
	)
	seen := map[plumbing.Hash]int{}
	var queue byDate
	missing := false
	visit := func(h plumbing.Hash, reached int) error {
		if seen[h]|reached == seen[h] {
			return nil
		}
		seen[h] |= reached
		c, err := object.GetCommit(r.repo.Storer, h)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			missing = true
			return nil
		}
		if err != nil {
			return fmt.Errorf("read commit %s: %w", h, err)
		}
		heap.Push(&queue, c)
		return nil
	}
	if err := errors.Join(visit(one, ofOne), visit(other, ofOther)); err != nil {
		return plumbing.ZeroHash, err
	}
	var common []*object.Commit
	for queue.pending(func(c *object.Commit) bool { return seen[c.Hash]&stale == 0 }) {
		c, _ := heap.Pop(&queue).(*object.Commit)
		reached := seen[c.Hash]
		if reached == both {
			common = append(common, c)
		}
		if reached&both == both {
			reached |= stale
		}
		for _, parent := range c.ParentHashes {
			if err := visit(parent, reached); err != nil {
				return plumbing.ZeroHash, err
			}
		}
	}
	common = slices.DeleteFunc(common, func(c *object.Commit) bool { return seen[c.Hash]&stale != 0 })
	if len(common) > 1 {
		// Where clocks were wrong, one may have been reached before another that descends from it.
		if best, err := object.Independents(common); err == nil {
			common = best
		}
	}
	if len(common) > 0 {
		return common[0].Hash, nil
	}
	if missing {
		return plumbing.ZeroHash, fmt.Errorf("the clone %s lacks the history in which base and head have parted%s. With --direct they are compared without it", r.dir, r.shallow())
	}
	return plumbing.ZeroHash, fmt.Errorf("base and head have no commit in common: compare them with --direct")
}

// byDate is a queue of commits, the newest first.
type byDate []*object.Commit

func (q byDate) Len() int           { return len(q) }
func (q byDate) Less(i, j int) bool { return q[i].Committer.When.After(q[j].Committer.When) }
func (q byDate) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push is heap.Interface's.
func (q *byDate) Push(x any) {
	c, _ := x.(*object.Commit)
	*q = append(*q, c)
}

// Pop is heap.Interface's.
func (q *byDate) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	*q = (*q)[:last]
	return c
}

// pending tells whether any commit in the queue is wanted.
func (q byDate) pending(wanted func(*object.Commit) bool) bool {
	for _, c := range q {
		if wanted(c) {
			return true
		}
	}
	return false
}
