package render

import (
	"bytes"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// Sources lists all that a build of a folder may look at in a tree, for whatever cluster, without building
// it: it walks the kustomizations that the build would come to. As long as these reads hold over another
// tree (Reads.HoldAfter), a build gives the same there, since it would ask the same and be answered the same.
//
// An error says that the walk met something that a build refuses, or that it does not understand: then
// nothing is known of what the build looks at.
func Sources(t tree.Tree, dir string) (Reads, error) {
	f := newFiles(t, fleet.Facts{})
	c := checker{files: f, seen: map[string]bool{}, all: true}
	if err := c.root(dir); err != nil {
		return nil, err
	}
	if f.failed != nil {
		return nil, f.failed
	}
	return f.recorded(), nil
}

// UseFacts tells whether a build that reads no more than this may depend on the cluster's facts: a file holds
// the placeholder, or cannot be read.
func (rs Reads) UseFacts(t tree.Tree) bool {
	for _, r := range rs {
		if r.Kind != File {
			continue
		}
		b, err := t.ReadFile(r.Path)
		if err != nil {
			return true
		}
		if bytes.Contains(b, []byte(clusterConfigMap)) {
			if _, found := fillFacts(b, fleet.Facts{}); found {
				return true
			}
		}
	}
	return false
}
