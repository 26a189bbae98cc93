package gitsource

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

const enough = 1 << 20

// publish pushes a commit with these files to a ref.
func (f *fixture) publish(ref string, files map[string]string) plumbing.Hash {
	f.t.Helper()
	h, objects := onlyCommit(f.t, files)
	r := f.remote(Options{URL: f.repo.URL()})
	must(f.t, r.Push(f.t.Context(), new(Traffic), Push{Ref: ref, New: h, Objects: objects}))
	return h
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) > 0 {
		t.Errorf("%s is left in the folder for temporary stores", entries[0].Name())
	}
}

func TestFetchTips(t *testing.T) {
	for _, old := range []bool{false, true} {
		f := setup(t, gittest.Options{})
		f.server.SetOldProtocol(old)
		one := f.publish(testRef+"-1", map[string]string{"status.json": "one", "also": "x"})
		two := f.publish(testRef+"-2", map[string]string{"status.json": strings.Repeat("two", 1000)})
		for name, r := range f.transports() {
			t.Run(fmt.Sprintf("%s, old protocol %v", name, old), func(t *testing.T) {
				dir := t.TempDir()
				var cost Traffic
				tips, err := r.FetchTips(t.Context(), &cost, dir, []plumbing.Hash{one, two}, enough)
				must(t, err)
				t.Logf("%+v", cost)
				for h, want := range map[plumbing.Hash]string{one: "one", two: strings.Repeat("two", 1000)} {
					c, err := tips.Commit(h)
					must(t, err)
					if c.Committer.Name != "holdfast" || len(c.ParentHashes) != 0 {
						t.Errorf("the commit is %+v", c)
					}
					if got, err := tips.ReadFile(c, "status.json", enough); err != nil || string(got) != want {
						t.Errorf("status.json is %q, %v", got, err)
					}
					if _, err := tips.ReadFile(c, "status.json", 2); err == nil || !strings.Contains(err.Error(), "bytes are more than") {
						t.Errorf("a file above the limit gives %v", err)
					}
					if _, err := tips.ReadFile(c, "none", enough); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("a file that is not there gives %v", err)
					}
				}
				must(t, tips.Close())
				wantEmpty(t, dir)
			})
		}
	}
}

// What is known of the server is used: the refs, which have just been asked for, are not asked for again.
func TestFetchTipsIsOneRequest(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	must(t, f.repo.AddRefs("refs/holdfast/status/cluster", 1000))
	h := f.publish(testRef, map[string]string{"status.json": "one"})
	r := f.remote(Options{URL: f.repo.URL()})
	_, err := r.ListRefs(t.Context(), new(Traffic), testRef)
	must(t, err)
	f.server.ResetRequests()
	var cost Traffic
	tips, err := r.FetchTips(t.Context(), &cost, t.TempDir(), []plumbing.Hash{h}, enough)
	must(t, err)
	must(t, tips.Close())
	requests := f.server.Requests()
	if len(requests) != 1 || requests[0].Command != "fetch" || requests[0].Sent > 1000 || cost.Bytes != requests[0].Sent {
		t.Errorf("the requests are %+v, told as %+v", requests, cost)
	}
	t.Logf("one commit among 1,000 refs: %+v", cost)
}

func TestTipsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	r := f.remote(Options{URL: f.repo.URL()})
	dir := t.TempDir()
	fetch := func(limit int64, tips ...plumbing.Hash) (*Tips, error) {
		f, err := r.FetchTips(t.Context(), new(Traffic), dir, tips, limit)
		if err == nil {
			t.Cleanup(func() { _ = f.Close() })
		}
		return f, err
	}
	random := make([]byte, 100_000)
	for i := range random {
		random[i] = byte(i * i >> 3)
	}
	large := f.publish(testRef+"-large", map[string]string{"status.json": string(random)})
	bomb := f.publish(testRef+"-bomb", map[string]string{"status.json": strings.Repeat("0", 10<<20)})
	for name, h := range map[string]plumbing.Hash{"large": large, "bomb": bomb} {
		if _, err := fetch(50_000, h); KindOf(err) != KindTooLarge || !strings.Contains(err.Error(), "50000 bytes") {
			t.Errorf("%s: above the limit gives %v", name, err)
		}
	}
	if _, err := fetch(enough, plumbing.NewHash(strings.Repeat("ab", 20))); KindOf(err) != KindProtocol {
		t.Errorf("a commit that the server does not have gives %v", err)
	}
	if _, err := fetch(enough); err == nil {
		t.Error("no commit at all can be fetched")
	}
	must(t, f.server.Stop())
	if _, err := fetch(enough, large); KindOf(err) != KindUnreachable {
		t.Errorf("without a server: %v", err)
	}
	must(t, f.server.Resume())
	wantEmpty(t, dir)

	// What a ref points at need not be a commit, nor hold plain files.
	blob, err := f.repo.Git("rev-parse", "main:fleet.yaml")
	must(t, err)
	_, err = f.repo.Git("update-ref", testRef+"-blob", blob)
	must(t, err)
	tips, err := fetch(enough, plumbing.NewHash(blob))
	must(t, err)
	if _, err := tips.Commit(plumbing.NewHash(blob)); err == nil || !strings.Contains(err.Error(), "no commit") {
		t.Errorf("a file in place of a commit gives %v", err)
	}
	odd := f.commit(gittest.Orphan(), gittest.On("odd"), gittest.Write("folder/x", "x"), gittest.Symlink("link", "folder/x"),
		gittest.Submodule("sub", strings.Repeat("ab", 20)))
	tips, err = fetch(enough, plumbing.NewHash(odd))
	must(t, err)
	c, err := tips.Commit(plumbing.NewHash(odd))
	must(t, err)
	for _, name := range []string{"folder", "link", "sub"} {
		if _, err := tips.ReadFile(c, name, enough); err == nil || !strings.Contains(err.Error(), "not a plain file") {
			t.Errorf("%s gives %v", name, err)
		}
	}
}

// rawPack is a pack of entries as they are, each with its type and inflated content.
func rawPack(t *testing.T, entries ...[2]string) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("PACK")
	_ = binary.Write(&b, binary.BigEndian, []uint32{2, uint32(len(entries))})
	for _, e := range entries {
		size := len(e[1])
		first := e[0][0]<<4 | byte(size&15)
		for size >>= 4; size > 0; size >>= 7 {
			b.WriteByte(first | 0x80)
			first = byte(size & 0x7f)
		}
		b.WriteByte(first)
		b.WriteString(e[0][1:])
		z := zlib.NewWriter(&b)
		_, err := z.Write([]byte(e[1]))
		must(t, err)
		must(t, z.Close())
	}
	sum := sha1.Sum(b.Bytes())
	return append(b.Bytes(), sum[:]...)
}

// A few bytes of a delta can make an object of any size out of its base.
func TestDeltasAreWithinTheLimit(t *testing.T) {
	t.Parallel()
	base := strings.Repeat("x", 1000)
	id := plumbing.ComputeHash(plumbing.BlobObject, []byte(base))
	grow := func(times int) string {
		delta := string(binary.AppendUvarint(binary.AppendUvarint(nil, 1000), uint64(1000*times)))
		return delta + strings.Repeat("\xb0\xe8\x03", times) // copy 1,000 bytes from the start
	}
	take := func(limit int64, pack []byte) error {
		st, err := temporaryStore(t.TempDir())
		must(t, err)
		_, err = receivePack(t.Context(), bytes.NewReader(pack), st, intake{limit: limit, temporary: true})
		return err
	}
	blob := [2]string{"\x03", base}
	delta := func(content string) [2]string { return [2]string{"\x07" + string(id[:]), content} }
	if err := take(100_000, rawPack(t, blob, delta(grow(50)))); err != nil {
		t.Errorf("a delta within the limit: %v", err)
	}
	if err := take(100_000, rawPack(t, blob, delta(grow(200)))); KindOf(classify(t.Context(), "", address{}, nil, err)) != KindTooLarge {
		t.Errorf("a delta above the limit: %v", err)
	}
	var many [][2]string
	for range 1000 {
		many = append(many, [2]string{"\x03", ""})
	}
	if err := take(100_000, rawPack(t, many...)); KindOf(classify(t.Context(), "", address{}, nil, err)) != KindTooLarge {
		t.Errorf("very many empty objects: %v", err)
	}
	for name, broken := range map[string]string{"no size": "\xe8", "endless size": "\xe8\x07" + strings.Repeat("\xff", 12), "far beyond": grow(0)[:2] + "\xff\xff\xff\xff\xff\x7f"} {
		if err := take(0, rawPack(t, blob, delta(broken))); !errors.Is(err, errBadPack) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if matches, _ := filepath.Glob(filepath.Join(os.TempDir(), "tips-*")); len(matches) > 0 {
		t.Errorf("stores outside of their folder: %v", matches)
	}
}
