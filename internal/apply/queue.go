package apply

import (
	"container/heap"
	"time"

	"sigs.k8s.io/cli-utils/pkg/object"
	"sigs.k8s.io/cli-utils/pkg/ordering"
)

// readyQueue orders what may be done now: repairs first, then app by app and within an app in the
// order in which kinds are best created (or, for prunes, the reverse). Going app by app mixes the
// kinds, which matters: an API server creates Services much more slowly than anything else.
type readyQueue []readying

type readying struct {
	entry  *entry
	repair bool
	prune  bool
	app    string
}

// add queues an entry, unless it is there already in the same place.
func (q *readyQueue) add(o *entry, t *Task) {
	r := readying{entry: o, repair: t.Cause == Drift, prune: t.Action == Prune, app: o.app}
	if o.queued != r {
		o.queued = r
		heap.Push(q, r)
	}
}

func (q readyQueue) Len() int { return len(q) }
func (q readyQueue) Less(i, j int) bool {
	a, b := q[i], q[j]
	switch {
	case a.repair != b.repair:
		return a.repair
	case a.prune != b.prune:
		return b.prune
	case a.app != b.app:
		return a.app < b.app
	case a.prune:
		return before(b.entry.id, a.entry.id)
	}
	return before(a.entry.id, b.entry.id)
}
func (q readyQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push and Pop are heap.Interface's.
func (q *readyQueue) Push(x any) { *q = append(*q, x.(readying)) }

// Pop is heap.Interface's.
func (q *readyQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

// before is cli-utils' order of kinds, then namespace and name.
func before(a, b object.ObjMetadata) bool {
	if a.GroupKind != b.GroupKind {
		return ordering.IsLessThan(a.GroupKind, b.GroupKind)
	}
	if a.Namespace != b.Namespace {
		return a.Namespace < b.Namespace
	}
	return a.Name < b.Name
}

// wakeQueue orders what waits for the clock.
type wakeQueue []waking

type waking struct {
	at    time.Time
	entry *entry
}

func (q wakeQueue) due(now time.Time) bool { return len(q) > 0 && !q[0].at.After(now) }
func (q wakeQueue) Len() int               { return len(q) }
func (q wakeQueue) Less(i, j int) bool     { return q[i].at.Before(q[j].at) }
func (q wakeQueue) Swap(i, j int)          { q[i], q[j] = q[j], q[i] }

// Push is heap.Interface's.
func (q *wakeQueue) Push(x any) { *q = append(*q, x.(waking)) }

// Pop is heap.Interface's.
func (q *wakeQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}
