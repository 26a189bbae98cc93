package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/holdfast-dev/holdfast/internal/kube"
)

// askAgain is how long a kind that is not served, or could not be asked for, is left alone. A request
// for an object of it that succeeds ends the wait.
const askAgain = 5 * time.Second

// resolve looks for the resources of kinds that have to be watched and are not yet.
func (l *loop) resolve(ctx context.Context, now time.Time) {
	if l.resolving || l.current == nil {
		return
	}
	wanted := l.engine.Kinds()
	var missing []schema.GroupVersionKind
	for gk, version := range wanted {
		if _, ok := l.kinds[gk]; !ok && !now.Before(l.unknown[gk]) {
			missing = append(missing, gk.WithVersion(version))
		}
	}
	stale := false
	for gk := range l.kinds {
		if _, ok := wanted[gk]; !ok {
			delete(l.kinds, gk)
			delete(l.syncing, gk)
			delete(l.watchErrs, gk)
			stale = true
		}
	}
	if stale && len(missing) == 0 {
		l.watcher.Watch(slices.Collect(maps.Values(l.kinds)))
	}
	if len(missing) == 0 {
		return
	}
	l.resolving = true
	l.work.Go(func() {
		rs := make([]resolution, 0, len(missing))
		for _, gvk := range missing {
			r := resolution{kind: gvk.GroupKind()}
			if gvk.Version == "" {
				r.resource, r.err = l.clients.Mapper.ResolveKind(ctx, gvk.GroupKind())
			} else {
				r.resource, r.err = l.clients.Mapper.Resolve(ctx, gvk)
			}
			rs = append(rs, r)
		}
		l.resolved <- rs
	})
}

// nextResolve is when the next kind that was not served is asked for again; zero if there is none.
func (l *loop) nextResolve() time.Time {
	var next time.Time
	for _, at := range l.unknown {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// watch starts the watches of what was resolved.
func (l *loop) watch(rs []resolution) {
	l.resolving = false
	for _, r := range rs {
		if r.err != nil {
			l.unknown[r.kind] = time.Now().Add(askAgain)
			if !meta.IsNoMatchError(r.err) {
				l.log.Warn().Str("gvk", r.kind.String()).Str("reason", kube.Explain(r.err)).Msg("find the kind's resource")
			}
			continue
		}
		delete(l.unknown, r.kind)
		l.kinds[r.kind] = r.resource
		l.engine.Served(r.kind)
		if l.current.unresolved[r.kind] {
			l.rescope = true
		}
		if r.resource.Watchable {
			l.syncing[r.kind] = true
		}
	}
	l.watcher.Watch(slices.DeleteFunc(slices.Collect(maps.Values(l.kinds)), func(r kube.Resource) bool { return !r.Watchable }))
}
