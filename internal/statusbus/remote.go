package statusbus

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// remote is a status repository to read from.
type remote interface {
	// list returns the refs whose names begin with one of the prefixes.
	list(ctx context.Context, t *gitsource.Traffic, prefixes []string) ([]gitsource.Ref, error)
	// fetch hands over what commits hold, one after another. An error tells that nothing was fetched.
	fetch(ctx context.Context, t *gitsource.Traffic, commits []plumbing.Hash, limit int64, each func(plumbing.Hash, found)) error
}

// gitRemote fetches into stores below dir that are gone when fetch returns.
type gitRemote struct {
	remote *gitsource.Remote
	dir    string
}

// storesDir is the part of the folder that is Reader's own, which it may empty.
const storesDir = "statusbus"

func (g gitRemote) list(ctx context.Context, t *gitsource.Traffic, prefixes []string) ([]gitsource.Ref, error) {
	return g.remote.ListRefs(ctx, t, prefixes...)
}

func (g gitRemote) fetch(ctx context.Context, t *gitsource.Traffic, commits []plumbing.Hash, limit int64, each func(plumbing.Hash, found)) error {
	dir := filepath.Join(g.dir, storesDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make room for what others publish: %w", err)
	}
	tips, err := g.remote.FetchTips(ctx, t, dir, commits, limit)
	if err != nil {
		return err
	}
	for _, h := range commits {
		each(h, read(tips, h))
	}
	return tips.Close()
}

func read(tips *gitsource.Tips, h plumbing.Hash) (f found) {
	if f.commit, f.err = tips.Commit(h); f.err != nil {
		return f
	}
	f.content, f.err = tips.ReadFile(f.commit, File, status.MaxReportBytes)
	return f
}

// sweep removes what a process that was killed has left.
func (g gitRemote) sweep() error { return os.RemoveAll(filepath.Join(g.dir, storesDir)) }
