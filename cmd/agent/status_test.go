package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/internal/overview"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

// publish does what an agent does: publish REPO CLUSTER FILE [KEY=VALUE...]
//
// It makes the file the report of a cluster in a bare repository. In it, AGO(90s) is that long ago, COMMIT(rev) is
// the id of a commit of the repository, and each KEY is replaced by its VALUE.
func publish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: publish REPO CLUSTER FILE [KEY=VALUE...]")
	}
	repo, content := ts.MkAbs(args[0]), ts.ReadFile(args[2])
	for _, pair := range args[3:] {
		key, value, _ := strings.Cut(pair, "=")
		content = strings.ReplaceAll(content, key, value)
	}
	git := func(stdin string, args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Stdin, cmd.Env = repo, strings.NewReader(stdin), gittest.Environment()
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			ts.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, stderr.String())
		}
		return strings.TrimSpace(string(out))
	}
	content = regexp.MustCompile(`AGO\((-?[0-9a-z]+)\)`).ReplaceAllStringFunc(content, func(s string) string {
		ago, err := time.ParseDuration(s[4 : len(s)-1])
		ts.Check(err)
		return time.Now().Add(-ago).UTC().Format(time.RFC3339)
	})
	content = regexp.MustCompile(`COMMIT\([^)]*\)`).ReplaceAllStringFunc(content, func(s string) string {
		return git("", "rev-parse", "--verify", s[7:len(s)-1]+"^{commit}")
	})
	blob := git(content, "hash-object", "-w", "--stdin")
	tree := git(fmt.Sprintf("100644 blob %s\t%s\n", blob, statusbus.File), "mktree")
	git("", "update-ref", statusbus.Ref(args[1]), git("", "commit-tree", "-m", "Status", tree))
}

// serve serves the repositories of a folder over HTTP, at $URL: serve DIR [USER PASSWORD]
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 && len(args) != 3 {
		ts.Fatalf("usage: serve DIR [USER PASSWORD]")
	}
	server, err := gittest.Start(gittest.Options{Dir: ts.MkAbs(args[0])})
	ts.Check(err)
	ts.Defer(func() { _ = server.Close() })
	if len(args) == 3 {
		server.SetBasicAuth(args[1], args[2])
	}
	ts.Setenv("URL", server.URL())
}

// What one look knows comes from several places at several times.
func TestSight(t *testing.T) {
	now := time.Now()
	s := newSight()
	if s.begun() || s.complete() {
		t.Error("nothing has been asked yet")
	}
	s.takeBranch(gitsource.Update{Err: fmt.Errorf("no network")})
	if s.begun() {
		t.Error("the reports have not been asked for")
	}
	at := func(commit string, dated time.Time) statusbus.View {
		return statusbus.View{Asked: true, Clusters: map[string]statusbus.Seen{"east": {Report: &status.Report{Cluster: "east", Commit: commit, Time: dated}}}}
	}
	dated := now.Add(-10 * time.Second)
	s.takeReports(at("aa", dated), now)
	if _, commits := s.ask(); len(commits) != 0 || !s.complete() {
		t.Errorf("without a head there is nothing to compare with: %v", commits)
	}
	in := s.input(now, nil)
	if in.Head != "" || in.Fleet != nil || !in.Read || !strings.Contains(in.Problems[0], "no network") {
		t.Errorf("%+v", in)
	}

	// The time since when a report is there goes on while it stays the same, and not while nobody can look.
	later := now.Add(time.Minute)
	s.takeReports(at("aa", dated), later)
	if got := s.input(later, nil).Noticed["east"]; !got.Equal(now) {
		t.Errorf("noticed %s", got.Sub(now))
	}
	failed := at("aa", dated)
	failed.Err = fmt.Errorf("the server is away")
	s.takeReports(failed, later.Add(time.Hour))
	if in := s.input(later.Add(time.Hour), nil); !in.Now.Equal(later) || !in.Read || !strings.Contains(strings.Join(in.Problems, "\n"), "the server is away; what follows is of") {
		t.Errorf("now is %s, %q", in.Now.Sub(now), in.Problems)
	}
	s.takeReports(at("aa", dated.Add(time.Second)), later)
	if got := s.input(later, nil).Noticed["east"]; !got.Equal(later) {
		t.Errorf("noticed %s", got.Sub(now))
	}

	// Distances are asked for once for each head, and again after a failure, with the next look at the reports.
	s.head = &gitsource.Snapshot{Commit: "hh"}
	ask := func() []string { _, commits := s.ask(); return commits }
	if commits := ask(); len(commits) != 1 || len(ask()) != 0 || s.complete() {
		t.Errorf("%v", commits)
	}
	s.takeLags(lagsOf{head: "hh", commits: []string{"aa"}, err: fmt.Errorf("the server is away")})
	if len(ask()) != 0 || !s.complete() || !strings.Contains(strings.Join(s.input(later, nil).Problems, "\n"), "cannot be found out") {
		t.Error("a failure is to be told, and tried again later")
	}
	s.takeReports(at("aa", dated), later)
	if len(ask()) != 1 {
		t.Error("it is not tried again")
	}
	if s.takeLags(lagsOf{head: "hh", commits: []string{"aa"}, lags: map[string]gitsource.Lag{"aa": {Standing: gitsource.Behind, Commits: 2}}}) {
		t.Error("nobody is ahead")
	}
	if len(ask()) != 0 || s.input(later, nil).Lags["aa"].Commits != 2 || s.lagProblem != "" {
		t.Errorf("%+v", s.lags)
	}
	s.takeReports(at("bb", dated), later)
	if len(ask()) != 1 || !s.takeLags(lagsOf{head: "hh", commits: []string{"bb"}, lags: map[string]gitsource.Lag{"bb": {Standing: gitsource.Ahead}}}) {
		t.Error("somebody is ahead")
	}
	s.head = &gitsource.Snapshot{Commit: "ii"}
	s.asking = true
	if s.takeLags(lagsOf{head: "hh", commits: []string{"cc"}, lags: map[string]gitsource.Lag{"cc": {Standing: gitsource.Ahead}}}) || s.asking {
		t.Error("an answer about another head counts")
	}
	if _, ok := s.lags["cc"]; ok {
		t.Error("an answer about another head is kept")
	}
}

// A warning is one line of what can be printed, whatever somebody wrote.
func TestWarningsAreLines(t *testing.T) {
	o := overview.New(overview.Input{Problems: []string{"the fleet\x1b[2J cannot be read:\n::error title=owned::pwn"}})
	var b bytes.Buffer
	new(statusFlags).warn(o, &b)
	if want := "warning: the fleet�[2J cannot be read: ::error title=owned::pwn\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// The temporary folder of a look is gone after it.
func TestFollowerLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	f, err := newFollower(t.Context(), gitsource.Options{URL: "file:///nowhere"}, gitsource.Options{URL: "file:///nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	f.progress = newWaiting(new(bytes.Buffer), "")
	if err := f.run(t.Context(), func(s *sight) (bool, error) { return s.complete(), nil }); err != nil {
		t.Error(err)
	}
	f.close()
	if _, err := newFollower(t.Context(), gitsource.Options{URL: "gopher://nowhere"}, gitsource.Options{URL: "file:///nowhere"}); err == nil {
		t.Error("a URL that is none is accepted")
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}
