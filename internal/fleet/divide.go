package fleet

import (
	"cmp"
	"slices"
)

// divide divides total replicas over the clusters by weight with the largest remainder (Hamilton's
// method): each gets the whole part of its quota, and those with the largest remainders get one more
// until the sum is total. Equal remainders are decided by rendezvous hashing, so that the odd replicas
// of many small apps do not all meet in the cluster that comes first in the alphabet. No clusters: empty.
func divide(app string, total int32, clusters []*Cluster) map[string]int32 {
	type part struct {
		score     score
		whole     int64
		remainder int64
	}
	var weights, given int64
	for _, c := range clusters {
		weights += int64(max(c.Weight(), 1))
	}
	parts := make([]part, len(clusters))
	for i, c := range clusters {
		// Both factors have 31 bits, so the product fits.
		product := int64(total) * int64(max(c.Weight(), 1))
		parts[i] = part{score: rendezvous(app, c), whole: product / weights, remainder: product % weights}
		given += parts[i].whole
	}
	slices.SortFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(b.remainder, a.remainder), a.score.compare(b.score))
	})
	shares := make(map[string]int32, len(parts))
	for i, p := range parts {
		if int64(i) < int64(total)-given {
			p.whole++
		}
		shares[p.score.name] = int32(p.whole) //nolint:gosec // at most total
	}
	return shares
}
