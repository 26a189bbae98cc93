package gitsource

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// oddTree has every kind of entry.
func oddTree() []gittest.Change {
	return []gittest.Change{
		gittest.Files(map[string]string{
			"fleet/base/a.yaml":  "a",
			"fleet/base/b.yaml":  "bb",
			"fleet/base.yaml":    "sorts before base/ in Git",
			"fleet/über/ x.yaml": "unusual names",
			"outside/secret":     "s",
		}),
		gittest.Symlink("fleet/link", "base/a.yaml"),
		gittest.Symlink("fleet/dir", "base"),
		gittest.Symlink("fleet/base/up", "../base.yaml"),
		gittest.Symlink("fleet/out", "../outside/secret"),
		gittest.Symlink("fleet/deep-out", "base/../../outside"),
		gittest.Symlink("fleet/abs", "/etc/passwd"),
		gittest.Symlink("fleet/dangling", "base/none"),
		gittest.Symlink("fleet/loop1", "loop2"),
		gittest.Symlink("fleet/loop2", "loop1"),
		gittest.Symlink("fleet/self", "self/x"),
		gittest.Symlink("fleet/chain", "dir/up"),
	}
}

// trees are one content as a commit, as a local clone's revision, and as a working directory.
func trees(t *testing.T) map[string]tree.Tree {
	t.Helper()
	f := setup(t, gittest.Options{})
	f.opts.Path = "fleet"
	head := f.commit(oddTree()...)
	s := f.run()
	snap := awaitCommit(t, s, head)
	work := t.TempDir()
	_, err := gittest.Git(t.Context(), work, "clone", "--quiet", f.repo.URL(), "clone")
	must(t, err)
	dir, err := tree.Dir(filepath.Join(work, "clone", "fleet"))
	must(t, err)
	t.Cleanup(func() { _ = dir.Close() })
	return map[string]tree.Tree{"snapshot": snap, "directory": dir}
}

func TestTrees(t *testing.T) {
	cases := []struct {
		path string
		real string // what it is, links followed
		err  string
	}{
		{".", ".", ""},
		{"base/a.yaml", "base/a.yaml", ""},
		{"./base//a.yaml", "base/a.yaml", ""},
		{"base/../base/b.yaml", "base/b.yaml", ""},
		{"über/ x.yaml", "über/ x.yaml", ""},
		{"link", "base/a.yaml", ""},
		{"dir", "base", ""},
		{"dir/a.yaml", "base/a.yaml", ""},
		{"chain", "base.yaml", ""},
		{"none", "", "not exist"},
		{"base/a.yaml/x", "", "not exist"},
		{"dangling", "", "not exist"},
		{"out", "", `"out" to "../outside/secret" leads out of the tree`},
		{"deep-out/secret", "", "leads out of the tree"},
		{"abs", "", "leads out of the tree"},
		{"..", "", "leads out of the tree"},
		{"../outside/secret", "", "leads out of the tree"},
		{"/etc/passwd", "", "leads out of the tree"},
		{"loop1", "", "loop"},
		{"self", "", "loop"},
	}
	for name, tr := range trees(t) {
		t.Run(name, func(t *testing.T) {
			for _, c := range cases {
				e, err := tr.Stat(c.path)
				if c.err == "" {
					if err != nil || e.Path != c.real {
						t.Errorf("Stat(%q) = %q, %v, want %q", c.path, e.Path, err, c.real)
					}
					continue
				}
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("Stat(%q) gives %v, want %q", c.path, err, c.err)
				}
				if absent := errors.Is(err, fs.ErrNotExist); absent != (c.err == "not exist") {
					t.Errorf("Stat(%q): absent is %v: %v", c.path, absent, err)
				}
				if _, err := tr.ReadFile(c.path); err == nil {
					t.Errorf("ReadFile(%q) works", c.path)
				}
				if _, err := tr.ReadDir(c.path); err == nil {
					t.Errorf("ReadDir(%q) works", c.path)
				}
			}
			if b, err := tr.ReadFile("dir/up"); err != nil || string(b) != "sorts before base/ in Git" {
				t.Errorf("ReadFile through links = %q, %v", b, err)
			}
			if _, err := tr.ReadFile("base"); err == nil || !strings.Contains(err.Error(), "directory") {
				t.Errorf("reading a directory gives %v", err)
			}
			if _, err := tr.ReadDir("base.yaml"); err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("listing a file gives %v", err)
			}
		})
	}
}

