package gate

import (
	"math"
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-dev/holdfast/internal/status"
)

// deeper multiplies how many states are explored: HOLDFAST_EXPLORE=10 takes ten times as long, and some GB.
func deeper() int {
	if n, err := strconv.Atoi(os.Getenv("HOLDFAST_EXPLORE")); err == nil && n > 0 {
		return n
	}
	return 1
}

// Commits of worlds, for three equal clusters and six replicas unless something else is said.
func each(change ...func(*commit)) commit {
	c := commit{weights: [size]int{1, 1, 1, 1}, total: 6}
	for _, f := range change {
		f(&c)
	}
	return c
}

func drain(clusters ...int) func(*commit) {
	return func(c *commit) {
		for _, i := range clusters {
			c.drained[i] = true
		}
	}
}

func lose(cluster int) func(*commit)   { return func(c *commit) { c.lost[cluster] = true } }
func remove(cluster int) func(*commit) { return func(c *commit) { c.weights[cluster] = 0 } }
func total(n int32) func(*commit)      { return func(c *commit) { c.total = n } }
func home(cluster int) func(*commit)   { return func(c *commit) { c.home, c.total = cluster, 1 } }
func weigh(w ...int) func(*commit)     { return func(c *commit) { copy(c.weights[:], w) } }

func takeoverWorlds() []*world {
	return []*world{
		{name: "drain and restore, a crash", n: 2, crashes: 1,
			commits: []commit{each(), each(drain(0)), each(), each(drain(1)), each()}},
		{name: "weights and total, a crash", n: 2, crashes: 1,
			commits: []commit{each(total(4)), each(total(6), weigh(1, 5)), each(total(3), weigh(2, 1)), each(total(4), weigh(1, 3))}},
		{name: "a raise and a crash", n: 2, crashes: 1,
			commits: []commit{each(total(4)), each(total(8), weigh(3, 1)), each(total(8))}},
		{name: "a drain and a death", n: 2, deaths: 1, crashes: 1, illnesses: 1,
			commits: []commit{each(), each(drain(0))}},
		{name: "agents forget commits", n: 2, crashes: 1, forgets: true,
			commits: []commit{each(), each(drain(0)), each(total(5)), each(weigh(1, 2))}},
		{name: "agents forget commits, weights and total", n: 2, crashes: 1, forgets: true,
			commits: []commit{each(total(4)), each(total(6), weigh(1, 5)), each(total(3), weigh(2, 1)), each(total(4), weigh(1, 3))}},
		{name: "the total falls before it has risen", n: 2, crashes: 1,
			commits: []commit{each(weigh(1, 0)), each(total(12), weigh(1, 1)), each(total(9), weigh(1, 2)), each(total(6))}},
		{name: "a drain, a death, and the dead one declared Lost", n: 2, deaths: 1, illnesses: 1,
			commits: []commit{each(), each(drain(0)), each(lose(1)), each()}},
		{name: "two drains at once", n: 3,
			commits: []commit{each(), each(drain(0)), each(drain(0, 1)), each(drain(1))}},
		{name: "two fall, one rises", n: 3,
			commits: []commit{each(), each(weigh(1, 1, 4))}, crashes: 1, illnesses: 1},
		{name: "two drains one after another, restored in the middle", n: 3,
			commits: []commit{each(), each(drain(0)), each(drain(1)), each()}},
		{name: "the weights change in the middle of a drain", n: 3,
			commits: []commit{each(), each(drain(0)), each(drain(0), weigh(1, 1, 3)), each(weigh(1, 3, 1))}},
		{name: "the total changes in the middle of a drain", n: 3,
			commits: []commit{each(), each(drain(0)), each(drain(0), total(3)), each(total(7))}},
		{name: "everything is drained", n: 3,
			commits: []commit{each(), each(drain(0, 1)), each(drain(0, 1, 2)), each(drain(2))}},
		{name: "a cluster is taken out of Git and comes back", n: 3,
			commits: []commit{each(), each(remove(0)), each(remove(0), drain(1)), each()}},
		{name: "a cluster dies and is declared Lost", n: 3, deaths: 1,
			commits: []commit{each(), each(drain(0)), each(drain(0), lose(1)), each(lose(1))}},
		{name: "not divided", n: 3, crashes: 1, illnesses: 1,
			commits: []commit{each(total(-1), remove(2)), each(total(-1), drain(0)), each(total(-1), drain(1)), each(total(-1), drain(0, 1))}},
		{name: "turned off and on", n: 3,
			commits: []commit{each(), each(total(0)), each(drain(0)), each(total(3), weigh(1, 1, 4))}},
		{name: "four clusters, two drained", n: 4,
			commits: []commit{each(total(8)), each(total(8), drain(0, 1)), each(total(8), drain(2))}},
	}
}

