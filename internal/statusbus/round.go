package statusbus

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/status"
)

const (
	// readAgain is when a commit that could not be fetched is tried again, if it is still there.
	readAgain = time.Minute
	// maxRequests bounds a round. What is left is read in the next one.
	maxRequests = 200
	// maxTogether bounds what is fetched in one request, in clusters.
	maxTogether = 200
)

// memory is what Reader knows.
type memory struct {
	signers  *AllowedSigners // nil: signatures are not asked for
	content  []byte          // that they were read from
	loaded   bool
	clusters map[string]*cluster
}

// cluster is what is known of one cluster.
type cluster struct {
	name string
	// ref is what its ref was when it was last listed, at listed; zero is that it had none.
	ref    plumbing.Hash
	listed time.Time
	// elsewhere is when its ref was last listed as something else; zero is never.
	elsewhere time.Time
	// judged tells that what ref points at has been read. Until then it is to be read, but not before again.
	judged bool
	again  time.Time

	seen Seen
}

func (m *memory) view() map[string]Seen {
	out := make(map[string]Seen, len(m.clusters))
	for name, c := range m.clusters {
		out[name] = c.seen
	}
	return out
}

// look lists the refs and reads what has moved.
func (r *Reader) look(ctx context.Context, q question, round *Round) error {
	if err := r.loadSigners(); err != nil {
		return err
	}
	refs, err := r.remote.list(ctx, &round.Traffic, q.prefixes())
	if err != nil {
		return fmt.Errorf("read status: %w", err)
	}
	// A ref may have moved right after the server was asked, so that is the time of what it said.
	var moved []*cluster
	moved, round.Listed = r.memory.note(q, r.own(refs), round.Start)
	return r.read(ctx, moved, round)
}

// loadSigners reads whose signatures are believed. When that changes, nothing is believed any more until it
// has been read and judged anew.
func (r *Reader) loadSigners() error {
	content, err := r.allowedSigners()
	if err != nil {
		return fmt.Errorf("read status: %w", err)
	}
	m := &r.memory
	if m.loaded && (content == nil) == (m.content == nil) && bytes.Equal(content, m.content) {
		return nil
	}
	m.loaded, m.content, m.signers = true, content, nil
	if content != nil {
		if m.signers, err = ParseAllowedSigners(content); err != nil {
			r.o.Log.Warn().Err(err).Msg("a line of the allowed signers cannot be used")
		}
	}
	for _, c := range m.clusters {
		c.judged, c.again, c.seen = c.ref.IsZero(), time.Time{}, Seen{}
	}
	return nil
}

// allowedSigners reads the allowed-signers file; nil is that signatures are not asked for. A file that was there
// may have been lost by mistake, and then whoever can push would be believed: only a restart does without it.
func (r *Reader) allowedSigners() ([]byte, error) {
	if r.o.AllowedSigners == nil {
		return nil, nil
	}
	content, err := r.o.AllowedSigners()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read whose signatures are believed: %w", err)
	case content == nil && r.signed:
		return nil, fmt.Errorf("%s is gone from the credentials, and unsigned reports are not believed because of that: put it back, "+
			"or restart if signatures are not to be asked for any more", AllowedSignersFile)
	}
	r.signed = content != nil
	return content, nil
}

// own returns the refs by the clusters they are of, without this cluster.
func (r *Reader) own(refs []gitsource.Ref) map[string]plumbing.Hash {
	out := make(map[string]plumbing.Hash, len(refs))
	for _, ref := range refs {
		if name, ok := clusterOf(ref.Name); ok && name != r.o.Cluster {
			out[name] = ref.Hash
		}
	}
	return out
}

// note takes over a list of refs, and forgets what is not asked for. It returns the clusters that are to be
// read, sorted by name, and how many have a ref.
func (m *memory) note(q question, refs map[string]plumbing.Hash, at time.Time) (moved []*cluster, listed int) {
	if m.clusters == nil {
		m.clusters = map[string]*cluster{}
	}
	for name := range m.clusters {
		if !q.about(name) {
			delete(m.clusters, name)
		}
	}
	for _, name := range q.clusters {
		m.add(name, refs[name], at)
	}
	for name, ref := range refs {
		if q.about(name) {
			m.add(name, ref, at)
			listed++
		}
	}
	for name, c := range m.clusters {
		c.note(refs[name], at)
		if !c.judged && !at.Before(c.again) {
			moved = append(moved, c)
		}
	}
	slices.SortFunc(moved, func(a, b *cluster) int { return strings.Compare(a.name, b.name) })
	return moved, listed
}

