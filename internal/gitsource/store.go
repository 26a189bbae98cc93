package gitsource

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/object"
)

const (
	// deltaCache bounds the inflated objects that are kept as bases of deltas, in bytes. What has been
	// read is kept elsewhere, so this need hold no more than some chains of deltas.
	deltaCache = cache.MiByte
	// treeCache bounds the parsed directories that are kept, in entries.
	treeCache = 100_000
)

// store is one bare repository on disk. It only ever grows: a repair or a compaction makes another
// store. Reading is safe for concurrent use.
type store struct {
	dir string

	// mu guards objects, which is not safe for concurrent use, and shallow.
	mu      sync.Mutex
	objects objectReader
	shallow map[plumbing.Hash]bool

	trees *lru[plumbing.Hash, *directory]
}

// objectReader is the part of go-git's storages that is used here.
type objectReader interface {
	HasEncodedObject(plumbing.Hash) error
	EncodedObjectSize(plumbing.Hash) (int64, error)
	EncodedObject(plumbing.ObjectType, plumbing.Hash) (plumbing.EncodedObject, error)
}

// corruptError is an object that is not there or not what its id says. It deliberately does not
// unwrap to the file system's error: a lost pack must not look like a path that Git does not have.
type corruptError struct {
	hash plumbing.Hash
	text string
}

func (e *corruptError) Error() string {
	return fmt.Sprintf("object %s in the data dir is damaged: %s", e.hash, e.text)
}

// createStore makes an empty bare repository in dir, which must not exist.
func createStore(dir, branch string) (*store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "objects", "pack"), 0o700); err != nil {
		return nil, fmt.Errorf("create repository: %w", err)
	}
	files := map[string]string{
		"HEAD":   "ref: refs/heads/" + branch + "\n",
		"config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
	}
	for _, d := range []string{"refs/heads", "refs/tags"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.FromSlash(d)), 0o700); err != nil {
			return nil, fmt.Errorf("create repository: %w", err)
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, fmt.Errorf("create repository: %w", err)
		}
	}
	return openStore(dir)
}

// openStore opens the repository in dir, which may also be one that others made.
func openStore(dir string) (*store, error) {
	if _, err := os.Stat(filepath.Join(dir, "objects")); err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	st := &store{dir: dir, trees: newLRU[plumbing.Hash, *directory](treeCache)}
	if err := st.reload(); err != nil {
		return nil, err
	}
	return st, nil
}

// reload reads anew what is on the disk.
func (st *store) reload() error {
	shallow, err := readShallow(filepath.Join(st.dir, "shallow"))
	if err != nil {
		return err
	}
	objects, err := openPacks(st.packDir())
	if err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if old, ok := st.objects.(io.Closer); ok {
		_ = old.Close() // was only read
	}
	st.objects, st.shallow = objects, shallow
	return nil
}

// add makes a pack visible that was put beside the others.
func (st *store) add(path string, index *idxfile.MemoryIndex) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.objects.(*packs).add(path, index) // only a store of OpenLocal, which never grows, has another
}

func (st *store) packDir() string { return filepath.Join(st.dir, "objects", "pack") }

// complete tells whether the store holds the whole history of what it holds.
func (st *store) complete() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.shallow) == 0
}

// boundaries are the commits whose parents were not fetched.
func (st *store) boundaries() []plumbing.Hash {
	st.mu.Lock()
	defer st.mu.Unlock()
	var hs []plumbing.Hash
	for h := range st.shallow {
		hs = append(hs, h)
	}
	return hs
}

func (st *store) setShallow(hs []plumbing.Hash) error {
	var b strings.Builder
	for _, h := range hs {
		b.WriteString(h.String() + "\n")
	}
	path := filepath.Join(st.dir, "shallow")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return fmt.Errorf("record the shallow boundary: %w", err)
	}
	shallow, err := readShallow(path)
	if err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.shallow = shallow
	return nil
}

func readShallow(path string) (map[plumbing.Hash]bool, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // no file, no boundary
	}
	if err != nil {
		return nil, fmt.Errorf("read the shallow boundary: %w", err)
	}
	m := map[plumbing.Hash]bool{}
	for _, line := range strings.Fields(string(b)) {
		m[plumbing.NewHash(line)] = true
	}
	return m, nil
}

// setHead points the branch at the verified commit, for people who look into the data dir with git.
func (st *store) setHead(branch string, h plumbing.Hash) error {
	path := filepath.Join(st.dir, "refs", "heads", filepath.FromSlash(branch))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("set branch: %w", err)
	}
	// Not synced: nothing here reads it.
	if err := os.WriteFile(path, []byte(h.String()+"\n"), 0o600); err != nil {
		return fmt.Errorf("set branch: %w", err)
	}
	return nil
}

// has tells whether an object is there. Its content is not read.
func (st *store) has(h plumbing.Hash) (bool, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	err := st.objects.HasEncodedObject(h)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return false, nil
	}
	if err != nil {
		return false, st.broken(h, err)
	}
	return true, nil
}

