package gitsource

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // Git's object format
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"golang.org/x/sync/errgroup"
)

// errBadPack is what a pack that is incomplete or does not match its own checksum gives.
var errBadPack = errors.New("the pack is damaged")

// packTrailer is the length of the checksum at a pack's end.
const packTrailer = sha1.Size

// maxDeltaBase is the largest object, in bytes, that may serve as the base of a delta. Git makes no
// deltas of files above core.bigFileThreshold (512 MiB), so an honest server stays below.
const maxDeltaBase = 1 << 30

// intake says how a pack is taken in. The zero value keeps a pack of any size.
type intake struct {
	// limit bounds, in bytes, the pack and also what its objects inflate to: a few bytes of it can become
	// any number. 0 is no limit.
	limit int64
	// temporary is a pack that need not survive a crash.
	temporary bool
}

// receivePack writes the pack that r delivers into the store, verifies its checksum and every object's
// id, and adds its index. Nothing is visible to readers until both are complete and, unless it is
// temporary, on the disk. It returns the pack's size in bytes; an empty answer gives io.ErrUnexpectedEOF.
//
// go-git's own index builder reads every object into memory, which a gigabyte file in the repository
// would turn into a gigabyte of heap; this one streams, and holds only bases of deltas.
func receivePack(ctx context.Context, r io.Reader, st *store, how intake) (int64, error) {
	f, err := os.CreateTemp(st.packDir(), "tmp_pack_")
	if err != nil {
		return 0, fmt.Errorf("receive pack: %w", err)
	}
	keep := false
	defer func() {
		_ = f.Close() // closed below when it matters
		if !keep {
			_ = os.Remove(f.Name()) // what stays is swept at the next start
		}
	}()
	sum, size, err := copyPack(f, r, how.limit)
	if err != nil {
		return size, err
	}
	index, err := indexPack(ctx, f, how.limit)
	if err != nil {
		return size, err
	}
	base := filepath.Join(st.packDir(), "pack-"+hex.EncodeToString(sum))
	if how.temporary {
		if err := os.Rename(f.Name(), base+".pack"); err != nil {
			return size, fmt.Errorf("receive pack: %w", err)
		}
		keep = true
		st.add(base+".pack", index)
		return size, nil
	}
	// Both are on the disk before either gets its name. Waiting for them together is one wait: the file
	// system writes its journal once.
	var syncing errgroup.Group
	syncing.Go(f.Sync)
	syncing.Go(func() error { return writeIndex(index, base+".idx.tmp") })
	if err := syncing.Wait(); err != nil {
		return size, fmt.Errorf("receive pack: %w", err)
	}
	if err := os.Rename(f.Name(), base+".pack"); err != nil {
		return size, fmt.Errorf("receive pack: %w", err)
	}
	keep = true
	// The index comes last: a pack without one is invisible.
	if err := os.Rename(base+".idx.tmp", base+".idx"); err != nil {
		return size, fmt.Errorf("receive pack: %w", err)
	}
	st.add(base+".pack", index)
	return size, nil
}

// copyPack copies r to f and checks the checksum at the end.
func copyPack(f *os.File, r io.Reader, limit int64) (sum []byte, size int64, err error) {
	h := sha1.New() //nolint:gosec // Git's object format
	buf := make([]byte, 64<<10)
	var tail []byte // the last bytes are not hashed: they may be the checksum
	for {
		n, readErr := r.Read(buf)
		if limit > 0 && size+int64(n) > limit {
			return nil, size, fail(KindTooLarge, "the server sends more than the %d bytes that are accepted", limit)
		}
		if n > 0 {
			if _, err := f.Write(buf[:n]); err != nil {
				return nil, size, fmt.Errorf("receive pack: %w", err)
			}
			size += int64(n)
			tail = append(tail, buf[:n]...)
			if over := len(tail) - packTrailer; over > 0 {
				_, _ = h.Write(tail[:over]) // a hash never fails
				tail = append(tail[:0], tail[over:]...)
			}
		}
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			return nil, size, readErr
		}
	}
	if size == 0 {
		return nil, 0, io.ErrUnexpectedEOF
	}
	sum = h.Sum(nil)
	if !bytes.Equal(sum, tail) {
		return nil, size, fmt.Errorf("%w: its checksum does not match after %d bytes", errBadPack, size)
	}
	return sum, size, nil
}

func writeIndex(index *idxfile.MemoryIndex, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write pack index: %w", err)
	}
	_, err = idxfile.NewEncoder(f).Encode(index)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write pack index: %w", err)
	}
	return nil
}

// packEntry is one object of a pack while its index is built.
type packEntry struct {
	offset   int64
	typ      plumbing.ObjectType // of a delta: known once its base is
	delta    bool
	crc      uint32
	hash     plumbing.Hash
	length   int64 // inflated, of a delta: of the delta itself
	children []*packEntry
}

// quota bounds what a pack's objects inflate to; nil is no limit.
type quota struct{ left, limit int64 }

func newQuota(limit int64) *quota {
	if limit <= 0 {
		return nil
	}
	return &quota{left: limit, limit: limit}
}

// objectCost is taken for each object beside its bytes, as there may be very many empty ones.
const objectCost = 256

// take is called before an object of that size is inflated.
func (q *quota) take(size int64) error {
	if q == nil {
		return nil
	}
	if size < 0 || size > q.left-objectCost {
		return fail(KindTooLarge, "what the server sends inflates to more than the %d bytes that are accepted", q.limit)
	}
	q.left -= size + objectCost
	return nil
}

