package gate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// rollout is a world for Adopt: clusters in waves, and commits that change the content of an app.
type rollout struct {
	name string
	// wave of each cluster, by its place.
	wave        []int
	maxFailures int
	commits     []change
	crashes     int8
	// mutate spoils what the gate is told, adopt the whole decision.
	mutate func(*Input)
	adopt  func(Input, Content) Adoption

	fleets []*fleet.Fleet
	placed []fleet.Placed
	memo   map[canaryQuestion]Adoption
}

// canaryQuestion is all that an adoption depends on in a rollout.
type canaryQuestion struct {
	i             int
	head, rev     int8
	ready, soaked bool
	passed        [8]bool
	seen          [size]word
}

// change is one commit: which content it has, on which clusters that never becomes Ready, which are frozen or
// drained.
type change struct {
	content         byte
	bad             [size]bool
	frozen, drained [size]bool
}

// canary is one cluster of a rollout.
type canary struct {
	head   int8
	rev    int8 // adopted, -1 for none
	ready  bool
	soaked bool
	proven int8    // as AppStatus remembers, -1 for none
	passed [8]bool // every revision that it has proven
	pub    word
	seen   [size]word
}

// word is what a report says about a rollout.
type word struct {
	heard, ready bool
	rev, proven  int8
}

type fleetState struct {
	c       [size]canary
	crashes int8
}

func (r *rollout) build() *rollout {
	r.fleets, r.placed, r.memo = nil, nil, map[canaryQuestion]Adoption{}
	for _, c := range r.commits {
		f := &fleet.Fleet{}
		app := &fleet.App{Metadata: fleet.Metadata{Name: "app"}}
		app.Spec.Rollout.MaxFailures = r.maxFailures
		for i, k := range r.wave {
			f.Clusters = append(f.Clusters, &fleet.Cluster{Metadata: fleet.Metadata{
				Name: simNames[i], Labels: map[string]string{"name": simNames[i], "wave": fmt.Sprint(k)}}})
			for len(app.Spec.Rollout.Waves) <= k {
				wave := fleet.Wave{ClusterSelector: byName("")}
				wave.ClusterSelector.MatchLabels = map[string]string{"wave": fmt.Sprint(len(app.Spec.Rollout.Waves))}
				app.Spec.Rollout.Waves = append(app.Spec.Rollout.Waves, wave)
			}
			if c.frozen[i] {
				f.Settings.Spec.Freeze = append(f.Settings.Spec.Freeze, fleet.Freeze{ClusterSelector: byName(simNames[i])})
			}
			if c.drained[i] {
				f.Settings.Spec.Drain = append(f.Settings.Spec.Drain, fleet.Drain{ClusterSelector: byName(simNames[i])})
			}
		}
		f.Apps = []*fleet.App{app}
		placed, err := f.Place(app)
		if err != nil {
			panic(err)
		}
		r.fleets, r.placed = append(r.fleets, f), append(r.placed, placed)
	}
	if r.adopt == nil {
		r.adopt = Adopt
	}
	return r
}

func (r *rollout) start() fleetState {
	s := fleetState{crashes: r.crashes}
	for i := range r.wave {
		c := &s.c[i]
		if c.rev, c.proven = -1, -1; r.runs(0, i) {
			c.rev, c.proven, c.ready, c.soaked, c.passed[0] = 0, 0, true, true, true
		}
		c.pub = c.says()
	}
	for i := range r.wave {
		for j := range r.wave {
			if i != j {
				s.c[i].seen[j] = s.c[j].pub
			}
		}
	}
	return s
}

func (r *rollout) last() int8 { return int8(len(r.commits) - 1) }

func (r *rollout) runs(k int8, i int) bool {
	return slices.Contains(r.placed[k].Clusters, simNames[i])
}

func (c *canary) says() word { return word{true, c.ready, c.rev, c.proven} }

