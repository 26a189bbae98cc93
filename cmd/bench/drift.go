package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// healing are samples of one healer.
type healing struct {
	field, deleted []float64 // milliseconds from when the watch saw the foreign write until it saw it undone
	burst          []float64 // seconds for all of many
	requests       []float64 // for each field
	note           string    // requests for many
}

const (
	// bursts is how often many are changed in a round: fewer than would make a fight of it.
	bursts = 3
	// calm is how long after a repair a request of it may come.
	calm = 700 * time.Millisecond
)

// drift measures how fast foreign changes are undone: by Holdfast, by a program that does no more than
// to watch and to patch, and, where many are changed at once, by a raw client that knows which.
func drift(ctx context.Context, l *lab) error {
	const many = 500
	s, err := l.steady(ctx, l.size(5000), rare)
	if err != nil {
		return err
	}
	if err := l.calibrate(ctx); err != nil {
		return err
	}
	size := min(many, s.fleet.objects/perApp/2)
	var ours, theirs healing
	var limit []float64
	for round := range min(l.samples(), 2) {
		if s, err = l.steady(ctx, l.size(5000), rare); err != nil {
			return err
		}
		if err := s.heal(ctx, s.agent.process, &ours, round, size, "holdfast/"); err != nil {
			return fmt.Errorf("holdfast: %w", err)
		}
		if err := s.stop(); err != nil {
			return err
		}
		items, err := l.render(ctx, s.fleet.repo.Dir)
		if err != nil {
			return err
		}
		if err := s.healByReference(ctx, items, &theirs, round, size); err != nil {
			return fmt.Errorf("the watch-and-patch program: %w", err)
		}
		took, err := s.repairByLimit(ctx, items, size)
		if err != nil {
			return fmt.Errorf("the raw client: %w", err)
		}
		limit = append(limit, took...)
	}
	const program = "watch and patch"
	what := thousands(s.fleet.objects) + " objects: "
	p99 := func(samples []float64) []float64 { return []float64{quantile(samples, 0.99)} }
	at := fmt.Sprintf("%s%d fields at once, all repaired", what, size)
	l.add(
		row{What: what + "one field, repaired", Unit: "ms", Ours: ours.field, Reference: program, Theirs: theirs.field, Target: ratioAtMost(2)},
		row{What: what + "one field, p99", Unit: "ms", Ours: p99(ours.field), Reference: program, Theirs: p99(theirs.field), Target: ratioAtMost(5)},
		row{What: what + "one field, API requests", Unit: "", Ours: ours.requests, Reference: program, Theirs: theirs.requests},
		row{What: what + "one object deleted, repaired", Unit: "ms", Ours: ours.deleted, Reference: program, Theirs: theirs.deleted, Target: ratioAtMost(2)},
		row{What: what + "one object deleted, p99", Unit: "ms", Ours: p99(ours.deleted), Reference: program, Theirs: p99(theirs.deleted), Target: ratioAtMost(5)},
		row{What: at, Unit: "s", Ours: ours.burst, Reference: "LIMIT", Theirs: limit, Target: ratioAtMost(1.15),
			Note: "from the moment at which all of them can be seen to the last repair; the reference has nothing to find out; the agent sent " + ours.note},
		row{What: at, Unit: "s", Ours: ours.burst, Reference: program, Theirs: theirs.burst, Note: "the program sent " + theirs.note},
	)
	return nil
}

// heal disturbs and waits until a healer has undone it, object by object and then many at once.
func (s *site) heal(ctx context.Context, healer *process, h *healing, round, size int, userAgent string) error {
	o, err := s.observe(ctx, "", "")
	if err != nil {
		return err
	}
	defer o.stop()
	apps := s.fleet.objects / perApp
	n := min(s.lab.many(), apps/4)
	for k := range n {
		app := (k + round*n) % apps
		requests, err := follow(s.cluster, userAgent)
		if err != nil {
			return err
		}
		if err := s.disturb(ctx, app); err != nil {
			return err
		}
		took, err := s.undone(ctx, o, app)
		if err != nil {
			return err
		}
		h.field = append(h.field, took)
		if k%5 == 0 {
			if err := requests.after(ctx, calm); err != nil {
				return err
			}
			h.requests = append(h.requests, float64(len(requests.counted())))
		}
	}
	for k := range n {
		app := apps - 1 - (k+round*n)%apps
		if err := s.raw.Delete().AbsPath(configMapPath(app)).Do(ctx).Error(); err != nil {
			return fmt.Errorf("delete ConfigMap %s: %w", appName(app), err)
		}
		took, err := s.undone(ctx, o, app)
		if err != nil {
			return err
		}
		h.deleted = append(h.deleted, took)
	}
	for range bursts {
		requests, err := follow(s.cluster, userAgent)
		if err != nil {
			return err
		}
		took, err := s.burst(ctx, healer, o, apps/4, size)
		if err != nil {
			return err
		}
		h.burst = append(h.burst, took)
		if err := requests.after(ctx, calm); err != nil {
			return err
		}
		h.note = histogram(requests.requests)
	}
	return nil
}

