package statusbus

import (
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/internal/status"
)

// FreshFor is how long a cluster is fresh after its ref has moved: three heartbeats.
const FreshFor = 3 * DefaultHeartbeat

// View is what is known of the other clusters. It is not changed after it was sent.
type View struct {
	// Clusters is what is known, by the cluster's name: of those that have a ref, and of those that were asked
	// for by name and have none.
	Clusters map[string]Seen
	// Asked tells that the repository was asked, answered or not. It is false, and Clusters empty, when
	// nothing is waited for any more.
	Asked bool
	// Err is why the last round failed, as a whole or in part; what is known stays.
	Err error

	question question
}

// Covers tells whether the repository was asked for that cluster, answered or not.
func (v View) Covers(cluster string) bool { return v.Asked && v.question.about(cluster) }

// Seen is what is known of one cluster.
type Seen struct {
	// Report is the last one that was believed; nil if there is none. It must not be changed.
	Report *status.Report
	// Problem says what is wrong with what was published since, which was not believed; "" if nothing is. It
	// completes a sentence that begins with "the status of the cluster cannot be used:".
	Problem string
	// MovedAfter is when the cluster's ref was last seen as something else before it moved to Report, by
	// this machine's clock, monotonic; zero if it was not seen to move.
	MovedAfter time.Time
}

// Fresh tells whether the cluster was heard of a short time ago. Both clocks of this machine must say so:
// the monotonic one stands still while a machine is suspended, the other may be set back.
func (s Seen) Fresh(now time.Time) bool {
	return !s.MovedAfter.IsZero() && now.Sub(s.MovedAfter) < FreshFor && now.Round(0).Sub(s.MovedAfter.Round(0)) < FreshFor
}

// question is what is asked for.
type question struct {
	all      bool
	clusters []string // sorted, each once
}

// newQuestion leaves out the cluster that asks, and what cannot be a cluster.
func newQuestion(clusters []string, all bool, own string) question {
	q := question{all: all}
	for _, c := range clusters {
		if c != own && checkName(c) == nil {
			q.clusters = append(q.clusters, c)
		}
	}
	slices.Sort(q.clusters)
	q.clusters = slices.Compact(q.clusters)
	return q
}

func (q question) equal(other question) bool {
	return q.all == other.all && slices.Equal(q.clusters, other.clusters)
}

func (q question) empty() bool { return !q.all && len(q.clusters) == 0 }

// about tells whether a cluster is asked for.
func (q question) about(cluster string) bool {
	if q.all {
		return true
	}
	_, found := slices.BinarySearch(q.clusters, cluster)
	return found
}

// prefixes are the beginnings of the refs to list. A server answers a few names faster than it lists all,
// and sends less.
func (q question) prefixes() []string {
	const most = 50
	if q.all || len(q.clusters) > most {
		return []string{RefPrefix}
	}
	out := make([]string, 0, len(q.clusters))
	for _, c := range q.clusters {
		out = append(out, Ref(c))
	}
	return out
}
