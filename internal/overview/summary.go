package overview

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/moves"
	"github.com/holdfast-dev/holdfast/internal/plain"
)

// summary counts what the first line tells.
type summary struct {
	atHead, behind, ahead, apart, unsettled, none int
	ready, apps, unknown, held, failing           int
	silent                                        []string // with the age
	never, refused, unread, undeclared, broken    int
	drained, frozen, lost                         int
}

// summarize counts. Where a silent cluster is, and what of it is Ready, is unknown; what failed there or was held is
// told on. What a lost one had is nothing any more.
func (o *Overview) summarize() summary {
	var s summary
	for i := range o.Rows {
		r := &o.Rows[i]
		s.states(r)
		if r.State == fleet.Lost && r.Heard != Fresh {
			continue
		}
		s.heard(r)
		if r.Report == nil {
			continue
		}
		s.apps += r.Apps
		if r.uncertain() {
			s.unknown += r.Apps
		} else {
			s.commit(r)
			s.ready += r.Ready
		}
		s.held += r.held()
		s.failing += r.failing()
	}
	return s
}

func (s *summary) states(r *Row) {
	switch {
	case r.State == fleet.Lost:
		s.lost++
	case r.State == fleet.Drained || r.Drain != nil:
		s.drained++
	}
	if r.Freeze != nil {
		s.frozen++
	}
	switch r.Declared {
	case DeclaredNot:
		s.undeclared++
	case DeclaredBroken:
		s.broken++
	case DeclaredUnknown, DeclaredWell:
	}
}

func (s *summary) heard(r *Row) {
	switch r.Heard {
	case Silent:
		s.silent = append(s.silent, fmt.Sprintf("%s silent for %s", plain.Line(r.Cluster), ago(r.Age)))
	case Never:
		s.never++
	case Refused:
		s.refused++
	case Unread:
		s.unread++
	case Fresh:
	}
}

func (s *summary) commit(r *Row) {
	switch {
	case r.Report.Commit == "":
		s.none++
	case r.Lag == nil || r.Lag.Standing == gitsource.Unsettled:
		s.unsettled++
	case r.Lag.Standing == gitsource.Apart:
		s.apart++
	case r.Lag.Standing == gitsource.Ahead:
		s.ahead++
	case r.Lag.Commits == 0:
		s.atHead++
	default:
		s.behind++
	}
}

// headline is the line that tells the whole story.
func (o *Overview) headline() string {
	s := o.summarize()
	clusters := moves.Count(len(o.Rows), "cluster", "clusters")
	if len(o.Rows) != o.All {
		clusters = fmt.Sprintf("%d of %s", len(o.Rows), moves.Count(o.All, "cluster", "clusters"))
	}
	parts := []string{clusters + s.commits(o.Head, len(o.Rows))}
	add := func(n int, format string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, n))
		}
	}
	if s.apps > 0 {
		parts = append(parts, s.appsReady())
	}
	const most = 3 // to be named
	if len(s.silent) > most {
		add(len(s.silent), "%d silent")
	} else {
		parts = append(parts, s.silent...)
	}
	add(s.never, "%d never reported")
	add(s.refused, "%d refused")
	add(s.unread, "%d not read")
	add(s.undeclared, "%d not in Git")
	add(s.broken, "%d with a broken file")
	add(s.drained, "%d drained")
	add(s.frozen, "%d frozen")
	add(s.lost, "%d lost")
	return strings.Join(parts, "; ")
}

func (s *summary) appsReady() string {
	text := fmt.Sprintf("%d of %d apps Ready", s.ready, s.apps)
	for _, n := range []struct {
		count int
		what  string
	}{{s.unknown, "unknown"}, {s.failing, "failing"}, {s.held, "held"}} {
		if n.count > 0 {
			text += fmt.Sprintf(", %d %s", n.count, n.what)
		}
	}
	return text
}

// commits says where the clusters are on the branch.
func (s *summary) commits(head string, clusters int) string {
	switch {
	case head == "":
		return ", the head of the branch is not known"
	case clusters == 0:
		return ", head is " + short(head)
	case s.atHead == clusters && clusters > 1:
		return ", all at " + short(head)
	}
	parts := []string{fmt.Sprintf("%d at %s", s.atHead, short(head))}
	add := func(n int, format string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, n))
		}
	}
	add(s.behind, "%d behind")
	add(s.ahead, "%d ahead")
	add(s.apart, "%d off the branch")
	add(s.none, "%d without a commit")
	add(s.unsettled, "%d unknown")
	return ": " + strings.Join(parts, ", ")
}

// short is the part of a commit that people compare.
func short(commit string) string {
	r := []rune(plain.Line(commit))
	return string(r[:min(len(r), 7)])
}

// ago is a time span for people.
func ago(d time.Duration) string { return duration.HumanDuration(max(d, 0)) }
