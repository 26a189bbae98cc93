package gitsource

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// packFiles are the files of the current store's packs with this ending.
func packFiles(t *testing.T, s *Source, suffix string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.currentStore().packDir(), "*"+suffix))
	must(t, err)
	if len(files) == 0 {
		t.Fatal("the store has no packs")
	}
	return files
}

var damages = map[string]func(t *testing.T, s *Source){
	"pack removed": func(t *testing.T, s *Source) {
		for _, p := range packFiles(t, s, ".pack") {
			must(t, os.Remove(p))
		}
	},
	"index removed": func(t *testing.T, s *Source) {
		for _, p := range packFiles(t, s, ".idx") {
			must(t, os.Remove(p))
		}
	},
	"pack truncated": func(t *testing.T, s *Source) {
		for _, p := range packFiles(t, s, ".pack") {
			must(t, os.Chmod(p, 0o600))
			must(t, os.Truncate(p, 40))
		}
	},
	"garbage": func(t *testing.T, s *Source) {
		for _, p := range packFiles(t, s, ".pack") {
			must(t, os.Chmod(p, 0o600))
			b, err := os.ReadFile(p)
			must(t, err)
			for i := 12; i < len(b); i++ {
				b[i] ^= 0x55
			}
			must(t, os.WriteFile(p, b, 0o600))
		}
	},
	"whole clone removed": func(t *testing.T, s *Source) { must(t, os.RemoveAll(s.currentStore().dir)) },
	"state garbage": func(t *testing.T, s *Source) {
		must(t, os.WriteFile(filepath.Join(s.options.DataDir, stateFile), []byte("{"), 0o600))
	},
	"state names another store": func(t *testing.T, s *Source) {
		must(t, os.WriteFile(filepath.Join(s.options.DataDir, stateFile), []byte(`{"store":"../..","commit":"zz"}`), 0o600))
	},
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
			damage(t, s)
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
	damages["garbage"](t, s)
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
			damages[name](t, s)
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
	f.server.AddFault(gittest.Fault{Method: "POST", CutAfter: 90, Garbage: true, Times: 1})
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
	first, err := f.repo.Head("main")
	must(t, err)
	s := f.run()
	old := awaitCommit(t, s, first)
	var tip string
	most := 0
	for i := range 14 {
		tip = f.commit(gittest.Write("fleet.yaml", fmt.Sprintf("kind: Fleet # %d\n", i)))
		awaitCommit(t, s, tip)
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
	runtime.KeepAlive(old)
	old = nil
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
