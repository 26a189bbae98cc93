package gitsource

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// eachPack does something to every file of the current store's packs with this ending.
func eachPack(s *Source, suffix string, do func(path string) error) error {
	files, err := filepath.Glob(filepath.Join(s.currentStore().packDir(), "*"+suffix))
	if err == nil && len(files) == 0 {
		err = errors.New("the store has no packs")
	}
	for _, path := range files {
		err = errors.Join(err, do(path))
	}
	return err
}

var damages = map[string]func(s *Source) error{
	"pack removed":  func(s *Source) error { return eachPack(s, ".pack", os.Remove) },
	"index removed": func(s *Source) error { return eachPack(s, ".idx", os.Remove) },
	"pack truncated": func(s *Source) error {
		return eachPack(s, ".pack", func(path string) error { return os.Truncate(path, 40) })
	},
	"garbage": func(s *Source) error {
		return eachPack(s, ".pack", func(path string) error {
			b, err := os.ReadFile(path)
			for i := 12; i < len(b); i++ {
				b[i] ^= 0x55
			}
			return errors.Join(err, os.WriteFile(path, b, 0o600))
		})
	},
	"whole clone removed": func(s *Source) error { return os.RemoveAll(s.currentStore().dir) },
	"state garbage":       func(s *Source) error { return spoilState(s, "{") },
	"state names another store": func(s *Source) error {
		return spoilState(s, `{"store":"../..","commit":"zz"}`)
	},
}

func spoilState(s *Source, content string) error {
	return os.WriteFile(filepath.Join(s.options.DataDir, stateFile), []byte(content), 0o600)
}

func TestDamageIsFoundAtOpenAndRepaired(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, gittest.Options{})
			head, err := f.repo.Head("main")
			must(t, err)
			s := f.open()
			stop := runSource(t, s)
			awaitCommit(t, s, head)
			stop()
			must(t, damage(s))
			must(t, s.Close())

			again := f.run()
			wantFile(t, awaitCommit(t, again, head), "fleet.yaml", "kind: Fleet\n")
			next := f.commit(gittest.Write("fleet.yaml", "kind: Fleet # 2\n"))
			wantFile(t, awaitCommit(t, again, next), "fleet.yaml", "kind: Fleet # 2\n")
		})
	}
}

func TestDamageKeepsTheVerifiedBase(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	base := f.commit(gittest.Write("a", "1"))
	s := f.open()
	stop := runSource(t, s)
	awaitCommit(t, s, base)
	stop()
	must(t, damages["garbage"](s))
	must(t, s.Close())
	// Meanwhile the branch is rewritten: losing the objects must not lose the refusal.
	f.commit(gittest.From(base+"~1"), gittest.Write("a", "other"))
	again := f.run()
	awaitKind(t, again, KindRewritten)
	must(t, f.repo.ForceBranch("main", base))
	tip := f.commit(gittest.Write("a", "2"))
	awaitCommit(t, again, tip)
}

func TestDamageIsFoundWhenReading(t *testing.T) {
	for _, name := range []string{"pack removed", "pack truncated", "garbage"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, gittest.Options{})
			head, err := f.repo.Head("main")
			must(t, err)
			f.opts.Poll = time.Hour // only the damage itself can cause the repair
			s := f.open()
			stop := runSource(t, s)
			snap := awaitCommit(t, s, head)
			stop()
			must(t, damages[name](s))
			must(t, s.currentStore().reload()) // forget open files

			if _, err := snap.ReadFile("apps/shop/app.yaml"); err == nil {
				t.Fatal("a damaged file can be read")
			} else if isAbsent(err) {
				t.Fatalf("a damaged file looks absent: %v", err)
			}
			runSource(t, s)
			awaitCommit(t, s, head)
			wantFile(t, snap, "apps/shop/app.yaml", "kind: App\n") // the old snapshot, from the new store
		})
	}
}

func isAbsent(err error) bool {
	return err != nil && (os.IsNotExist(err) || strings.Contains(err.Error(), fs.ErrNotExist.Error()))
}

func TestBrokenPackLeadsToAFreshClone(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	first, err := f.repo.Head("main")
	must(t, err)
	s := f.run()
	old := awaitCommit(t, s, first)
	store := s.currentStore()
	f.server.AddFault(gittest.Fault{Command: "fetch", CutAfter: 90, Garbage: true, Times: 1})
	next := f.commit(gittest.Write("fleet.yaml", "kind: Fleet # 2\n"))
	wantFile(t, awaitCommit(t, s, next), "fleet.yaml", "kind: Fleet # 2\n")
	if s.currentStore() == store {
		t.Error("the store that could not be extended is still the current one")
	}
	wantFile(t, old, "fleet.yaml", "kind: Fleet\n")
}

