package gate

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// The commits of these tests, oldest first. One that is not among them has not been fetched.
var commits = []string{"c0", "c1", "c2", "c3", "c4"}

func descends(commit, ancestor string) bool {
	at := map[string]int{}
	for i, c := range commits {
		at[c] = i + 1
	}
	return at[commit] > 0 && at[ancestor] > 0 && at[commit] >= at[ancestor]
}

// input is app "shop" at head c2, seen from cluster a, which is drained; b and c take over.
func input(t *testing.T, change ...func(*Input)) Input {
	t.Helper()
	f := &fleet.Fleet{}
	for _, name := range []string{"a", "b", "c"} {
		f.Clusters = append(f.Clusters, &fleet.Cluster{Metadata: fleet.Metadata{Name: name, Labels: map[string]string{"name": name}}})
	}
	f.Settings.Spec.Drain = []fleet.Drain{{ClusterSelector: byName("a")}}
	app := &fleet.App{Metadata: fleet.Metadata{Name: "shop"}}
	app.Spec.Replicas = &fleet.Replicas{Total: 6}
	f.Apps = []*fleet.App{app}
	in := Input{Cluster: "a", Head: "c2", Fleet: f, App: app, Descends: descends,
		Others: map[string]Observed{"b": told("c2", 3), "c": told("c2", 3)}}
	for _, c := range change {
		c(&in)
	}
	placed, err := f.Place(app)
	if err != nil {
		t.Fatal(err)
	}
	in.Placed = placed
	return in
}

// told is a fresh report of the app at a commit, Ready for an hour with so many replicas.
func told(commit string, ready int32, change ...func(*status.App)) Observed {
	since := simTime.Add(-time.Hour)
	app := status.App{Name: "shop", Revision: commit, Placement: commit, Proven: commit, Ready: true, Since: &since,
		Replicas: status.Replicas{Desired: ready, Ready: ready}, Objects: 2}
	for _, c := range change {
		c(&app)
	}
	return Observed{Fresh: true, Report: &status.Report{APIVersion: status.APIVersion, Commit: commit, Time: simTime, Apps: []status.App{app}}}
}

func gone(commit string) Observed {
	return told(commit, 0, func(a *status.App) { a.Ready, a.Since, a.Objects, a.Revision, a.Proven = false, nil, 0, "", "" })
}

// tells is a report at a commit without the app.
func tells(commit string) Observed {
	return Observed{Fresh: true, Report: &status.Report{Commit: commit, Time: simTime}}
}

func cluster(in *Input, name string) *fleet.Cluster {
	c, _ := in.Fleet.Cluster(name)
	return c
}

func others(name string, o Observed) func(*Input) { return func(in *Input) { in.Others[name] = o } }
func never(name string) func(*Input)              { return func(in *Input) { delete(in.Others, name) } }
func undrained(in *Input)                         { in.Fleet.Settings.Spec.Drain = nil }
func totalOf(n int32) func(*Input)                { return func(in *Input) { in.App.Spec.Replicas.Total = n } }
func undivided(in *Input)                         { in.App.Spec.Replicas = nil }

// unasked is before the status bus has been asked for anything, unread before it has ever answered.
func unasked(in *Input) { in.Asked, in.Unread = func(string) bool { return false }, true }
func unread(in *Input)  { in.Unread = true }
func broken(in *Input)  { in.Trouble = "the server is away" }

// off is without a status bus.
func off(in *Input) {
	in.Others, in.Unread, in.NoReports, in.Trouble = nil, true, true, "they are switched off"
}

func share(n int32) Enforced { return Enforced{Placed: true, Share: &n} }

