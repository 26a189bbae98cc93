package localcluster

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBuildErrorSaysWhatToDo(t *testing.T) {
	const module = "module example.com/broken\n\ngo 1.26.0\n"
	for _, test := range []struct {
		name, mod, path string
		want            []string
	}{
		{"program not pinned", module, "", []string{"build etcd", "module providing package go.etcd.io/etcd/server/v3", "go build"}},
		{"no checksum", module + "require go.etcd.io/etcd/server/v3 v3.6.8\n", "", []string{"build etcd", "missing go.sum entry"}},
		{"not a go.mod", "nonsense\n", "", []string{"build etcd", "unknown directive: nonsense"}},
		{"no Go", module, "/nowhere", []string{"build etcd", "executable file not found", "Install Go"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.path != "" {
				t.Setenv("PATH", test.path)
			}
			var progress bytes.Buffer
			root := t.TempDir()
			_, err := builder{root: root, mod: []byte(test.mod), progress: &progress}.build(t.Context())
			if build := new(BuildError); !errors.As(err, &build) || build.Program != "etcd" {
				t.Fatalf("error %v, want a BuildError of etcd", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
			if !strings.Contains(progress.String(), "1/5 etcd") {
				t.Errorf("progress: %q", progress.String())
			}
		})
	}
}

func TestBuildStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := builder{root: t.TempDir(), mod: pinnedMod, sum: pinnedSum, progress: new(bytes.Buffer)}.build(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestPinnedVersionIsReported(t *testing.T) {
	flags := builder{mod: pinnedMod}.ldflags()
	if !strings.Contains(flags, "version.gitVersion=v1.") {
		t.Errorf("flags %q set no version", flags)
	}
}

func TestOneBuildsOthersWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), path, func() { t.Error("a free lock was busy") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	busy := 0
	if _, err := lockFile(ctx, path, func() { busy++ }); !errors.Is(err, context.DeadlineExceeded) || busy != 1 {
		t.Errorf("error %v after %d messages, want to wait in vain and say so once", err, busy)
	}
	unlock()
	unlock, err = lockFile(t.Context(), path, func() { t.Error("a free lock was busy") })
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}
