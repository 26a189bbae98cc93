package gitsource

import (
	"path"

	"github.com/go-git/go-git/v5/plumbing"
)

// Sub returns the same commit rooted at a folder of it, slash-separated and relative to the commit's
// top: what Options.Path is for a Source. A folder that is not there is a *PathError.
func (s *Snapshot) Sub(dir string) (*Snapshot, error) {
	return newSnapshot(s.store, s.source, s.blobs, plumbing.NewHash(s.Commit), path.Clean(dir))
}
