package tree

import (
	"encoding/hex"
	"io/fs"
)

// Tree is a read-only view of one commit's files, as gitsource.Snapshot gives it.
// Paths are slash-separated, relative to the fleet root, cleaned, and "." is the root.
// Symbolic links are followed inside the tree; one that leads out of it is an error.
// A path that does not exist gives an error for which errors.Is(err, fs.ErrNotExist) holds;
// every other error means unknown, never absent. A Tree is safe for concurrent use.
type Tree interface {
	// Stat describes path after following links.
	Stat(path string) (Entry, error)
	// ReadFile returns a file's content. The caller must not change it.
	ReadFile(path string) ([]byte, error)
	// ReadDir lists a directory, sorted by name, links not followed.
	ReadDir(path string) ([]Entry, error)
}

// Entry is one file or directory of a Tree.
type Entry struct {
	// Name is the last element of the path.
	Name string
	// Path is where the entry really is, links followed: relative to the root, slash-separated.
	Path string
	// Mode holds the type bits: fs.ModeDir, fs.ModeSymlink, or 0 for a regular file.
	Mode fs.FileMode
	// Hash is the Git object id of the blob or tree: equal hashes mean equal contents, a whole
	// directory included. Zero where there is none (a working directory).
	Hash Hash
}

// Hash is a Git object id.
type Hash [20]byte

// IsZero tells that there is no object id.
func (h Hash) IsZero() bool { return h == Hash{} }

// String returns the id in hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsDir tells whether the entry is a directory.
func (e Entry) IsDir() bool { return e.Mode.IsDir() }