func exclusiveWorlds() []*world {
	return []*world{
		{name: "there and back, crashes", n: 2, exclusive: true, crashes: 2,
			commits: []commit{each(home(0)), each(home(1)), each(home(0)), each(home(1))}},
		{name: "there and back, agents forget commits", n: 2, exclusive: true, crashes: 2, forgets: true,
			commits: []commit{each(home(0)), each(home(1)), each(home(0)), each(home(1))}},
		{name: "drain and restore", n: 2, exclusive: true, crashes: 1,
			commits: []commit{each(home(0)), each(home(0), drain(0)), each(home(0)), each(home(0), drain(0))}},
		{name: "around, a crash", n: 3, exclusive: true, crashes: 1,
			commits: []commit{each(home(0)), each(home(1)), each(home(2)), each(home(0))}},
		{name: "around and elsewhere", n: 3, exclusive: true,
			commits: []commit{each(home(0)), each(home(1)), each(home(2)), each(home(1)), each(home(0))}},
		{name: "a holder dies and is declared Lost", n: 3, exclusive: true, deaths: 1,
			commits: []commit{each(home(0)), each(home(1)), each(home(2), lose(1)), each(home(2))}},
		{name: "a live holder is declared Lost", n: 3, exclusive: true,
			commits: []commit{each(home(0)), each(home(1), lose(0)), each(home(2), lose(0)), each(home(0))}},
		{name: "a holder is taken out of Git", n: 3, exclusive: true,
			commits: []commit{each(home(0)), each(home(1), remove(0)), each(home(2), remove(0)), each(home(0))}},
		{name: "a cluster is new", n: 3, exclusive: true, crashes: 1,
			commits: []commit{each(home(0), remove(2)), each(home(2)), each(home(1))}},
		{name: "everything is drained", n: 3, exclusive: true,
			commits: []commit{each(home(0)), each(home(1), drain(0, 1, 2)), each(home(1), drain(0)), each(home(0), drain(1))}},
		{name: "four clusters", n: 4, exclusive: true,
			commits: []commit{each(home(0)), each(home(1)), each(home(2), drain(1)), each(home(3))}},
	}
}

// TestExplore tries what a small fleet can do, event by event: no required replica is missing, no
// Exclusive app runs twice, nothing moves without a commit, and nothing waits for ever.
func TestExplore(t *testing.T) {
	states := 0
	for _, w := range append(takeoverWorlds(), exclusiveWorlds()...) {
		kind := "takeover"
		if w.exclusive {
			kind = "exclusive"
		}
		t.Run(kind+"/"+w.name, func(t *testing.T) {
			f := w.explore(60_000 * deeper())
			if f.bad != "" {
				t.Fatal(f.explain(w))
			}
			how := "the nearest"
			if f.whole {
				how = "all"
			}
			t.Logf("%d states, %s", f.states, how)
			states += f.states
		})
	}
	t.Logf("%d states explored", states)
}

