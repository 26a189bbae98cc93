package main

import (
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// gcPercent is how much the heap may grow between two collections. The agent's live heap is small, so
// collections are cheap, and a quarter of the headroom that Go takes by default is enough.
const gcPercent = 25

// tuneMemory has the Go runtime use little memory, and keep below the limit of the container by a tenth:
// it collects more often before it is killed. Whoever set GOGC or GOMEMLIMIT is obeyed.
func tuneMemory(lookupEnv func(string) (string, bool)) {
	if _, set := lookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	if _, set := lookupEnv("GOMEMLIMIT"); set {
		return
	}
	if limit := memoryLimit(os.DirFS("/sys/fs/cgroup")); limit > 0 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
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
