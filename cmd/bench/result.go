package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// row is one line of the table: one measure, and one reference that it is compared with.
type row struct {
	Workload  string    `json:"workload"`
	What      string    `json:"what"`
	Unit      string    `json:"unit"`
	Ours      []float64 `json:"holdfast"`
	Reference string    `json:"reference,omitempty"`
	Theirs    []float64 `json:"theirs,omitempty"`
	Target    *target   `json:"target,omitempty"`
	Note      string    `json:"note,omitempty"`
}

// target is what a measure is to reach.
type target struct {
	// Limit is what is at most allowed: of the ratio to the reference if Ratio is set, else of the figure.
	Limit float64 `json:"limit"`
	Ratio bool    `json:"ratio"`
	// Worst judges the largest sample instead of the median.
	Worst bool `json:"worst,omitempty"`
}

func atMost(limit float64) *target         { return &target{Limit: limit} }
func worstAtMost(limit float64) *target    { return &target{Limit: limit, Worst: true} }
func ratioAtMost(limit float64) *target    { return &target{Limit: limit, Ratio: true} }
func seconds(d time.Duration) float64      { return d.Seconds() }
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// ratio is that of the medians; NaN where there is nothing to compare.
func (r *row) ratio() float64 {
	if len(r.Ours) == 0 || len(r.Theirs) == 0 {
		return math.NaN()
	}
	return median(r.Ours) / median(r.Theirs)
}

// reached tells whether the target was met; known is false without a target or figures.
func (r *row) reached() (ok, known bool) {
	if r.Target == nil || len(r.Ours) == 0 {
		return false, false
	}
	value := median(r.Ours)
	switch {
	case r.Target.Ratio:
		value = r.ratio()
	case r.Target.Worst:
		value = slices.Max(r.Ours)
	}
	return value <= r.Target.Limit, !math.IsNaN(value)
}

func median(samples []float64) float64 { return quantile(samples, 0.5) }

// quantile is the smallest sample that at least the share q of all samples does not exceed; of an even
// number of samples the median is the mean of the two in the middle. NaN of none.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(samples))
	if q == 0.5 && len(s)%2 == 0 {
		return (s[len(s)/2-1] + s[len(s)/2]) / 2
	}
	i := int(math.Ceil(q*float64(len(s)))) - 1
	return s[max(i, 0)]
}

// figure writes a number with three significant digits.
func figure(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case v == math.Trunc(v) || math.Abs(v) >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case math.Abs(v) >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case math.Abs(v) >= 0.1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	default:
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
}

// thousands writes a count as people read it.
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}
