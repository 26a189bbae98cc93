package render

import (
	"errors"
	"io/fs"
	"sort"

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
	// Hash is the Git object id of a File or Listing; empty in a working directory, which has none.
	Hash string
}

// Reads is all that a build looked at, sorted by path: the same answers give the same result.
type Reads []Read

func (f *files) recorded() Reads {
	rs := make(Reads, 0, len(f.reads))
	for _, r := range f.reads {
		rs = append(rs, r)
	}
	sort.Slice(rs, func(i, j int) bool { return rs[i].Path < rs[j].Path })
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

func (r Read) holds(t tree.Tree) bool {
	e, err := t.Stat(r.Path)
	if err != nil {
		return r.Kind == Absent && errors.Is(err, fs.ErrNotExist)
	}
	switch r.Kind {
	case File:
		return !e.IsDir() && r.Hash != "" && e.Hash == r.Hash
	case Folder:
		return e.IsDir() && e.Path == r.Real
	case Listing:
		return e.IsDir() && e.Path == r.Real && r.Hash != "" && e.Hash == r.Hash
	default:
		return false
	}
}
