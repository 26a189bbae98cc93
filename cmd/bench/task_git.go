package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// gitAnswer is in milliseconds; Peak and Idle in bytes.
type gitAnswer struct {
	Clone, TheirClone float64
	Fetch, TheirFetch []float64
	Idle, Peak        uint64 // of this process, before it did anything and at its highest
}

// manyFiles is a repository of n files, ten in a folder.
func manyFiles(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("apps/app-%04d/base/file-%d.yaml", i/10, i%10)] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: n%d}\n", i)
	}
	return files
}

// taskGit clones a repository, and fetches commits that change one file, with the agent's source and with git, in
// turn. Arguments: folder of the bare repository, its URL, how many commits.
func taskGit(ctx context.Context, args []string) (any, error) {
	a := gitAnswer{Idle: peakMemory(os.Getpid())}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return nil, err
	}
	repo, err := gittest.InitRepo(args[0]) //nolint:contextcheck // quick and local
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "holdfast-bench-git-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // temporary
	begin := time.Now()
	if _, err := gittest.Git(ctx, dir, "clone", "--quiet", "--bare", "--depth=1", args[1], "clone"); err != nil {
		return nil, err
	}
	a.TheirClone = milliseconds(time.Since(begin))

	seen := make(chan gitsource.Attempt, 1)
	source, stop, err := followRepo(ctx, args[1], func(at gitsource.Attempt) {
		select {
		case seen <- at:
		default: // a retry after one that has failed
		}
	})
	if err != nil {
		return nil, err
	}
	defer stop()
	attempt := func() (float64, error) {
		// The news come before the attempt is at its end, and its duration with it.
		if _, err := next(ctx, source); err != nil {
			return 0, err
		}
		select {
		case at := <-seen:
			return milliseconds(at.Duration), at.Err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if a.Clone, err = attempt(); err != nil {
		return nil, err
	}
	clone := filepath.Join(dir, "clone")
	for k := range n {
		if _, err := repo.Write("apps/app-0002/base/file-2.yaml", fmt.Sprintf("change: %d of %d\n", k, os.Getpid())); err != nil { //nolint:contextcheck // quick and local
			return nil, err
		}
		source.Poll()
		took, err := attempt()
		if err != nil {
			return nil, err
		}
		a.Fetch = append(a.Fetch, took)
		begin := time.Now()
		if _, err := gittest.Git(ctx, clone, "fetch", "--quiet", "origin", "+main:main"); err != nil {
			return nil, err
		}
		a.TheirFetch = append(a.TheirFetch, milliseconds(time.Since(begin)))
	}
	a.Peak = peakMemory(os.Getpid())
	return a, nil
}
