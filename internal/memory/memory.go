package memory

import (
	"io/fs"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
)

const (
	// gcPercent is how much a large heap may grow between two collections, in percent of what lives in it: a
	// quarter of what Go takes by default.
	gcPercent = 25
	// smallHeap is the size below which a heap is not collected, in bytes. What lives is small as a rule, a
	// quarter of it is filled in no time, and rendering, which makes a lot of garbage, would collect all the while.
	smallHeap = 32 << 20
	// most is the percentage at which Go lets any heap grow to smallHeap: without one, to 4 MiB at 100.
	most = smallHeap / (4 << 20) * 100
)

// Tune has the Go runtime use little memory, and keep below the limit of the container by a tenth:
// it collects more often before it is killed. Whoever set GOGC or GOMEMLIMIT is obeyed.
func Tune(lookupEnv func(string) (string, bool)) {
	if _, set := lookupEnv("GOGC"); !set {
		paceCollections()
	}
	if _, set := lookupEnv("GOMEMLIMIT"); set {
		return
	}
	if limit := memoryLimit(os.DirFS("/sys/fs/cgroup")); limit > 0 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// paceCollections sets, after each collection, how far the heap may grow until the next one.
func paceCollections() {
	// What counts for the runtime: https://go.dev/doc/gc-guide#GOGC.
	roots := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	set := 0
	var pace func(*[16]byte)
	pace = func(collected *[16]byte) {
		metrics.Read(roots)
		percent := growth(roots[0].Value.Uint64(), roots[1].Value.Uint64()+roots[2].Value.Uint64())
		if diff := percent - set; diff < -set/10 || diff > set/10 { // setting it stops the world for a moment
			debug.SetGCPercent(percent)
			set = percent
		}
		runtime.SetFinalizer(collected, pace) // it is garbage again at once, so the next collection calls this
	}
	pace(new([16]byte))
}

// growth is the value of GOGC for a heap in which so many bytes live, and for so many bytes of other roots.
func growth(live, roots uint64) int {
	if live+roots == 0 { // nothing was collected yet
		return most
	}
	return max(gcPercent, int((smallHeap-min(live, smallHeap))*100/max(live+roots, smallHeap*100/most))) //nolint:gosec // at most most
}

// memoryLimit reads the container's limit in bytes from the mounted control groups, version 2 or 1; 0 if
// there is none.
func memoryLimit(cgroups fs.FS) int64 {
	for _, name := range []string{"memory.max", "memory/memory.limit_in_bytes"} {
		data, err := fs.ReadFile(cgroups, name)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		if err != nil || n > math.MaxInt64/2 { // "max", or what version 1 says instead
			return 0
		}
		return n
	}
	return 0
}
