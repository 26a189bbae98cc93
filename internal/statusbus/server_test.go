package statusbus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	objects "github.com/go-git/go-git/v5/storage/memory"
	"github.com/rs/zerolog"
	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// server is a real Git server with a status repository.
type server struct {
	*gittest.Server
	t    testing.TB
	repo *gittest.Repo
	last map[string]plumbing.Hash // what each ref was last pushed to
}

func startServer(t testing.TB) *server {
	t.Helper()
	s, err := gittest.Start(gittest.Options{})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	repo, err := s.NewRepo("status")
	must(t, err)
	_, err = repo.Write("README.md", "What the clusters report.\n")
	must(t, err)
	return &server{Server: s, t: t, repo: repo, last: map[string]plumbing.Hash{}}
}

func (s *server) remote() *gitsource.Remote {
	s.t.Helper()
	r, err := gitsource.NewRemote(gitsource.Options{URL: s.repo.URL()})
	must(s.t, err)
	s.t.Cleanup(r.Close)
	return r
}

// push points a cluster's ref at a report, which may be of another one.
func (s *server) push(cluster string, report status.Report, signer ssh.Signer) {
	s.t.Helper()
	u := pushOf(s.t, report, signer)
	s.pushObjects(cluster, u.New, u.Objects)
}

func (s *server) pushObjects(cluster string, h plumbing.Hash, all []plumbing.EncodedObject) {
	s.t.Helper()
	u := gitsource.Push{Ref: Ref(cluster), Old: s.last[cluster], New: h, Objects: all}
	must(s.t, s.remote().Push(s.t.Context(), new(gitsource.Traffic), u))
	s.last[cluster] = h
}

// pushContent points a cluster's ref at a commit with this status.json.
func (s *server) pushContent(cluster, content string) {
	s.t.Helper()
	report := reportOf(cluster, time.Now())
	c, objects, err := newCommit(report, []byte(content))
	must(s.t, err)
	o := new(plumbing.MemoryObject)
	must(s.t, c.Encode(o))
	s.pushObjects(cluster, o.Hash(), append(objects, o))
}

func (s *server) git(args ...string) string {
	s.t.Helper()
	out, err := s.repo.Git(args...)
	must(s.t, err)
	return out
}

// read starts a Reader that asks often, and stops it when the test ends.
func (s *server) read(change func(*ReaderOptions)) *Reader {
	s.t.Helper()
	o := ReaderOptions{Remote: s.remote(), Dir: s.t.TempDir(), Interval: 50 * time.Millisecond, Log: zerolog.New(zerolog.NewTestWriter(s.t))}
	if change != nil {
		change(&o)
	}
	r, err := NewReader(o)
	must(s.t, err)
	start(s.t, r.Run)
	return r
}

// start runs something until the returned function is called, or the test ends.
func start(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return stop
}

// await takes views until one fits.
func await(t *testing.T, r *Reader, what string, fits func(View) bool) View {
	t.Helper()
	deadline := time.After(time.Minute) // bounds a test that hangs
	var last View
	for {
		select {
		case last = <-r.Updates():
			if fits(last) {
				return last
			}
		case <-deadline:
			t.Fatalf("no view with %s; the last one: %+v", what, last)
		}
	}
}

