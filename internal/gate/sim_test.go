package gate

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// The simulator drives Enforce as the agents of a small fleet do: each is at a commit of its own, has
// its own, possibly old, reports of the others, and may crash or die. What happens next is any of the
// events that can happen; explore tries them all.

// size is the greatest number of clusters in a world.
const size = 4

var simNames = [size]string{"a", "b", "c", "d"}

// simTime is the time of every report; soaking and skew are not what is explored here.
var simTime = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// commit is one commit of a world.
type commit struct {
	// weights are the clusters' weights; 0 takes the cluster's file out of Git.
	weights [size]int
	drained [size]bool
	lost    [size]bool
	total   int32 // -1: replicas are not divided
	// home is the cluster that an Exclusive app prefers.
	home int
}

// world is a sequence of commits, and how its agents are wired.
type world struct {
	name      string
	n         int
	exclusive bool
	commits   []commit
	crashes   int8
	deaths    int8
	illnesses int8
	// forgets makes a crash lose the data dir, and Git answer with a commit from before, no older than
	// what the cluster has on record. Else an agent goes on at the commit that it was at.
	forgets bool
	// mutate spoils what a gate is told, decide the whole decision, to see that the simulator notices.
	mutate func(*Input)
	decide func(Input, Enforced) Placement
	// reportsEnforced makes an agent report the commit whose share it runs while it holds.
	reportsEnforced bool
	// appliesFirst makes an agent apply a share that AppStatus does not have yet, publishesFirst report
	// a commit that nothing in the cluster has recorded.
	appliesFirst, publishesFirst bool
	// noHistory leaves NotPlaced out; fetchesHeadOnly makes later commits than an agent's head unknown to it.
	noHistory, fetchesHeadOnly bool

	fleets []*fleet.Fleet
	placed []fleet.Placed
	memo   map[question]answer
	// honest is set if nothing is spoiled.
	honest bool
}

type question struct {
	c, head int8
	now     decision
	run     bool
	seen    [size]said
	stale   [size]bool
}

type answer struct {
	now  decision
	held bool
}

// decision is what an agent enforces.
type decision struct {
	at     int8 // the commit that it may report
	placed bool
	share  int8
}

// said is what a report says; the zero value stands for none.
type said struct {
	heard bool
	decision
	ready, objects int8
}

// agent is one cluster and its agent.
type agent struct {
	head  int8
	now   decision // enforced
	wrote decision // what a restart finds in AppStatus
	pub   said
	seen  [size]said

	ready int8 // ready replicas
	ill   int8 // that were ready, and are not through no fault of any gate
	run   bool // an Exclusive app runs, or is being stopped

	dead  bool
	stale bool // dead for so long that the others know
}

// state is one moment of a world.
type state struct {
	a                          [size]agent
	covered                    int8 // the newest commit that has been covered as a whole
	newest                     int8 // the newest commit that anybody has decided by
	crashes, deaths, illnesses int8
}

func id(commit int8) string { return fmt.Sprintf("%02d", commit) }

func index(commit string) int8 {
	n, err := strconv.Atoi(commit)
	if err != nil {
		panic(err)
	}
	return int8(n)
}

func (c commit) fleet(n int, exclusive bool) *fleet.Fleet {
	f := &fleet.Fleet{}
	for i := range n {
		if c.weights[i] == 0 {
			continue
		}
		weight := int32(c.weights[i])
		cluster := &fleet.Cluster{Metadata: fleet.Metadata{Name: simNames[i], Labels: map[string]string{"name": simNames[i]}}}
		cluster.Spec.Weight = &weight
		if c.lost[i] {
			cluster.Spec.State = fleet.Lost
		}
		if c.drained[i] {
			f.Settings.Spec.Drain = append(f.Settings.Spec.Drain, fleet.Drain{ClusterSelector: byName(simNames[i])})
		}
		f.Clusters = append(f.Clusters, cluster)
	}
	app := &fleet.App{Metadata: fleet.Metadata{Name: "app"}}
	app.Spec.Failover.Soak = &fleet.Duration{}
	if c.total >= 0 {
		app.Spec.Replicas = &fleet.Replicas{Total: c.total}
	}
	if exclusive {
		one := 1
		app.Spec.Failover.Gate = fleet.Exclusive
		app.Spec.Placement.Clusters = &one
		app.Spec.Placement.Prefer = []fleet.Selector{byName(simNames[c.home])}
	}
	f.Apps = []*fleet.App{app}
	return f
}

