package overview

import (
	"reflect"
	"slices"
	"time"
)

// Since is what has changed since an earlier overview of the same clusters: it has the rows that say something
// else, and its first line is about all. That time goes by is no change, unless a cluster falls silent. It is
// nil if nothing has changed.
func (o *Overview) Since(before *Overview) *Overview {
	was := make(map[string]*Row, len(before.Rows))
	for i := range before.Rows {
		was[before.Rows[i].Cluster] = &before.Rows[i]
	}
	change := *o
	change.Rows, change.whole = nil, o
	for i := range o.Rows {
		r := &o.Rows[i]
		if b := was[r.Cluster]; b == nil || !r.says(b) {
			change.Rows = append(change.Rows, *r)
		}
		delete(was, r.Cluster)
	}
	for name := range was {
		change.Gone = append(change.Gone, name)
	}
	slices.Sort(change.Gone)
	files := slices.Equal(o.Files, before.Files)
	if files {
		change.Files = nil
	}
	if len(change.Rows)+len(change.Gone) == 0 && files && o.Head == before.Head && slices.Equal(o.Problems, before.Problems) {
		return nil
	}
	return &change
}

// says tells whether two rows say the same but for the time. That a cluster is cut off from Git follows from two
// times of its report, and is more than time.
func (r *Row) says(other *Row) bool {
	return (r.cutOff() > 0) == (other.cutOff() > 0) && reflect.DeepEqual(r.timeless(), other.timeless())
}

// timeless is the row without what changes with time alone.
func (r *Row) timeless() Row {
	c := *r
	c.Age = 0
	if r.Report != nil {
		report := *r.Report
		report.Time, report.Fetched = time.Time{}, nil
		c.Report = &report
	}
	return c
}