func TestPublishAndReadOverGit(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var ready atomic.Int32
	var reports atomic.Int64
	began := time.Now().Add(-time.Minute)
	p, err := NewPublisher(PublisherOptions{
		Remote: s.remote(), Cluster: "us-west", MinInterval: 10 * time.Millisecond, Gather: time.Millisecond,
		Report: func() status.Report {
			r := reportOf("us-west", began.Add(time.Duration(reports.Add(1))*time.Second)) // each is a second newer
			r.Apps[0].Replicas.Ready = ready.Load()
			return r
		},
		Log: zerolog.New(zerolog.NewTestWriter(t)),
	})
	must(t, err)
	r := s.read(func(o *ReaderOptions) { o.Cluster = "us-east" })
	r.Ask([]string{"us-west"}, false)
	if v := await(t, r, "an answer", func(v View) bool { return v.Asked }); v.Err != nil || v.Clusters["us-west"].Report != nil {
		t.Errorf("before anything is published: %+v", v)
	}
	stop := start(t, p.Run)
	v := await(t, r, "the first report", func(v View) bool { return v.Clusters["us-west"].Report != nil })
	if seen := v.Clusters["us-west"]; seen.Problem != "" || !seen.Fresh(time.Now()) || seen.Report.Apps[0].Name != "storefront" {
		t.Errorf("the first report: %+v", seen)
	}
	for n := range int32(5) {
		ready.Store(n)
		p.Changed()
		await(t, r, fmt.Sprintf("%d replicas", n), func(v View) bool { return v.Clusters["us-west"].Report.Apps[0].Replicas.Ready == n })
	}
	if got := s.git("show", Ref("us-west")+":"+File); !strings.Contains(got, `"ready": 4`) {
		t.Errorf("git shows\n%s", got)
	}
	if n := s.git("rev-list", "--count", Ref("us-west")); n != "1" {
		t.Errorf("the ref has a history of %s commits", n)
	}
	stop()

	// A restart overwrites what it left, and says nothing.
	var log lines
	again, err := NewPublisher(PublisherOptions{
		Remote: s.remote(), Cluster: "us-west", Log: log.logger(),
		Report: func() status.Report {
			r := reportOf("us-west", time.Now())
			r.Agent = "restarted"
			return r
		},
	})
	must(t, err)
	start(t, again.Run)
	await(t, r, "the report after a restart", func(v View) bool { return v.Clusters["us-west"].Report.Agent == "restarted" })
	if again.Err() != nil || log.count("another agent") != 0 {
		t.Errorf("after a restart: %v", again.Err())
	}
	if left, err := os.ReadDir(filepath.Join(r.o.Dir, storesDir)); err != nil || len(left) > 1 { // one may be in use
		t.Errorf("%d temporary stores are left, %v", len(left), err)
	}
}

