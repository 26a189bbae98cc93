package overview

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

// Input is what is known of a fleet at one moment.
type Input struct {
	// Fleet is what Git declares at the commit Head; nil if that is not known.
	Fleet *fleet.Fleet
	// Head is the branch's commit, "" if it is not known. It may be known where Fleet is not.
	Head string

	// Read tells that the status repository has been read. Otherwise nothing is known of who reports.
	Read bool
	// Seen is what was found there, by cluster.
	Seen map[string]statusbus.Seen

	// Lags are how far commits are behind Head, by commit. One that is missing is still being asked for.
	Lags map[string]gitsource.Lag
	// Noticed is since when each cluster's report has been there, where that was watched.
	Noticed map[string]time.Time
	// Now is the time of this machine.
	Now time.Time
	// Problems say what could not be read. Empty ones do not count.
	Problems []string

	// Select says which clusters are meant; nil is all. labels are those in Git, else those reported.
	Select func(cluster string, labels map[string]string) bool
}

// Overview is a fleet as a person wants to see it. Make it with New.
type Overview struct {
	// Rows are the clusters: those that need a person first, each part sorted by name.
	Rows []Row
	// All is how many clusters there are, those that were not selected too.
	All int
	// Head is the branch's commit, "" if it is not known.
	Head string
	// Problems say what could not be read.
	Problems []string
	// Files are the fleet files that cannot be used.
	Files []fleet.Problem
	// Mute tells that the status repository was read and holds no report.
	Mute bool
	// Gone are clusters that neither side knows any more, in what Since returns.
	Gone []string
	// Now is the time for which it was made.
	Now time.Time

	// whole is what the first line is about, if that is more.
	whole *Overview
}

// Heard is when a cluster was last heard of.
type Heard int

// Heard is one of these.
const (
	Unread  Heard = iota // the status repository, or this cluster's part of it, could not be read
	Never                // it never reported
	Refused              // what it published last is not believed
	Silent               // for three heartbeats or more
	Fresh
)

// Declared is what Git says of a cluster.
type Declared int

// Declared is one of these.
const (
	DeclaredUnknown Declared = iota // which clusters Git declares is not known
	DeclaredNot                     // Git has no such cluster
	DeclaredBroken                  // its file cannot be used
	DeclaredWell
)

// Row is one cluster.
type Row struct {
	Cluster string
	// Region is its label region, or topology.kubernetes.io/region; "" if it has neither.
	Region   string
	Declared Declared
	// State is what Git says; Drained or Lost may come with a Drain as well.
	State fleet.State
	// Drain and Freeze are the lines of fleet.yaml that match it; nil if none does.
	Drain  *fleet.Drain
	Freeze *fleet.Freeze

	Heard Heard
	// Age is how long ago it was heard of, if it ever was.
	Age time.Duration
	// Problem says why what it published last is not believed.
	Problem string
	// Report is the last one that was believed; nil if there is none. It must not be changed.
	Report *status.Report
	// Lag is how far the reported commit is behind; nil while that is being asked for.
	Lag *gitsource.Lag

	// Apps is how many apps there are, Ready how many of them are Ready. What is not here (an Exclusive app
	// that runs elsewhere) is neither.
	Ready, Apps int
	// Corrected is how often drift was corrected, Last when; nil if never.
	Corrected int64
	Last      *time.Time
}

// New makes the overview.
func New(in Input) *Overview {
	o := &Overview{Head: in.Head, Now: in.Now, Mute: in.Read && len(in.Seen) == 0}
	for _, p := range in.Problems {
		if p != "" {
			o.Problems = append(o.Problems, p)
		}
	}
	for name, c := range in.clusters() {
		o.All++
		labels := labelsOf(c, in.Seen[name].Report)
		if in.Select == nil || in.Select(name, labels) {
			o.Rows = append(o.Rows, in.row(name, c, labels))
		}
	}
	slices.SortFunc(o.Rows, func(a, b Row) int {
		return cmp.Or(-compareBool(a.Attention(), b.Attention()), strings.Compare(a.Cluster, b.Cluster))
	})
	if in.Fleet != nil {
		o.Files = in.Fleet.Problems
	}
	return o
}

// clusters are all that either side knows; nil is one that Git does not declare well.
func (in *Input) clusters() map[string]*fleet.Cluster {
	all := map[string]*fleet.Cluster{}
	for name := range in.Seen {
		all[name] = nil
	}
	if in.Fleet == nil {
		return all
	}
	for _, p := range in.Fleet.Problems {
		if p.Kind == fleet.KindCluster && p.Name != "" {
			all[p.Name] = nil
		}
	}
	for _, c := range in.Fleet.Clusters {
		all[c.Name] = c
	}
	return all
}

func labelsOf(c *fleet.Cluster, r *status.Report) map[string]string {
	switch {
	case c != nil:
		return c.Labels
	case r != nil:
		return r.Labels
	}
	return nil
}

