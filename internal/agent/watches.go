package agent

import (
	"context"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"

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
		if _, ok := wanted[gk]; ok {
			continue
		}
		delete(l.kinds, gk)
		delete(l.syncing, gk)
		delete(l.watchErrs, gk)
		delete(l.watchDown, gk)
		stale = true
	}
	if stale && len(missing) == 0 {
		l.watchKinds()
	}
	if len(missing) == 0 {
		return
	}
	l.resolving = true
	l.work.Go(func() {
		rs := make([]resolution, 0, len(missing))
		for _, gvk := range missing {
			resource, err := l.resolveKind(ctx, gvk)
			rs = append(rs, resolution{gvk.GroupKind(), resource, err})
		}
		l.resolved <- rs
	})
}

// resolveKind asks the API server for a kind's resource: in the version, or if it has none in the preferred one.
func (l *loop) resolveKind(ctx context.Context, gvk schema.GroupVersionKind) (kube.Resource, error) {
	if gvk.Version == "" {
		return l.clients.Mapper.ResolveKind(ctx, gvk.GroupKind())
	}
	return l.clients.Mapper.Resolve(ctx, gvk)
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

// served takes in which kinds are served, and watches them.
func (l *loop) served(rs []resolution) {
	l.resolving = false
	for _, r := range rs {
		if r.err != nil {
			l.unknown[r.kind] = time.Now().Add(askAgain)
			if !meta.IsNoMatchError(r.err) {
				l.log.Warn().Str("gvk", r.kind.String()).Str("reason", kube.Explain(r.err)).Msg("find the kind's resource")
			}
			l.dirtyAppsOf(r.kind, time.Now())
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
		} else {
			l.dirtyAppsOf(r.kind, time.Now())
		}
	}
	l.watchKinds()
}

// pending tells that a kind's list is not in yet and that nothing is known to be in its way.
func (l *loop) pending(gk schema.GroupKind) bool {
	_, known := l.kinds[gk]
	return l.syncing[gk] || !known && l.unknown[gk].IsZero()
}

// watchKinds makes the watches those of the kinds that are known and can be watched.
func (l *loop) watchKinds() {
	l.watcher.Watch(slices.DeleteFunc(slices.Collect(maps.Values(l.kinds)), func(r kube.Resource) bool { return !r.Watchable }))
}

// fingerprints are those of the objects as they were applied last, for drift.Options.Applied. Hashes stand for
// ids and fingerprints, of which there are thousands.
type fingerprints struct {
	mu   sync.RWMutex
	seed maphash.Seed
	of   map[uint64]uint64
}

func newFingerprints() *fingerprints {
	return &fingerprints{seed: maphash.MakeSeed(), of: map[uint64]uint64{}}
}

func (f *fingerprints) has(id object.ObjMetadata, fingerprint string) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	applied, ok := f.of[maphash.Comparable(f.seed, id)]
	return ok && applied == maphash.String(f.seed, fingerprint)
}

// set notes a fingerprint; "" forgets the object.
func (f *fingerprints) set(id object.ObjMetadata, fingerprint string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if key := maphash.Comparable(f.seed, id); fingerprint == "" {
		delete(f.of, key)
	} else {
		f.of[key] = maphash.String(f.seed, fingerprint)
	}
}
