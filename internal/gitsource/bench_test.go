package gitsource

import (
	"context"
	"fmt"
	"testing"
	"time"

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
	s, _ := benchSource(b)
	b.ReportAllocs()
	for b.Loop() {
		s.damaged = errBadPack // has the next attempt clone
		benchAttempt(b, s)
	}
}

func BenchmarkUnchangedPoll(b *testing.B) {
	s, _ := benchSource(b)
	benchAttempt(b, s)
	b.ReportAllocs()
	for b.Loop() {
		benchAttempt(b, s)
	}
}

func BenchmarkFetchOneCommit(b *testing.B) {
	s, repo := benchSource(b)
	benchAttempt(b, s)
	b.ReportAllocs()
	var took time.Duration
	n := 0
	for b.Loop() {
		b.StopTimer()
		if _, err := repo.Write("apps/app-002/base/file-2.yaml", fmt.Sprint("bench ", n)); err != nil {
			b.Fatal(err)
		}
		n++
		b.StartTimer()
		start := time.Now()
		benchAttempt(b, s)
		took += time.Since(start)
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(n), "ms/fetch")
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
