package vet

import (
	"crypto/sha256"

	"github.com/holdfast-dev/holdfast/internal/tree"
)

// still is a working directory that is taken to stand still while it is looked at: what is at a path is what was there
// a moment ago. So every entry has an object id made from its path, and an overlay that several clusters share is
// built once, as it is from a commit.
type still struct{ tree.Tree }

// Stat describes a path.
func (s still) Stat(path string) (tree.Entry, error) {
	e, err := s.Tree.Stat(path)
	return identified(e), err
}

// ReadDir lists a directory.
func (s still) ReadDir(path string) ([]tree.Entry, error) {
	entries, err := s.Tree.ReadDir(path)
	for i := range entries {
		entries[i] = identified(entries[i])
	}
	return entries, err
}

// identified gives an entry its id, if it has none.
func identified(e tree.Entry) tree.Entry {
	if e.Hash.IsZero() {
		sum := sha256.Sum256([]byte(e.Path))
		copy(e.Hash[:], sum[:])
	}
	return e
}
