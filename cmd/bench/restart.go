package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/gittest"
	"github.com/holdfast-dev/holdfast/localcluster"
)

// restarted is what one kind of restart came to, a sample each.
type restarted struct {
	ready, healed, floor  []float64 // seconds from the start of the process
	lists, writes, clones []float64
	note                  string
}

// restart measures a new start of the agent, with its data dir and without: on a cluster where everything is
// as it should be, which counts what it sends, and again when somebody changed an object while no agent ran.
func restart(ctx context.Context, l *lab) error {
	s, err := l.steady(ctx, l.size(5000), rare)
	if err != nil {
		return err
	}
	for _, empty := range []bool{false, true} {
		var r restarted
		for k := range l.samples() {
			if err := s.unchanged(ctx, &r, empty); err != nil {
				return err
			}
			if err := s.drifted(ctx, &r, empty, k); err != nil {
				return err
			}
		}
		what, floor := thousands(s.fleet.objects)+" objects, warm: ", "LISTs alone"
		if empty {
			what, floor = thousands(s.fleet.objects)+" objects, data dir lost: ", "git clone and LISTs alone"
		}
		l.add(
			row{What: what + "process start to ready", Unit: "s", Ours: r.ready, Reference: floor, Theirs: r.floor},
			row{What: what + "process start until one drifted object is repaired", Unit: "s", Ours: r.healed, Reference: floor, Theirs: r.floor},
			row{What: what + "LISTs of a kind, at most", Unit: "", Ours: r.lists, Target: worstAtMost(1), Note: r.note},
			row{What: what + "writes, nothing changed", Unit: "", Ours: r.writes, Target: worstAtMost(0)},
		)
		if empty {
			l.add(row{What: what + "packs from the Git server", Unit: "", Ours: r.clones, Reference: "git clone", Theirs: []float64{1}, Target: worstAtMost(1)})
		}
	}
	return nil
}

// down stops the agent and, if it is asked for, removes its data dir.
func (s *site) down(empty bool) error {
	if err := s.stop(); err != nil || !empty {
		return err
	}
	return s.loseData()
}

// unchanged counts what a start costs where nothing is to be done.
func (s *site) unchanged(ctx context.Context, r *restarted, empty bool) error {
	if err := s.down(empty); err != nil {
		return err
	}
	requests, err := follow(s.cluster, "holdfast/")
	if err != nil {
		return err
	}
	s.lab.git.ResetRequests()
	if err := s.launch(ctx, rare); err != nil {
		return err
	}
	for s.agent.get(ctx, "/readyz", nil) != nil {
		if err := errors.Join(ctx.Err(), s.agent.alive()); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	r.ready = append(r.ready, seconds(time.Since(s.agent.started)))
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := requests.quiet(ctx, 3*time.Second); err != nil {
		return err
	}
	r.note = histogram(requests.requests)
	r.lists = append(r.lists, float64(mostLists(requests.requests)))
	writes := 0
	for _, q := range requests.counted() {
		if q.Verb != "get" && q.Verb != "list" {
			writes++
		}
	}
	r.writes = append(r.writes, float64(writes))
	packs := 0
	for _, q := range s.lab.git.Requests() {
		if q.Method == http.MethodPost && q.Sent > 10_000 {
			packs++
		}
	}
	r.clones = append(r.clones, float64(packs))
	return nil
}

// drifted measures how soon a new agent repairs what happened without it.
func (s *site) drifted(ctx context.Context, r *restarted, empty bool, k int) error {
	if err := s.down(empty); err != nil {
		return err
	}
	app := (k*53 + 29) % (s.fleet.objects / perApp)
	if err := s.disturb(ctx, app); err != nil {
		return err
	}
	floor, err := s.floor(ctx, empty)
	if err != nil {
		return err
	}
	r.floor = append(r.floor, floor)
	o, err := s.observe(ctx, appNamespace(app), appName(app))
	if err != nil {
		return err
	}
	defer o.stop()
	if err := s.launch(ctx, rare); err != nil {
		return err
	}
	at, err := o.live(ctx, app, s.fleet.value(app))
	if err != nil {
		return fmt.Errorf("%w\n%s", err, s.agent.tail())
	}
	r.healed = append(r.healed, seconds(at.Sub(s.agent.started)))
	return s.ready(ctx)
}

// mostLists counts the LISTs of the kind that was listed most often; the pages of one count once, and a watch
// that begins with all objects is one.
func mostLists(requests []localcluster.Request) int {
	counts := map[string]int{}
	most := 0
	for _, q := range requests {
		list := q.Verb == "list" && !strings.Contains(q.URI, "continue=") || q.Verb == "watch" && strings.Contains(q.URI, "sendInitialEvents=true")
		if list && !bookkeeping(q) {
			key := strings.Join(slices.DeleteFunc([]string{q.Resource.String(), q.Namespace}, func(s string) bool { return s == "" }), " in ")
			counts[key]++
			most = max(most, counts[key])
		}
	}
	return most
}

// floor is how many seconds a process takes that reads one LIST of each kind, and git to clone.
func (s *site) floor(ctx context.Context, clone bool) (float64, error) {
	begin := time.Now()
	if clone {
		dir, err := s.lab.temp("clone")
		if err != nil {
			return 0, err
		}
		begin = time.Now()
		if _, err := gittest.Git(ctx, dir, "clone", "--quiet", "--bare", "--depth=1", s.fleet.repo.URL(), "bare"); err != nil {
			return 0, err
		}
	}
	p, err := s.lab.start("lists", nil, s.lab.self, "ref", "lists", s.cluster.Kubeconfig(), s.fleet.bodies)
	if err != nil {
		return 0, err
	}
	<-p.done
	took := time.Since(begin)
	return seconds(took), p.wait(ctx)
}