func byName(name string) fleet.Selector {
	return fleet.Selector{LabelSelector: metav1.LabelSelector{MatchLabels: map[string]string{"name": name}}}
}

func (w *world) build() *world {
	w.fleets, w.placed, w.memo = nil, nil, map[question]answer{}
	for _, c := range w.commits {
		f := c.fleet(w.n, w.exclusive)
		placed, err := f.Place(f.Apps[0])
		if err != nil {
			panic(err)
		}
		w.fleets, w.placed = append(w.fleets, f), append(w.placed, placed)
	}
	if w.honest = w.decide == nil && w.mutate == nil; w.decide == nil {
		w.decide = Enforce
	}
	return w
}

func (w *world) last() int8 { return int8(len(w.commits) - 1) }

// want is the placement of a commit on a cluster; share is 1 where replicas are not divided.
func (w *world) want(k int8, c int) decision {
	if !slices.Contains(w.placed[k].Clusters, simNames[c]) {
		return decision{at: k}
	}
	if w.placed[k].Replicas == nil {
		return decision{k, true, 1}
	}
	return decision{k, true, int8(w.placed[k].Replicas[simNames[c]])}
}

// total is how many ready replicas a commit asks for.
func (w *world) total(k int8) int {
	if r := w.fleets[k].Apps[0].Spec.Replicas; r != nil {
		return int(r.Total)
	}
	return len(w.placed[k].Clusters)
}

func (w *world) start() state {
	s := state{crashes: w.crashes, deaths: w.deaths, illnesses: w.illnesses}
	for i := range w.n {
		a := &s.a[i]
		a.now = w.want(0, i)
		if a.ready = a.now.share; w.exclusive {
			a.ready, a.run = 0, a.now.placed
		}
		a.wrote = a.now
		a.pub = w.says(a)
	}
	for i := range w.n {
		for j := range w.n {
			if i != j {
				s.a[i].seen[j] = s.a[j].pub
			}
		}
	}
	return s
}

// says is what an agent reports now.
func (w *world) says(a *agent) said {
	r := said{heard: true, decision: a.now, ready: a.ready}
	switch {
	case w.exclusive && a.run:
		r.ready, r.objects = 1, 1
	case !w.exclusive && a.now.placed:
		r.objects = 1
	}
	return r
}

// report turns what was said into the report that the gates read.
func (r said) report(cluster string) *status.Report {
	if !r.heard {
		return nil
	}
	app := status.App{
		Name: "app", Placement: id(r.at), Objects: int(r.objects),
		Replicas: status.Replicas{Desired: int32(r.objects), Ready: int32(r.ready)},
	}
	if r.placed && r.ready >= r.share {
		since := simTime.Add(-time.Hour)
		app.Ready, app.Since = true, &since
	}
	return &status.Report{APIVersion: status.APIVersion, Cluster: cluster, Time: simTime, Commit: id(r.at), Apps: []status.App{app}}
}

