package tree

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

func TestDirHidesGit(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{".git/config", "apps/shop/app.yaml", "vendor/.git/config", ".gitignore"} {
		write(t, filepath.Join(dir, p), p)
	}
	d, err := Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	for _, p := range []string{".git", ".git/config", "vendor/.git", "vendor/.git/config"} {
		if _, err := d.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stat(%q) = %v", p, err)
		}
	}
	for dir, want := range map[string]string{".": ".gitignore apps vendor", "vendor": ""} {
		entries, err := d.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("ReadDir(%q) = %s, want %s", dir, got, want)
		}
	}
	if b, err := d.ReadFile("apps/shop/app.yaml"); err != nil || string(b) != "apps/shop/app.yaml" {
		t.Errorf("ReadFile = %q, %v", b, err)
	}
}

func TestDirRefusesOddFiles(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(MaxFile + 1); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if _, err := d.ReadFile("large"); err == nil || !strings.Contains(err.Error(), "large") || !strings.Contains(err.Error(), "that a file may have") {
		t.Errorf("a large file gives %v", err)
	}
	if _, err := Dir(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory gives %v", err)
	}
}

// FuzzResolve builds a small tree of links and compares with how the kernel resolves them below the same root.
func FuzzResolve(f *testing.F) {
	f.Add("a", "b/../b", "b/../../x", "a/l")
	f.Add("../x", ".", "/etc", "m/l")
	f.Add("m", "l", "n", "n/n/../l")
	f.Add("d/../..", "d/f/..", "", "l/../d/f")
	f.Fuzz(func(t *testing.T, l, m, n, name string) {
		for _, s := range []string{l, m, n, name} {
			if len(s) > 60 || strings.Contains(s, "\x00") || strings.Contains(s, ".git") {
				return
			}
		}
		dir := filepath.Join(t.TempDir(), "root")
		write(t, filepath.Join(dir, "d", "f"), "content")
		write(t, filepath.Join(dir, "..", "x"), "secret")
		for link, target := range map[string]string{"l": l, "d/m": m, "n": n} {
			if target == "" || os.Symlink(target, filepath.Join(dir, link)) != nil {
				return
			}
		}
		d, err := Dir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Close() }()
		e, err := d.Stat(name)
		if err != nil {
			return
		}
		if !filepath.IsLocal(filepath.FromSlash(e.Path)) || path.Clean(e.Path) != e.Path {
			t.Fatalf("%q is %q", name, e.Path)
		}
		info, err := os.Lstat(filepath.Join(dir, e.Path))
		if err != nil || info.Mode()&fs.ModeSymlink != 0 {
			t.Fatalf("%q is %q, which is %v, %v", name, e.Path, info, err)
		}
		// Where the kernel finds something as well, it is the same file.
		if found, err := os.Stat(dir + "/" + name); err == nil && !os.SameFile(info, found) {
			t.Fatalf("%q is %q, the kernel finds %s", name, e.Path, found.Name())
		}
		if b, err := d.ReadFile(name); err == nil && string(b) != "content" {
			t.Fatalf("%q gives %q", name, b)
		}
	})
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
