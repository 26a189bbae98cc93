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
	placed  map[[2]string][]string // clusters, by commit and app
	tried   time.Time              // when the history was last asked for
}

const (
	// maxRemembered bounds what is remembered of pairs of commits, and of commits and apps.
	maxRemembered = 100_000
	// deepenAgain is how long after an attempt to bring the whole history the next one may be.
	deepenAgain = 10 * time.Minute
)

func newLineage(h history) *lineage {
	return &lineage{history: h, related: map[[2]string]bool{}, placed: map[[2]string][]string{}}
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
	commits, known, err := l.history.Between(ctx, since, head)
	if err == nil && !known && l.deepen(ctx) {
		commits, known, err = l.history.Between(ctx, since, head)
	}
	if since != "" {
		commits = append(commits, since)
	}
	return commits, known && err == nil
}

// deepen brings the whole history and tells whether that has brought anything.
func (l *lineage) deepen(ctx context.Context) bool {
	if l.history.Complete() || time.Since(l.tried) < deepenAgain {
		return false
	}
	l.tried = time.Now()
	return l.history.Deepen(ctx) == nil && l.history.Complete()
}

// placedAt lists the clusters on which a commit places an app. A commit that cannot be used, or whose file
// of the app cannot, places nothing: agents keep then what they have.
func (c *compiler) placedAt(ctx context.Context, commit, app string) (clusters []string, known bool) {
	key := [2]string{commit, app}
	if clusters, ok := c.lineage.placed[key]; ok {
		return clusters, true
	}
	t, err := c.tree(ctx, commit)
	if err != nil {
		return nil, false
	}
	f, err := c.fleets.Load(t)
	broken := (*fleet.BrokenError)(nil)
	switch {
	case errors.Is(err, fleet.ErrNoFleet), errors.As(err, &broken):
	case err != nil:
		return nil, false
	default:
		if a, ok := f.App(app); ok {
			if placed, err := f.Place(a); err == nil {
				clusters = placed.Clusters
			}
		}
	}
	remember(c.lineage.placed, key, clusters)
	return clusters, true
}

func remember[K comparable, V any](m map[K]V, key K, value V) {
	if len(m) >= maxRemembered {
		clear(m)
	}
	m[key] = value
}
