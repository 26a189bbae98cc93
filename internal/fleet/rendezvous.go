package fleet

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"strings"
)

// score ranks a cluster for one app.
//
// It is weighted rendezvous hashing: every (app, cluster) pair is hashed to h in (0, 1), and the
// clusters with the greatest -weight/ln(h) win. A cluster's chance is proportional to its weight, and a
// cluster that comes or goes changes no order between the others. (D. Thaler, C. Ravishankar: A
// name-based mapping scheme for rendezvous, 1996; the weighted form after C. Schindelhauer,
// G. Schomaker: Weighted distributed hash tables, 2005.)
//
// The logarithm is computed in integers. A floating-point one may differ in its last bit from one
// processor to another, and agents on different processors must not differ.
type score struct {
	weight uint64
	log    uint64 // -log2(h), as a fixed-point number; the base of the logarithm does not matter
	name   string
}

// logBits is the number of binary digits of score.log behind the point.
const logBits = 48

// rendezvous scores a cluster for an app.
func rendezvous(app string, c *Cluster) score {
	// Names hold no NUL, so no two pairs are hashed alike.
	sum := sha256.Sum256([]byte(app + "\x00" + c.Name))
	return score{weight: uint64(max(c.Weight(), 1)), log: negLog2(binary.BigEndian.Uint64(sum[:])), name: c.Name}
}

// compare orders the better score first, equal ones by name.
func (s score) compare(t score) int {
	// s.weight/s.log > t.weight/t.log, without dividing.
	sHigh, sLow := bits.Mul64(s.weight, t.log)
	tHigh, tLow := bits.Mul64(t.weight, s.log)
	return cmp.Or(cmp.Compare(tHigh, sHigh), cmp.Compare(tLow, sLow), strings.Compare(s.name, t.name))
}

// negLog2 returns -log2(x / 2^64) with logBits binary digits behind the point, never less than the
// smallest such number. 0 is taken for 1.
func negLog2(x uint64) uint64 {
	x = max(x, 1)
	whole := uint64(bits.Len64(x) - 1) //nolint:gosec // 0 to 63
	// mantissa/2^63 is in [1, 2). Squaring it doubles its logarithm, and each time that it reaches 2 the
	// next binary digit is 1.
	mantissa := x << (63 - whole)
	log := whole
	for range logBits {
		high, low := bits.Mul64(mantissa, mantissa) // in [2^126, 2^128)
		log <<= 1
		if high>>63 == 1 {
			log |= 1
			mantissa = high
		} else {
			mantissa = high<<1 | low>>63
		}
	}
	return max(64<<logBits-log, 1)
}