// add begins to know a cluster. That says nothing about when its ref came to be what it is.
func (m *memory) add(name string, ref plumbing.Hash, at time.Time) {
	if m.clusters[name] == nil {
		m.clusters[name] = &cluster{name: name, ref: ref, listed: at, judged: ref.IsZero()}
	}
}

// note takes over what the cluster's ref is now.
func (c *cluster) note(ref plumbing.Hash, at time.Time) {
	if ref != c.ref {
		c.elsewhere = c.listed
		c.ref, c.judged, c.again = ref, ref.IsZero(), time.Time{}
		if ref.IsZero() {
			c.seen.MovedAfter = time.Time{}
			c.seen.Problem = fmt.Sprintf("its ref %s was deleted: if that cluster's agent runs, see there why it does not publish", Ref(c.name))
		}
	}
	c.listed = at
}

// read reads what the clusters' refs point at, many together. What cannot be fetched is halved until it is
// one cluster that is at fault.
func (r *Reader) read(ctx context.Context, clusters []*cluster, round *Round) error {
	work := slices.Collect(slices.Chunk(clusters, maxTogether))
	left := 0
	for len(work) > 0 {
		part := work[0]
		work = work[1:]
		if round.Requests >= maxRequests {
			left += len(part)
			continue
		}
		err := r.fetch(ctx, part, round)
		switch {
		case err == nil:
		case !aboutContent(err):
			return fmt.Errorf("read status: %w", err)
		case len(part) == 1:
			r.take(part[0], found{err: err}, round)
		default:
			work = append(work, part[:len(part)/2], part[len(part)/2:])
		}
	}
	if left > 0 {
		return fmt.Errorf("read status: %d clusters are left for the next round, as some of the others publish what cannot be fetched", left)
	}
	return nil
}

// fetch reads what the clusters' refs point at in one request.
func (r *Reader) fetch(ctx context.Context, clusters []*cluster, round *Round) error {
	at := map[plumbing.Hash][]*cluster{}
	var commits []plumbing.Hash
	for _, c := range clusters {
		if at[c.ref] == nil {
			commits = append(commits, c.ref)
		}
		at[c.ref] = append(at[c.ref], c)
	}
	return r.remote.fetch(ctx, &round.Traffic, commits, limit(len(commits)), func(h plumbing.Hash, f found) {
		for _, c := range at[h] {
			r.take(c, f, round)
		}
	})
}

// limit bounds what is fetched of n commits, in bytes: one may be as large as a report can be.
func limit(n int) int64 { return status.MaxReportBytes + int64(n)<<18 }

// aboutContent tells whether an error may come from what a cluster has published.
func aboutContent(err error) bool {
	return slices.Contains([]gitsource.Kind{gitsource.KindTooLarge, gitsource.KindProtocol, gitsource.KindCorrupt}, gitsource.KindOf(err))
}

// take takes over what was found of a cluster, if it can be believed.
func (r *Reader) take(c *cluster, f found, round *Round) {
	now := time.Now()
	round.Read++
	var last time.Time
	if c.seen.Report != nil {
		last = c.seen.Report.Time
	}
	report, err := judge(c.name, f, r.memory.signers, now, last, c.elsewhere)
	c.judged = true
	if f.commit == nil {
		// It may be the server's fault: to be tried again, while the rest goes on.
		c.judged, c.again = false, now.Add(readAgain)
	}
	if err != nil {
		round.Ignored++
		if c.seen.Problem == "" {
			r.o.Log.Warn().Str("cluster", c.name).Str("commit", c.ref.String()).Str("reason", err.Error()).Msg("the status of a cluster is not believed")
		}
		c.seen.Problem = err.Error()
		return
	}
	if c.seen.Problem != "" {
		r.o.Log.Info().Str("cluster", c.name).Msg("the status of a cluster is believed again")
	}
	// What is no newer may be the same again, put there by anybody who may push.
	if c.seen.Report == nil || report.Time.After(last) {
		c.seen.MovedAfter = c.elsewhere
	}
	c.seen.Report, c.seen.Problem = &report, ""
}
