package gitsource

import "time"

const (
	backoffFirst = time.Second
	backoffMost  = 2 * time.Minute
	// minSpacing is the least time between the starts of two attempts, however often Poll is called.
	minSpacing = 250 * time.Millisecond
)

// Spread moves d by at most a tenth up or down, so that a fleet's agents do not all ask at once.
// random is in [0, 1).
func Spread(d time.Duration, random float64) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*random))
}

// Backoff is how long to wait for a server after the nth failure in a row (from 1): it doubles from 1 s to
// most, and somewhere between half and all of that is waited.
func Backoff(n int, most time.Duration, random float64) time.Duration {
	d := most
	if shift := max(n, 1) - 1; shift < 16 {
		d = min(backoffFirst<<shift, most)
	}
	return time.Duration(float64(d) * (0.5 + 0.5*random))
}