func TestTakeoverHealthy(t *testing.T) {
	soak := func(in *Input) { in.App.Spec.Failover.Soak = &fleet.Duration{Duration: 2 * time.Hour} }
	tests := []struct {
		name   string
		now    Enforced
		change []func(*Input)
		// held is part of the reason; "" if the gate opens.
		held   string
		placed bool
		share  int32 // -1: none
	}{
		{name: "all have taken over", now: share(2), share: -1},
		{name: "it never was here", change: []func(*Input){never("b")}, share: -1},
		{name: "one is short of replicas", now: share(2), change: []func(*Input){others("b", told("c2", 2))},
			held: "b has 2 of its 3 replicas ready", placed: true, share: 2},
		{name: "one is not Ready otherwise", now: share(2), placed: true, share: 2,
			change: []func(*Input){others("b", told("c2", 3, func(a *status.App) {
				a.Ready, a.Since = false, nil
				a.Errors = []status.ObjectError{{Object: "Service/shop", Message: "port is taken"}}
			}))},
			held: "b is not Ready (Service/shop: port is taken)"},
		{name: "one says Ready and not since when", now: share(2), placed: true, share: 2,
			change: []func(*Input){others("b", told("c2", 3, func(a *status.App) { a.Since = nil }))}, held: "b is not Ready"},
		{name: "one has not soaked", now: share(2), change: []func(*Input){soak}, held: "must stay so for 2h0m0s", placed: true, share: 2},
		{name: "one is Ready since a time to come: its clock was set back", now: share(2), placed: true, share: 2,
			change: []func(*Input){others("b", told("c2", 3, func(a *status.App) { later := simTime.Add(time.Hour); a.Since = &later }))},
			held:   "b is Ready since 2026-11-01T13:00:00Z"},
		{name: "the clocks of clusters differ by a year", now: share(2), share: -1,
			change: []func(*Input){others("b", func() Observed {
				o := told("c2", 3, func(a *status.App) { since := simTime.AddDate(-1, 0, 0); a.Since = &since })
				o.Report.Time = simTime.AddDate(-1, 0, 0).Add(time.Minute)
				return o
			}())}},
		{name: "one is silent", now: share(2), placed: true, share: 2,
			change: []func(*Input){others("b", func() Observed { o := told("c2", 3); o.Fresh = false; return o }())},
			held:   "b is silent since its report of 2026-11-01T12:00:00Z"},
		{name: "one never reported", now: share(2), change: []func(*Input){never("b")}, held: "b has never reported", placed: true, share: 2},
		{name: "nobody has been asked", now: share(2), change: []func(*Input){never("b"), unasked}, held: "b has not been asked yet", placed: true, share: 2},
		{name: "one never reported, and nothing can be read", now: share(2), change: []func(*Input){never("b"), broken},
			held: "nothing is known of b, since status reports cannot be read (the server is away)", placed: true, share: 2},
		{name: "one is silent, and nothing can be read", now: share(2), placed: true, share: 2,
			change: []func(*Input){broken, others("b", func() Observed { o := told("c2", 3); o.Fresh = false; return o }())},
			held:   "and status reports cannot be read (the server is away)"},
		{name: "one reports what cannot be trusted", now: share(2), placed: true, share: 2,
			change: []func(*Input){others("b", func() Observed { o := told("c2", 3); o.Problem = "it is dated tomorrow"; return o }())},
			held:   "the status of b cannot be used: it is dated tomorrow"},
		{name: "one does not have the app", now: share(2), placed: true, share: 2,
			change: []func(*Input){others("b", Observed{Fresh: true, Report: &status.Report{Commit: "c2"}})}, held: "b does not have the app yet"},
		{name: "one is at an older commit", now: share(2), change: []func(*Input){others("b", told("c1", 9))},
			held: "b is at commit c1, not known to be c2 or later", placed: true, share: 2},
		{name: "one is at a commit that is not known here", now: share(2), change: []func(*Input){others("b", told("c9", 9))},
			held: "b is at commit c9", placed: true, share: 2},
		{name: "one is ahead", now: share(2), change: []func(*Input){others("b", told("c4", 3))}, share: -1},
		{name: "one is ahead and has less than head gives it", now: share(2), change: []func(*Input){others("b", told("c4", 1))},
			held: "b has 1 of its 3", placed: true, share: 2},
		{name: "one that is silent is Lost in Git", now: share(2), share: -1,
			change: []func(*Input){never("b"), others("c", told("c2", 6)), func(in *Input) { cluster(in, "b").Spec.State = fleet.Lost }}},
		{name: "force", now: share(2), change: []func(*Input){never("b"), func(in *Input) { in.Fleet.Settings.Spec.Drain[0].Force = true }}, share: -1},
		{name: "gate None", now: share(2), change: []func(*Input){never("b"), func(in *Input) { in.App.Spec.Failover.Gate = fleet.NoGate }}, share: -1},
		{name: "no cluster is left", now: share(2), placed: true, share: 2,
			change: []func(*Input){func(in *Input) { in.Fleet.Settings.Spec.Drain[0].ClusterSelector = fleet.Selector{} }},
			held:   "no cluster is left to take it over: no cluster is free; 3 clusters match: a is drained by fleet.yaml"},
		{name: "no cluster is left, by force", now: share(2), share: -1,
			change: []func(*Input){func(in *Input) { in.Fleet.Settings.Spec.Drain[0] = fleet.Drain{Force: true} }}},
		{name: "what was enforced is not known", now: Enforced{Unknown: true}, change: []func(*Input){never("b")}, held: "b has never reported", share: -1},

		{name: "its share rises", now: share(1), change: []func(*Input){undrained, never("b")}, placed: true, share: 2},
		{name: "it arrives", change: []func(*Input){undrained, never("b"), never("c")}, placed: true, share: 2},
		{name: "its share falls and the others have theirs", now: share(4), change: []func(*Input){undrained}, placed: true, share: 2},
		{name: "its share falls and one is not there yet", now: share(4), change: []func(*Input){undrained, others("c", told("c2", 1))},
			held: "keeps 4 replicas here instead of 2", placed: true, share: 4},
		{name: "the total falls too", now: share(4), change: []func(*Input){undrained, totalOf(3), never("c")}, held: "keeps 3 replicas", placed: true, share: 3},
		{name: "the total is 0", now: share(4), change: []func(*Input){undrained, totalOf(0), never("b"), never("c")}, placed: true, share: 0},
		{name: "it alone has the app", now: share(4), placed: true, share: 3,
			change: []func(*Input){undrained, totalOf(3), never("b"), never("c"), func(in *Input) { in.App.Spec.Placement.ClusterSelector = byName("a") }}},
		{name: "replicas are divided from now on", now: Enforced{Placed: true}, change: []func(*Input){undrained, never("c")},
			held: "keeps its replicas here instead of 2", placed: true, share: -1},

		{name: "not divided, all Ready", now: Enforced{Placed: true}, change: []func(*Input){undivided}, share: -1},
		{name: "not divided, one is not Ready", now: Enforced{Placed: true}, placed: true, share: -1,
			change: []func(*Input){undivided, others("b", told("c2", 9, func(a *status.App) { a.Ready, a.Since = false, nil }))}, held: "b is not Ready"},
		{name: "renamed: the new name has to report", now: share(2), placed: true, share: 2,
			change: []func(*Input){func(in *Input) { cluster(in, "b").Name = "b2" }}, held: "b2 has never reported"},
		{name: "this cluster has left Git", now: share(2), placed: true, share: 2,
			change: []func(*Input){func(in *Input) { in.Fleet.Clusters = in.Fleet.Clusters[1:] }}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, tt.change...)
			p := Enforce(in, tt.now)
			checkUnchanged(t, in, tt.now, p)
			checkHeld(t, p.Held, status.GateTakeoverHealthy, tt.held)
			got := int32(-1)
			if p.Share != nil {
				got = *p.Share
			}
			if p.Placed != tt.placed || got != tt.share || p.Unknown != (tt.now.Unknown && tt.held != "") || p.Commit != "c2" {
				t.Errorf("placed %v, share %d, unknown %v, commit %s", p.Placed, got, p.Unknown, p.Commit)
			}
		})
	}
}

