package apply

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// manyApps are n apps of four objects, two apps to a namespace that is desired too.
func manyApps(n int) []App {
	apps := make([]App, 0, n)
	for i := range n {
		name := fmt.Sprintf("app-%04d", i)
		a := App{Name: name, HealthTimeout: time.Minute}
		for _, kind := range []string{"ConfigMap", "ServiceAccount", "Service", "apps/Deployment"} {
			o := obj(name, kind+"/"+name+"=1")
			o.ID.Namespace = fmt.Sprintf("ns-%04d", i/2)
			a.Objects = append(a.Objects, o)
		}
		apps = append(apps, a)
	}
	return apps
}

// edited returns the apps with one object of one of them changed.
func edited(apps []App, app int, value string) []App {
	apps = slices.Clone(apps)
	objects := slices.Clone(apps[app].Objects)
	objects[0].Hash = "edited-" + value
	apps[app].Objects = objects
	return apps
}

func viewOf(o *render.Object, rv int) live.View {
	return live.View{
		ID: o.ID, ResourceVersion: strconv.Itoa(rv), Fingerprint: "f" + o.Hash,
		Status: status.CurrentStatus, Instance: instance, App: o.App,
	}
}

// work does all that can be done, as if every request succeeded at once, and returns how many there were.
func work(e *Engine, now time.Time, rv *int) int {
	n := 0
	for {
		b, saved := e.Unsaved(now)
		if saved {
			e.Saved(b, nil, now)
		}
		tasks := e.Next(now, 8)
		if len(tasks) == 0 && !saved {
			return n
		}
		for _, t := range tasks {
			n++
			r := Result{Task: t, Outcome: Pruned}
			if t.Action == Apply {
				*rv++
				v := viewOf(t.Object, *rv)
				r.Outcome, r.Live = Configured, &v
			}
			e.Done(r, now)
		}
	}
}

// atRest is an engine that has brought the apps about.
func atRest(apps []App) (*Engine, time.Time, *int) {
	e, now, rv := NewEngine(instance, nil), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), new(int)
	e.SetDesired(Desired{Commit: "c0", Apps: apps}, now)
	work(e, now, rv)
	e.TakeChanged()
	return e, now, rv
}

// A commit that changes one object of many, until there is nothing left to be done.
func BenchmarkCommitOneChange(b *testing.B) {
	for _, n := range []int{250, 2500} {
		b.Run(fmt.Sprintf("objects=%d", 4*n), func(b *testing.B) {
			apps := manyApps(n)
			e, now, rv := atRest(apps)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				b.StopTimer()
				apps = edited(apps, i%n, strconv.Itoa(i))
				b.StartTimer()
				e.SetDesired(Desired{Commit: strconv.Itoa(i), Apps: apps}, now)
				if got := work(e, now, rv); got != 1 {
					b.Fatalf("%d requests for one change", got)
				}
			}
		})
	}
}

func BenchmarkSetDesiredFirst(b *testing.B) {
	apps := manyApps(2500)
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		NewEngine(instance, nil).SetDesired(Desired{Commit: "c0", Apps: apps}, now)
	}
}

// All that a cold start of 10,000 objects costs in the engine.
func BenchmarkColdStart(b *testing.B) {
	apps := manyApps(2500)
	b.ReportAllocs()
	for b.Loop() {
		atRest(apps)
	}
}

// A commit that deletes 5,000 of 10,000 objects, until they are gone.
func BenchmarkDelete(b *testing.B) {
	apps := manyApps(2500)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		e, now, rv := atRest(apps)
		b.StartTimer()
		d := Desired{Commit: "c1", Apps: apps[:1250]}
		d.Prune.MaxPercent = new(int)
		*d.Prune.MaxPercent = 100
		e.SetDesired(d, now)
		if got := work(e, now, rv); got != 5000 {
			b.Fatalf("%d requests, want 5,000", got)
		}
	}
}

// An event of a watch that changes nothing, and the decision about it.
func BenchmarkObserve(b *testing.B) {
	apps := manyApps(2500)
	e, now, rv := atRest(apps)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		*rv++
		e.Observe(viewOf(&apps[i%2500].Objects[i%4], *rv), now)
		if tasks := e.Next(now, 8); len(tasks) != 0 {
			b.Fatal("something was done")
		}
	}
}

// The first lists of 10,000 objects that are as they should be.
func BenchmarkSynced(b *testing.B) {
	apps := manyApps(2500)
	e, now, rv := atRest(apps)
	lists := map[string][]live.View{}
	for _, a := range apps {
		for i := range a.Objects {
			v := viewOf(&a.Objects[i], 0)
			lists[v.ID.GroupKind.Kind] = append(lists[v.ID.GroupKind.Kind], v)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		*rv++
		for gk := range e.Kinds() {
			e.Synced(gk, strconv.Itoa(*rv), lists[gk.Kind], now)
		}
		e.Next(now, 8)
	}
}

// 500 objects drift at once and are repaired.
func BenchmarkDrift(b *testing.B) {
	apps := manyApps(2500)
	e, now, rv := atRest(apps)
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Hour)
		for i := range 500 {
			*rv++
			v := viewOf(&apps[i].Objects[i%4], *rv)
			v.Fingerprint = "drifted"
			e.Observe(v, now)
		}
		if got := work(e, now, rv); got != 500 {
			b.Fatalf("%d requests, want 500", got)
		}
	}
}

func BenchmarkState(b *testing.B) {
	e, now, _ := atRest(manyApps(2500))
	b.ReportAllocs()
	for b.Loop() {
		if s := e.State("app-0007", now); !s.Ready {
			b.Fatalf("%+v", s)
		}
	}
}

// What every turn of the loop asks.
func BenchmarkKinds(b *testing.B) {
	e, _, _ := atRest(manyApps(2500))
	b.ReportAllocs()
	for b.Loop() {
		e.Kinds()
	}
}
