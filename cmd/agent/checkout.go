package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// checkout says which files of which local repository are meant.
type checkout struct {
	// dir is a work tree, a folder in one, a bare repository, or just a folder.
	dir string
	// path is the fleet's root below dir, slash-separated.
	path string
	// rev names a commit; "" is the files as they are on disk, and HEAD in a bare repository.
	rev string
}

// declare declares the flags --repo, which is that, and --path.
func (c *checkout) declare(cmd *cobra.Command, repo string) {
	f := cmd.Flags()
	f.StringVar(&c.dir, "repo", ".", repo)
	f.StringVar(&c.path, "path", ".", "`FOLDER` below --repo that holds fleet.yaml, clusters/ and apps/")
	if err := cmd.MarkFlagDirname("repo"); err != nil {
		panic(err) // no such flag: a mistake of ours
	}
}

// opened is a fleet with the files it was read from.
type opened struct {
	tree   tree.Tree
	commit string // "" for files on disk
	fleet  *fleet.Fleet
	close  func()
}

// open reads the fleet. Nothing goes over the network.
func (c checkout) open() (*opened, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	o, err := c.files()
	if err != nil {
		return nil, err
	}
	if o.fleet, err = fleet.Load(o.tree); err != nil {
		o.close()
		if errors.Is(err, fleet.ErrNoFleet) {
			err = fmt.Errorf("%w (is --path right?)", err)
		}
		return nil, err
	}
	return o, nil
}

func (c checkout) check() error {
	if strings.Contains(c.dir, "://") {
		return misusef("--repo: want a folder of this machine, not a URL: clone the repository and name the clone")
	}
	info, err := os.Stat(c.dir)
	if err != nil {
		return misusef("--repo: %w", err)
	}
	if !info.IsDir() {
		return misusef("--repo %s: not a folder", c.dir)
	}
	if !filepath.IsLocal(filepath.FromSlash(c.path)) {
		return misusef("--path %q: want a relative path that stays in the repository", c.path)
	}
	return nil
}

func (c checkout) files() (*opened, error) {
	if c.rev == "" && !bare(c.dir) {
		t, err := tree.Dir(filepath.Join(c.dir, filepath.FromSlash(c.path)))
		if err != nil {
			return nil, err
		}
		return &opened{tree: t, close: func() { _ = t.Close() }}, nil
	}
	snap, err := gitsource.OpenLocal(c.dir, c.rev)
	if err != nil {
		return nil, err
	}
	// OpenLocal gives the commit from its top, also when dir is a folder further down.
	below, err := belowTop(c.dir)
	if err != nil {
		return nil, err
	}
	if snap, err = snap.Sub(path.Join(below, c.path)); err != nil {
		return nil, err
	}
	return &opened{tree: snap, commit: snap.Commit, close: func() {}}, nil
}

// bare tells whether dir is a Git repository without a work tree.
func bare(dir string) bool {
	for _, name := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// belowTop returns where dir is in its work tree: "." at the top, and for a bare repository.
func belowTop(dir string) (string, error) {
	if bare(dir) {
		return ".", nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the repository's top: %w", err)
	}
	top, ok := topOf(dir)
	if !ok {
		return ".", nil
	}
	below, err := filepath.Rel(top, dir)
	return filepath.ToSlash(below), err
}

// topOf finds the top of the work tree that an absolute path is in, if it is in one.
func topOf(dir string) (string, bool) {
	for top := dir; ; top = filepath.Dir(top) {
		if _, err := os.Stat(filepath.Join(top, ".git")); err == nil {
			return top, true
		}
		if top == filepath.Dir(top) {
			return "", false
		}
	}
}
