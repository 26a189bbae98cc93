package config_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/config"
)

// mount is a folder as the kubelet makes it of a ConfigMap: the file is a link through ..data.
type mount struct {
	t   *testing.T
	dir string
}

func newMount(t *testing.T, content string) mount {
	t.Helper()
	m := mount{t: t, dir: t.TempDir()}
	m.swap("..v0", content)
	m.must(os.Symlink(filepath.Join("..data", "config.yaml"), m.path()))
	return m
}

func (m mount) path() string { return filepath.Join(m.dir, "config.yaml") }

func (m mount) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// swap writes a new version beside the old one and moves the link over, as the kubelet does.
func (m mount) swap(version, content string) {
	m.t.Helper()
	m.must(os.Mkdir(filepath.Join(m.dir, version), 0o700))
	m.must(os.WriteFile(filepath.Join(m.dir, version, "config.yaml"), []byte(content), 0o600))
	m.must(os.Symlink(version, filepath.Join(m.dir, "..data_tmp")))
	m.must(os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, "..data")))
}

func next(t *testing.T, changes <-chan config.File) string {
	t.Helper()
	select {
	case f := <-changes:
		return string(f.Content)
	case <-time.After(20 * time.Second):
		t.Fatal("no change was seen")
		return ""
	}
}

func TestWatch(t *testing.T) {
	m := newMount(t, "one")
	ctx, cancel := context.WithCancel(t.Context())
	changes := config.Watch(ctx, m.path(), []byte("zero"), zerolog.Nop())

	if got := next(t, changes); got != "one" {
		t.Errorf("what changed before the watch began: got %q", got)
	}
	m.swap("..v1", "two")
	if got := next(t, changes); got != "two" {
		t.Errorf("after the kubelet's swap: got %q", got)
	}
	m.swap("..v2", "two") // a swap without a change of content is none
	beside := filepath.Join(m.dir, "new.yaml")
	m.must(os.WriteFile(beside, []byte("three"), 0o600))
	m.must(os.Rename(beside, m.path()))
	if got := next(t, changes); got != "three" {
		t.Errorf("after the file was replaced: got %q", got)
	}

	cancel()
	select {
	case _, open := <-changes:
		if open {
			t.Error("a change after the end")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the watch does not end")
	}
}
