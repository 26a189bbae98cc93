package memory

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"testing/fstest"
	"time"
)

func TestMemoryLimit(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control groups":          {nil, 0},
		"version 2":                  {map[string]string{"memory.max": "134217728\n"}, 134217728},
		"version 2 without a limit":  {map[string]string{"memory.max": "max\n"}, 0},
		"version 1":                  {map[string]string{"memory/memory.limit_in_bytes": "268435456\n"}, 268435456},
		"version 1 without a limit":  {map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"something else than a size": {map[string]string{"memory.max": "?"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			cgroups := fstest.MapFS{}
			for path, content := range test.files {
				cgroups[path] = &fstest.MapFile{Data: []byte(content)}
			}
			if got := memoryLimit(cgroups); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}

// Whatever lives, the heap may grow to smallHeap, or by a quarter.
func TestGrowth(t *testing.T) {
	const mib = 1 << 20
	for _, test := range []struct {
		live, roots uint64
		want        int
	}{
		{0, 0, most},
		{1 * mib, 1 * mib, 775},
		{6 * mib, 2 * mib, 325},
		{16 * mib, 0, 100},
		{30 * mib, 0, gcPercent},
		{100 * mib, 2 * mib, gcPercent},
		{1, 0, 799},
	} {
		if got := growth(test.live, test.roots); got != test.want {
			t.Errorf("%d bytes live, roots %d: %d, want %d", test.live, test.roots, got, test.want)
		}
	}
}

// The runtime is told after collections, for as long as the process lives.
func TestPaceCollections(t *testing.T) {
	t.Cleanup(func() { debug.SetGCPercent(100) })
	paceCollections()
	first := gcPercentNow()
	keep := make([]byte, 4*smallHeap)
	deadline := time.Now().Add(time.Minute)
	for gcPercentNow() != gcPercent {
		if time.Now().After(deadline) {
			t.Fatalf("GOGC is %d with %d bytes alive, and was %d", gcPercentNow(), len(keep), first)
		}
		runtime.GC()
	}
	runtime.KeepAlive(keep)
	if first <= gcPercent {
		t.Errorf("GOGC was %d with a small heap", first)
	}
}

func gcPercentNow() int {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return int(s[0].Value.Uint64())
}