// ask is what an agent decides at its head.
func (w *world) ask(s *state, c int) answer {
	a := &s.a[c]
	q := question{c: int8(c), head: a.head, now: a.now, run: a.run, seen: a.seen}
	for i := range w.n {
		q.stale[i] = s.a[i].stale
	}
	if known, ok := w.memo[q]; ok {
		return known
	}
	f := w.fleets[a.head]
	in := Input{
		Cluster: simNames[c], Head: id(a.head), Fleet: f, App: f.Apps[0], Placed: w.placed[a.head],
		Others: map[string]Observed{},
		// Git may have brought commits that this agent does not decide by yet.
		Descends: func(x, y string) bool { return index(x) >= index(y) && (index(x) <= a.head || !w.fetchesHeadOnly) },
		NotPlaced: func(cluster, since string) bool {
			from := int8(0)
			if since != "" {
				from = index(since)
			}
			for k := from; k <= a.head; k++ {
				if slices.Contains(w.placed[k].Clusters, cluster) {
					return false
				}
			}
			return true
		},
	}
	if w.noHistory {
		in.NotPlaced = nil
	}
	for i := range w.n {
		if i != c {
			in.Others[simNames[i]] = Observed{Report: a.seen[i].report(simNames[i]), Fresh: !s.a[i].stale}
		}
	}
	if w.mutate != nil {
		w.mutate(&in)
	}
	now := Enforced{Placed: a.now.placed, Present: a.run}
	if a.now.placed && w.commits[a.head].total >= 0 {
		share := int32(a.now.share)
		now.Share = &share
	}
	p := w.decide(in, now)
	if _, declared := f.Cluster(simNames[c]); w.honest && declared && Unchanged(simNames[c], in.App, in.Placed, now) &&
		(p.Held != nil || p.Placed != now.Placed || now.Share != nil && *p.Share != *now.Share) {
		panic(fmt.Sprintf("nothing changes for %+v, and yet %+v", now, p))
	}
	ans := answer{now: decision{at: index(p.Commit), placed: p.Placed}, held: p.Held != nil}
	switch {
	case p.Placed && p.Share != nil:
		ans.now.share = int8(*p.Share)
	case p.Placed:
		ans.now.share = 1
	}
	if w.reportsEnforced && ans.held {
		ans.now.at = a.now.at
	}
	w.memo[q] = ans
	return ans
}

// enforce makes a decision true in the cluster. It is in AppStatus before; a commit that changes nothing
// here is not.
func (w *world) enforce(a *agent, now decision) {
	if !w.appliesFirst && (a.now.placed != now.placed || a.now.share != now.share) {
		a.wrote = now
	}
	a.now = now
	if !w.exclusive {
		a.ready = min(a.ready, now.share)
		a.ill = min(a.ill, now.share-a.ready)
	}
}

// cover notes which commit has last been covered: all its clusters decide by it or a later one, and have
// their shares.
func (w *world) cover(s *state) {
	for i := range w.n {
		s.newest = max(s.newest, s.a[i].now.at)
	}
	for k := w.last(); k > s.covered; k-- {
		all := len(w.placed[k].Clusters) > 0
		for i := range w.n {
			want := w.want(k, i)
			a := &s.a[i]
			at := a.now.at
			if w.forgets {
				at = a.wrote.at
			}
			if want.placed && (at < k || a.ready+a.ill < want.share) {
				all = false
			}
		}
		if all {
			s.covered = k
			return
		}
	}
}

// required is how many replicas have to be ready: the smallest total of all commits from the last that was
// covered to the newest that anybody decides by.
func (w *world) required(s *state) int { return w.leastFrom(s.covered, s) }

func (w *world) leastFrom(first int8, s *state) int {
	least := w.total(first)
	for k := first; k <= s.newest; k++ {
		least = min(least, w.total(k))
	}
	return least
}

// wrong says what must not be in a state, "" if nothing.
func (w *world) wrong(s *state) string {
	if w.exclusive {
		var running []string
		for i := range w.n {
			declared := slices.ContainsFunc(w.commits, func(c commit) bool { return c.lost[i] })
			if s.a[i].run && !declared {
				running = append(running, simNames[i])
			}
		}
		if len(running) > 1 {
			return fmt.Sprintf("the app runs on %v at once", running)
		}
		return ""
	}
	sum := 0
	for i := range w.n {
		sum += int(s.a[i].ready + s.a[i].ill)
	}
	if least := w.required(s); sum < least {
		return fmt.Sprintf("%d replicas are ready and %d required", sum, least)
	}
	return ""
}

