package gate

import (
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/status"
)

func TestAdopt(t *testing.T) {
	// a is the canary, b comes next, c is in no wave. Head is c3; b is asked about.
	waves := func(in *Input) {
		undrained(in)
		in.Head, in.Cluster = "c3", "b"
		in.App.Spec.Rollout.Waves = []fleet.Wave{
			{ClusterSelector: byName("a"), Soak: fleet.Duration{Duration: time.Minute}},
			{ClusterSelector: byName("b")},
		}
		in.Others = map[string]Observed{"a": told("c3", 2), "c": told("c1", 2)}
	}
	from := func(name string) func(*Input) { return func(in *Input) { in.Cluster = name } }
	freeze := func(in *Input) {
		in.Fleet.Settings.Spec.Freeze = []fleet.Freeze{{ClusterSelector: byName(in.Cluster), Reason: "quarter end"}}
	}
	noWaves := func(in *Input) { in.App.Spec.Rollout.Waves = nil }
	depends := func(in *Input) { in.App.Spec.DependsOn = []string{"db"} }
	proven := func(revision, adopted string, ready bool) Observed {
		return told(adopted, 2, func(a *status.App) {
			a.Proven, a.Ready = revision, ready
			if !ready {
				a.Since = nil
			}
		})
	}
	old := Content{Revision: "c1", Content: "old", Head: "new"}
	first := Content{Head: "new"}
	tests := []struct {
		name   string
		now    Content
		change []func(*Input)
		take   string
		gate   status.Gate
		held   string
	}{
		{name: "no waves", now: old, change: []func(*Input){noWaves}, take: "c3"},
		{name: "the first wave takes head at once", now: old, change: []func(*Input){from("a")}, take: "c3"},
		{name: "the wave before has proven head", now: old, take: "c3"},
		{name: "nothing changes", now: Content{Revision: "c1", Content: "new", Head: "new"}, change: []func(*Input){never("a")}, take: "c3"},
		{name: "a revert", now: Content{Revision: "c1", Content: "old", Head: "new", Proven: []string{"old", "new"}}, change: []func(*Input){never("a")}, take: "c3"},
		{name: "the wave before has proven something newer than what is here", now: old, change: []func(*Input){others("a", proven("c2", "c3", true))},
			take: "c2", gate: status.GateWave, held: "a is Ready with commit c3 since"},
		{name: "the wave before has proven nothing newer", now: old, change: []func(*Input){others("a", proven("c1", "c3", false))},
			take: "c1", gate: status.GateWave, held: "a is not Ready with commit c3"},
		{name: "the wave before is ahead: what it skipped is not proven", now: old, change: []func(*Input){others("a", proven("c4", "c4", true))},
			take: "c1", gate: status.GateWave, held: "a has proven commit c4"},
		{name: "the wave before fell ill after its proof", now: old, change: []func(*Input){others("a", proven("c3", "c3", false))},
			take: "c1", gate: status.GateWave, held: "a is not Ready with commit c3"},
		{name: "the wave before fell ill with what came later", now: old, change: []func(*Input){others("a", proven("c2", "c3", false))},
			take: "c2", gate: status.GateWave, held: "a is not Ready with commit c3"},
		{name: "the wave before is silent", now: old, take: "c1", gate: status.GateWave, held: "a is silent since",
			change: []func(*Input){others("a", func() Observed { o := told("c3", 2); o.Fresh = false; return o }())}},
		{name: "the wave before never reported", now: old, change: []func(*Input){never("a")}, take: "c1", gate: status.GateWave, held: "a has never reported"},
		{name: "the wave before is frozen", now: old, take: "c1", gate: status.GateWave, held: "a is itself held by Freeze",
			change: []func(*Input){others("a", told("c1", 2, func(a *status.App) { a.Held = []status.Held{{Gate: status.GateFreeze}} }))}},
		{name: "the wave before is drained, so it is empty", now: old, take: "c3",
			change: []func(*Input){never("a"), func(in *Input) { in.Fleet.Settings.Spec.Drain = []fleet.Drain{{ClusterSelector: byName("a")}} }}},
		{name: "no wave: comes last, after all", now: old, change: []func(*Input){from("c"), others("b", proven("c1", "c2", true))},
			take: "c1", gate: status.GateWave, held: "b is Ready with commit c2"},
		{name: "no wave: what all earlier ones have", now: old, change: []func(*Input){from("c"), others("b", proven("c2", "c2", true))},
			take: "c2", gate: status.GateWave, held: "b has proven commit c2"},
		{name: "one of two may fail", now: old, take: "c3",
			change: []func(*Input){from("c"), never("b"), func(in *Input) {
				in.App.Spec.Rollout = fleet.Rollout{MaxFailures: 1, Waves: []fleet.Wave{{ClusterSelector: fleet.Selector{}}}}
				in.App.Spec.Rollout.Waves[0].ClusterSelector.MatchLabels = map[string]string{"early": "yes"}
				cluster(in, "a").Labels["early"], cluster(in, "b").Labels["early"] = "yes", "yes"
			}}},
		{name: "all may fail, but one must succeed", now: old, take: "c1", gate: status.GateWave, held: "a has never reported",
			change: []func(*Input){never("a"), func(in *Input) { in.App.Spec.Rollout.MaxFailures = 9 }}},
		{name: "the first wave lets its content soak", gate: status.GateWave, take: "c1", held: "lets commit c1 soak until 2026-11-01T12:00:00Z",
			now: Content{Revision: "c1", Content: "old", Head: "new", SoaksUntil: simTime}, change: []func(*Input){from("a")}},
		{name: "the last wave need not", now: Content{Revision: "c1", Content: "old", Head: "new", SoaksUntil: simTime},
			change: []func(*Input){from("c"), others("b", told("c3", 2))}, take: "c3"},

		{name: "frozen", now: old, change: []func(*Input){freeze}, take: "c1", gate: status.GateFreeze, held: "quarter end"},
		{name: "frozen, and nothing changes", now: Content{Revision: "c1", Content: "new", Head: "new"}, change: []func(*Input){freeze}, take: "c3"},
		{name: "frozen, and what was adopted is not known", now: Content{Unknown: true, Head: "new"}, change: []func(*Input){freeze}, gate: status.GateFreeze, held: "stay as they are"},

		{name: "the first adoption takes what others have proven", now: first, change: []func(*Input){never("a")},
			take: "c1", gate: status.GateWave, held: "a has never reported"},
		{name: "the first adoption while frozen", now: first, change: []func(*Input){freeze, others("a", proven("c2", "c2", true))},
			take: "c2", gate: status.GateFreeze, held: "quarter end"},
		{name: "the first adoption where nobody has proven anything", now: first, take: "c3",
			change: []func(*Input){freeze, never("c"), others("a", proven("", "c3", false))}},
		{name: "the first adoption asks first", now: first, change: []func(*Input){never("a"), unasked},
			gate: status.GateWave, held: "first asks the others"},
		{name: "the first adoption at a revision that does not know this cluster", now: first, take: "c3",
			change: []func(*Input){never("a"), others("c", proven("c0", "c1", true))}},

		{name: "what it depends on is not Ready", now: Content{Revision: "c1", Content: "old", Head: "new", Ready: func(string, string) bool { return false }},
			change: []func(*Input){depends}, take: "c1", gate: status.GateDependsOn, held: `waits for app "db" to be Ready at commit c3`},
		{name: "what it depends on runs elsewhere", now: Content{Revision: "c1", Content: "old", Head: "new", Placed: func(string) bool { return false }},
			change: []func(*Input){depends}, take: "c1", gate: status.GateDependsOn, held: "not placed on this cluster"},
		{name: "what it depends on is Ready with what the waves have proven", change: []func(*Input){depends, others("a", proven("c2", "c3", true))},
			now:  Content{Revision: "c1", Content: "old", Head: "new", Ready: func(_, revision string) bool { return revision == "c2" }},
			take: "c2", gate: status.GateWave, held: "a is Ready with commit c3"},
		{name: "the first adoption waits for what it depends on", now: Content{Head: "new", Ready: func(string, string) bool { return false }},
			change: []func(*Input){depends}, gate: status.GateDependsOn, held: `"db"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := tt.now
			now.Usable = func(revision string) bool { return revision != "c0" }
			if now.Placed == nil {
				now.Placed = func(string) bool { return true }
			}
			if now.Ready == nil {
				now.Ready = func(string, string) bool { return true }
			}
			got := Adopt(input(t, append([]func(*Input){waves}, tt.change...)...), now)
			if got.Revision != tt.take {
				t.Errorf("takes %q, want %q", got.Revision, tt.take)
			}
			checkHeld(t, got.Held, tt.gate, tt.held)
		})
	}
}

func TestSoaked(t *testing.T) {
	app := &fleet.App{}
	app.Spec.Rollout.Waves = []fleet.Wave{{ClusterSelector: byName("a"), Soak: fleet.Duration{Duration: time.Minute}}}
	tests := []struct {
		name   string
		label  string
		since  time.Time
		soaked bool
		at     time.Time
	}{
		{name: "not Ready", label: "a"},
		{name: "not yet", label: "a", since: simTime.Add(-59 * time.Second), at: simTime.Add(time.Second)},
		{name: "for as long as it takes", label: "a", since: simTime.Add(-time.Minute), soaked: true},
		{name: "in no wave", label: "b", since: simTime, soaked: true},
		{name: "the clock was set back", label: "a", since: simTime.Add(time.Hour), at: simTime.Add(time.Hour + time.Minute)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			soaked, at := Soaked(app, map[string]string{"name": tt.label}, tt.since, simTime)
			if soaked != tt.soaked || !at.Equal(tt.at) {
				t.Errorf("%v, %s", soaked, at)
			}
		})
	}
}
