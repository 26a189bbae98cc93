package gate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// Input is what is known about one app: in Git, and of the clusters.
type Input struct {
	// Cluster is this cluster.
	Cluster string
	// Head is the newest verified commit and Fleet what it declares, App among it. A commit that stands
	// in for one that cannot be used is not head, and nothing may be decided by it.
	Head  string
	Fleet *fleet.Fleet
	App   *fleet.App
	// Placed is where App runs at head: Fleet.Place(App).
	Placed fleet.Placed
	// Others is what is known of the other clusters, by name, of those that Git does not declare (any
	// more) too. One that is missing has never been heard of.
	Others map[string]Observed
	// Unread is set until the status bus has been asked for the first time, answered or not: then
	// Others is empty because nobody looked.
	Unread bool
	// Descends tells whether a commit is known to be, or to descend from, another. What is not known
	// is false: a commit that has not been fetched yet descends from nothing.
	Descends func(commit, ancestor string) bool
	// NotPlaced tells whether it is known that the app was not placed on a cluster at any commit from
	// since ("" for the very first) to head. What is not known is false; nil knows nothing.
	NotPlaced func(cluster, since string) bool
}

// Observed is what is known of another cluster.
type Observed struct {
	// Report is the last one that could be trusted; nil if there is none.
	Report *status.Report
	// Fresh tells that the cluster was heard of a short time ago, by this cluster's own clock.
	Fresh bool
	// Problem says what is wrong with what it published since, so that it was not trusted; "" if
	// nothing is.
	Problem string
}

// Held is a gate that holds. Reason is for people: what is waited for, and the way out. It does not
// change while nothing else does.
type Held struct {
	Gate   status.Gate
	Reason string
}

// app finds what a cluster reported about the app, nil if nothing.
func (o Observed) app(name string) *status.App {
	if o.Report == nil {
		return nil
	}
	i := slices.IndexFunc(o.Report.Apps, func(a status.App) bool { return a.Name == name })
	if i < 0 {
		return nil
	}
	return &o.Report.Apps[i]
}

// missing says why there is no report to go by.
func (o Observed) missing(cluster string) string {
	if o.Problem != "" {
		return fmt.Sprintf("the status of %s cannot be used: %s", cluster, o.Problem)
	}
	return cluster + " has never reported"
}

// silent says since when a cluster has not been heard of.
func (o Observed) silent(cluster string) string {
	return fmt.Sprintf("%s is silent since its report of %s", cluster, stamp(o.Report.Time))
}

// reached tells whether a commit is known to be head or to descend from it.
func (in *Input) reached(commit string) bool { return in.descends(commit, in.Head) }

func (in *Input) descends(commit, ancestor string) bool {
	return commit != "" && ancestor != "" && (commit == ancestor || in.Descends(commit, ancestor))
}

// list joins sentences about clusters, the first few of them.
func list(texts []string) string {
	const most = 5
	if extra := len(texts) - most; extra > 0 {
		texts = append(slices.Clone(texts[:most]), fmt.Sprintf("and %d more", extra))
	}
	return strings.Join(texts, "; ")
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func short(commit string) string {
	if commit == "" {
		return "none"
	}
	return status.Short(commit)
}
