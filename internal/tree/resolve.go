package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// ErrEscapes is what a path or a symbolic link that leads out of the tree gives.
var ErrEscapes = errors.New("leads out of the tree")

// maxLinks is how many symbolic links one path may pass, as in Linux.
const maxLinks = 40

// Resolve finds what name is, following symbolic links at every step, also at the last. lstat
// describes an entry, readlink reads a link's target; both are only asked for cleaned paths whose
// parents are directories and no links. Errors name the link that is to blame:
// ErrEscapes for a path that leaves the root or is absolute, fs.ErrNotExist for what is not there
// (also below a file), and a plain error for a chain of links without an end. ViaLink tells whether a link
// was followed before the error.
func Resolve(name string, lstat func(name string) (Entry, error), readlink func(name string) (string, error)) (Entry, error) {
	links := 0
	e, err := resolve(name, &links, lstat, readlink)
	if err != nil && links > 0 {
		err = &linkError{err}
	}
	return e, err
}

// linkError is an error beyond a symbolic link.
type linkError struct{ error }

func (e *linkError) Unwrap() error { return e.error }

// ViaLink tells whether an error of a Tree came after a symbolic link: the path itself is then there, and
// what it leads to was asked for.
func ViaLink(err error) bool {
	var link *linkError
	return errors.As(err, &link)
}

func resolve(name string, links *int, lstat func(name string) (Entry, error), readlink func(name string) (string, error)) (Entry, error) {
	if path.IsAbs(name) {
		return Entry{}, fmt.Errorf("%q %w", name, ErrEscapes)
	}
	var (
		at      = "."              // real, a directory
		pending = split(name)      // still to go
		blame   = quoted("", name) // for errors: the link that led here
	)
	entry, err := lstat(at)
	if err != nil {
		return Entry{}, err
	}
	for len(pending) > 0 {
		element := pending[0]
		pending = pending[1:]
		if element == ".." {
			if at == "." {
				return Entry{}, fmt.Errorf("%s %w", blame, ErrEscapes)
			}
			at = path.Dir(at)
			if entry, err = lstat(at); err != nil {
				return Entry{}, fmt.Errorf("%s: %w", blame, err)
			}
			continue
		}
		if !entry.IsDir() {
			return Entry{}, fmt.Errorf("%s: %w", blame, fs.ErrNotExist)
		}
		next := path.Join(at, element)
		if entry, err = lstat(next); err != nil {
			return Entry{}, fmt.Errorf("%s: %w", blame, err)
		}
		if entry.Mode&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if *links++; *links > maxLinks {
			return Entry{}, fmt.Errorf("%s: more than %d symbolic links, or a loop of them", quoted("", name), maxLinks)
		}
		target, err := readlink(next)
		if err != nil {
			return Entry{}, fmt.Errorf("%s: %w", blame, err)
		}
		blame = quoted(next, target)
		if path.IsAbs(target) {
			return Entry{}, fmt.Errorf("%s %w", blame, ErrEscapes)
		}
		if target == "" {
			return Entry{}, fmt.Errorf("%s: %w", blame, fs.ErrNotExist)
		}
		pending = append(split(target), pending...)
		if entry, err = lstat(at); err != nil {
			return Entry{}, fmt.Errorf("%s: %w", blame, err)
		}
	}
	return entry, nil
}

func quoted(link, target string) string {
	if link == "" {
		return fmt.Sprintf("%q", target)
	}
	return fmt.Sprintf("the symbolic link %q to %q", link, target)
}

// split cuts a path into its elements without cleaning it: after a link, "a/.." need not be "a"'s parent.
func split(name string) []string {
	var elements []string
	for _, e := range strings.Split(name, "/") {
		if e != "" && e != "." {
			elements = append(elements, e)
		}
	}
	return elements
}
