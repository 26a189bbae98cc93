package gitsource

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// fixture is a server with one repository and the options of a source that follows it.
type fixture struct {
	t      *testing.T
	server *gittest.Server
	repo   *gittest.Repo
	opts   Options
}

func setup(t *testing.T, o gittest.Options) *fixture {
	t.Helper()
	server, err := gittest.Start(o)
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	repo, err := server.NewRepo("fleet")
	must(t, err)
	_, err = repo.Commit(gittest.Files(map[string]string{
		"fleet.yaml":                    "kind: Fleet\n",
		"clusters/us-east/cluster.yaml": "kind: Cluster\n",
		"apps/shop/app.yaml":            "kind: App\n",
	}))
	must(t, err)
	return &fixture{t: t, server: server, repo: repo, opts: Options{
		URL: repo.URL(), DataDir: t.TempDir(), Poll: 50 * time.Millisecond, UserAgent: "holdfast/test",
		Log: zerolog.New(zerolog.NewTestWriter(t)),
	}}
}

func (f *fixture) open() *Source {
	f.t.Helper()
	s, err := Open(f.t.Context(), f.opts)
	must(f.t, err)
	f.t.Cleanup(func() { _ = s.Close() })
	return s
}

// run opens the source and polls until the test ends.
func (f *fixture) run() *Source {
	f.t.Helper()
	s := f.open()
	runSource(f.t, s)
	return s
}

// runSource polls until the returned function is called or the test ends.
func runSource(t *testing.T, s *Source) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func (f *fixture) commit(changes ...gittest.Change) string {
	f.t.Helper()
	sha, err := f.repo.Commit(changes...)
	must(f.t, err)
	return sha
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// await takes updates until one fits.
func await(t *testing.T, s *Source, what string, fits func(Update) bool) Update {
	t.Helper()
	deadline := time.After(2 * time.Minute) // bounds a test that hangs
	var last Update
	for {
		select {
		case u := <-s.Updates():
			if fits(u) {
				return u
			}
			last = u
		case <-deadline:
			t.Fatalf("no update with %s; the last one: %+v", what, last)
		}
	}
}

func awaitCommit(t *testing.T, s *Source, sha string) *Snapshot {
	t.Helper()
	return await(t, s, "commit "+short(sha), func(u Update) bool {
		return u.Snapshot != nil && u.Snapshot.Commit == sha
	}).Snapshot
}

func awaitKind(t *testing.T, s *Source, kind Kind) error {
	t.Helper()
	return await(t, s, "an error of kind "+string(kind), func(u Update) bool { return KindOf(u.Err) == kind }).Err
}

func wantFile(t *testing.T, snap *Snapshot, path, want string) {
	t.Helper()
	got, err := snap.ReadFile(path)
	must(t, err)
	if string(got) != want {
		t.Fatalf("%s = %q, want %q", path, got, want)
	}
}

func TestFollowsABranch(t *testing.T) {
	for _, scheme := range []string{"http", "file"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			f := setup(t, gittest.Options{})
			if scheme == "file" {
				f.opts.URL = "file://" + f.repo.Dir
			}
			first, err := f.repo.Head("main")
			must(t, err)
			s := f.open()
			if _, ok := s.Head(); ok {
				t.Fatal("an empty data dir has a head")
			}
			stop := runSource(t, s)
			snap := awaitCommit(t, s, first)
			wantFile(t, snap, "fleet.yaml", "kind: Fleet\n")

			second := f.commit(gittest.Write("fleet.yaml", "kind: Fleet # 2\n"), gittest.Delete("apps/shop"))
			next := awaitCommit(t, s, second)
			wantFile(t, next, "fleet.yaml", "kind: Fleet # 2\n")
			wantFile(t, snap, "apps/shop/app.yaml", "kind: App\n")
			if _, err := next.Stat("apps/shop/app.yaml"); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("a deleted file gives %v", err)
			}

			// A restart knows the head without a server.
			stop()
			must(t, s.Close())
			must(t, f.server.Stop())
			again := f.open()
			head, ok := again.Head()
			if !ok || head.Commit != second {
				t.Fatalf("after a restart the head is %v", head)
			}
			wantFile(t, head, "clusters/us-east/cluster.yaml", "kind: Cluster\n")
		})
	}
}

func TestDataDirIsLocked(t *testing.T) {
	t.Parallel()
	f := setup(t, gittest.Options{})
	f.open()
	_, err := Open(t.Context(), f.opts)
	if err == nil || !strings.Contains(err.Error(), f.opts.DataDir) || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("the second source gets %v", err)
	}
}
