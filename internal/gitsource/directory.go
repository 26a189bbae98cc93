package gitsource

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// directory is a parsed tree object, sorted by name. (Git sorts a folder as if its name ended with a slash.)
type directory struct {
	entries []treeEntry
}

type treeEntry struct {
	name string
	mode fs.FileMode // fs.ModeDir, fs.ModeSymlink, fs.ModeIrregular for a submodule, or 0
	hash plumbing.Hash
}

func (d *directory) entry(name string) (treeEntry, bool) {
	i, ok := slices.BinarySearchFunc(d.entries, name, func(e treeEntry, name string) int { return strings.Compare(e.name, name) })
	if !ok {
		return treeEntry{}, false
	}
	return d.entries[i], true
}

// parseTree reads a tree object: mode, space, name, NUL and 20 bytes of id per entry. Names that
// could mean another place are refused.
func parseTree(b []byte) (*directory, error) {
	d := &directory{}
	for len(b) > 0 {
		modeText, rest, ok := bytes.Cut(b, []byte{' '})
		if !ok || len(modeText) > 7 {
			return nil, errors.New("not a tree object")
		}
		name, rest, ok := bytes.Cut(rest, []byte{0})
		if !ok || len(rest) < 20 {
			return nil, errors.New("not a tree object")
		}
		mode, err := strconv.ParseUint(string(modeText), 8, 32)
		if err != nil {
			return nil, errors.New("not a tree object")
		}
		e := treeEntry{name: string(name)}
		copy(e.hash[:], rest)
		b = rest[20:]
		if e.name == "" || e.name == "." || e.name == ".." || strings.Contains(e.name, "/") {
			return nil, fmt.Errorf("an entry is named %q", e.name)
		}
		switch mode & 0o170000 {
		case 0o040000:
			e.mode = fs.ModeDir
		case 0o120000:
			e.mode = fs.ModeSymlink
		case 0o160000:
			e.mode = fs.ModeIrregular
		case 0o100000:
		default:
			return nil, fmt.Errorf("entry %q has an unknown mode %s", e.name, modeText)
		}
		d.entries = append(d.entries, e)
	}
	d.entries = slices.Clip(d.entries)
	slices.SortFunc(d.entries, func(a, b treeEntry) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(d.entries); i++ {
		if name := d.entries[i].name; name == d.entries[i-1].name {
			return nil, fmt.Errorf("entry %q is there twice", name)
		}
	}
	return d, nil
}
