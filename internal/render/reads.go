package render

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/tree"
)

// ReadKind is how a build looked at a path.
type ReadKind string

// The kinds of Read.
const (
	// File was read; the result depends on its content.
	File ReadKind = "file"
	// Folder was found to be a directory; the result depends on that and on where it really is.
	Folder ReadKind = "folder"
	// Listing was listed; the result depends on all in it.
	Listing ReadKind = "listing"
	// Absent was looked for and not found.
	Absent ReadKind = "absent"
)

// Read is one path that a build looked at, and what it found.
type Read struct {
	Path string
	Kind ReadKind
	// Real is where a directory is, links followed.
	Real string
	// Hash is the Git object id of a File or Listing; zero in a working directory, which has none.
	Hash tree.Hash
	// Direct tells that no symbolic link was followed: Path is where it is, or would be.
	Direct bool
}

// Reads is all that a build looked at, sorted by path: the same answers give the same result.
type Reads []Read

func (f *files) recorded() Reads {
	rs := make(Reads, 0, len(f.reads))
	for _, r := range f.reads {
		rs = append(rs, r)
	}
	slices.SortFunc(rs, func(a, b Read) int { return strings.Compare(a.Path, b.Path) })
	return rs
}

// Hold tells whether a build over t would find the same. Any failed read, and anything without a
// hash, says no.
func (rs Reads) Hold(t tree.Tree) bool {
	for _, r := range rs {
		if !r.holds(t) {
			return false
		}
	}
	return true
}

// HoldAfter is Hold for a t that differs from the tree of the build, or from another over which the reads
// hold, by the given changes: only what they touch is looked at.
func (rs Reads) HoldAfter(c *tree.Changes, t tree.Tree) bool {
	if c.Links {
		return rs.Hold(t) // a path that was absent may lead through the link now
	}
	for i := range rs {
		if !rs[i].Direct && !rs[i].holds(t) {
			return false
		}
	}
	if len(c.Paths) > len(rs) {
		for i := range rs {
			if _, touched := slices.BinarySearch(c.Paths, rs[i].Path); touched && !rs[i].holds(t) {
				return false
			}
		}
		return true
	}
	for _, p := range c.Paths {
		i, touched := slices.BinarySearchFunc(rs, p, func(r Read, p string) int { return strings.Compare(r.Path, p) })
		if touched && !rs[i].holds(t) {
			return false
		}
	}
	return true
}

func (r Read) holds(t tree.Tree) bool {
	e, err := t.Stat(r.Path)
	if err != nil {
		return r.Kind == Absent && errors.Is(err, fs.ErrNotExist)
	}
	switch r.Kind {
	case File:
		return !e.IsDir() && !r.Hash.IsZero() && e.Hash == r.Hash
	case Folder:
		return e.IsDir() && e.Path == r.Real
	case Listing:
		return e.IsDir() && e.Path == r.Real && !r.Hash.IsZero() && e.Hash == r.Hash
	default:
		return false
	}
}
