package tree

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// MaxFile is the size in bytes above which a file is refused by name: no manifest is that large. The API
// server takes objects of about 1.5 MB.
const MaxFile = 8 << 20

// DirTree is a directory of this machine as a Tree, uncommitted changes included. It may change under
// the reader; Entry.Hash is zero.
type DirTree struct{ root *os.Root }

// Dir opens a working directory. Nothing outside of it is read: a link that leads out is an error.
// Directories named .git are hidden.
func Dir(dir string) (*DirTree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open directory: %w", err)
	}
	return &DirTree{root: root}, nil
}

// Close releases the directory.
func (t *DirTree) Close() error { return t.root.Close() }

// Stat describes a path after following links.
func (t *DirTree) Stat(name string) (Entry, error) {
	e, err := Resolve(name, t.lstat, t.readlink)
	if err != nil {
		return Entry{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return e, nil
}

// ReadFile returns a file's content; a file above MaxFile is refused.
func (t *DirTree) ReadFile(name string) ([]byte, error) {
	e, err := Resolve(name, t.lstat, t.readlink)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	switch {
	case e.IsDir():
		return nil, &fs.PathError{Op: "read", Path: name, Err: errIsDir}
	case !e.Mode.IsRegular():
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("not a regular file (%s)", e.Mode)}
	}
	b, err := t.read(e.Path)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: bare(err)}
	}
	return b, nil
}

// read reads a regular file. The root confines this also if its path has been replaced by a link since.
func (t *DirTree) read(name string) ([]byte, error) {
	f, err := t.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > MaxFile {
		return nil, fmt.Errorf("%d bytes are more than the limit of %d that a file may have", info.Size(), MaxFile)
	}
	return io.ReadAll(f)
}

// ReadDir lists a directory, sorted by name, links not followed.
func (t *DirTree) ReadDir(name string) ([]Entry, error) {
	e, err := Resolve(name, t.lstat, t.readlink)
	if err != nil {
		return nil, &fs.PathError{Op: "list", Path: name, Err: err}
	}
	if !e.IsDir() {
		return nil, &fs.PathError{Op: "list", Path: name, Err: errNotDir}
	}
	list, err := fs.ReadDir(t.root.FS(), e.Path)
	if err != nil {
		return nil, &fs.PathError{Op: "list", Path: name, Err: bare(err)}
	}
	entries := make([]Entry, 0, len(list))
	for _, d := range list {
		if d.Name() == ".git" {
			continue
		}
		child, err := t.lstat(path.Join(e.Path, d.Name()))
		if err != nil {
			return nil, &fs.PathError{Op: "list", Path: name, Err: err}
		}
		entries = append(entries, child)
	}
	return entries, nil
}

func (t *DirTree) lstat(name string) (Entry, error) {
	if hidden(name) {
		return Entry{}, fs.ErrNotExist
	}
	info, err := t.root.Lstat(filepath.FromSlash(name))
	if err != nil {
		return Entry{}, bare(err)
	}
	return Entry{Name: path.Base(name), Path: name, Mode: info.Mode().Type()}, nil
}

func (t *DirTree) readlink(name string) (string, error) {
	target, err := t.root.Readlink(filepath.FromSlash(name))
	if err != nil {
		return "", bare(err)
	}
	return filepath.ToSlash(target), nil
}

// hidden tells whether a path is or lies in Git's own directory.
func hidden(name string) bool {
	return name == ".git" || strings.HasPrefix(name, ".git/") || strings.HasSuffix(name, "/.git") || strings.Contains(name, "/.git/")
}
