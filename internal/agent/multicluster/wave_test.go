package multicluster_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/status"
)

// waves is the spec of an app that goes to a first, then to b, then to all others.
const waves = "rollout: {waves: [{clusterSelector: {matchLabels: {name: a}}, soak: 3s}, {clusterSelector: {matchLabels: {name: b}}, soak: 1s}]}"

// New content goes from wave to wave, each after the soak of the one before. What never becomes Ready in the first
// stops there; a revert passes at once.
func TestWaves(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b", "c")
	sha := f.commit(f.app(waves, "1"))
	f.start()
	f.waitDeployed("web:1 x1, 1 ready", "web:1 x1, 1 ready", "web:1 x1, 1 ready")
	f.waitProven(sha, "a", "b", "c")
	sha = f.commit(f.app(waves, "2"))
	f.waitHeld("c", status.GateWave, "waits for earlier waves to prove commit")
	f.waitDeployed("web:2 x1, 1 ready", "web:2 x1, 1 ready", "web:2 x1, 1 ready")
	f.waitProven(sha, "a", "b", "c")

	// Of a Deployment that cannot make its Pods (its ServiceAccount is missing) no new replica becomes ready.
	broken := f.app(waves, "3")
	broken["apps/web/web.yaml"] += "  # in the template\n"
	broken["apps/web/kustomization.yaml"] = "resources: [web.yaml]\npatches:\n- target: {kind: Deployment}\n  patch: |-\n    - {op: add, path: /spec/template/spec/serviceAccountName, value: nobody}\n"
	f.commit(broken)
	f.waitHeld("b", status.GateWave, "a is not Ready with commit")
	f.waitHeld("c", status.GateWave, "b has proven commit")
	f.waitDeployed("web:3 x1, 1 ready", "web:2 x1, 1 ready", "web:2 x1, 1 ready")
	f.commit(f.app(waves, "2"))
	f.waitDeployed("web:2 x1, 1 ready", "web:2 x1, 1 ready", "web:2 x1, 1 ready")
	for _, name := range f.names {
		f.waitFree(name)
	}
}

// waitProven waits until clusters say that a commit has proven itself there.
func (f *fleet) waitProven(commit string, names ...string) {
	f.t.Helper()
	for _, name := range names {
		f.eventually(name+" has proven it", func() string {
			if s := f.status(name); s == nil || s.Proven != commit {
				return fmt.Sprintf("%+v", s)
			}
			return ""
		})
	}
}

// Commits come faster than the first wave soaks, and yet new content reaches the last one.
func TestFrequentCommitsReachTheLastWave(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "a", "b")
	spec := "rollout: {waves: [{clusterSelector: {matchLabels: {name: a}}, soak: 6s}]}"
	f.commit(f.app(spec, "0"))
	f.start()
	f.waitDeployed("web:0 x1, 1 ready", "web:0 x1, 1 ready")
	n := 0
	f.eventually("the last wave has something new, while commits go on", func() string {
		n++
		f.commit(f.app(spec, fmt.Sprint(n)))
		for range 10 { // half a second, more or less, and a good look at what is deployed
			if got := f.deployed("b"); got != "" && got[:len("web:0 ")] != "web:0 " {
				return ""
			}
		}
		return "b still has web:0"
	})
	t.Logf("after %d commits", n)
}
