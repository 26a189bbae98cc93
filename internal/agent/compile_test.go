package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

// What a file asks for and this version does not do is said, never passed over.
func TestWishesThatAreNotHonouredAreSaid(t *testing.T) {
	canary := fleet.Wave{ClusterSelector: selector("ring", "canary")}
	tests := []struct {
		name string
		spec fleet.AppSpec
		want []string
	}{
		{"nothing asked", fleet.AppSpec{}, nil},
		{"no gate asked", fleet.AppSpec{Failover: fleet.Failover{Gate: fleet.NoGate}}, nil},
		{"a gate", fleet.AppSpec{Failover: fleet.Failover{Gate: fleet.Exclusive}},
			[]string{"failover.gate Exclusive is not honoured by this version: the app leaves a drained cluster, and starts elsewhere, at once"}},
		{"in the second wave", fleet.AppSpec{Rollout: fleet.Rollout{Waves: []fleet.Wave{canary, {}}}},
			[]string{"rollout.waves are not honoured by this version: this cluster is in wave 2 of 2, and adopts new content at once"}},
		{"in no wave", fleet.AppSpec{Rollout: fleet.Rollout{Waves: []fleet.Wave{canary}}},
			[]string{"rollout.waves are not honoured by this version: this cluster is in wave 2 of 2, and adopts new content at once"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := notHonoured(&fleet.App{Spec: tt.spec}, map[string]string{"ring": "stable"})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func selector(key, value string) fleet.Selector {
	var s fleet.Selector
	s.MatchLabels = map[string]string{key: value}
	return s
}
