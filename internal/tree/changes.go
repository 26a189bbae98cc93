package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Changes is where two trees differ.
type Changes struct {
	// Paths are those that lead to something else, to nothing, or newly to something: all in a folder that
	// came or went, and each folder in which anything differs. Sorted.
	Paths []string
	// Links is set if a symbolic link (or a submodule) came or leads elsewhere: then more paths may
	// lead to something else than are listed.
	Links bool
}

// errNoIDs is returned for trees that cannot be compared without reading everything.
var errNoIDs = errors.New("the tree has no object ids")

// Compare finds where two trees differ by one walk down the folders whose object ids do.
func Compare(before, after Tree) (*Changes, error) {
	a, err := before.Stat(".")
	if err != nil {
		return nil, fmt.Errorf("compare trees: %w", err)
	}
	b, err := after.Stat(".")
	if err != nil {
		return nil, fmt.Errorf("compare trees: %w", err)
	}
	c := &Changes{}
	w := comparison{before: before, after: after, changes: c}
	if err := w.entry(".", &a, &b); err != nil {
		return nil, fmt.Errorf("compare trees: %w", err)
	}
	slices.Sort(c.Paths)
	return c, nil
}

type comparison struct {
	before, after Tree
	changes       *Changes
}

// entry compares what one path, which no link is part of, is in both trees; nil is nothing.
func (w *comparison) entry(name string, a, b *Entry) error {
	if a != nil && a.Hash.IsZero() || b != nil && b.Hash.IsZero() {
		return errNoIDs
	}
	if a != nil && b != nil && a.Hash == b.Hash && a.Mode == b.Mode {
		return nil
	}
	w.changes.Paths = append(w.changes.Paths, name)
	if b != nil && b.Mode&^fs.ModeDir != 0 {
		w.changes.Links = true
	}
	olds, err := list(w.before, name, a)
	if err != nil {
		return err
	}
	news, err := list(w.after, name, b)
	if err != nil {
		return err
	}
	for len(olds) > 0 || len(news) > 0 {
		var older, newer *Entry
		var order int
		switch {
		case len(olds) == 0:
			order = 1
		case len(news) == 0:
			order = -1
		default:
			order = strings.Compare(olds[0].Name, news[0].Name)
		}
		if order <= 0 {
			older, olds = &olds[0], olds[1:]
		}
		if order >= 0 {
			newer, news = &news[0], news[1:]
		}
		child := newer
		if child == nil {
			child = older
		}
		if err := w.entry(path.Join(name, child.Name), older, newer); err != nil {
			return err
		}
	}
	return nil
}

func list(t Tree, name string, e *Entry) ([]Entry, error) {
	if e == nil || !e.IsDir() {
		return nil, nil
	}
	return t.ReadDir(name)
}
