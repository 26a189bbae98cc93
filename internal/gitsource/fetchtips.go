package gitsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Tips are some commits with their files, without history, in a store of their own that Close removes. It
// is safe for concurrent use.
type Tips struct{ store *store }

// FetchTips fetches commits that refs of the server point at, as ListRefs has just told: one request. The
// store is a new folder below dir, which must exist. limit bounds, in bytes, what is received and also what
// it inflates to, commits, trees and files together; more gives an error of KindTooLarge. It adds to t what
// that cost. Its errors are *Error. A commit that the server does not have, or that cannot be packed, fails
// the whole (KindProtocol).
func (r *Remote) FetchTips(ctx context.Context, t *Traffic, dir string, tips []plumbing.Hash, limit int64) (*Tips, error) {
	const op = "fetch"
	if len(tips) == 0 {
		return nil, &Error{Kind: KindLocal, Op: op, URL: r.address.String(), Reason: "no commit is asked for"}
	}
	l, err := r.dialBlind(ctx, op, t)
	if err != nil {
		return nil, err
	}
	defer l.close()
	st, err := temporaryStore(dir)
	if err != nil {
		return nil, l.classify(op, err)
	}
	f := &Tips{st}
	w := wanted{tip: tips[0], more: tips[1:], depth: 1, intake: intake{limit: limit, temporary: true}}
	if err := l.fetch(op, st, w); err != nil {
		_ = f.Close() // the first error counts
		return nil, err
	}
	return f, nil
}

// temporaryStore makes an empty store in a new folder below dir.
func temporaryStore(dir string) (*store, error) {
	path, err := os.MkdirTemp(dir, "tips-")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(path, "objects", "pack"), 0o700); err != nil {
		return nil, err
	}
	return openStore(path)
}

// Commit reads a commit, of which the store has checked that it is what its id says.
func (f *Tips) Commit(h plumbing.Hash) (*object.Commit, error) {
	c, err := f.store.commit(h)
	if isCorrupt(err) {
		return nil, fmt.Errorf("%s is no commit that can be read", short(h.String()))
	}
	return c, err
}

// ReadFile reads a file at a commit's top, at most limit bytes of it. A file that is not there gives
// fs.ErrNotExist.
func (f *Tips) ReadFile(c *object.Commit, name string, limit int64) ([]byte, error) {
	b, err := f.readFile(c, name, limit)
	if isCorrupt(err) {
		err = errors.New("the commit's files cannot be read")
	}
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return b, nil
}

func (f *Tips) readFile(c *object.Commit, name string, limit int64) ([]byte, error) {
	top, err := f.store.tree(c.TreeHash)
	if err != nil {
		return nil, err
	}
	e, ok := top.entry(name)
	switch {
	case !ok:
		return nil, fs.ErrNotExist
	case e.mode != 0:
		return nil, errors.New("is not a plain file")
	}
	return f.store.read(plumbing.BlobObject, e.hash, limit)
}

// Close removes the store.
func (f *Tips) Close() error {
	f.store.mu.Lock()
	if open, ok := f.store.objects.(io.Closer); ok {
		_ = open.Close() // was only read
	}
	f.store.mu.Unlock()
	if err := os.RemoveAll(f.store.dir); err != nil {
		return fmt.Errorf("remove what was fetched: %w", err)
	}
	return nil
}
