package fleet

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/holdfast-dev/holdfast/internal/tree"
)

// memTree is a tree in memory. Files named in broken fail to be read.
type memTree struct {
	files  fstest.MapFS
	broken map[string]bool
}

var errBroken = errors.New("object is corrupt")

// treeOf makes a tree of a txtar archive.
func treeOf(t testing.TB, archive string) memTree {
	t.Helper()
	files := fstest.MapFS{}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		files[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	if len(files) == 0 {
		t.Fatal("the archive holds no files")
	}
	return memTree{files: files, broken: map[string]bool{}}
}

func (m memTree) Stat(name string) (tree.Entry, error) {
	info, err := m.files.Stat(name)
	if err != nil {
		return tree.Entry{}, fmt.Errorf("stat %s: %w", name, err)
	}
	return tree.Entry{Name: path.Base(name), Path: name, Mode: info.Mode().Type()}, nil
}

func (m memTree) ReadFile(name string) ([]byte, error) {
	if m.broken[name] {
		return nil, fmt.Errorf("read %s: %w", name, errBroken)
	}
	return m.files.ReadFile(name)
}

func (m memTree) ReadDir(name string) ([]tree.Entry, error) {
	if m.broken[name] {
		return nil, fmt.Errorf("read %s: %w", name, errBroken)
	}
	list, err := m.files.ReadDir(name)
	if err != nil {
		return nil, err
	}
	var entries []tree.Entry
	for _, e := range list {
		entry := tree.Entry{Name: e.Name(), Path: path.Join(name, e.Name()), Mode: e.Type()}
		entries = append(entries, entry)
	}
	return entries, nil
}

func file(data string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(data)} }

// flatTree lists its folders from an index: fstest.MapFS goes through all files for each folder.
type flatTree struct {
	memTree
	dirs map[string][]tree.Entry
}

// indexed makes a tree that is fast for many files.
func indexed(files fstest.MapFS) flatTree {
	f := flatTree{memTree: memTree{files: files}, dirs: map[string][]tree.Entry{}}
	seen := map[string]bool{}
	for name := range files {
		entry := tree.Entry{Name: path.Base(name), Path: name}
		for name != "." && !seen[name] {
			seen[name] = true
			dir := path.Dir(name)
			f.dirs[dir] = append(f.dirs[dir], entry)
			name = dir
			entry = tree.Entry{Name: path.Base(name), Path: name, Mode: fs.ModeDir}
		}
	}
	return f
}

func (f flatTree) Stat(name string) (tree.Entry, error) {
	return tree.Entry{Name: path.Base(name), Path: name}, nil
}

func (f flatTree) ReadFile(name string) ([]byte, error) { return f.files[name].Data, nil }

func (f flatTree) ReadDir(name string) ([]tree.Entry, error) { return f.dirs[name], nil }