// TestExploreFindsWhatAGateIsFor takes one term of the gates away, and one rule of those who call them, at
// a time. Each time some world goes wrong: the exploration can fail, and no term is superfluous.
func TestExploreFindsWhatAGateIsFor(t *testing.T) {
	reports := func(change func(in *Input, o *Observed)) func(*Input) {
		return func(in *Input) {
			for name, o := range in.Others {
				if o.Report != nil {
					change(in, &o)
					in.Others[name] = o
				}
			}
		}
	}
	tests := []struct {
		without   string
		exclusive bool
		world     string // the only one to look at, where others need long
		spoil     func(*world)
	}{
		{without: "ready replicas at least the share of head", spoil: func(w *world) {
			w.mutate = reports(func(_ *Input, o *Observed) { o.Report.Apps[0].Replicas.Ready = math.MaxInt32 })
		}},
		{without: "Ready", spoil: func(w *world) {
			w.mutate = reports(func(_ *Input, o *Observed) {
				since := simTime.AddDate(-1, 0, 0)
				o.Report.Apps[0].Ready, o.Report.Apps[0].Since = true, &since
			})
			for i := range w.commits {
				w.commits[i].total = -1 // the number says it too, where there is one
			}
		}},
		{without: "placement at head or later", spoil: func(w *world) {
			w.mutate = reports(func(in *Input, o *Observed) { o.Report.Apps[0].Placement = in.Head })
		}},
		{without: "freshness", world: "a drain and a death", spoil: func(w *world) {
			w.mutate = reports(func(_ *Input, o *Observed) { o.Fresh = true })
		}},
		{without: "the gate where the total falls", world: "weights and total, a crash", spoil: func(w *world) {
			w.decide = func(in Input, now Enforced) Placement {
				p := Enforce(in, now)
				if total := in.App.Spec.Replicas; p.Held != nil && total != nil && in.placedOn(in.Cluster) &&
					total.Total < w.fleets[max(index(in.Head), 1)-1].Apps[0].Spec.Replicas.Total {
					return Placement{Enforced: in.wanted(), Commit: in.Head}
				}
				return p
			}
		}},
		{without: "a hold where no cluster is left", world: "everything is drained", spoil: func(w *world) {
			w.decide = func(in Input, now Enforced) Placement {
				if len(in.Placed.Clusters) == 0 {
					return Placement{Commit: in.Head}
				}
				return Enforce(in, now)
			}
		}},
		{without: "head as the commit that a held cluster reports", spoil: func(w *world) { w.reportsEnforced = true }},
		{without: "a share in AppStatus before it is applied", world: "a raise and a crash", spoil: func(w *world) { w.appliesFirst = true }},
		{without: "a commit on record before it is in a report", spoil: func(w *world) { w.publishesFirst, w.forgets = true, true }},

		{without: "a commit on record before it is in a report, exclusive", exclusive: true, spoil: func(w *world) { w.publishesFirst, w.forgets = true, true }},
		{without: "the gate anew until something is there", exclusive: true, spoil: func(w *world) {
			w.decide = func(in Input, now Enforced) Placement {
				now.Present = now.Placed
				return Enforce(in, now)
			}
		}},
		{without: "objects left", exclusive: true, spoil: func(w *world) {
			w.mutate = reports(func(_ *Input, o *Observed) {
				o.Report.Apps[0].Objects, o.Report.Apps[0].Replicas = 0, status.Replicas{}
			})
		}},
		{without: "gone at head or later", exclusive: true, spoil: func(w *world) {
			w.mutate = reports(func(in *Input, o *Observed) { o.Report.Apps[0].Placement = in.Head })
		}},
		{without: "the commits between in what is known never to have been placed", exclusive: true, spoil: func(w *world) {
			w.mutate = func(in *Input) {
				in.NotPlaced = func(cluster, _ string) bool { return !in.placedOn(cluster) }
			}
		}},
		{without: "clusters that have left Git", exclusive: true, world: "a holder is taken out of Git", spoil: func(w *world) {
			w.mutate = func(in *Input) {
				for name := range in.Others {
					if _, ok := in.Fleet.Cluster(name); !ok {
						delete(in.Others, name)
					}
				}
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.without, func(t *testing.T) {
			worlds := takeoverWorlds()
			if tt.exclusive {
				worlds = exclusiveWorlds()
			}
			states := 0
			for _, w := range worlds {
				if tt.world != "" && tt.world != w.name {
					continue
				}
				tt.spoil(w)
				f := w.explore(60_000)
				states += f.states
				if f.bad != "" {
					t.Logf("found after %d states, %d events: %s", states, len(f.trace), f.explain(w))
					return
				}
			}
			t.Errorf("%d states, and nothing is wrong", states)
		})
	}
}

// TestRandomRuns follows long runs through random worlds: more commits, more mishaps, no limit on depth.
func TestRandomRuns(t *testing.T) {
	states := 0
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t).build()
		s := w.start()
		steps := rapid.IntRange(20, 150).Draw(t, "steps")
		f := found{}
		for range steps {
			type choice struct {
				e event
				s state
			}
			var all []choice
			w.next(&s, func(e event, t state) { all = append(all, choice{e, t}) })
			if len(all) == 0 {
				break
			}
			c := all[rapid.IntRange(0, len(all)-1).Draw(t, "event")]
			f.trace = append(f.trace, c.e)
			if f.bad = w.wrong(&c.s); f.bad == "" {
				f.bad = w.wrongStep(&s, &c.s)
			}
			if f.bad != "" {
				t.Fatal(f.explain(w))
			}
			s = c.s
			states++
		}
		if f.bad = w.settle(s); f.bad != "" {
			t.Fatal(f.explain(w))
		}
	})
	t.Logf("%d states seen", states)
}

func drawWorld(t *rapid.T) *world {
	w := &world{name: "random", n: rapid.IntRange(2, size).Draw(t, "clusters"), exclusive: rapid.Bool().Draw(t, "exclusive")}
	divided := rapid.IntRange(0, 4).Draw(t, "divided") > 0
	for k := range rapid.IntRange(4, 7).Draw(t, "commits") {
		var c commit
		for i := range w.n {
			c.weights[i] = rapid.IntRange(1, 4).Draw(t, "weight")
			if k > 0 { // at first all are well
				c.drained[i] = rapid.IntRange(0, 3).Draw(t, "drained") == 1
				c.lost[i] = rapid.IntRange(0, 12).Draw(t, "lost") == 1
				if rapid.IntRange(0, 9).Draw(t, "removed") == 1 {
					c.weights[i] = 0
				}
			}
		}
		c.home = rapid.IntRange(0, w.n-1).Draw(t, "home")
		c.total = -1
		if divided {
			c.total = int32(rapid.IntRange(0, 9).Draw(t, "total"))
		}
		w.commits = append(w.commits, c)
	}
	w.crashes = int8(rapid.IntRange(0, 3).Draw(t, "crashes"))
	w.forgets = rapid.Bool().Draw(t, "forgets")
	w.fetchesHeadOnly = rapid.Bool().Draw(t, "fetchesHeadOnly")
	w.noHistory = rapid.IntRange(0, 3).Draw(t, "noHistory") == 0
	w.deaths = int8(rapid.IntRange(0, 1).Draw(t, "deaths"))
	w.illnesses = int8(rapid.IntRange(0, 2).Draw(t, "illnesses"))
	return w
}
