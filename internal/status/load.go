package status

import (
	"sync/atomic"
	"time"
)

// loadLasts is for how long the cluster counts as busy after it was seen so: longer than the pauses within
// a sync, shorter than anybody minds to wait for a report.
const loadLasts = 500 * time.Millisecond

// Load tells whoever reports to the cluster that it is busy with what matters more. A report costs the API
// server what the write of an object does; while objects are applied as fast as it can take them, a report
// for each app would make everything take half as long again. A nil Load is never busy.
type Load struct{ noted atomic.Pointer[time.Time] }

// Note says that the cluster is busy at the time now.
func (l *Load) Note(now time.Time) { l.noted.Store(&now) }

// Busy tells whether it was busy just before now.
func (l *Load) Busy(now time.Time) bool { return now.Before(l.until()) }

// until is the time from which it is busy no longer, unless that is noted again.
func (l *Load) until() time.Time {
	if l == nil {
		return time.Time{}
	}
	if at := l.noted.Load(); at != nil {
		return at.Add(loadLasts)
	}
	return time.Time{}
}
