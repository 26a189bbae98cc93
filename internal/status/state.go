package status

import (
	"time"
)

// ProvenContents is how many content hashes that have soaked here are remembered for each app.
const ProvenContents = 10

// AppState is what the agent knows of one app on this cluster at one moment. It is a value: the loop
// builds a new one for each change and never alters the slices of one it has handed over.
type AppState struct {
	// Name is the app's name: unique in the fleet and a DNS label.
	Name string
	// Revision is the adopted commit, the one whose content is enforced.
	Revision string
	// Changed is the commit that last changed the app here, by its content or its placement. It is
	// what the REVISION column shows; Revision moves with every commit, this does not.
	Changed string
	// Placement is the commit whose placement is enforced.
	Placement string
	// Content is the hash of the rendered objects before replica division.
	Content string
	// Proven is the last revision that soaked here.
	Proven string
	// ProvenContents are the contents that have soaked here, newest first, at most the last ten:
	// see Prove.
	ProvenContents []string
	// Ready tells that every object of the adopted content is live and healthy and nothing failed.
	Ready bool
	// Since is the start of uninterrupted Ready at this content; zero if it is not Ready. In what
	// Writer.Load returns it is since when the app was Ready at the last write, and says no
	// more than that it was: nobody has watched since.
	Since time.Time
	// UnreadySince is when the app was last Ready or when it began to be worked on, whichever is later; zero if
	// it is Ready. With HealthTimeout it decides when the app counts as stalled. It outlives a restart.
	UnreadySince time.Time
	// HealthTimeout is the app's health.timeout; zero means that it never stalls.
	HealthTimeout time.Duration
	// Replicas are the app's replicas on this cluster.
	Replicas Replicas
	// Objects is how many objects of the app are in the inventory here, without those of protected kinds that Git
	// has no longer.
	Objects int
	// Drift counts the corrections.
	Drift Drift
	// Held are the gates that hold, in the order in which they began to.
	Held []Held
	// Errors are the objects that failed, sorted by object; an error of the whole app (a build that failed) has no object.
	Errors []ObjectError
	// Waiting are the objects that are not yet healthy, sorted by object.
	Waiting []Waiting
	// Suspended tells that nothing of the app is written or healed here, because Git says so.
	Suspended bool
}

// Waiting is an object that is live but not yet healthy.
type Waiting struct {
	// Object is its name as in ObjectError.
	Object string
	// Message is what kstatus says about it; may be empty.
	Message string
}

// Prove returns the list of proven contents with content put first: no duplicates, at most
// ProvenContents of them. The argument is not altered.
func Prove(proven []string, content string) []string {
	out := make([]string, 1, ProvenContents)
	out[0] = content
	for _, c := range proven {
		if c != content && len(out) < ProvenContents {
			out = append(out, c)
		}
	}
	return out
}

// StallsAt tells when the app will count as stalled if nothing changes; false if it will not.
func (s *AppState) StallsAt() (time.Time, bool) {
	if s.Ready || s.Suspended || s.HealthTimeout <= 0 || s.UnreadySince.IsZero() {
		return time.Time{}, false
	}
	return s.UnreadySince.Add(s.HealthTimeout), true
}