func TestWhatOthersPublishIsJudged(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	key, stranger := newKey(t), newKey(t)
	now := time.Now()
	good := []string{"good", "compact"}
	s.push("good", reportOf("good", now), key)
	s.push("forged", reportOf("good", now), key)
	s.push("unsigned", reportOf("unsigned", now), nil)
	s.push("stranger", reportOf("stranger", now), stranger)
	s.push("future", reportOf("future", now.Add(time.Hour)), key)
	s.push("compact", reportOf("compact", now), key)
	unsigned := map[string]string{
		"malformed": `{"apiVersion": "holdfast.dev/v1alpha1"`,
		"empty":     "",
		"oversized": strings.Repeat(" ", status.MaxReportBytes+1),
		"bomb":      strings.Repeat(" ", 16<<20),
	}
	for cluster, content := range unsigned {
		s.pushContent(cluster, content)
	}
	folder := object.Tree{Entries: []object.TreeEntry{{Name: File, Mode: filemode.Dir, Hash: emptyTree(t).Hash()}}}
	top := new(plumbing.MemoryObject)
	must(t, folder.Encode(top))
	for cluster, tree := range map[string]*plumbing.MemoryObject{"no-file": emptyTree(t), "folder": top} {
		_, c := bareCommit(cluster, now)
		c.TreeHash = tree.Hash()
		o := new(plumbing.MemoryObject)
		must(t, c.Encode(o))
		s.pushObjects(cluster, o.Hash(), []plumbing.EncodedObject{emptyTree(t), tree, o})
	}
	s.git("update-ref", Ref("blob"), s.git("rev-parse", Ref("good")+":"+File))
	s.git("update-ref", Ref("no/cluster"), "main")
	s.git("tag", "-a", "-m", "a tag", "v1", Ref("good"))
	s.git("update-ref", Ref("tag"), "v1")

	problems := func(signers func() ([]byte, error)) map[string]string {
		t.Helper()
		clusters, err := ReadAll(t.Context(), ReaderOptions{Remote: s.remote(), Dir: t.TempDir(), AllowedSigners: signers, Log: zerolog.New(zerolog.NewTestWriter(t))})
		must(t, err)
		out := map[string]string{}
		for name, seen := range clusters {
			out[name] = seen.Problem
			if (seen.Report == nil) != (seen.Problem != "") {
				t.Errorf("%s: %+v", name, seen)
			}
		}
		return out
	}
	check := func(got, want map[string]string) {
		t.Helper()
		for name, says := range want {
			p, ok := got[name]
			if !ok || (p == "") != (says == "") || !strings.Contains(p, says) {
				t.Errorf("%s: the problem is %q, want %q", name, p, says)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d clusters, want %d", len(got), len(want))
		}
	}
	want := map[string]string{
		"good": "", "compact": "", "unsigned": "", "stranger": "",
		"forged": `the cluster "good"`, "future": "ahead of this machine's clock",
		"malformed": "malformed", "empty": "malformed", "oversized": "8388609 bytes are more than", "bomb": "more than the",
		"no-file": "holds no status.json", "folder": "not a plain file", "blob": "no commit", "tag": "no commit",
	}
	check(problems(nil), want)

	signers := allow(strings.Join(good, ",")+",forged,future", `namespaces="git"`, key)
	for name, says := range map[string]string{"unsigned": "not signed", "stranger": "does not list for it", "malformed": "not signed",
		"empty": "not signed", "oversized": "not signed", "no-file": "not signed", "folder": "not signed"} {
		want[name] = says
	}
	check(problems(func() ([]byte, error) { return []byte(signers), nil }), want)
}

func emptyTree(t testing.TB) *plumbing.MemoryObject {
	t.Helper()
	o := new(plumbing.MemoryObject)
	must(t, (&object.Tree{}).Encode(o))
	return o
}

func TestSignaturesAreGits(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("git checks SSH signatures with ssh-keygen, which is not installed")
	}
	t.Parallel()
	s := startServer(t)
	keys := t.TempDir()
	allowed := filepath.Join(keys, "allowed_signers")
	var list strings.Builder
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		// Keys as people make them.
		path := filepath.Join(keys, kind)
		if out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		public, err := os.ReadFile(path + ".pub")
		must(t, err)
		fmt.Fprintf(&list, "%s,git-%s namespaces=\"git\",valid-after=\"20200101\" %s", kind, kind, public)

		// Ours, for git.
		dir := t.TempDir()
		private, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, SigningKeyFile), private, 0o600))
		signer, err := SignerFrom(dir)()
		must(t, err)
		s.push(kind, reportOf(kind, time.Now()), signer)

		// Git's, for us.
		work := t.TempDir()
		git := func(args ...string) {
			t.Helper()
			_, err := gittest.Git(t.Context(), work, args...)
			must(t, err)
		}
		git("init", "-q", ".")
		report := pushOf(t, reportOf("git-"+kind, time.Now()), nil)
		must(t, os.WriteFile(filepath.Join(work, File), foundIn(t, report).content, 0o600))
		git("add", File)
		git("-c", "gpg.format=ssh", "-c", "user.signingKey="+path, "commit", "-q", "-S", "-m", "signed by git")
		git("push", "-q", s.repo.URL(), "HEAD:"+Ref("git-"+kind))
	}
	must(t, os.WriteFile(allowed, []byte(list.String()), 0o600))
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		// --raw has what was checked on standard error; the exit code says that it is good.
		s.git("-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", Ref(kind))
	}
	s.git("fsck", "--strict")
	clusters, err := ReadAll(t.Context(), ReaderOptions{Remote: s.remote(), AllowedSigners: AllowedSignersFrom(keys)})
	must(t, err)
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		for _, name := range []string{kind, "git-" + kind} {
			if seen := clusters[name]; seen.Report == nil || seen.Problem != "" {
				t.Errorf("%s: %+v", name, seen)
			}
		}
	}
	must(t, os.WriteFile(allowed, []byte(strings.ReplaceAll(list.String(), "20200101", "29990101")), 0o600))
	if _, err := s.repo.Git("-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", Ref("rsa")); err == nil {
		t.Error("git does not check what this test takes it to check")
	}
}

// fill puts the reports of n clusters into the repository.
func (s *server) fill(n int, at time.Time) {
	s.t.Helper()
	st := objects.NewStorage()
	var hashes []plumbing.Hash
	refs := map[string]string{}
	for i := range n {
		cluster := fmt.Sprintf("cluster-%04d", i)
		u := pushOf(s.t, reportOf(cluster, at), nil)
		refs[u.Ref] = u.New.String()
		s.last[cluster] = u.New
		for _, o := range u.Objects {
			h, err := st.SetEncodedObject(o)
			must(s.t, err)
			hashes = append(hashes, h)
		}
	}
	var pack bytes.Buffer
	_, err := packfile.NewEncoder(&pack, st, false).Encode(hashes, 0)
	must(s.t, err)
	must(s.t, s.repo.Import(&pack, refs))
}