func (w word) report(cluster string) *status.Report {
	if !w.heard {
		return nil
	}
	app := status.App{Name: "app", Ready: w.ready}
	if w.rev >= 0 {
		app.Revision = id(w.rev)
	}
	if w.proven >= 0 {
		app.Proven = id(w.proven)
	}
	return &status.Report{Cluster: cluster, Time: simTime, Apps: []status.App{app}}
}

// decide adopts what the gates allow.
func (r *rollout) decide(s *fleetState, i int) {
	c := &s.c[i]
	if !r.runs(c.head, i) {
		c.rev, c.ready, c.soaked = -1, false, false
		return
	}
	q := canaryQuestion{i, c.head, c.rev, c.ready, c.soaked, c.passed, c.seen}
	a, ok := r.memo[q]
	if !ok {
		a = r.ask(c, i)
		r.memo[q] = a
	}
	if a.Revision == "" || index(a.Revision) == c.rev {
		return
	}
	next := index(a.Revision)
	if c.rev < 0 || r.commits[next].content != r.commits[c.rev].content {
		c.ready, c.soaked = false, false
	}
	if c.rev = next; c.soaked {
		c.prove()
	}
}

// ask is what an agent decides at its head.
func (r *rollout) ask(c *canary, i int) Adoption {
	f := r.fleets[c.head]
	in := Input{
		Cluster: simNames[i], Head: id(c.head), Fleet: f, App: f.Apps[0], Placed: r.placed[c.head], Others: map[string]Observed{},
		Descends: func(x, y string) bool { return index(x) >= index(y) },
	}
	for j := range r.wave {
		if j != i {
			in.Others[simNames[j]] = Observed{Report: c.seen[j].report(simNames[j]), Fresh: true}
		}
	}
	if r.mutate != nil {
		r.mutate(&in)
	}
	now := Content{Head: string(r.commits[c.head].content), Usable: func(string) bool { return true }}
	if c.rev >= 0 {
		now.Revision, now.Content = id(c.rev), string(r.commits[c.rev].content)
		if c.ready && !c.soaked {
			now.SoaksUntil = simTime.Add(time.Minute)
		}
	}
	for k, passed := range c.passed {
		if passed {
			now.Proven = append(now.Proven, string(r.commits[k].content))
		}
	}
	return r.adopt(in, now)
}

func (c *canary) prove() { c.soaked, c.proven, c.passed[c.rev] = true, c.rev, true }

func (r *rollout) next(s *fleetState, yield func(event, fleetState)) {
	step := func(what string, c, x int, change func(t *fleetState, a *canary)) {
		t := *s
		change(&t, &t.c[c])
		if t != *s {
			yield(event{what, int8(c), int8(x)}, t)
		}
	}
	for i := range r.wave {
		c := &s.c[i]
		for k := c.head + 1; k <= r.last(); k++ {
			step("fetch", i, int(k), func(t *fleetState, c *canary) { c.head = k; r.decide(t, i) })
		}
		step("decide", i, 0, func(t *fleetState, _ *canary) { r.decide(t, i) })
		if c.rev >= 0 && !c.ready && !r.commits[c.rev].bad[i] {
			step("ready", i, 0, func(_ *fleetState, c *canary) { c.ready = true })
		}
		if c.ready && !c.soaked {
			step("soak", i, 0, func(_ *fleetState, c *canary) { c.prove() })
		}
		step("publish", i, 0, func(_ *fleetState, c *canary) { c.pub = c.says() })
		for x := range r.wave {
			if x != i {
				step("read", i, x, func(t *fleetState, c *canary) { c.seen[x] = t.c[x].pub })
			}
		}
		if s.crashes > 0 {
			step("crash", i, 0, func(t *fleetState, c *canary) {
				t.crashes--
				c.seen, c.ready, c.soaked = [size]word{}, false, false
			})
		}
	}
}