// checkUnchanged fails if Unchanged says that no gate need be asked, and the gates say something else.
func checkUnchanged(t *testing.T, in Input, now Enforced, p Placement) {
	t.Helper()
	if _, declared := in.Fleet.Cluster(in.Cluster); !declared || !Unchanged(in.Cluster, in.App, in.Placed, now) {
		return
	}
	same := p.Placed == now.Placed && (p.Share == nil) == (now.Share == nil) && (now.Share == nil || *p.Share == *now.Share)
	if p.Held != nil || !same || p.Unknown || p.Commit != in.Head {
		t.Errorf("unchanged, and yet %+v", p)
	}
}

func checkHeld(t *testing.T, held *Held, gate status.Gate, reason string) {
	t.Helper()
	switch {
	case held == nil && reason != "":
		t.Errorf("not held, though %q", reason)
	case held != nil && (reason == "" || held.Gate != gate || !strings.Contains(held.Reason, reason)):
		t.Errorf("held by %s: %s; want %s: %q", held.Gate, held.Reason, gate, reason)
	case held != nil:
		t.Log(held.Reason)
	}
}

func TestExclusive(t *testing.T) {
	one := 1
	// c takes over from a; b matches too and has nothing.
	taker := func(in *Input) {
		in.Cluster = "c"
		in.App.Spec.Failover.Gate = fleet.Exclusive
		in.App.Spec.Placement.Clusters = &one
		in.App.Spec.Placement.Prefer = []fleet.Selector{byName("c")}
		in.Others = map[string]Observed{"a": gone("c2"), "b": gone("c3")}
	}
	silent := func(o Observed) Observed { o.Fresh = false; return o }
	state := func(name string, s fleet.State) func(*Input) {
		return func(in *Input) { cluster(in, name).Spec.State = s }
	}
	history := func(known ...string) func(*Input) {
		return func(in *Input) {
			in.NotPlaced = func(cluster, since string) bool {
				for _, k := range known {
					if k == cluster+"@"+since {
						return true
					}
				}
				return false
			}
		}
	}
	tests := []struct {
		name   string
		now    Enforced
		change []func(*Input)
		held   string
		placed bool
	}{
		{name: "all have reported it gone", placed: true},
		{name: "one has, long ago: it stays true", change: []func(*Input){others("a", silent(gone("c2")))}, placed: true},
		{name: "one has objects left", change: []func(*Input){others("a", told("c2", 0))}, held: "a reported that it has 2 objects of it and 0 replicas"},
		{name: "one has replicas left", change: []func(*Input){others("a", told("c2", 1, func(a *status.App) { a.Objects = 0 }))}, held: "1 replicas"},
		{name: "one reported it gone at an older commit", change: []func(*Input){others("a", gone("c1"))}, held: "a reported it gone, but at commit c1"},
		{name: "one never reported", change: []func(*Input){never("b")}, held: "b has never reported"},
		{name: "one reports what cannot be trusted", change: []func(*Input){others("b", Observed{Problem: "not JSON"}), history("b@")}, held: "cannot be used: not JSON"},
		{name: "one says nothing of it", change: []func(*Input){others("b", tells("c2"))}, held: "b says nothing about it"},
		{name: "one is silent, and no commit since has placed it there", change: []func(*Input){others("b", silent(gone("c0"))), history("b@c0")}, placed: true},
		{name: "one is silent, and it had the app", change: []func(*Input){others("b", silent(told("c0", 1))), history("b@c0")}, held: "b reported that it has"},
		{name: "one never reported, and no commit ever placed it there", change: []func(*Input){never("b"), history("b@")}, placed: true},
		{name: "nothing has been read: one that has left Git may have it", change: []func(*Input){unread}, held: "status reports have not been read yet"},
		{name: "nothing can be read", change: []func(*Input){unread, broken}, held: "status reports cannot be read (the server is away)"},
		{name: "nothing has been read, and no other cluster ever had it", change: []func(*Input){unasked, never("a"), never("b"), history("@", "a@", "b@")},
			held: "status reports have not been read yet"},
		{name: "all has been read, and no other cluster ever had it", change: []func(*Input){never("a"), never("b"), history("a@", "b@")}, placed: true},
		{name: "nothing is ever read, and no other cluster ever had it", change: []func(*Input){off, history("@")}, placed: true},
		{name: "nothing is ever read, and another may have had it", change: []func(*Input){off, history("a@", "b@")},
			held: "status reports cannot be read (they are switched off)"},
		{name: "it is where the branch says that it never was: the branch was rewritten", change: []func(*Input){others("b", told("c9", 1)),
			history("@", "b@", "b@c9")}, held: "b reported that it has 2 objects"},
		{name: "one reported it gone at a commit that the branch has lost", change: []func(*Input){others("b", gone("c9")), history("@", "b@")},
			held: "b reported it gone, but at commit c9"},
		{name: "one says nothing of it, and no commit ever placed it there", change: []func(*Input){others("b", tells("c1")), history("b@")}, placed: true},
		{name: "one says nothing of it, and an old commit may have placed it there", change: []func(*Input){others("b", tells("c1")), history("b@c1")},
			held: "b says nothing about it"},
		{name: "one says nothing of it at a commit that the branch has lost", change: []func(*Input){others("b", tells("c9")), history("b@", "b@c9")},
			held: "b says nothing about it"},
		{name: "one has seen no commit", change: []func(*Input){others("b", tells("")), history("b@")}, held: "b says nothing"},
		{name: "one is dead and Lost in Git", change: []func(*Input){others("a", silent(told("c0", 1))), state("a", fleet.Lost)}, placed: true},
		{name: "one is dead and Drained in Git", change: []func(*Input){others("a", silent(told("c0", 1))), state("a", fleet.Drained)}, held: "set its state: Lost"},
		{name: "one has left Git", change: []func(*Input){others("gone", told("c1", 1))}, held: "gone reported that it has"},
		{name: "one whose file is broken", change: []func(*Input){func(in *Input) {
			in.Fleet.Problems = []fleet.Problem{{Kind: fleet.KindCluster, Name: "x"}}
			in.App.Spec.Placement.Clusters, in.App.Spec.Replicas = nil, nil
		}}, held: "x has never reported"},
		{name: "it runs here already", now: Enforced{Placed: true, Present: true}, change: []func(*Input){never("a"), never("b")}, placed: true},
		{name: "it was to start here and has not begun", now: Enforced{Placed: true}, change: []func(*Input){never("b")}, held: "b has never reported"},
		{name: "it is being stopped here", now: Enforced{Present: true}, change: []func(*Input){never("b")}, held: "b has never reported"},

		{name: "it is to run elsewhere: stops at once", now: Enforced{Placed: true, Present: true}, change: []func(*Input){never("a"), never("b"),
			func(in *Input) { in.App.Spec.Placement.Prefer = []fleet.Selector{byName("b")} }}},
		{name: "it is to run nowhere", now: Enforced{Placed: true, Present: true}, placed: true, held: "no cluster is left",
			change: []func(*Input){func(in *Input) { in.Fleet.Settings.Spec.Drain[0].ClusterSelector = fleet.Selector{} }}},
		{name: "it is to run nowhere, and this one is Lost", now: Enforced{Placed: true, Present: true},
			change: []func(*Input){state("c", fleet.Lost), func(in *Input) { in.Fleet.Settings.Spec.Drain[0].ClusterSelector = fleet.Selector{} }}},
		{name: "this cluster has left Git and has it", now: Enforced{Placed: true, Present: true}, placed: true,
			change: []func(*Input){func(in *Input) { in.Fleet.Clusters = in.Fleet.Clusters[:2] }}},
		{name: "this cluster has left Git and was to start it", now: Enforced{Placed: true},
			change: []func(*Input){func(in *Input) { in.Fleet.Clusters = in.Fleet.Clusters[:2] }}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := input(t, append([]func(*Input){taker}, tt.change...)...)
			p := Enforce(in, tt.now)
			checkUnchanged(t, in, tt.now, p)
			checkHeld(t, p.Held, status.GateExclusive, tt.held)
			for name, o := range in.Others {
				if o.Report != nil {
					r := *o.Report
					r.Time = r.Time.Add(2 * time.Minute)
					o.Report = &r
				}
				in.Others[name] = o
			}
			if again := Enforce(in, tt.now); p.Held != nil && again.Held.Reason != p.Held.Reason {
				t.Errorf("after a heartbeat of the others the reason is %q, no longer %q", again.Held.Reason, p.Held.Reason)
			}
			if p.Placed != tt.placed || p.Commit != "c2" {
				t.Errorf("placed %v, commit %s", p.Placed, p.Commit)
			}
		})
	}
}

