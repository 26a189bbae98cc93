package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/overview"
	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

// How often the two repositories are asked while somebody watches: one small request each.
const (
	watchBranch  = 5 * time.Second
	watchReports = 3 * time.Second
)

// follower follows the fleet repository and the reports of its clusters.
type follower struct {
	dir      string // for what is fetched; goes with close
	source   *gitsource.Source
	reader   *statusbus.Reader
	progress *waiting
}

// newFollower prepares to read. Nothing is kept between runs: a person's view starts from what the server says.
func newFollower(ctx context.Context, repo, reports gitsource.Options) (f *follower, err error) {
	f = new(follower)
	if f.dir, err = os.MkdirTemp("", "holdfast-status-"); err != nil {
		return nil, fmt.Errorf("make room for what is fetched: %w", err)
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	remote, err := gitsource.NewRemote(reports)
	if err != nil {
		return nil, misusef("--status-repo: %w", err)
	}
	f.reader, err = statusbus.NewReader(statusbus.ReaderOptions{
		Remote: remote, Dir: filepath.Join(f.dir, "reports"), AllowedSigners: statusbus.AllowedSignersFrom(reports.CredentialsDir),
		Interval: watchReports, Slow: watchReports,
	})
	if err != nil {
		return nil, err
	}
	repo.DataDir = filepath.Join(f.dir, "fleet")
	f.source, err = gitsource.Open(ctx, repo)
	return f, err
}

func (f *follower) close() {
	if f.source != nil {
		_ = f.source.Close() // goes with the folder
	}
	_ = os.RemoveAll(f.dir) // is in the system's folder for temporary files
}

// shower shows what is known, and tells whether that was all.
type shower func(*sight) (done bool, err error)

// run follows until show is done or fails, or ctx ends.
func (f *follower) run(ctx context.Context, show shower) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = f.source.Run(ctx) }) // fails never
	running.Go(func() { _ = f.reader.Run(ctx) }) // fails never
	f.reader.Ask(nil, true)

	s := newSight()
	lags := make(chan lagsOf, 1)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			f.progress.end()
			return ctx.Err()
		case u := <-f.source.Updates():
			s.takeBranch(u)
		case v := <-f.reader.Updates():
			s.takeReports(v, clock())
		case l := <-lags:
			if s.takeLags(l) {
				f.source.Poll() // a cluster may have seen a newer commit
			}
		case <-second.C:
			f.progress.tell()
		}
		if head, commits := s.ask(); len(commits) > 0 {
			running.Go(func() {
				found, err := f.source.Lags(ctx, head, commits)
				lags <- lagsOf{head.Commit, commits, found, err}
			})
		}
		if !s.begun() {
			continue
		}
		f.progress.end()
		if done, err := show(s); done || err != nil {
			return err
		}
	}
}

// sight is what has been seen of a fleet so far. It belongs to one goroutine.
type sight struct {
	// Of the branch: whether it was asked for, and what it has.
	branch  bool
	head    *gitsource.Snapshot
	fleet   *fleet.Fleet
	loader  *fleet.Loader
	problem string

	// Of the reports: whether they were asked for, the newest view, when the last good one came, and since when
	// each report has been there.
	reports bool
	view    statusbus.View
	readAt  time.Time
	noticed map[string]notice

	// Of the distance between the two.
	asking     bool
	lags       map[string]gitsource.Lag // of head
	failed     []string                 // of lags: to be asked for again
	lagProblem string
}

// notice is that a report was there, by its time, and since when.
type notice struct{ dated, since time.Time }

// lagsOf is an answer.
type lagsOf struct {
	head    string
	commits []string
	lags    map[string]gitsource.Lag
	err     error
}

func newSight() *sight {
	return &sight{loader: fleet.NewLoader(), noticed: map[string]notice{}, lags: map[string]gitsource.Lag{}}
}

// begun tells that both repositories have been asked.
func (s *sight) begun() bool { return s.branch && s.reports }

// complete tells that nothing is being asked for.
func (s *sight) complete() bool { return s.begun() && !s.asking }

// takeBranch takes over news of the branch. What was known before stays where nothing better is.
func (s *sight) takeBranch(u gitsource.Update) {
	s.branch = true
	if u.Err != nil {
		s.problem = "the fleet repository cannot be read: " + u.Err.Error()
		return
	}
	if s.head == nil || s.head.Commit != u.Snapshot.Commit {
		s.lags, s.failed, s.lagProblem = map[string]gitsource.Lag{}, nil, ""
	}
	s.head, s.problem = u.Snapshot, ""
	loaded, err := s.loader.Load(u.Snapshot)
	if err != nil {
		hint := ""
		if errors.Is(err, fleet.ErrNoFleet) {
			hint = " (is --path right?)"
		}
		s.problem = fmt.Sprintf("the fleet's files at %s cannot be used: %v%s", u.Snapshot.Commit, err, hint)
		return
	}
	s.fleet = loaded
}

// takeReports takes over what was read of the status repository.
func (s *sight) takeReports(v statusbus.View, now time.Time) {
	s.reports, s.view = true, v
	if v.Err == nil {
		s.readAt = now
	}
	for _, commit := range s.failed {
		delete(s.lags, commit)
	}
	s.failed = nil
	for cluster, seen := range v.Clusters {
		if seen.Report != nil && !s.noticed[cluster].dated.Equal(seen.Report.Time) {
			s.noticed[cluster] = notice{seen.Report.Time, now}
		}
	}
}

// ask returns the commits that are to be compared with a head, if that is not under way.
func (s *sight) ask() (head *gitsource.Snapshot, commits []string) {
	if s.asking || s.head == nil {
		return nil, nil
	}
	for _, seen := range s.view.Clusters {
		if seen.Report == nil {
			continue
		}
		if _, ok := s.lags[seen.Report.Commit]; !ok {
			commits = append(commits, seen.Report.Commit)
		}
	}
	s.asking = len(commits) > 0
	return s.head, commits
}

// takeLags takes over an answer, and tells whether the branch may have moved on.
func (s *sight) takeLags(l lagsOf) (ahead bool) {
	s.asking = false
	if l.head != s.head.Commit {
		return false
	}
	for _, commit := range l.commits {
		lag := l.lags[commit]
		s.lags[commit] = lag
		ahead = ahead || lag.Standing == gitsource.Ahead || lag.Standing == gitsource.Apart
		if l.err != nil && lag.Standing == gitsource.Unsettled {
			s.failed = append(s.failed, commit)
		}
	}
	s.lagProblem = ""
	if l.err != nil {
		s.lagProblem = "how far clusters are behind cannot be found out: " + l.err.Error()
	}
	return ahead
}

// input is what an overview is made of.
func (s *sight) input(now time.Time, only selection) overview.Input {
	in := overview.Input{
		Fleet: s.fleet, Now: now, Seen: s.view.Clusters, Lags: s.lags, Noticed: map[string]time.Time{}, Select: only,
		Read: s.view.Err == nil || len(s.view.Clusters) > 0,
	}
	if s.head != nil {
		in.Head = s.head.Commit
	}
	for cluster, r := range s.noticed {
		in.Noticed[cluster] = r.since
	}
	in.Problems = []string{s.problem, "", s.lagProblem}
	if s.view.Err != nil {
		in.Problems[1] = "the reports cannot be read: " + s.view.Err.Error()
		if !s.readAt.IsZero() {
			// Nobody is silent because nothing can be heard.
			in.Now = s.readAt
			in.Problems[1] += "; what follows is of " + s.readAt.Format(time.TimeOnly)
		}
	}
	return in
}
