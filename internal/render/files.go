package render

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

const (
	// mount is where the fleet repository appears in the file system that kustomize sees. It lies
	// below "/" so that a path that climbs out of the repository is seen to do so.
	mount = "/.fleet"
	// wrapper is a folder outside of the repository that holds one kustomization of our own.
	wrapper = "/.holdfast"

	// maxTotal bounds what one build reads, in bytes; tree.MaxFile bounds one file.
	maxTotal = 128 << 20
)

var errReadOnly = errors.New("the fleet repository is read-only")

// files is the file system of one build: read-only, confined to the fleet repository, and recording.
// It is used by one goroutine.
type files struct {
	tree  tree.Tree
	facts fleet.Facts
	// overlay is the content of the wrapping kustomization, nil if there is none.
	overlay []byte
	// reads is all that was looked at, by path.
	reads map[string]Read
	// kept holds what is read twice: kustomizations, by the check and by kustomize.
	kept map[string][]byte
	// usedFacts is set once the build depends on the cluster's facts.
	usedFacts bool
	total     int
	// failed is the first failure that is not an absence. kustomize takes any failed read for a
	// missing file; since unknown is not absent, such a build has failed whatever it returns.
	failed error
}

var _ filesys.FileSystem = (*files)(nil)

func newFiles(t tree.Tree, facts fleet.Facts) *files {
	return &files{tree: t, facts: facts, reads: map[string]Read{}, kept: map[string][]byte{}}
}

// ReadFile implements filesys.FileSystem.
func (f *files) ReadFile(name string) ([]byte, error) {
	if f.overlay != nil && path.Dir(name) == wrapper {
		if path.Base(name) == konfig.DefaultKustomizationFileName() {
			return f.overlay, nil
		}
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	rel, err := f.rel(name)
	if err != nil {
		return nil, err
	}
	return f.readFile(rel)
}

// readFile returns the content of a file by its path in the repository, with the facts filled in.
func (f *files) readFile(rel string) ([]byte, error) {
	if b, ok := f.kept[rel]; ok {
		return b, nil
	}
	e, err := f.stat(rel)
	if err != nil {
		return nil, err
	}
	if e.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: rel, Err: errors.New("is a directory")}
	}
	b, err := f.tree.ReadFile(rel)
	if err != nil {
		return nil, f.fail(readError(rel, err))
	}
	if f.total += len(b); f.total > maxTotal {
		return nil, f.fail(fmt.Errorf("%s: this app reads more than %d bytes", rel, maxTotal))
	}
	if err := checkAliases(b); err != nil {
		return nil, f.fail(fmt.Errorf("%s: %w", rel, err))
	}
	if bytes.Contains(b, []byte(clusterConfigMap)) {
		filled, found := fillFacts(b, f.facts)
		if found {
			b, f.usedFacts = filled, true
		}
	}
	if isKustomization(path.Base(rel)) {
		f.kept[rel] = b
	}
	return b, nil
}

// readError names the path once, whether or not the tree has done so.
func readError(rel string, err error) error {
	var named *fs.PathError
	if errors.As(err, &named) && named.Path == rel {
		err = named.Err
	}
	return fmt.Errorf("read %s: %w", rel, err)
}

// stat looks a path up and records the answer.
func (f *files) stat(rel string) (tree.Entry, error) {
	e, err := f.tree.Stat(rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.record(Read{Path: rel, Kind: Absent, Direct: !tree.ViaLink(err)})
		return tree.Entry{}, &fs.PathError{Op: "read", Path: rel, Err: fs.ErrNotExist}
	case err != nil:
		return tree.Entry{}, f.fail(readError(rel, err))
	case e.IsDir():
		f.record(Read{Path: rel, Kind: Folder, Real: e.Path, Direct: e.Path == rel})
	default:
		f.record(Read{Path: rel, Kind: File, Hash: e.Hash, Direct: e.Path == rel})
	}
	return e, nil
}