func TestAThousandClustersOfWhichTwoAreWaitedFor(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.fill(1000, time.Now().Add(-time.Second))
	rounds := make(chan Round, 1000)
	r := s.read(func(o *ReaderOptions) {
		o.Interval, o.Slow = time.Hour, time.Hour // each round is asked for
		o.Observe = func(r Round) { rounds <- r }
	})
	step := func(what string, ask []string, all bool, requests int, bytes int64, read int) {
		t.Helper()
		s.ResetRequests()
		r.Ask(ask, all)
		round := <-rounds
		if round.Err != nil {
			t.Fatal(round.Err)
		}
		var sent int64
		for _, q := range s.Requests() {
			sent += q.Sent
		}
		t.Logf("%s: %d requests, %d bytes, %d read, %s", what, round.Requests, sent, round.Read, round.Duration.Round(time.Millisecond))
		if round.Requests > requests || sent > bytes || round.Bytes != sent || round.Read != read {
			t.Errorf("%s: at most %d requests and %d bytes and %d read, got %+v", what, requests, bytes, read, round)
		}
	}
	two := []string{"cluster-0007", "cluster-0999"}
	step("first look at two", two, false, 3, 3000, 2)
	// A third name that is not there brings about a round in which nothing has moved.
	step("nothing moved", append(two, "none"), false, 1, 400, 0)
	s.push("cluster-0999", reportOf("cluster-0999", time.Now()), nil)
	step("one moved", two, false, 2, 1500, 1)
	step("first look at all", nil, true, 6, 1<<20, 998)
	s.push("cluster-0003", reportOf("cluster-0003", time.Now()), nil)
	step("one of all moved", two[:1], true, 2, 100_000, 1)
}

func TestTheServerIsDownAndBack(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var reports atomic.Int64
	began := time.Now().Add(-time.Minute)
	p, err := NewPublisher(PublisherOptions{
		Remote: s.remote(), Cluster: "us-west", MinInterval: 10 * time.Millisecond, Gather: time.Millisecond,
		Report: func() status.Report {
			return reportOf("us-west", began.Add(time.Duration(reports.Add(1))*time.Second)) // each is a second newer
		},
	})
	must(t, err)
	start(t, p.Run)
	r := s.read(nil)
	r.Ask([]string{"us-west"}, false)
	first := await(t, r, "the first report", func(v View) bool { return v.Clusters["us-west"].Report != nil }).Clusters["us-west"].Report.Time
	must(t, s.Stop())
	v := await(t, r, "a failure", func(v View) bool { return v.Err != nil })
	if gitsource.KindOf(v.Err) != gitsource.KindUnreachable || v.Clusters["us-west"].Report == nil {
		t.Errorf("while it is down: %+v", v)
	}
	awaitErr := func(fits func(error) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !fits(p.Err()); {
			if time.Now().After(deadline) {
				t.Fatalf("the publisher's error is %v", p.Err())
			}
			time.Sleep(time.Millisecond)
		}
	}
	p.Changed()
	awaitErr(func(err error) bool { return gitsource.KindOf(err) == gitsource.KindUnreachable })
	must(t, s.Resume())
	await(t, r, "a newer report", func(v View) bool {
		return v.Err == nil && v.Clusters["us-west"].Report.Time.After(first)
	})
	awaitErr(func(err error) bool { return err == nil }) // the reader may be faster than the server's answer to the push
}

