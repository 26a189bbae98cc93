package gitsource

import (
	"context"
	"fmt"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// benchSource is a source over a repository of 20,000 files and some history, not yet cloned.
func benchSource(b *testing.B) (*Source, *gittest.Repo) {
	b.Helper()
	server, err := gittest.Start(gittest.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Close() })
	repo, err := server.NewRepo("fleet")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := repo.Commit(gittest.Files(manyFiles(20000))); err != nil {
		b.Fatal(err)
	}
	for i := range 20 {
		if _, err := repo.Write("apps/app-001/base/file-1.yaml", fmt.Sprint(i)); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := repo.Git("gc", "--quiet"); err != nil {
		b.Fatal(err)
	}
	s, err := Open(context.Background(), Options{URL: repo.URL(), DataDir: b.TempDir(), Log: zerolog.Nop(), MaxPacks: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s, repo
}

func benchAttempt(b *testing.B, s *Source) {
	b.Helper()
	if err := s.attempt(context.Background()); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkClone20000Files(b *testing.B) {
	s, repo := benchSource(b)
	b.Run("holdfast", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.damaged = errBadPack // has the next attempt clone
			benchAttempt(b, s)
		}
	})
	b.Run("git", func(b *testing.B) {
		for b.Loop() {
			benchGit(b, b.TempDir(), "clone", "--quiet", "--bare", "--depth=1", repo.URL(), "clone")
		}
	})
}

func BenchmarkUnchangedPoll(b *testing.B) {
	for _, refs := range []int{0, 1000} {
		b.Run(fmt.Sprintf("refs=%d", refs), func(b *testing.B) {
			s, repo := benchSource(b)
			if err := repo.AddRefs("refs/holdfast/status/cluster", refs); err != nil {
				b.Fatal(err)
			}
			benchAttempt(b, s)
			b.Run("holdfast", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					benchAttempt(b, s)
				}
			})
			b.Run("git", func(b *testing.B) {
				for b.Loop() {
					benchGit(b, b.TempDir(), "ls-remote", repo.URL(), "refs/heads/main")
				}
			})
		})
	}
}

// benchGit runs the git program, the reference.
func benchGit(b *testing.B, dir string, args ...string) {
	b.Helper()
	if _, err := gittest.Git(context.Background(), dir, args...); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkFetchOneCommit(b *testing.B) {
	s, repo := benchSource(b)
	benchAttempt(b, s)
	dir := b.TempDir()
	benchGit(b, dir, "clone", "--quiet", "--bare", "--depth=1", repo.URL(), ".")
	benchGit(b, dir, "config", "gc.auto", "0")
	// git does not sync what it fetches unless it is told to; the last verified commit of a data dir has
	// to survive a power failure.
	benchGit(b, dir, "config", "core.fsync", "all")
	n := 0
	commit := func(b *testing.B) {
		b.Helper()
		b.StopTimer()
		defer b.StartTimer()
		n++
		if _, err := repo.Write("apps/app-002/base/file-2.yaml", fmt.Sprint("bench ", n)); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("holdfast", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			commit(b)
			benchAttempt(b, s)
		}
	})
	b.Run("git", func(b *testing.B) {
		for b.Loop() {
			commit(b)
			benchGit(b, dir, "fetch", "--quiet", "origin", "refs/heads/main:refs/heads/bench")
		}
	})
}

func BenchmarkReadEveryFile(b *testing.B) {
	s, _ := benchSource(b)
	benchAttempt(b, s)
	head, _ := s.Head()
	files := manyFiles(2000)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		s.blobs = newLRU[plumbing.Hash, []byte](blobCache)
		head.blobs = s.blobs
		b.StartTimer()
		for path := range files {
			if _, err := head.ReadFile(path); err != nil {
				b.Fatal(err)
			}
		}
	}
}