func (f *files) record(r Read) {
	if old, ok := f.reads[r.Path]; ok && old.Kind == Listing {
		return // it depends on the names in it too, which says more
	}
	f.reads[r.Path] = r
}

// rel turns a path of this file system into one of the repository.
func (f *files) rel(name string) (string, error) {
	clean := path.Clean(filepath.ToSlash(name))
	if clean == mount {
		return ".", nil
	}
	if rest, ok := strings.CutPrefix(clean, mount+"/"); ok {
		return rest, nil
	}
	return "", f.fail(fmt.Errorf("path %q leaves the fleet repository", strings.TrimPrefix(name, mount+"/")))
}

// fail keeps the first failure and returns the given one.
func (f *files) fail(err error) error {
	if f.failed == nil {
		f.failed = err
	}
	return err
}

// CleanedAbs implements filesys.FileSystem. As on a disk, links are followed: paths in a linked
// folder are relative to where it really is.
func (f *files) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	if f.overlay != nil && path.Clean(name) == wrapper {
		return wrapper, "", nil
	}
	rel, err := f.rel(name)
	if err != nil {
		return "", "", err
	}
	e, err := f.stat(rel)
	if err != nil {
		return "", "", err
	}
	if e.IsDir() {
		return filesys.ConfirmedDir(path.Join(mount, e.Path)), "", nil
	}
	return filesys.ConfirmedDir(path.Join(mount, path.Dir(e.Path))), path.Base(e.Path), nil
}

// IsDir implements filesys.FileSystem.
func (f *files) IsDir(name string) bool {
	rel, err := f.rel(name)
	if err != nil {
		return false
	}
	e, err := f.stat(rel)
	return err == nil && e.IsDir()
}

// Exists implements filesys.FileSystem.
func (f *files) Exists(name string) bool {
	rel, err := f.rel(name)
	if err != nil {
		return false
	}
	_, err = f.stat(rel)
	return err == nil
}

// ReadDir implements filesys.FileSystem.
func (f *files) ReadDir(name string) ([]string, error) {
	rel, err := f.rel(name)
	if err != nil {
		return nil, err
	}
	e, err := f.stat(rel)
	if err != nil {
		return nil, err
	}
	if !e.IsDir() {
		return nil, &fs.PathError{Op: "list", Path: rel, Err: errors.New("is not a directory")}
	}
	f.reads[rel] = Read{Path: rel, Kind: Listing, Real: e.Path, Hash: e.Hash, Direct: e.Path == rel}
	entries, err := f.tree.ReadDir(rel)
	if err != nil {
		return nil, f.fail(fmt.Errorf("list %s: %w", rel, err))
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name
	}
	return names, nil
}

// The rest of filesys.FileSystem is not used by a build, or would write.

// Create implements filesys.FileSystem; it refuses.
func (*files) Create(string) (filesys.File, error) { return nil, errReadOnly }

// Mkdir implements filesys.FileSystem; it refuses.
func (*files) Mkdir(string) error { return errReadOnly }

// MkdirAll implements filesys.FileSystem; it refuses.
func (*files) MkdirAll(string) error { return errReadOnly }

// RemoveAll implements filesys.FileSystem; it refuses.
func (*files) RemoveAll(string) error { return errReadOnly }

// WriteFile implements filesys.FileSystem; it refuses.
func (*files) WriteFile(string, []byte) error { return errReadOnly }

// Open implements filesys.FileSystem; it refuses, since builds use ReadFile.
func (*files) Open(name string) (filesys.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
}

// Glob implements filesys.FileSystem; it refuses, since builds do not use it.
func (*files) Glob(pattern string) ([]string, error) {
	return nil, &fs.PathError{Op: "glob", Path: pattern, Err: errors.ErrUnsupported}
}

// Walk implements filesys.FileSystem; it refuses, since builds do not use it.
func (*files) Walk(name string, _ filepath.WalkFunc) error {
	return &fs.PathError{Op: "walk", Path: name, Err: errors.ErrUnsupported}
}
