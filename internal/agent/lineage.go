package agent

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

// history answers questions about the branch's commits from the data dir, and can bring what is missing there.
// It is *gitsource.Source.
type history interface {
	Ancestry(ctx context.Context, commit, ancestor string) (yes, known bool, err error)
	Between(ctx context.Context, since, head string) (commits []string, known bool, err error)
	Complete() bool
	Deepen(ctx context.Context) error
}

// lineage remembers what history has answered: what is known of two commits does not change. It is used by one
// compilation at a time.
type lineage struct {
	history history
	related map[[2]string]bool
	past    map[[2]string]past // by commit and app
	tried   time.Time          // when the history was last asked for

	// What came before one head: its commits by since, listed of them all, and what they placed, by since and app. To
	// ask again is to walk through the whole history, for each cluster that is waited for, each time that one reports.
	head   string
	ranges map[string][]string
	listed int
	spans  map[[2]string]map[string]bool
}

// past is what a commit says of an app.
type past struct {
	clusters []string
	// accepts is set if it acknowledges that the branch was rewritten.
	accepts bool
}

const (
	// maxRemembered bounds what is remembered of pairs of commits, of commits and apps, and of a head's history.
	maxRemembered = 100_000
	// deepenAgain is how long after an attempt to bring the whole history the next one may be.
	deepenAgain = 10 * time.Minute
)

func newLineage(h history) *lineage {
	return &lineage{history: h, related: map[[2]string]bool{}, past: map[[2]string]past{}}
}

// descends tells whether a commit is known to be, or to descend from, another. What the past of a commit
// that is here lacks is fetched; what is not here is likely to come with the next poll.
func (l *lineage) descends(ctx context.Context, commit, ancestor string) bool {
	if commit == ancestor {
		return true
	}
	key := [2]string{commit, ancestor}
	if yes, ok := l.related[key]; ok {
		return yes
	}
	yes, known, err := l.history.Ancestry(ctx, commit, ancestor)
	if err == nil && !known {
		if _, here, err := l.history.Ancestry(ctx, commit, commit); err == nil && here && l.deepen(ctx) {
			yes, known, err = l.history.Ancestry(ctx, commit, ancestor)
			known = known && err == nil
		}
	}
	if err == nil && known {
		remember(l.related, key, yes)
	}
	return yes && known && err == nil
}

// between lists the commits from since ("" is the very first) to head, both of them too; known is false where the
// history has them not.
func (l *lineage) between(ctx context.Context, since, head string) (commits []string, known bool) {
	if commits, ok := l.ranges[since]; ok && l.head == head {
		return commits, true
	}
	commits, known, err := l.history.Between(ctx, since, head)
	if err == nil && !known && l.deepen(ctx) {
		commits, known, err = l.history.Between(ctx, since, head)
	}
	if err != nil || !known {
		return nil, false
	}
	if since != "" {
		commits = append(commits, since)
	}
	l.turnTo(head)
	if l.listed+len(commits) <= maxRemembered { // what is there already is as good
		l.listed += len(commits)
		l.ranges[since] = commits
	}
	return commits, true
}

// turnTo forgets what came before another head.
func (l *lineage) turnTo(head string) {
	if l.head != head {
		l.head, l.listed, l.ranges, l.spans = head, 0, map[string][]string{}, map[[2]string]map[string]bool{}
	}
}

// deepen brings the whole history and tells whether that has brought anything.
func (l *lineage) deepen(ctx context.Context) bool {
	if l.history.Complete() || time.Since(l.tried) < deepenAgain {
		return false
	}
	l.tried = time.Now()
	return l.history.Deepen(ctx) == nil && l.history.Complete()
}

// placedSince lists the clusters on which any commit from since to head has placed an app. It is not known where
// agents may have been at commits that are not among these: since is not an ancestor of head, or one of them
// acknowledges that the branch was rewritten.
func (c *compiler) placedSince(ctx context.Context, since, head, app string) (clusters map[string]bool, known bool) {
	l := c.lineage
	key := [2]string{since, app}
	if clusters, ok := l.spans[key]; ok && l.head == head {
		return clusters, clusters != nil
	}
	if since != "" && !l.descends(ctx, head, since) {
		return nil, false
	}
	commits, known := l.between(ctx, since, head)
	if !known {
		return nil, false
	}
	clusters = map[string]bool{}
	for _, commit := range commits {
		p, known := c.pastOf(ctx, commit, app)
		if !known {
			return nil, false
		}
		if p.accepts {
			clusters = nil
			break
		}
		for _, name := range p.clusters {
			clusters[name] = true
		}
	}
	l.turnTo(head)
	remember(l.spans, key, clusters)
	return clusters, clusters != nil
}

// pastOf is what a commit said of an app. One that cannot be used, or whose file of the app cannot, places nothing:
// agents keep then what they have.
func (c *compiler) pastOf(ctx context.Context, commit, app string) (p past, known bool) {
	key := [2]string{commit, app}
	if p, ok := c.lineage.past[key]; ok {
		return p, true
	}
	t, err := c.tree(ctx, commit)
	if err != nil {
		return past{}, false
	}
	f, err := c.fleets.Load(t)
	broken := (*fleet.BrokenError)(nil)
	switch {
	case errors.Is(err, fleet.ErrNoFleet), errors.As(err, &broken):
	case err != nil:
		return past{}, false
	default:
		p.accepts = f.Settings.Spec.AcceptHistory != ""
		if a, ok := f.App(app); ok {
			if placed, err := f.Place(a); err == nil {
				p.clusters = placed.Clusters
			}
		}
	}
	remember(c.lineage.past, key, p)
	return p, true
}

func remember[K comparable, V any](m map[K]V, key K, value V) {
	if len(m) >= maxRemembered {
		clear(m)
	}
	m[key] = value
}