func TestTreesListAlike(t *testing.T) {
	type line struct {
		Path string
		Mode fs.FileMode
	}
	lists := map[string][]line{}
	for name, tr := range trees(t) {
		var walk func(dir string)
		walk = func(dir string) {
			entries, err := tr.ReadDir(dir)
			must(t, err)
			if !sort.SliceIsSorted(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name }) {
				t.Errorf("%s: %s is not sorted by name", name, dir)
			}
			for _, e := range entries {
				lists[name] = append(lists[name], line{e.Path, e.Mode})
				if e.IsDir() {
					walk(e.Path)
				}
				if name == "snapshot" && e.Hash.IsZero() {
					t.Errorf("%s has no object id", e.Path)
				}
			}
		}
		walk(".")
	}
	if d := cmp.Diff(lists["snapshot"], lists["directory"]); d != "" || len(lists["snapshot"]) != 17 {
		t.Errorf("a commit and its work tree differ (%d entries): %s", len(lists["snapshot"]), d)
	}
}

func TestSubmoduleIsAnErrorByName(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	head := f.commit(gittest.Submodule("vendor/lib", strings.Repeat("12", 20)), gittest.Symlink("lib", "vendor/lib"))
	snap := awaitCommit(t, f.run(), head)
	for _, path := range []string{"vendor/lib", "vendor/lib/x", "lib"} {
		_, err := snap.ReadFile(path)
		if err == nil || !strings.Contains(err.Error(), "submodule") || !strings.Contains(err.Error(), path) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s gives %v", path, err)
		}
	}
	entries, err := snap.ReadDir("vendor")
	must(t, err)
	if len(entries) != 1 || entries[0].Mode != fs.ModeIrregular {
		t.Errorf("listed as %+v", entries)
	}
}

func TestVanishedPath(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	f.opts.Path = "fleet"
	first := f.commit(gittest.Write("fleet/fleet.yaml", "kind: Fleet\n"))
	s := f.run()
	snap := awaitCommit(t, s, first)
	gone := f.commit(gittest.Delete("fleet"))
	err := awaitKind(t, s, KindPath)
	var pe *PathError
	if !errors.As(err, &pe) || pe.Path != "fleet" || pe.Commit != gone {
		t.Errorf("got %v", err)
	}
	if head, ok := s.Head(); !ok || head != snap {
		t.Error("the head is no longer the verified one")
	}
	// A file or a link in its place is no directory either.
	f.commit(gittest.Symlink("fleet", "apps"))
	awaitKind(t, s, KindPath)
	back := f.commit(gittest.Delete("fleet"), gittest.Write("fleet/fleet.yaml", "kind: Fleet # 2\n"))
	wantFile(t, awaitCommit(t, s, back), "fleet.yaml", "kind: Fleet # 2\n")
}

// It does not run beside other tests, as it measures the process's memory.
func TestLargeFiles(t *testing.T) {
	f := setup(t, gittest.Options{})
	// Incompressible, so that it travels as it is.
	blob := make([]byte, 24<<20)
	for i, x := 0, uint64(88172645463325252); i < len(blob); i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		blob[i] = byte(x)
	}
	_, err := f.repo.Git("config", "core.bigFileThreshold", "1m") // as a server treats what is above 512 MiB
	must(t, err)
	head := f.commit(gittest.Write("apps/shop/model.bin", string(blob)), gittest.Write("apps/shop/limit.bin", strings.Repeat("x", tree.MaxFile)))
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s := f.run()
	snap := awaitCommit(t, s, head)
	_, err = snap.ReadFile("apps/shop/model.bin")
	runtime.ReadMemStats(&after)
	t.Logf("allocated %d KiB", (after.TotalAlloc-before.TotalAlloc)>>10)
	if err == nil || !strings.Contains(err.Error(), "apps/shop/model.bin") || !strings.Contains(err.Error(), "limit") {
		t.Errorf("the large file gives %v", err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the large file looks absent: %v", err)
	}
	if b, err := snap.ReadFile("apps/shop/limit.bin"); err != nil || len(b) != tree.MaxFile {
		t.Errorf("a file at the limit: %d bytes, %v", len(b), err)
	}
	wantFile(t, snap, "fleet.yaml", "kind: Fleet\n")
	if e, err := snap.Stat("apps/shop/model.bin"); err != nil || !e.Mode.IsRegular() {
		t.Errorf("Stat: %+v, %v", e, err)
	}
	if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; !raceEnabled && mib > 20 {
		t.Errorf("the clone allocated %d MiB", mib)
	}
}