func TestCompaction(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	f.opts.MaxPacks = 5
	var seen attempts
	f.opts.Observe = seen.add
	first, err := f.repo.Head("main")
	must(t, err)
	s := f.run()
	old := awaitCommit(t, s, first)
	var tip string
	most := 0
	for i := range 14 {
		tip = f.commit(gittest.Write("fleet.yaml", fmt.Sprintf("kind: Fleet # %d\n", i)))
		awaitCommit(t, s, tip)
		seen.awaitMore(t, 1) // the commit is told before the compaction
		packs, _, err := s.currentStore().usage()
		must(t, err)
		most = max(most, packs)
	}
	if most > f.opts.MaxPacks+1 {
		t.Errorf("packs added up to %d", most)
	}
	wantFile(t, old, "fleet.yaml", "kind: Fleet\n") // from a store two compactions ago
	wantFile(t, old, "apps/shop/app.yaml", "kind: App\n")
	// A compaction does not forget what the branch must descend from.
	f.commit(gittest.From(tip+"~1"), gittest.Write("a", "rewritten"))
	awaitKind(t, s, KindRewritten)

	// Stores that no snapshot needs go away.
	deadline := time.Now().Add(10 * time.Second)
	for {
		runtime.GC()
		entries, err := os.ReadDir(filepath.Join(f.opts.DataDir, "git"))
		must(t, err)
		if len(entries) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d stores are left", len(entries))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestACompactionThatTheBranchOvertakesIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	var log lockedBuffer
	f.opts.Log = zerolog.New(&log)
	s := f.open()
	f.attempt(s)
	f.commit(gittest.Write("a", "1"))
	f.attempt(s)
	s.options.MaxPacks = 1
	tip := f.commit(gittest.Write("a", "2"))
	must(t, s.compactIfDue(t.Context(), nil, new(Attempt)))
	if packs, _, err := s.currentStore().usage(); err != nil || packs != 2 || strings.Contains(log.String(), "compacted") {
		t.Fatalf("%d packs, %v; the log:\n%s", packs, err, log.String())
	}
	f.attempt(s)
	if packs, _, err := s.currentStore().usage(); err != nil || packs != 1 {
		t.Errorf("the next poll leaves %d packs, %v", packs, err)
	}
	if head, _ := s.Head(); head.Commit != tip {
		t.Errorf("the head is %s", head.Commit)
	}
}

func TestLeftoversOfAKilledProcessAreSwept(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	head, err := f.repo.Head("main")
	must(t, err)
	s := f.open()
	stop := runSource(t, s)
	awaitCommit(t, s, head)
	stop()
	current := s.currentStore()
	must(t, s.Close())
	// Killed while receiving a pack, before its index was there, while cloning, and while writing the state.
	must(t, os.WriteFile(filepath.Join(current.packDir(), "tmp_pack_123"), []byte("PACK"), 0o600))
	must(t, os.WriteFile(filepath.Join(current.packDir(), "pack-"+strings.Repeat("ab", 20)+".pack"), []byte("PACK"), 0o600))
	must(t, os.MkdirAll(filepath.Join(f.opts.DataDir, "git", "20200101T000000.0", "objects", "pack"), 0o700))
	must(t, os.WriteFile(filepath.Join(f.opts.DataDir, ".state.json-1"), []byte("{"), 0o600))

	again := f.run()
	snap, ok := again.Head()
	if !ok || snap.Commit != head {
		t.Fatal("the head is gone")
	}
	wantFile(t, snap, "fleet.yaml", "kind: Fleet\n")
	awaitCommit(t, again, f.commit(gittest.Write("a", "1")))
	entries, err := os.ReadDir(filepath.Join(f.opts.DataDir, "git"))
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("%d clones are left", len(entries))
	}
	if packs, _, err := again.currentStore().usage(); err != nil || packs != 2 {
		t.Errorf("%d packs are left, %v", packs, err)
	}
	if _, err := os.Stat(filepath.Join(f.opts.DataDir, ".state.json-1")); err == nil {
		t.Error("an unfinished state file is left")
	}
}

// mistaken has the same blob for every id.
type mistaken string

func (mistaken) HasEncodedObject(plumbing.Hash) error             { return nil }
func (m mistaken) EncodedObjectSize(plumbing.Hash) (int64, error) { return int64(len(m)), nil }
func (m mistaken) EncodedObject(t plumbing.ObjectType, _ plumbing.Hash) (plumbing.EncodedObject, error) {
	o := new(plumbing.MemoryObject)
	o.SetType(t)
	_, err := o.Write([]byte(m))
	return o, err
}

func TestContentIsCheckedAgainstItsID(t *testing.T) {
	// A whole, readable object under another one's id.
	st := &store{objects: mistaken("abc")}
	id := strings.Repeat("ab", 20)
	if _, err := st.read(plumbing.BlobObject, plumbing.NewHash(id), 0); !isCorrupt(err) {
		t.Errorf("got %v", err)
	}
}