// undone returns how many milliseconds it took until all was well again.
func (s *site) undone(ctx context.Context, o *observer, app int) (float64, error) {
	took, err := o.undone(ctx, app, s.fleet.value(app))
	if err != nil {
		return 0, err
	}
	return milliseconds(took), pause(ctx, 100*time.Millisecond) // the next one comes out of the blue
}

// burst disturbs many objects while the healer is suspended, so that it finds them all changed at once and the
// foreign writes do not compete with the repairs. It returns how many seconds these took.
func (s *site) burst(ctx context.Context, healer *process, o *observer, first, size int) (float64, error) {
	left := map[string]string{}
	for app := first; app < first+size; app++ {
		left[appName(app)] = s.fleet.value(app)
	}
	if err := healer.suspend(); err != nil {
		return 0, err
	}
	disturbed := s.disturbMany(ctx, first, size)
	begin := time.Now()
	if err := errors.Join(disturbed, healer.resume()); err != nil {
		return 0, err
	}
	drifted := map[string]bool{}
	at, err := o.await(ctx, "repair of many objects", 2*time.Minute, func(e seen) bool {
		want, ok := left[e.name]
		switch {
		case !ok:
		case e.value == "drifted":
			drifted[e.name] = true
		case e.value == want && drifted[e.name]:
			delete(left, e.name)
		}
		return len(left) == 0
	})
	return seconds(at.Sub(begin)), err
}

func (s *site) disturbMany(ctx context.Context, first, size int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for app := first; app < first+size; app++ {
		g.Go(func() error { return s.disturb(ctx, app) })
	}
	return g.Wait()
}

// healByReference lets the watch-and-patch program heal.
func (s *site) healByReference(ctx context.Context, items []item, h *healing, round, size int) (err error) {
	b, err := json.Marshal(items)
	file := filepath.Join(s.lab.dir, "bodies-now.json")
	if err := errors.Join(err, os.WriteFile(file, b, 0o600)); err != nil {
		return err
	}
	p, err := s.lab.start("drift", nil, s.lab.self, "ref", "drift", s.cluster.Kubeconfig(), file, strconv.Itoa(s.lab.best))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	err = until(ctx, "the program's watches", time.Minute, func() (bool, error) {
		return strings.Contains(p.tail(), watching), p.alive()
	})
	if err != nil {
		return err
	}
	return s.heal(ctx, p, h, round, size, driftAgent)
}

// repairByLimit disturbs many objects and repairs them with the raw client. It returns how many seconds the
// repairs took each time.
func (s *site) repairByLimit(ctx context.Context, items []item, size int) (took []float64, err error) {
	c, err := rawClient(s.cluster.Kubeconfig(), limitAgent)
	if err != nil {
		return nil, err
	}
	first := s.fleet.objects / perApp / 4
	wanted := map[string]bool{}
	for app := first; app < first+size; app++ {
		wanted[appName(app)] = true
	}
	var repair []item
	for i := range items {
		if items[i].Resource == "configmaps" && wanted[items[i].Name] {
			repair = append(repair, items[i])
		}
	}
	for range bursts {
		if err := s.disturbMany(ctx, first, size); err != nil {
			return nil, err
		}
		begin := time.Now()
		if err := sendAll(ctx, c, repair, "holdfast", s.lab.best); err != nil {
			return nil, err
		}
		took = append(took, seconds(time.Since(begin)))
	}
	return took, nil
}