// wrong says what an adoption must not do: take content that earlier waves have not proven.
func (r *rollout) wrong(before, after *fleetState) string {
	for i, k := range r.wave {
		x, y := &before.c[i], &after.c[i]
		if x.rev < 0 || y.rev < 0 || x.rev == y.rev || r.commits[x.rev].content == r.commits[y.rev].content {
			continue
		}
		if r.commits[y.head].frozen[i] {
			return fmt.Sprintf("%s adopts %d although it is frozen", simNames[i], y.rev)
		}
		if y.rev < x.rev {
			return fmt.Sprintf("%s goes back from %d to %d", simNames[i], x.rev, y.rev)
		}
		revert := false
		for old, passed := range x.passed {
			revert = revert || passed && r.commits[old].content == r.commits[y.rev].content
		}
		earlier, itself := 0, false
		for wave := range k {
			clusters, proven := 0, 0
			for j, of := range r.wave {
				if of != wave || !r.runs(y.head, j) {
					continue
				}
				clusters++
				if before.c[j].proven >= y.rev {
					proven++
				}
				itself = itself || before.c[j].passed[y.rev]
			}
			if earlier += clusters; clusters > 0 && proven < max(1, clusters-r.maxFailures) && !revert {
				return fmt.Sprintf("%s adopts %d, which %d of %d clusters of wave %d have proven", simNames[i], y.rev, proven, clusters, wave)
			}
		}
		if earlier > 0 && !itself && !revert {
			return fmt.Sprintf("%s adopts %d, which no cluster has proven", simNames[i], y.rev)
		}
	}
	return ""
}

// settle lets all go on as it should and tells who then lacks what head has.
func (r *rollout) settle(s fleetState) string {
	for range 40 {
		before := s
		for i := range r.wave {
			c := &s.c[i]
			for x := range r.wave {
				if x != i {
					c.seen[x] = s.c[x].pub
				}
			}
			c.head = r.last()
			was := s
			r.decide(&s, i)
			if bad := r.wrong(&was, &s); bad != "" {
				return "while settling: " + bad
			}
			if c.rev >= 0 && !r.commits[c.rev].bad[i] {
				c.ready = true
				c.prove()
			}
			c.pub = c.says()
		}
		if s == before {
			break
		}
	}
	k := r.last()
	blocked := -1 // the first wave that keeps the later ones waiting
	for wave := range slices.Max(r.wave) {
		clusters, proven := 0, 0
		for i, of := range r.wave {
			if of == wave && r.runs(k, i) {
				clusters++
				if s.c[i].proven == k && s.c[i].ready {
					proven++
				}
			}
		}
		if clusters > 0 && proven < max(1, clusters-r.maxFailures) {
			blocked = wave
			break
		}
	}
	for i, wave := range r.wave {
		c := &s.c[i]
		held := r.commits[k].frozen[i] || blocked >= 0 && wave > blocked
		if r.runs(k, i) && !held && c.rev != k {
			return fmt.Sprintf("%s ends with %d", simNames[i], c.rev)
		}
		if c.rev < 0 && r.runs(k, i) {
			return fmt.Sprintf("%s ends with nothing", simNames[i])
		}
		if blocked >= 0 && !r.commits[k].frozen[i] {
			cause := slices.ContainsFunc(r.commits, func(c change) bool { return c.bad != [size]bool{} || c.frozen != [size]bool{} })
			if !cause {
				return fmt.Sprintf("wave %d waits for nothing", blocked)
			}
		}
	}
	return ""
}

func contents(text string, more ...func([]change)) []change {
	var out []change
	for _, c := range []byte(text) {
		ch := change{content: c}
		if c == 'B' {
			ch.bad = [size]bool{true, true, true, true}
		}
		out = append(out, ch)
	}
	for _, f := range more {
		f(out)
	}
	return out
}

