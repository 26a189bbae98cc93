package gitsource

import (
	"errors"
	"fmt"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// OpenLocal returns the commit that rev names (a branch, a tag, an id, HEAD~1; "" is HEAD) in a
// repository of this machine: a work tree or a directory inside one, a linked work tree, or a bare
// repository. It neither uses the network nor writes.
func OpenLocal(repoDir, rev string) (*Snapshot, error) {
	if rev == "" {
		rev = "HEAD"
	}
	// A bare repository is only found where no .git is searched for further up.
	repo, err := git.PlainOpenWithOptions(repoDir, &git.PlainOpenOptions{EnableDotGitCommonDir: true})
	if errors.Is(err, git.ErrRepositoryNotExists) {
		repo, err = git.PlainOpenWithOptions(repoDir, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	}
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return nil, fmt.Errorf("%s is not a Git repository", repoDir)
	}
	if err != nil {
		return nil, fmt.Errorf("open the repository %s: %w", repoDir, err)
	}
	h, err := repo.ResolveRevision(plumbing.Revision(rev))
	if err != nil {
		return nil, fmt.Errorf("find %q in the repository %s: %w", rev, repoDir, err)
	}
	var objects objectReader = repo.Storer
	if s, ok := repo.Storer.(*filesystem.Storage); ok {
		// Otherwise a pack would be opened for each look at an object.
		objects = filesystem.NewStorageWithOptions(s.Filesystem(), cache.NewObjectLRU(deltaCache), filesystem.Options{KeepDescriptors: true})
	}
	st := &store{dir: repoDir, objects: objects, trees: newLRU[plumbing.Hash, *directory](treeCache)}
	snap, err := newSnapshot(st, nil, newLRU[plumbing.Hash, []byte](blobCache), *h, ".")
	if err != nil {
		return nil, fmt.Errorf("read %q in the repository %s: %w", rev, repoDir, err)
	}
	return snap, nil
}
