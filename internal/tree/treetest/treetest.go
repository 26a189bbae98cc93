// Package treetest makes trees in memory, for tests: they have object ids as a commit has, are as fast,
// and count what is read of them.
package treetest

import (
	"crypto/sha1" //nolint:gosec // Git's own hash
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/holdfast-dev/holdfast/internal/tree"
)

// Tree is a tree of files in memory.
type Tree struct {
	root *node
	// Files and Folders count the files that were read and the folders that were listed; Stats the paths
	// that were looked up.
	Files, Folders, Stats atomic.Int64
}

var _ tree.Tree = (*Tree)(nil)

type node struct {
	entry    tree.Entry
	content  []byte
	children map[string]*node
	listing  []tree.Entry
}

// New makes a tree of file contents by path. A content of the form "-> target" is a symbolic link.
func New(files map[string]string) *Tree {
	root := &node{entry: tree.Entry{Name: ".", Path: ".", Mode: fs.ModeDir}, children: map[string]*node{}}
	for name, content := range files {
		at := root
		elements := strings.Split(name, "/")
		for i, element := range elements {
			next := at.children[element]
			if next == nil {
				next = &node{entry: tree.Entry{Name: element, Path: path.Join(elements[:i+1]...)}}
				at.children[element] = next
			}
			if i < len(elements)-1 {
				next.entry.Mode = fs.ModeDir
				if next.children == nil {
					next.children = map[string]*node{}
				}
			}
			at = next
		}
		at.content = []byte(content)
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			at.entry.Mode, at.content = fs.ModeSymlink, []byte(target)
		}
	}
	root.seal()
	return &Tree{root: root}
}

// seal computes the object ids.
func (n *node) seal() {
	id := n.content
	if n.entry.IsDir() {
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(n.children)) {
			child := n.children[name]
			child.seal()
			n.listing = append(n.listing, child.entry)
			fmt.Fprintf(&b, "%o %s\x00%s", child.entry.Mode, name, child.entry.Hash)
		}
		id = []byte(b.String())
	}
	sum := sha1.Sum(id) //nolint:gosec // as above
	n.entry.Hash = tree.Hash(sum)
}

// Stat implements tree.Tree.
func (t *Tree) Stat(name string) (tree.Entry, error) {
	t.Stats.Add(1)
	return t.resolve("stat", name)
}

// ReadFile implements tree.Tree.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	t.Files.Add(1)
	e, err := t.resolve("read", name)
	if err != nil {
		return nil, err
	}
	if e.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrInvalid}
	}
	return t.find(e.Path).content, nil
}

// ReadDir implements tree.Tree.
func (t *Tree) ReadDir(name string) ([]tree.Entry, error) {
	t.Folders.Add(1)
	e, err := t.resolve("list", name)
	if err != nil {
		return nil, err
	}
	if !e.IsDir() {
		return nil, &fs.PathError{Op: "list", Path: name, Err: fs.ErrInvalid}
	}
	return t.find(e.Path).listing, nil
}

func (t *Tree) resolve(op, name string) (tree.Entry, error) {
	e, err := tree.Resolve(name, t.lstat, func(name string) (string, error) { return string(t.find(name).content), nil })
	if err != nil {
		return tree.Entry{}, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return e, nil
}

func (t *Tree) lstat(name string) (tree.Entry, error) {
	if n := t.find(name); n != nil {
		return n.entry, nil
	}
	return tree.Entry{}, fs.ErrNotExist
}

// find returns the node at a path without links, nil if there is none.
func (t *Tree) find(name string) *node {
	at := t.root
	if name == "." {
		return at
	}
	for element := range strings.SplitSeq(name, "/") {
		if at = at.children[element]; at == nil {
			return nil
		}
	}
	return at
}