// wrongStep says what must not happen between two states: that an agent lowers what it has, relying on
// one of which it could know that it is dead; or moves, at the same commit, to anything but its placement.
func (w *world) wrongStep(before, after *state) string {
	for c := range w.n {
		x, y := &before.a[c], &after.a[c]
		if y.ready+y.ill < x.ready+x.ill && y.now.share < x.now.share && !y.dead {
			sum := 0
			for i := range w.n {
				if !after.a[i].stale {
					sum += int(after.a[i].ready + after.a[i].ill)
				}
			}
			if least := w.leastFrom(min(after.covered, y.head), after); sum < least && after.crashes == before.crashes {
				return fmt.Sprintf("%s lowers to %d although only %d replicas of %d are left of clusters that are not known to be dead", simNames[c], y.now.share, sum, least)
			}
		}
		begun := !w.exclusive || x.run
		if _, declared := w.fleets[y.head].Cluster(simNames[c]); !declared && begun && (x.now.placed != y.now.placed || x.now.share != y.now.share) {
			return fmt.Sprintf("%s moves although head does not know it", simNames[c])
		}
		want := w.want(y.head, c)
		if x.head == y.head && begun && after.crashes == before.crashes && (x.now.placed != y.now.placed || x.now.share != y.now.share) &&
			(y.now.placed != want.placed || y.now.share != want.share) {
			return fmt.Sprintf("%s moves without a commit", simNames[c])
		}
	}
	return ""
}

// event is one step, for people to read.
type event struct {
	what string
	c, x int8
}

func (e event) String() string { return fmt.Sprintf("%s(%s,%d)", e.what, simNames[e.c], e.x) }

// next calls yield with every state that can follow.
func (w *world) next(s *state, yield func(event, state)) {
	step := func(what string, c, x int, change func(t *state, a *agent)) {
		t := *s
		change(&t, &t.a[c])
		w.cover(&t)
		if t != *s {
			yield(event{what, int8(c), int8(x)}, t)
		}
	}
	decide := func(t *state, c int) {
		w.enforce(&t.a[c], w.ask(t, c).now)
	}
	anyDead := false
	for c := range w.n {
		a := &s.a[c]
		if a.dead {
			anyDead = anyDead || !a.stale
			continue
		}
		for k := a.head + 1; k <= w.last(); k++ {
			step("fetch", c, int(k), func(t *state, a *agent) { a.head = k; decide(t, c) })
		}
		step("decide", c, 0, func(t *state, _ *agent) { decide(t, c) })
		switch {
		case w.exclusive:
			step("act", c, 0, func(_ *state, a *agent) { a.run = a.now.placed })
		case a.ready < a.now.share:
			step("ready", c, 0, func(_ *state, a *agent) { a.ready, a.ill = a.now.share, 0 })
		}
		step("publish", c, 0, func(_ *state, a *agent) {
			if a.pub = w.says(a); !w.publishesFirst {
				a.wrote = a.now
			}
		})
		for x := range w.n {
			if x != c {
				step("read", c, x, func(t *state, a *agent) { a.seen[x] = t.a[x].pub })
			}
		}
		if s.crashes > 0 {
			step("crash", c, 0, func(t *state, a *agent) {
				t.crashes--
				a.now, a.seen = a.wrote, [size]said{}
				if w.forgets {
					a.head = a.wrote.at
				}
				decide(t, c)
			})
		}
		if s.deaths > 0 {
			step("die", c, 0, func(t *state, a *agent) {
				t.deaths--
				a.dead = true
				a.ill, a.ready = a.ill+a.ready, 0
			})
		}
		if s.illnesses > 0 && a.ready > 0 && !w.exclusive {
			step("sicken", c, 0, func(t *state, a *agent) {
				t.illnesses--
				a.ill, a.ready = a.ill+a.ready, 0
			})
		}
	}
	if anyDead {
		step("silence", 0, 0, func(t *state, _ *agent) {
			for i := range w.n {
				t.a[i].stale = t.a[i].dead
			}
		})
	}
}

