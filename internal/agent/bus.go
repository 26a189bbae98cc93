package agent

import (
	"context"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-dev/holdfast/internal/gate"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/metrics"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

// NoStatusRepo is Options.StatusRepo of an agent that neither reports nor reads reports.
const NoStatusRepo = "none"

// reports is what is known of other clusters when a commit is compiled.
type reports struct {
	others  map[string]gate.Observed
	asked   func(cluster string) bool
	unread  bool
	trouble string
	// never is set where there is no status bus.
	never bool
}

// bus is the loop's side of the status bus. The zero value is that of an agent without one.
type bus struct {
	publisher *statusbus.Publisher
	reader    *statusbus.Reader
	polls     *polls
	// off says why there is no bus.
	off string

	view statusbus.View
	// read tells that the reports of all clusters have been read since they were asked for.
	read bool
}

// newBus makes the two ends of the bus. report makes this cluster's report, record puts on record what it
// promises.
func newBus(o Options, m *metrics.Metrics, p *polls, report func() status.Report, record func(context.Context, status.Report) error) (bus, error) {
	if o.StatusRepo == NoStatusRepo {
		return bus{off: "they are switched off here: --status-repo none"}, nil
	}
	remote := func() (*gitsource.Remote, error) {
		return gitsource.NewRemote(gitsource.Options{
			URL: o.statusRepo(), CredentialsDir: o.statusCredentials(), UserAgent: userAgent(o), Log: o.Log,
		})
	}
	b := bus{polls: p}
	to, err := remote()
	if err != nil {
		return bus{}, err
	}
	b.publisher, err = statusbus.NewPublisher(statusbus.PublisherOptions{
		Remote: to, Cluster: o.Cluster, Report: report, Record: record, Signer: statusbus.SignerFrom(o.statusCredentials()),
		Heartbeat: o.Heartbeat,
		Log:       o.Log, Observe: func(a statusbus.PushAttempt) { m.StatusPushed(a.Duration, a.Err == nil) },
	})
	if err != nil {
		return bus{}, err
	}
	from, err := remote()
	if err != nil {
		return bus{}, err
	}
	b.reader, err = statusbus.NewReader(statusbus.ReaderOptions{
		Remote: from, Dir: filepath.Join(o.DataDir, "status"), Cluster: o.Cluster,
		AllowedSigners: statusbus.AllowedSignersFrom(o.statusCredentials()),
		Log:            o.Log, Observe: func(r statusbus.Round) { m.StatusRead(r.Bytes, r.Err == nil) },
	})
	return b, err
}

// run carries the bus until ctx ends.
func (b *bus) run(ctx context.Context, group *errgroup.Group) {
	if b.publisher != nil {
		group.Go(func() error { return b.publisher.Run(ctx) })
		group.Go(func() error { return b.reader.Run(ctx) })
	}
}

// updates delivers what was read; never anything without a bus.
func (b *bus) updates() <-chan statusbus.View {
	if b.reader == nil {
		return nil
	}
	return b.reader.Updates()
}

// changed says that others may wait to hear of this cluster.
func (b *bus) changed() {
	if b.publisher != nil {
		b.publisher.Changed()
	}
}

// ask has the reports read that the gates of a compilation wait for.
func (b *bus) ask(c *compilation) {
	if b.reader == nil {
		return
	}
	var all gate.Asks
	for _, a := range c.apps {
		all = all.And(a.asks)
	}
	b.reader.Ask(all.Clusters, all.All)
}

// take takes in what was read and tells whether it is news.
func (b *bus) take(v statusbus.View) bool {
	before := b.view
	b.view = v
	wasRead := b.read
	b.read = v.Covers("") && (wasRead || v.Err == nil)
	return b.read != wasRead || v.Asked != before.Asked || v.Covers("") != before.Covers("") || errorText(v.Err) != errorText(before.Err) ||
		!maps.Equal(v.Clusters, before.Clusters)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// reports is what the gates may go by at a head.
func (b *bus) reports(head string, now time.Time) reports {
	if b.reader == nil {
		return reports{unread: true, trouble: b.off, never: true}
	}
	r := reports{
		others: make(map[string]gate.Observed, len(b.view.Clusters)),
		asked:  b.view.Covers, unread: !b.read, trouble: errorText(b.view.Err),
	}
	for name, seen := range b.view.Clusters {
		// A report that names head was made after head was pushed, so after the last poll that did not find it.
		if unseen := b.polls.unseen(head); seen.Report != nil && seen.Report.Commit == head && unseen.After(seen.MovedAfter) {
			seen.MovedAfter = unseen
		}
		r.others[name] = gate.Observed{Report: seen.Report, Problem: seen.Problem, Fresh: seen.Fresh(now)}
	}
	return r
}

// polls remembers when the branch was asked for without finding a commit that it has now. It is safe for concurrent
// use.
type polls struct {
	mu   sync.Mutex
	last time.Time // the start of the last poll that was answered
	// found are the commits of the last polls, the newest last, each with the start of the last poll before.
	found []foundCommit
}

type foundCommit struct {
	commit string
	after  time.Time
}

// maxFound is how many commits are remembered: the loop may be behind by some.
const maxFound = 16

// note takes in a poll.
func (p *polls) note(a gitsource.Attempt) {
	if a.Err != nil || a.Commit == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.found) == 0 || p.found[len(p.found)-1].commit != a.Commit {
		p.found = append(p.found, foundCommit{a.Commit, p.last})
		p.found = p.found[max(0, len(p.found)-maxFound):]
	}
	p.last = a.Start
}

// unseen is when the branch was asked for last before it was found to have that commit; zero if that is not known.
func (p *polls) unseen(commit string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.found {
		if f.commit == commit {
			return f.after
		}
	}
	return p.last // the poll that has found it is not noted yet
}

// answered is when the branch was asked for last with an answer; zero if never.
func (p *polls) answered() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}