func rollouts() []*rollout {
	return []*rollout{
		{name: "three waves", wave: []int{0, 1, 2}, commits: contents("xyz"), crashes: 1},
		{name: "a broken commit and its fix", wave: []int{0, 1}, commits: contents("xByz"), crashes: 1},
		{name: "a broken commit and a revert", wave: []int{0, 1, 2}, commits: contents("xyBx")},
		{name: "a commit that changes nothing", wave: []int{0, 1}, commits: contents("xyyzz"), crashes: 1},
		{name: "an empty wave", wave: []int{0, 2, 3}, commits: contents("xyz")},
		{name: "two in the first wave, one may fail", wave: []int{0, 0, 1}, maxFailures: 1,
			commits: contents("xyz", func(c []change) { c[1].bad[0], c[2].bad[1] = true, true })},
		{name: "two in the first wave, none may fail", wave: []int{0, 0, 1},
			commits: contents("xyz", func(c []change) { c[1].bad[0] = true })},
		{name: "the first wave is frozen", wave: []int{0, 1},
			commits: contents("xyz", func(c []change) { c[1].frozen[0], c[2].frozen[0] = true, true })},
		{name: "the last wave thaws", wave: []int{0, 1, 1}, commits: contents("xyz", func(c []change) { c[1].frozen[2] = true })},
		{name: "the first wave is drained and comes back", wave: []int{0, 1, 1},
			commits: contents("xyyz", func(c []change) { c[1].drained[0], c[2].drained[0] = true, true })},
		{name: "a cluster of the last wave is new", wave: []int{0, 1, 1},
			commits: contents("xyBz", func(c []change) { c[0].drained[2], c[1].drained[2] = true, true })},
	}
}

// TestExploreWaves tries what a small fleet can do with new content: no wave adopts what the earlier ones have
// not proven, nobody goes back, and in the end all have what head has unless something is broken or frozen.
func TestExploreWaves(t *testing.T) {
	states := 0
	for _, r := range rollouts() {
		t.Run(r.name, func(t *testing.T) {
			f := r.build().explore(20_000 * deeper())
			if f.bad != "" {
				t.Fatal(f.bad, f.trace)
			}
			t.Logf("%d states, all: %v", f.states, f.whole)
			states += f.states
		})
	}
	t.Logf("%d states explored", states)
}

func (r *rollout) explore(limit int) found {
	return search(r.start(), limit, r.next, r.wrong, r.settle)
}

// TestExploreWavesFindsWhatTheGateIsFor takes one term away at a time.
func TestExploreWavesFindsWhatTheGateIsFor(t *testing.T) {
	tests := []struct {
		without string
		says    string
		spoil   func(*rollout)
	}{
		{"waves", "have proven", func(r *rollout) {
			r.adopt = func(in Input, c Content) Adoption {
				in.App = &fleet.App{Metadata: in.App.Metadata}
				return Adopt(in, c)
			}
		}},
		{"the proof of what is adopted itself", "no cluster has proven", func(r *rollout) {
			r.mutate = func(in *Input) {
				for _, o := range in.Others {
					if app := o.app("app"); app != nil && app.Proven > in.Head {
						app.Proven = in.Head
					}
				}
			}
		}},
		{"clusters of head: those count that have reported", "have proven", func(r *rollout) {
			r.mutate = func(in *Input) {
				in.Placed.Clusters = slices.DeleteFunc(slices.Clone(in.Placed.Clusters), func(c string) bool {
					app := in.Others[c].app("app")
					return c != in.Cluster && (app == nil || app.Proven != in.Head)
				})
			}
		}},
		{"a freeze", "frozen", func(r *rollout) {
			r.mutate = func(in *Input) {
				f := *in.Fleet
				f.Settings.Spec.Freeze = nil
				in.Fleet = &f
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.without, func(t *testing.T) {
			for _, r := range rollouts() {
				tt.spoil(r)
				f := r.build().explore(20_000)
				if strings.Contains(f.bad, tt.says) {
					t.Logf("found after %d states, %d events, in %q: %s", f.states, len(f.trace), r.name, f.bad)
					return
				}
				if f.bad != "" {
					t.Fatalf("in %q: %s %v", r.name, f.bad, f.trace)
				}
			}
			t.Error("nothing is wrong")
		})
	}
}