// settle lets everything happen that is not a mishap, and tells what then still is not as head wants it.
func (w *world) settle(s state) string {
	moved := [size]int{}
	for i := range w.n {
		s.a[i].stale = s.a[i].dead
	}
	for range 40 {
		before := s
		for c := range w.n {
			a := &s.a[c]
			if a.dead {
				continue
			}
			for x := range w.n {
				if x != c {
					a.seen[x] = s.a[x].pub
				}
			}
			first := a.head != w.last()
			a.head = w.last()
			was := a.now
			w.enforce(a, w.ask(&s, c).now)
			if !first && (was.placed != a.now.placed || was.share != a.now.share) {
				moved[c]++
			}
			if w.exclusive {
				a.run = a.now.placed
			} else {
				a.ready, a.ill = a.now.share, 0
			}
			a.wrote = a.now
			a.pub = w.says(a)
		}
		w.cover(&s)
		if bad := w.wrong(&s); bad != "" {
			return "while settling: " + bad
		}
		if s == before {
			break
		}
	}
	k := w.last()
	for i := range w.n {
		if moved[i] > 1 {
			return fmt.Sprintf("%s moves %d times at one commit", simNames[i], moved[i])
		}
	}
	if len(w.placed[k].Clusters) == 0 {
		return "" // all is held, and stays
	}
	keeper := false // a cluster that left Git keeps an exclusive app, so that nobody else may have it
	for i := range w.n {
		_, declared := w.fleets[k].Cluster(simNames[i])
		if s.a[i].dead && (!declared || w.exclusive && !w.commits[k].lost[i] || slices.Contains(w.placed[k].Clusters, simNames[i])) {
			return "" // it may be waited for, for ever
		}
		keeper = keeper || s.a[i].run && !declared
	}
	for i := range w.n {
		if _, ok := w.fleets[k].Cluster(simNames[i]); !ok || s.a[i].dead {
			continue
		}
		if w.exclusive && keeper {
			continue
		}
		if want := w.want(k, i); s.a[i].now != want {
			return fmt.Sprintf("%s ends with %+v, not %+v", simNames[i], s.a[i].now, want)
		}
	}
	return ""
}

// found is what an exploration came to.
type found struct {
	states int
	whole  bool // all there are
	bad    string
	trace  []event
}

var seed = maphash.MakeSeed()

// explore tries all that can happen, the nearest first, until something is wrong or limit states have been
// seen. Every seventh state is also let settle.
func (w *world) explore(limit int) found {
	w.build()
	return search(w.start(), limit, w.next, func(before, after *state) string {
		if bad := w.wrongStep(before, after); bad != "" {
			return bad
		}
		return w.wrong(after)
	}, w.settle)
}

// search explores the states that follow from the first, breadth first.
func search[S comparable](first S, limit int, next func(*S, func(event, S)), wrong func(before, after *S) string, settle func(S) string) found {
	type came struct {
		from int
		by   event
	}
	seen := map[uint64]struct{}{maphash.Comparable(seed, first): {}}
	queue, trail := []S{first}, []came{{-1, event{}}}
	trace := func(i int, last ...event) []event {
		for ; i > 0; i = trail[i].from {
			last = append(last, trail[i].by)
		}
		slices.Reverse(last)
		return last
	}
	full := false
	for i := 0; i < len(queue); i++ {
		s := queue[i]
		if i%7 == 0 {
			if bad := settle(s); bad != "" {
				return found{len(queue), false, bad, trace(i)}
			}
		}
		var bad string
		var by event
		next(&s, func(e event, t S) {
			if bad != "" {
				return
			}
			if bad, by = wrong(&s, &t), e; bad != "" {
				return
			}
			h := maphash.Comparable(seed, t)
			if _, ok := seen[h]; ok {
				return
			}
			if full = full || len(queue) >= limit; full {
				return
			}
			seen[h] = struct{}{}
			queue, trail = append(queue, t), append(trail, came{i, e})
		})
		if bad != "" {
			return found{len(queue), false, bad, append(trace(i), by)}
		}
	}
	return found{states: len(queue), whole: !full}
}

func (f found) explain(w *world) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", w.name, f.bad)
	for k := range w.commits {
		fmt.Fprintf(&b, "  commit %d: %+v -> %v %v\n", k, w.commits[k], w.placed[k].Clusters, w.placed[k].Replicas)
	}
	s := w.start()
	for _, e := range f.trace {
		w.next(&s, func(f event, t state) {
			if e == f {
				s = t
				e.what = ""
			}
		})
		fmt.Fprintf(&b, "  %s", e)
		for i := range w.n {
			fmt.Fprintf(&b, "  %s{at %d share %d ready %d run %v}", simNames[i], s.a[i].now.at, s.a[i].now.share, s.a[i].ready, s.a[i].run)
		}
		b.WriteString("\n")
	}
	return b.String()
}