func (in *Input) row(name string, c *fleet.Cluster, labels map[string]string) Row {
	seen, listed := in.Seen[name]
	r := Row{
		Cluster: name, Declared: in.declared(name, c), Report: seen.Report, Problem: seen.Problem,
		Region: cmp.Or(labels["region"], labels["topology.kubernetes.io/region"]),
	}
	if c != nil {
		r.State = c.State()
		if d, ok := in.Fleet.Drained(c); ok {
			r.Drain = &d
		}
		if f, ok := in.Fleet.Frozen(c); ok {
			r.Freeze = &f
		}
	}
	if seen.Report != nil {
		r.Age = in.age(name, seen)
		r.count()
		r.Lag = in.lag(seen.Report.Commit)
	}
	switch {
	case seen.Problem != "":
		r.Heard = Refused
	case seen.Report != nil && r.Age >= statusbus.FreshFor:
		r.Heard = Silent
	case seen.Report != nil:
		r.Heard = Fresh
	case in.Read && !listed:
		r.Heard = Never
	}
	return r
}

func (in *Input) declared(name string, c *fleet.Cluster) Declared {
	switch {
	case c != nil:
		return DeclaredWell
	case in.Fleet == nil:
		return DeclaredUnknown
	case in.Fleet.ClusterUnknown(name):
		return DeclaredBroken
	}
	return DeclaredNot
}

func (in *Input) lag(commit string) *gitsource.Lag {
	if commit != "" && commit == in.Head {
		return &gitsource.Lag{Standing: gitsource.Behind}
	}
	if commit == "" || in.Head == "" {
		return new(gitsource.Lag)
	}
	if lag, ok := in.Lags[commit]; ok {
		return &lag
	}
	return nil
}

// age is how old a report is: by its own time, within what was observed. This machine's clocks may disagree on
// that: the monotonic one stands still while the machine is suspended, the other may have been set.
func (in *Input) age(cluster string, seen statusbus.Seen) time.Duration {
	age := in.Now.Sub(seen.Report.Time)
	since := func(t time.Time) (monotonic, wall time.Duration) {
		return in.Now.Sub(t), in.Now.Round(0).Sub(t.Round(0))
	}
	if !seen.MovedAfter.IsZero() {
		monotonic, wall := since(seen.MovedAfter)
		age = min(age, max(monotonic, wall))
	}
	if noticed, ok := in.Noticed[cluster]; ok {
		monotonic, wall := since(noticed)
		age = max(age, min(monotonic, wall))
	}
	return max(age, 0)
}

// count sums up the apps of the report.
func (r *Row) count() {
	for i := range r.Report.Apps {
		a := &r.Report.Apps[i]
		r.Corrected += a.Drift.Corrected
		if last := a.Drift.Last; last != nil && (r.Last == nil || last.After(*r.Last)) {
			r.Last = last
		}
		if !a.Here() {
			continue
		}
		r.Apps++
		if a.Ready {
			r.Ready++
		}
	}
}

// kept tells whether a gate keeps an app from starting at all.
func kept(a *status.App) bool { return a.Revision == "" && len(a.Held) > 0 }

// Attention tells whether a person is needed.
func (r *Row) Attention() bool {
	switch {
	case r.State == fleet.Lost:
		return r.Heard == Fresh || r.Heard == Refused // others take over what may still run there
	case r.Heard != Fresh, r.Declared == DeclaredNot, r.Declared == DeclaredBroken, r.Report.Commit == "":
		return true
	case r.Lag != nil && r.Lag.Standing == gitsource.Apart:
		return true
	}
	return r.failing() > 0
}

// Well tells whether there is nothing to say of the cluster.
func (r *Row) Well() bool { return r.atHead() && r.otherwiseWell() }

// onlyBehind tells whether there is nothing to say of it but that it is not at head.
func (r *Row) onlyBehind() bool { return !r.atHead() && r.otherwiseWell() }

func (r *Row) otherwiseWell() bool {
	return !r.Attention() && r.Heard == Fresh && r.Declared == DeclaredWell && r.State == fleet.Active && r.Drain == nil && r.Freeze == nil &&
		r.Ready == r.Apps && r.held() == 0
}

// failing is how many apps have errors.
func (r *Row) failing() int {
	return r.apps(func(a *status.App) bool { return len(a.Errors) > 0 })
}

// held is how many apps a gate holds.
func (r *Row) held() int {
	return r.apps(func(a *status.App) bool { return len(a.Held) > 0 })
}

// apps counts apps of the report.
func (r *Row) apps(are func(*status.App) bool) (n int) {
	if r.Report == nil {
		return 0
	}
	for i := range r.Report.Apps {
		if are(&r.Report.Apps[i]) {
			n++
		}
	}
	return n
}

// uncertain tells that the report may say no longer how the cluster is.
func (r *Row) uncertain() bool { return r.Heard != Fresh }

// cutOff is for how long the repository had not answered the cluster when it reported, if that may be why it is
// not at head; else 0.
func (r *Row) cutOff() time.Duration {
	if r.Report == nil || r.Report.Fetched == nil {
		return 0
	}
	if d := r.Report.Time.Sub(*r.Report.Fetched); d >= statusbus.FreshFor && !r.atHead() {
		return d
	}
	return 0
}

func (r *Row) atHead() bool {
	return r.Lag != nil && *r.Lag == gitsource.Lag{Standing: gitsource.Behind}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