// A gigabyte in the repository costs the agent neither its memory nor the rest of the fleet.
func TestGigabyteFile(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	f := setup(t, gittest.Options{})
	file := filepath.Join(t.TempDir(), "dump.bin")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Truncate(file, 1<<30))
	git := func(args ...string) string {
		t.Helper()
		out, err := f.repo.Git(args...)
		must(t, err)
		return out
	}
	f.commit(gittest.Write("fleet.yaml", "kind: Fleet\n"))
	blob := git("hash-object", "-w", file)
	git("read-tree", "main")
	git("update-index", "--add", "--cacheinfo", "100644,"+blob+",apps/shop/dump.bin")
	head := git("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit-tree", "-p", "main", "-m", "A dump", git("write-tree"))
	git("update-ref", "refs/heads/main", head)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	snap := awaitCommit(t, f.run(), head)
	_, err := snap.ReadFile("apps/shop/dump.bin")
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "apps/shop/dump.bin") || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file gives %v", err)
	}
	wantFile(t, snap, "fleet.yaml", "kind: Fleet\n")
	if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 200 {
		t.Errorf("the clone allocated %d MiB", mib)
	}
}

func TestConcurrentReads(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	f.opts.MaxPacks = 3
	files := manyFiles(300)
	head := f.commit(gittest.Files(files))
	s := f.run()
	snap := awaitCommit(t, s, head)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 3 {
				for path, want := range files {
					if got, err := snap.ReadFile(path); err != nil || string(got) != want {
						t.Errorf("%s = %q, %v", path, got, err)
						return
					}
				}
			}
		})
	}
	for i := range 8 { // fetches and compactions meanwhile
		awaitCommit(t, s, f.commit(gittest.Write("a", strings.Repeat("x", i))))
	}
	wg.Wait()
}

func TestOpenLocal(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	first, err := f.repo.Head("main")
	must(t, err)
	second := f.commit(gittest.Write("fleet.yaml", "kind: Fleet # 2\n"))
	_, err = f.repo.Git("tag", "-a", "-m", "release", "v1", first)
	must(t, err)
	_, err = f.repo.Git("gc", "--quiet")
	must(t, err)
	work := t.TempDir()
	run := func(dir string, args ...string) {
		t.Helper()
		_, err := gittest.Git(t.Context(), dir, args...)
		must(t, err)
	}
	run(work, "clone", "--quiet", f.repo.URL(), "clone")
	clone := filepath.Join(work, "clone")
	run(clone, "worktree", "add", "--quiet", "-b", "topic", "../linked", "HEAD~1")
	cases := []struct{ dir, rev, want string }{
		{f.repo.Dir, "", second},
		{f.repo.Dir, "main", second},
		{f.repo.Dir, "HEAD~1", first},
		{f.repo.Dir, "v1", first},
		{f.repo.Dir, first, first},
		{f.repo.Dir, first[:10], first},
		{clone, "", second},
		{clone, "origin/main", second},
		{filepath.Join(clone, "apps"), "HEAD", second},
		{filepath.Join(work, "linked"), "HEAD", first},
		{filepath.Join(work, "linked"), "topic", first},
		{filepath.Join(work, "linked"), "main", second},
	}
	for _, c := range cases {
		snap, err := OpenLocal(c.dir, c.rev)
		if err != nil || snap.Commit != c.want {
			t.Errorf("OpenLocal(%s, %q) = %v, %v", filepath.Base(c.dir), c.rev, snap, err)
			continue
		}
		want := "kind: Fleet\n"
		if c.want == second {
			want = "kind: Fleet # 2\n"
		}
		wantFile(t, snap, "fleet.yaml", want)
	}
	if _, err := OpenLocal(clone, "none"); err == nil || !strings.Contains(err.Error(), `"none"`) {
		t.Errorf("an unknown revision gives %v", err)
	}
	if _, err := OpenLocal(t.TempDir(), ""); err == nil || !strings.Contains(err.Error(), "not a Git repository") {
		t.Errorf("no repository gives %v", err)
	}
}

// The clone must be a repository that git itself accepts.
func TestGitAcceptsTheClone(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	f.commit(gittest.Files(manyFiles(500)))
	s := f.run()
	tip := f.commit(gittest.Edit("fleet.yaml", func(s string) string { return s + "# more\n" }))
	awaitCommit(t, s, tip)
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git")
	}
	dir := s.currentStore().dir
	if out, err := gittest.Git(t.Context(), dir, "fsck", "--full", "--strict"); err != nil {
		t.Errorf("git fsck: %s, %v", out, err)
	}
	if got, err := gittest.Git(t.Context(), dir, "rev-parse", "main"); err != nil || got != tip {
		t.Errorf("main is %s, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "index")); err == nil {
		t.Error("the clone has a work tree")
	}
}
