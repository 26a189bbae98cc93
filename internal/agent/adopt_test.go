package agent

import (
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/status"
)

func TestAdopt(t *testing.T) {
	frozen := &fleet.Freeze{Reason: "quarter end"}
	old := adopted{Revision: "1", Content: "old"}
	tests := []struct {
		name    string
		now     adopted
		content string
		freeze  *fleet.Freeze
		depends []string
		placed  string
		ready   string
		take    bool
		gate    status.Gate
		why     string
	}{
		{name: "first content", content: "new", take: true},
		{name: "new content", now: old, content: "new", take: true},
		{name: "frozen", now: old, content: "new", freeze: frozen, gate: status.GateFreeze, why: "quarter end"},
		{name: "frozen, and nothing changes", now: old, content: "old", freeze: frozen, take: true},
		{name: "frozen, and nothing is there to keep", content: "new", freeze: frozen, take: true},
		{name: "what it depends on is Ready", now: old, content: "new", depends: []string{"db"}, placed: "db", ready: "db", take: true},
		{name: "what it depends on is not Ready", now: old, content: "new", depends: []string{"db"}, placed: "db", gate: status.GateDependsOn, why: `"db" to be Ready`},
		{name: "the first adoption waits too", content: "new", depends: []string{"db"}, placed: "db", gate: status.GateDependsOn, why: `"db" to be Ready`},
		{name: "what it depends on runs elsewhere", now: old, content: "new", depends: []string{"db"}, gate: status.GateDependsOn, why: "not placed"},
		{name: "what it depends on fell ill later", now: old, content: "old", depends: []string{"db"}, placed: "db", take: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app := &fleet.App{Spec: fleet.AppSpec{DependsOn: tt.depends}}
			take, gate, why := adopt(app, tt.now, tt.content, gates{
				Frozen: tt.freeze,
				Placed: func(a string) bool { return a == tt.placed },
				Ready:  func(a string) bool { return a == tt.ready },
			})
			if take != tt.take || gate != tt.gate || !strings.Contains(why, tt.why) {
				t.Errorf("got %v, %q, %q", take, gate, why)
			}
		})
	}
}