// indexPack computes the ids of a pack's objects.
func indexPack(ctx context.Context, f io.ReadSeeker, limit int64) (*idxfile.MemoryIndex, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("index pack: %w", err)
	}
	scanner, q := packfile.NewScanner(f), newQuota(limit)
	entries, byBase, err := scanPack(ctx, scanner, q)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.delta {
			continue
		}
		if err := resolveDeltas(ctx, scanner, e, byBase, q); err != nil {
			return nil, err
		}
	}
	w := new(idxfile.Writer)
	if err := w.OnHeader(0); err != nil {
		return nil, fmt.Errorf("index pack: %w", err)
	}
	for _, e := range entries {
		if e.hash.IsZero() {
			return nil, fmt.Errorf("%w: the delta at %d has no base in it", errBadPack, e.offset)
		}
		w.Add(e.hash, uint64(max(e.offset, 0)), e.crc)
	}
	if _, err := f.Seek(-packTrailer, io.SeekEnd); err != nil {
		return nil, fmt.Errorf("index pack: %w", err)
	}
	var sum plumbing.Hash
	if _, err := io.ReadFull(f, sum[:]); err != nil {
		return nil, fmt.Errorf("index pack: %w", err)
	}
	if err := w.OnFooter(sum); err != nil {
		return nil, fmt.Errorf("index pack: %w", err)
	}
	index, err := w.Index()
	if err != nil {
		return nil, fmt.Errorf("index pack: %w", err)
	}
	return index, nil
}

// scanPack reads the pack once from its start. Deltas that name their base by its place are linked to
// it; those that name it by its id are returned by that id.
func scanPack(ctx context.Context, scanner *packfile.Scanner, q *quota) (entries []*packEntry, byBase map[plumbing.Hash][]*packEntry, err error) {
	_, count, err := scanner.Header()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errBadPack, err)
	}
	entries = make([]*packEntry, 0, min(count, 1<<16))
	byOffset := make(map[int64]*packEntry, min(count, 1<<16))
	byBase = map[plumbing.Hash][]*packEntry{}
	for range count {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		oh, err := scanner.NextObjectHeader()
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errBadPack, err)
		}
		if err := q.take(oh.Length); err != nil {
			return nil, nil, err
		}
		e := &packEntry{offset: oh.Offset, typ: oh.Type, length: oh.Length, delta: oh.Type.IsDelta()}
		sink := io.Discard
		var hasher plumbing.Hasher
		if !e.delta {
			hasher = plumbing.NewHasher(oh.Type, oh.Length)
			sink = hasher
		}
		if _, e.crc, err = scanner.NextObject(sink); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errBadPack, err)
		}
		switch oh.Type {
		case plumbing.OFSDeltaObject:
			base, ok := byOffset[oh.OffsetReference]
			if !ok {
				return nil, nil, fmt.Errorf("%w: the delta at %d has no base in it", errBadPack, e.offset)
			}
			base.children = append(base.children, e)
		case plumbing.REFDeltaObject:
			byBase[oh.Reference] = append(byBase[oh.Reference], e)
		default:
			e.hash = hasher.Sum()
		}
		byOffset[e.offset] = e
		entries = append(entries, e)
	}
	return entries, byBase, nil
}

// resolveDeltas gives an id to every delta that builds on root, directly or not.
func resolveDeltas(ctx context.Context, scanner *packfile.Scanner, root *packEntry, byBase map[plumbing.Hash][]*packEntry, q *quota) error {
	type task struct {
		entry *packEntry
		base  []byte
	}
	root.children = append(root.children, byBase[root.hash]...)
	if len(root.children) == 0 {
		return nil
	}
	content, err := inflate(scanner, root)
	if err != nil {
		return err
	}
	var stack []task
	push := func(parent *packEntry, base []byte) {
		for _, c := range parent.children {
			c.typ = parent.typ
			stack = append(stack, task{c, base})
		}
	}
	push(root, content)
	for len(stack) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		t := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		delta, err := inflate(scanner, t.entry)
		if err != nil {
			return err
		}
		size := targetSize(delta)
		if size > maxDeltaBase {
			return fmt.Errorf("%w: a delta makes an object of %d bytes", errBadPack, size)
		}
		if err := q.take(size); err != nil {
			return err
		}
		target, err := packfile.PatchDelta(t.base, delta)
		if err != nil {
			return fmt.Errorf("%w: the delta at %d: %w", errBadPack, t.entry.offset, err)
		}
		t.entry.hash = plumbing.ComputeHash(t.entry.typ, target)
		t.entry.children = append(t.entry.children, byBase[t.entry.hash]...)
		push(t.entry, target)
	}
	return nil
}

// targetSize is how large an object a delta makes: its second number (gitformat-pack.txt, "Deltified
// representation"). PatchDelta does not go beyond it. It is math.MaxInt64 if there is none.
func targetSize(delta []byte) int64 {
	_, n := binary.Uvarint(delta)
	if n <= 0 {
		return math.MaxInt64
	}
	size, n := binary.Uvarint(delta[n:])
	if n <= 0 || size > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(size)
}

// inflate reads one object, or the delta itself.
func inflate(scanner *packfile.Scanner, e *packEntry) ([]byte, error) {
	if e.length > maxDeltaBase {
		return nil, fmt.Errorf("%w: an object of %d bytes is part of a delta", errBadPack, e.length)
	}
	if _, err := scanner.SeekObjectHeader(e.offset); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadPack, err)
	}
	var b bytes.Buffer
	if _, _, err := scanner.NextObject(&b); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadPack, err)
	}
	return b.Bytes(), nil
}
