package gitsource

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/holdfast-dev/holdfast/internal/tree"
)

// Snapshot is one commit's files below Options.Path: an immutable tree.Tree that reads straight from
// the object store. It stays readable after the source has moved on to another store. It is safe for
// concurrent use.
type Snapshot struct {
	// Commit is the full id, in hex.
	Commit string
	// Time is when the commit was made, by its committer's clock.
	Time time.Time

	root   plumbing.Hash // of the directory at Options.Path
	store  *store
	source *Source // nil for OpenLocal
	blobs  *lru[plumbing.Hash, []byte]
}

var _ tree.Tree = (*Snapshot)(nil)

// newSnapshot finds the directory at dir in a commit.
func newSnapshot(st *store, src *Source, blobs *lru[plumbing.Hash, []byte], commit plumbing.Hash, dir string) (*Snapshot, error) {
	c, err := st.commit(commit)
	if err != nil {
		return nil, err
	}
	root := c.TreeHash
	at, err := st.tree(root)
	if err != nil {
		return nil, err
	}
	if dir != "." {
		for _, name := range strings.Split(dir, "/") {
			e, ok := at.entry(name)
			if !ok || !e.mode.IsDir() {
				return nil, &PathError{Path: dir, Commit: commit.String()}
			}
			root = e.hash
			if at, err = st.tree(root); err != nil {
				return nil, err
			}
		}
	}
	return &Snapshot{Commit: commit.String(), Time: c.Committer.When, root: root, store: st, source: src, blobs: blobs}, nil
}

// Stat describes a path after following links.
func (s *Snapshot) Stat(name string) (tree.Entry, error) {
	e, err := s.resolve(name)
	if err != nil {
		return tree.Entry{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return e, nil
}

// ReadFile returns a file's content, which the caller must not change. A file above tree.MaxFile is
// refused by name, without being loaded.
func (s *Snapshot) ReadFile(name string) ([]byte, error) {
	e, err := s.resolve(name)
	if err == nil && e.IsDir() {
		err = errors.New("is a directory")
	}
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	b, err := s.blob(plumbing.Hash(e.Hash))
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return b, nil
}

// ReadDir lists a directory, sorted by name, links not followed. A submodule is listed with
// fs.ModeIrregular; using it is an error.
func (s *Snapshot) ReadDir(name string) ([]tree.Entry, error) {
	e, err := s.resolve(name)
	if err == nil && !e.IsDir() {
		err = errors.New("is not a directory")
	}
	if err != nil {
		return nil, &fs.PathError{Op: "list", Path: name, Err: err}
	}
	d, err := s.tree(plumbing.Hash(e.Hash))
	if err != nil {
		return nil, &fs.PathError{Op: "list", Path: name, Err: err}
	}
	entries := make([]tree.Entry, 0, len(d.entries))
	for _, te := range d.entries {
		if te.name == ".git" {
			continue
		}
		entries = append(entries, te.at(path.Join(e.Path, te.name)))
	}
	return entries, nil
}

func (s *Snapshot) resolve(name string) (tree.Entry, error) {
	return tree.Resolve(name, s.lstat, s.readlink)
}

// lstat describes an entry whose parents are directories.
func (s *Snapshot) lstat(name string) (tree.Entry, error) {
	if name == "." {
		return tree.Entry{Name: ".", Path: ".", Mode: fs.ModeDir, Hash: tree.Hash(s.root)}, nil
	}
	at := s.root
	var te treeEntry
	elements := strings.Split(name, "/")
	for i, element := range elements {
		d, err := s.tree(at)
		if err != nil {
			return tree.Entry{}, err
		}
		var ok bool
		te, ok = d.entry(element)
		if !ok || element == ".git" {
			return tree.Entry{}, fs.ErrNotExist
		}
		if te.mode == fs.ModeIrregular {
			return tree.Entry{}, fmt.Errorf("%q is a submodule, which is not fetched: put its files into the repository", element)
		}
		if i < len(elements)-1 && !te.mode.IsDir() {
			return tree.Entry{}, fs.ErrNotExist
		}
		at = te.hash
	}
	return te.at(name), nil
}

// at describes the entry, which has that path.
func (e treeEntry) at(name string) tree.Entry {
	return tree.Entry{Name: e.name, Path: name, Mode: e.mode, Hash: tree.Hash(e.hash)}
}

func (s *Snapshot) readlink(name string) (string, error) {
	e, err := s.lstat(name)
	if err != nil {
		return "", err
	}
	b, err := s.blob(plumbing.Hash(e.Hash))
	return string(b), err
}

func (s *Snapshot) tree(h plumbing.Hash) (d *directory, err error) {
	err = s.from(func(st *store) (err error) {
		d, err = st.tree(h)
		return err
	})
	return d, err
}

func (s *Snapshot) blob(h plumbing.Hash) ([]byte, error) {
	if b, ok := s.blobs.get(h); ok {
		return b, nil
	}
	var b []byte
	err := s.from(func(st *store) (err error) {
		b, err = st.read(plumbing.BlobObject, h, tree.MaxFile)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.blobs.put(h, b, int64(len(b))+256)
	return b, nil
}

// from reads from the snapshot's own store. Damage there is reported, so that it is repaired, and
// what the source's newer store has of the same id serves as well.
func (s *Snapshot) from(read func(*store) error) error {
	err := read(s.store)
	var corrupt *corruptError
	if s.source == nil || !errors.As(err, &corrupt) {
		return err
	}
	if newer := s.source.currentStore(); newer != nil && newer != s.store {
		if newerErr := read(newer); newerErr == nil {
			return nil
		}
	} else {
		s.source.reportDamage(err)
	}
	return err
}
