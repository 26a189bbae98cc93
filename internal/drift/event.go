package drift

import (
	"time"

	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/live"
)

// EventKind says what an Event tells.
type EventKind string

// Kinds of events.
const (
	// Synced carries all objects of a resource that have our label: what is not in it is not there with our
	// label. It comes once when a watch starts, and whenever the server can no longer tell what changed.
	Synced EventKind = "synced"
	// Changed carries one object that was created or changed.
	Changed EventKind = "changed"
	// Deleted carries the last state of an object that is gone, or lost our label. Which of them can only
	// be told by reading it.
	Deleted EventKind = "deleted"
	// Failed tells that a resource cannot be watched: nothing is known of its objects from now on, and nothing
	// may be concluded from their absence. It comes once for each different error.
	Failed EventKind = "failed"
	// Recovered ends Failed. If something could have been missed, a Synced comes before it.
	Recovered EventKind = "recovered"
)

// Event is what a Watcher has seen. Events of one resource come in the order in which the server told
// them; there is no order between resources.
type Event struct {
	Kind EventKind
	// Resource is whose watch it came from.
	Resource kube.Resource
	// Live is the object of Changed and Deleted.
	Live live.View
	// Lives are the objects of Synced.
	Lives []live.View
	// At is when it arrived.
	At time.Time
	// ResourceVersion is that of the list, for Synced: what was written later is not in it.
	ResourceVersion string
	// Err is why Failed failed, to be put in words by kube.Explain.
	Err error
	// Since is when the failure of Failed and Recovered began.
	Since time.Time
}
