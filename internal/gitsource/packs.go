package gitsource

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// packs reads the objects of a directory's packs, each of which holds the bases of its deltas. A new pack
// costs its own index alone, where go-git's storage reads the indexes of all packs anew. It is not safe
// for concurrent use.
type packs struct {
	bases cache.Object // inflated objects, on which deltas build
	list  []*onePack   // newest last
}

type onePack struct {
	path  string // of the .pack
	index *idxfile.MemoryIndex
	file  *os.File // opened when first needed
	pack  *packfile.Packfile
}

// openPacks reads the indexes in dir.
func openPacks(dir string) (*packs, error) {
	p := &packs{bases: cache.NewObjectLRU(deltaCache)}
	paths, err := filepath.Glob(filepath.Join(dir, "pack-*.idx"))
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	for _, path := range paths {
		index, err := readIndex(path)
		if err != nil {
			return nil, fmt.Errorf("open repository: read %s: %w", filepath.Base(path), err)
		}
		p.add(strings.TrimSuffix(path, ".idx")+".pack", index)
	}
	return p, nil
}

func readIndex(path string) (*idxfile.MemoryIndex, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	index := idxfile.NewMemoryIndex()
	err = idxfile.NewDecoder(f).Decode(index)
	_ = f.Close() // was only read
	return index, err
}

func (p *packs) add(path string, index *idxfile.MemoryIndex) {
	p.list = append(p.list, &onePack{path: path, index: index})
}

// Close closes the files.
func (p *packs) Close() error {
	for _, one := range p.list {
		if one.file != nil {
			_ = one.file.Close() // was only read
		}
	}
	return nil
}

// find returns the pack that holds h and the place in it.
func (p *packs) find(h plumbing.Hash) (*packfile.Packfile, int64, error) {
	for i := len(p.list) - 1; i >= 0; i-- {
		one := p.list[i]
		offset, err := one.index.FindOffset(h)
		if err != nil {
			continue // is not in this one
		}
		if one.pack == nil {
			if one.file, err = os.Open(one.path); err != nil {
				return nil, 0, err
			}
			one.pack = packfile.NewPackfileWithCache(one.index, nil, packFile{one.file}, p.bases, 0)
		}
		return one.pack, offset, nil
	}
	return nil, 0, plumbing.ErrObjectNotFound
}

// HasEncodedObject gives plumbing.ErrObjectNotFound for an object that no index has.
func (p *packs) HasEncodedObject(h plumbing.Hash) error {
	_, _, err := p.find(h)
	return err
}

// EncodedObjectSize is an object's size in bytes.
func (p *packs) EncodedObjectSize(h plumbing.Hash) (int64, error) {
	pack, offset, err := p.find(h)
	if err != nil {
		return 0, err
	}
	return pack.GetSizeByOffset(offset)
}

// EncodedObject reads an object, of whatever type it is.
func (p *packs) EncodedObject(_ plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	pack, _, err := p.find(h)
	if err != nil {
		return nil, err
	}
	return pack.Get(h)
}

// packFile is a file as go-git wants it; it is never locked or truncated.
type packFile struct{ *os.File }

func (packFile) Lock() error   { return nil }
func (packFile) Unlock() error { return nil }
