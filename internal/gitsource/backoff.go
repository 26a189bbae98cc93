package gitsource

import "time"

const (
	backoffFirst = time.Second
	backoffMost  = 2 * time.Minute
	// minSpacing is the least time between the starts of two attempts, however often Poll is called.
	minSpacing = 250 * time.Millisecond
)

// spread moves d by at most a tenth up or down, so that a fleet's agents do not all ask at once.
// random is in [0, 1).
func spread(d time.Duration, random float64) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*random))
}

// backoff is how long to wait after the nth failure in a row (from 1): it doubles from 1 s to at most
// 2 min, and somewhere between half and all of that is waited.
func backoff(n int, random float64) time.Duration {
	d := backoffMost
	if n < 1 {
		n = 1
	}
	if n < 8 {
		d = min(backoffFirst<<(n-1), backoffMost)
	}
	return time.Duration(float64(d) * (0.5 + 0.5*random))
}