func TestAPushThatIsRefused(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	must(t, s.repo.RefusePushes("only people push here"))
	var log lines
	seen := make(chan PushAttempt, 100)
	p, err := NewPublisher(PublisherOptions{
		Remote: s.remote(), Cluster: "us-west", MinInterval: time.Millisecond, Log: log.logger(),
		Report:  func() status.Report { return reportOf("us-west", time.Now()) },
		Observe: func(a PushAttempt) { seen <- a },
	})
	must(t, err)
	start(t, p.Run)
	for range 2 {
		a := <-seen
		if gitsource.KindOf(a.Err) != gitsource.KindRefused || !strings.Contains(a.Err.Error(), "hook declined") || !strings.Contains(a.Err.Error(), "--status-repo") {
			t.Errorf("got %v", a.Err)
		}
	}
	if n := log.count("is not published"); n != 1 {
		t.Errorf("told %d times", n)
	}
	must(t, s.repo.RefusePushes(""))
	for a := range seen {
		if a.Err == nil {
			break
		}
	}
	s.AddFault(gittest.Fault{Status: 403, Command: "push", Times: 1})
	p.Changed()
	if a := <-seen; gitsource.KindOf(a.Err) != gitsource.KindAuth || !strings.Contains(a.Err.Error(), "may not push") {
		t.Errorf("got %v", a.Err)
	}
}

// What a process that was killed has left is gone after the next start; nothing else in the folder is touched.
func TestLeftoversAreRemoved(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	dir := t.TempDir()
	left := filepath.Join(dir, storesDir, "tips-1", "objects")
	must(t, os.MkdirAll(left, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "state.json"), nil, 0o600))
	s.push("us-west", reportOf("us-west", time.Now()), nil)
	r := s.read(func(o *ReaderOptions) { o.Dir = dir })
	r.Ask([]string{"us-west"}, false)
	await(t, r, "a report", func(v View) bool { return v.Clusters["us-west"].Report != nil })
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Error("an old store is left")
	}
	if _, err := os.Stat(filepath.Join(dir, "state.json")); err != nil {
		t.Error(err)
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, signed := range []bool{false, true} {
		b.Run(fmt.Sprintf("signed=%v", signed), func(b *testing.B) {
			s := startServer(b)
			s.fill(1000, noon)
			p, err := NewPublisher(PublisherOptions{Remote: s.remote(), Cluster: "us-west", Report: func() status.Report { return status.Report{} }})
			must(b, err)
			if signed {
				key := newKey(b)
				p.o.Signer = func() (ssh.Signer, error) { return key, nil }
			}
			at := noon
			b.ReportAllocs()
			for b.Loop() {
				at = at.Add(time.Second)
				must(b, p.publish(b.Context(), reportOf("us-west", at), new(PushAttempt)))
			}
		})
	}
}

// BenchmarkPublishWithGit is the reference: the git program pushes a commit that it has.
func BenchmarkPublishWithGit(b *testing.B) {
	s := startServer(b)
	s.fill(1000, noon)
	var commits []string
	for _, cluster := range []string{"one", "other"} {
		s.push(cluster, reportOf(cluster, noon), nil)
		commits = append(commits, s.last[cluster].String())
	}
	dir := b.TempDir()
	git := func(args ...string) {
		_, err := gittest.Git(b.Context(), dir, args...)
		must(b, err)
	}
	git("init", "-q", "--bare", ".")
	for _, c := range commits {
		git("fetch", "-q", "--depth=1", s.repo.URL(), c)
	}
	n := 0
	for b.Loop() {
		n++
		git("push", "-q", "--force", s.repo.URL(), commits[n%2]+":"+Ref("us-west"))
	}
}

// BenchmarkReadOneMoved is a round in which one of two clusters that are waited for has moved, among 1,000.
func BenchmarkReadOneMoved(b *testing.B) {
	s := startServer(b)
	at := time.Now().Add(-time.Hour)
	s.fill(1000, at)
	r, err := NewReader(ReaderOptions{Remote: s.remote(), Dir: b.TempDir()})
	must(b, err)
	q := newQuestion([]string{"cluster-0007", "cluster-0008"}, false, "")
	round := func() {
		if v := r.round(b.Context(), q); v.Err != nil || v.Clusters["cluster-0007"].Report == nil {
			b.Fatalf("%+v", v)
		}
	}
	round()
	for _, moved := range []bool{false, true} {
		b.Run(fmt.Sprintf("moved=%v", moved), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if moved {
					b.StopTimer()
					at = at.Add(time.Second)
					s.push("cluster-0007", reportOf("cluster-0007", at), nil)
					r.memory.clusters["cluster-0007"].elsewhere = time.Time{} // the reports are of old
					b.StartTimer()
				}
				round()
			}
		})
	}
}
