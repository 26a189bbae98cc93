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
	// Asked tells whether the status bus has been asked for a cluster's report, answered or not; "" is all
	// reports that there are. Of one that was not asked for, Others knows nothing because nobody looked. nil
	// is yes.
	Asked func(cluster string) bool
	// Unread is set until the reports of all clusters have been read once: before, others than those in
	// Others may exist.
	Unread bool
	// Trouble says why reports cannot be read at present, "" if they can.
	Trouble string
	// NoReports is set where reports are never read: what others have had is known from Git alone.
	NoReports bool
	// Descends tells whether a commit is known to be, or to descend from, another. What is not known
	// is false: a commit that has not been fetched yet descends from nothing.
	Descends func(commit, ancestor string) bool
	// NotPlaced tells whether it is known that the app was not placed on a cluster ("" for any but this one)
	// at any commit from since ("" for the very first) to head, and that nobody has been at a commit that the branch has
	// lost between them: it was not rewritten, and since is an ancestor of head. What is not known is false; nil knows
	// nothing.
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
	// Asks are the clusters whose reports may open the gate.
	Asks Asks
	// Pending is set while some of them have not been asked for: whether the gate holds is known once they
	// have been.
	Pending bool
}

// Asks names clusters whose reports are waited for.
type Asks struct {
	Clusters []string
	// All is all that there are, those that Git does not declare too.
	All bool
}

// And is what two gates ask for.
func (a Asks) And(b Asks) Asks {
	if a.All || b.All {
		return Asks{All: true}
	}
	if len(b.Clusters) == 0 {
		return a
	}
	all := slices.Concat(a.Clusters, b.Clusters)
	slices.Sort(all)
	return Asks{Clusters: slices.Compact(all)}
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

// missing says why there is no report of a cluster to go by.
func (in *Input) missing(cluster string) string {
	o := in.Others[cluster]
	switch {
	case o.Problem != "":
		return fmt.Sprintf("the status of %s cannot be used: %s", cluster, o.Problem)
	case !in.asked(cluster):
		return cluster + " has not been asked yet"
	case in.Trouble != "":
		return fmt.Sprintf("nothing is known of %s, since status reports cannot be read (%s)", cluster, in.Trouble)
	}
	return cluster + " has never reported"
}

func (in *Input) asked(cluster string) bool { return in.Asked == nil || in.Asked(cluster) }

// asking is a hold that reports of these clusters may end.
func (in *Input) asking(gate status.Gate, clusters []string, format string, args ...any) *Held {
	return &Held{
		Gate: gate, Reason: fmt.Sprintf(format, args...), Asks: Asks{Clusters: clusters},
		Pending: slices.ContainsFunc(clusters, func(c string) bool { return !in.asked(c) }),
	}
}

// silent says since when a cluster has not been heard of.
func (in *Input) silent(cluster string) string {
	text := fmt.Sprintf("%s is silent since its report of %s", cluster, stamp(in.Others[cluster].Report.Time))
	if in.Trouble != "" {
		text += fmt.Sprintf(", and status reports cannot be read (%s)", in.Trouble)
	}
	return text
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