// read returns an object's content after checking it against its id. limit bounds its size in bytes:
// a larger object gives a *tooLargeError from the size in its header, without being read.
func (st *store) read(t plumbing.ObjectType, h plumbing.Hash, limit int64) ([]byte, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	size, err := st.objects.EncodedObjectSize(h)
	if err != nil {
		return nil, st.broken(h, err)
	}
	if limit > 0 && size > limit {
		return nil, &tooLargeError{size: size, limit: limit}
	}
	o, err := st.objects.EncodedObject(t, h)
	if err != nil {
		return nil, st.broken(h, err)
	}
	r, err := o.Reader()
	if err != nil {
		return nil, st.broken(h, err)
	}
	b := make([]byte, size+1) // the last byte shows content that is longer than the header says
	n, err := io.ReadFull(r, b)
	if b = b[:n]; errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	if closeErr := r.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, st.broken(h, err)
	}
	if plumbing.ComputeHash(t, b) != h {
		return nil, &corruptError{hash: h, text: "its content does not match its id"}
	}
	return b, nil
}

// broken tells damage, which a fresh clone repairs, from trouble of the machine, which passes.
func (st *store) broken(h plumbing.Hash, err error) error {
	for _, passing := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, passing) {
			return fmt.Errorf("read object %s: %w", h, passing)
		}
	}
	return &corruptError{hash: h, text: err.Error()}
}

// maxMetadata bounds trees and commits, in bytes: far above any real one.
const maxMetadata = 64 << 20

func (st *store) tree(h plumbing.Hash) (*directory, error) {
	if t, ok := st.trees.get(h); ok {
		return t, nil
	}
	b, err := st.read(plumbing.TreeObject, h, maxMetadata)
	if err != nil {
		return nil, err
	}
	t, err := parseTree(b)
	if err != nil {
		return nil, fmt.Errorf("tree %s: %w", h, err)
	}
	st.trees.put(h, t, int64(len(t.entries))+1)
	return t, nil
}

func (st *store) commit(h plumbing.Hash) (*object.Commit, error) {
	b, err := st.read(plumbing.CommitObject, h, maxMetadata)
	if err != nil {
		return nil, err
	}
	var o plumbing.MemoryObject
	o.SetType(plumbing.CommitObject)
	if _, err := o.Write(b); err != nil {
		return nil, &corruptError{hash: h, text: err.Error()}
	}
	c := new(object.Commit)
	if err := c.Decode(&o); err != nil {
		return nil, &corruptError{hash: h, text: err.Error()}
	}
	return c, nil
}

// walk visits the ancestors of from (itself included) that are here, newest first, until visit
// returns false. ends are the commits whose parents were never fetched.
func (st *store) walk(ctx context.Context, from plumbing.Hash, visit func(plumbing.Hash) bool) (ends []plumbing.Hash, err error) {
	first, err := st.commit(from)
	if err != nil {
		return nil, err
	}
	queue := &byDate{{from, first}}
	seen := map[plumbing.Hash]bool{from: true}
	for queue.Len() > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n := heap.Pop(queue).(dated) // only dated is pushed
		if !visit(n.hash) {
			return ends, nil
		}
		for _, p := range n.commit.ParentHashes {
			if seen[p] {
				continue
			}
			seen[p] = true
			st.mu.Lock()
			boundary := st.shallow[n.hash]
			st.mu.Unlock()
			if boundary {
				here, err := st.has(p)
				if err != nil {
					return nil, err
				}
				if !here {
					ends = append(ends, n.hash)
					continue
				}
			}
			c, err := st.commit(p)
			if err != nil {
				return nil, err
			}
			heap.Push(queue, dated{p, c})
		}
	}
	return ends, nil
}

type dated struct {
	hash   plumbing.Hash
	commit *object.Commit
}

// byDate is a heap of commits, newest first.
type byDate []dated

func (q byDate) Len() int { return len(q) }
func (q byDate) Less(i, j int) bool {
	return q[i].commit.Committer.When.After(q[j].commit.Committer.When)
}
func (q byDate) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *byDate) Push(x any)   { *q = append(*q, x.(dated)) } // only dated is pushed
func (q *byDate) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// usage counts the packs and the bytes of all of them with their indexes.
func (st *store) usage() (packs int, bytes int64, err error) {
	entries, err := os.ReadDir(st.packDir())
	if err != nil {
		return 0, 0, fmt.Errorf("measure the repository: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // a temporary file that has gone
		}
		if err != nil {
			return 0, 0, fmt.Errorf("measure the repository: %w", err)
		}
		if strings.HasSuffix(e.Name(), ".pack") {
			packs++
		}
		bytes += info.Size()
	}
	return packs, bytes, nil
}

// sweep removes what an interrupted fetch left.
func (st *store) sweep() error {
	entries, err := os.ReadDir(st.packDir())
	if err != nil {
		return fmt.Errorf("sweep the repository: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		unfinished := strings.HasPrefix(name, "tmp_pack_") || strings.HasSuffix(name, ".tmp")
		if base, ok := strings.CutSuffix(name, ".pack"); ok {
			_, err := os.Stat(filepath.Join(st.packDir(), base+".idx"))
			unfinished = errors.Is(err, os.ErrNotExist)
		}
		if unfinished {
			if err := os.Remove(filepath.Join(st.packDir(), name)); err != nil {
				return fmt.Errorf("sweep the repository: %w", err)
			}
		}
	}
	return nil
}

// writeFileAtomic replaces a file so that a crash leaves the old or the new content.
func writeFileAtomic(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error counts
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