// A gate says whom it waits for, so that nobody else's report is read; and that it may not hold at all, as long as it
// has not looked.
func TestWhomAGateAsks(t *testing.T) {
	exclusive := func(in *Input) {
		one := 1
		in.Cluster, in.App.Spec.Failover.Gate, in.App.Spec.Placement.Clusters = "c", fleet.Exclusive, &one
		in.App.Spec.Placement.Prefer = []fleet.Selector{byName("c")}
		in.Others = nil
	}
	waves := func(in *Input) {
		undrained(in)
		in.Cluster = "c"
		in.App.Spec.Rollout.Waves = []fleet.Wave{{ClusterSelector: byName("b")}}
		in.Others = nil
	}
	enforce := func(in Input) *Held { return Enforce(in, share(2)).Held }
	adopt := func(revision string) func(in Input) *Held {
		return func(in Input) *Held {
			return Adopt(in, Content{Revision: revision, Head: "new", Usable: func(string) bool { return true }}).Held
		}
	}
	onlyB := func(in *Input) { in.Asked = func(c string) bool { return c == "b" } }
	tests := []struct {
		name    string
		change  []func(*Input)
		decide  func(Input) *Held
		asks    Asks
		pending bool
	}{
		{name: "a takeover: those of head's placement", change: []func(*Input){never("b")}, decide: enforce, asks: Asks{Clusters: []string{"b", "c"}}},
		{name: "a takeover, one of them not asked", change: []func(*Input){never("b"), onlyB}, decide: enforce, asks: Asks{Clusters: []string{"b", "c"}}, pending: true},
		{name: "a takeover by nobody", change: []func(*Input){func(in *Input) { in.Fleet.Settings.Spec.Drain[0].ClusterSelector = fleet.Selector{} }, unasked}, decide: enforce},
		{name: "an exclusive start: everybody", change: []func(*Input){exclusive}, decide: enforce, asks: Asks{All: true}},
		{name: "an exclusive start, not all asked", change: []func(*Input){exclusive, onlyB}, decide: enforce, asks: Asks{All: true}, pending: true},
		{name: "a wave: those of the waves before", change: []func(*Input){waves}, decide: adopt("c1"), asks: Asks{Clusters: []string{"b"}}},
		{name: "a wave, not asked", change: []func(*Input){waves, unasked}, decide: adopt("c1"), asks: Asks{Clusters: []string{"b"}}, pending: true},
		{name: "a first adoption: everybody", change: []func(*Input){waves, onlyB}, decide: adopt(""), asks: Asks{All: true}, pending: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			held := tt.decide(input(t, tt.change...))
			if held == nil {
				t.Fatal("not held")
			}
			if held.Asks.All != tt.asks.All || !slices.Equal(held.Asks.Clusters, tt.asks.Clusters) || held.Pending != tt.pending {
				t.Errorf("asks %+v, pending %v", held.Asks, held.Pending)
			}
		})
	}
}
