package agent

import (
	"crypto/sha256"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/tree"
)

// memTree is a commit's files in memory: a folder, or a file. It has no links.
type memTree struct {
	entry    tree.Entry
	content  []byte
	children map[string]*memTree
}

var _ tree.Tree = (*memTree)(nil)

// newTree makes a tree of files by path.
func newTree(files map[string]string) *memTree { return (*memTree)(nil).with(files) }

// with returns a tree with other contents for some files ("" deletes). What does not change is shared.
func (t *memTree) with(files map[string]string) *memTree { return t.change(".", files) }

func (t *memTree) change(at string, files map[string]string) *memTree {
	if content, ok := files[""]; ok {
		return &memTree{entry: tree.Entry{Name: path.Base(at), Path: at, Hash: digest(content)}, content: []byte(content)}
	}
	below := map[string]map[string]string{}
	for name, content := range files {
		first, rest, _ := strings.Cut(name, "/")
		if below[first] == nil {
			below[first] = map[string]string{}
		}
		below[first][rest] = content
	}
	folder := &memTree{children: map[string]*memTree{}}
	if t != nil {
		folder.children = maps.Clone(t.children)
	}
	for name, changes := range below {
		child := folder.children[name].change(path.Join(at, name), changes)
		if folder.children[name] = child; len(child.content) == 0 && len(child.children) == 0 {
			delete(folder.children, name)
		}
	}
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(folder.children)) {
		all.WriteString(name + " " + folder.children[name].entry.Hash.String() + "\n")
	}
	folder.entry = tree.Entry{Name: path.Base(at), Path: at, Mode: fs.ModeDir, Hash: digest(all.String())}
	return folder
}

func digest(s string) tree.Hash {
	sum := sha256.Sum256([]byte(s))
	return tree.Hash(sum[:20])
}

func (t *memTree) find(op, name string) (*memTree, error) {
	at := t
	if name != "." {
		for part := range strings.SplitSeq(name, "/") {
			if at = at.children[part]; at == nil {
				return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
			}
		}
	}
	return at, nil
}

func (t *memTree) Stat(name string) (tree.Entry, error) {
	at, err := t.find("stat", name)
	if err != nil {
		return tree.Entry{}, err
	}
	return at.entry, nil
}

func (t *memTree) ReadFile(name string) ([]byte, error) {
	at, err := t.find("read", name)
	if err != nil {
		return nil, err
	}
	return at.content, nil
}

func (t *memTree) ReadDir(name string) ([]tree.Entry, error) {
	at, err := t.find("list", name)
	if err != nil {
		return nil, err
	}
	entries := make([]tree.Entry, 0, len(at.children))
	for _, child := range slices.Sorted(maps.Keys(at.children)) {
		entries = append(entries, at.children[child].entry)
	}
	return entries, nil
}
