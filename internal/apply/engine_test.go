package apply

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/live"
)

// keep is an object that has nothing to do with a test: without it, the brake would have.
const keep = "keep=1"

func TestEngineDependencies(t *testing.T) {
	w := newWorld(t)
	w.sick[id("c")] = true
	w.commit("1", appOf("x", "a=1 after:b", "b=1 after:c", "c=1", "d=1"))
	w.settle()
	w.did("apply c=1", "apply d=1")
	w.says("x", "waits for ConfigMap/ns/c", "waits for ConfigMap/ns/b")
	w.heal("c")
	w.settle()
	w.did("apply b=1", "apply a=1")

	w.restart() // the order of deletion is remembered
	w.commit("2", appOf("x", "d=1"))
	w.run(time.Second)
	w.did("prune a", "prune b", "prune c")
}

func TestEngineDependencyTurnsRound(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "a=1 after:b", "b=1", keep))
	w.settle()
	w.commit("2", appOf("x", "a=2", "b=2 after:a", keep))
	w.settle()
	w.commit("3", appOf("x", "a=3 after:b", "b=3 after:a", keep))
	w.settle()
	w.says("x", "dependency cycle between ConfigMap/ns/a, ConfigMap/ns/b")
	w.log = nil
	w.commit("4", appOf("x", keep))
	w.run(time.Second)
	w.did("prune b", "prune a")
}

func TestEngineRetries(t *testing.T) {
	w := newWorld(t)
	w.fail[id("a")] = errors.New("refused")
	var at []float64
	start := w.now
	w.check = func(task Task) {
		if task.ID == id("a") {
			at = append(at, w.now.Sub(start).Round(time.Second).Seconds())
		}
	}
	w.commit("1", appOf("x", "a=1", keep))
	w.run(20 * time.Minute)
	seconds := []float64{0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811, 1111}
	if !slices.Equal(at, seconds) {
		t.Errorf("attempts at %v, want %v", at, seconds)
	}
	w.says("x", "refused")
	w.log = nil
	delete(w.fail, id("a"))
	w.commit("2", appOf("x", "a=1", keep))
	w.settle()
	w.did() // the same content waits for its time
	w.commit("3", appOf("x", "a=2", keep))
	w.settle()
	w.did("apply a=2") // new content does not
}

func TestEngineKindServedLater(t *testing.T) {
	w := newWorld(t)
	w.fail[id("g/Widget/w")] = &NoMatchError{Kind: id("g/Widget/w").GroupKind}
	w.commit("1", appOf("x", "g/Widget/w=1"))
	w.run(10 * time.Minute)
	w.log = nil
	delete(w.fail, id("g/Widget/w"))
	w.e.Served(id("g/Widget/w").GroupKind)
	w.settle()
	w.did("apply w=1")
}

func TestEngineNamespaceArrives(t *testing.T) {
	w := newWorld(t)
	w.fail[id("a")] = errors.New(`namespaces "ns" not found`)
	w.commit("1", appOf("x", "a=1"))
	w.run(10 * time.Minute)
	w.log = nil
	delete(w.fail, id("a"))
	w.commit("2", appOf("x", "a=1", "Namespace/ns=1"))
	w.settle()
	w.did("apply ns=1", "apply a=1")
}

func TestEngineSuperseded(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "a=1", "b=1"))
	w.save()
	tasks := w.e.Next(w.now, 1)
	if len(tasks) != 1 || tasks[0].ID != id("a") {
		t.Fatalf("tasks: %v", tasks)
	}
	if stale := w.commit("2", appOf("x", "a=1", "b=2")); len(stale) != 0 {
		t.Errorf("stale: %v; only b changed", stale)
	}
	if stale := w.commit("3", appOf("x", "a=3", "b=2")); !slices.Equal(stale, []object.ObjMetadata{id("a")}) {
		t.Errorf("stale: %v", stale)
	}
	if more := w.e.Next(w.now, 1); len(more) != 1 || more[0].ID != id("b") {
		t.Errorf("while a's request is under way, the engine wants %v", more)
	}
	w.e.Done(Result{Task: tasks[0], Err: ErrSuperseded}, w.now)
	w.settle()
	w.did("apply a=3")
	w.says("x", "Failed:0")
}

func TestEngineOutage(t *testing.T) {
	w := newWorld(t)
	down := &UnavailableError{Err: errors.New("connection refused")}
	w.fail[id("a")], w.fail[id("b")] = down, down
	w.commit("1", appOf("x", "a=1", "b=1"))
	w.settle()
	if w.e.Outage() == nil {
		t.Fatal("the engine does not say that the API server is down")
	}
	if s := w.e.State("x", w.now); len(s.Errors) > 0 {
		t.Errorf("objects are blamed: %v", s.Errors)
	}
	n := len(w.log)
	if tasks := w.e.Next(w.now, 4); len(tasks) > 0 {
		t.Errorf("it does not pause: %v", tasks)
	}
	w.run(10 * time.Minute)
	if made := len(w.log) - n; made < 10 || made > 200 {
		t.Errorf("%d attempts in ten minutes", made)
	}
	clear(w.fail)
	w.log = nil
	w.run(30 * time.Second)
	w.did("apply a=1", "apply b=1")
	if w.e.Outage() != nil {
		t.Error("the outage is not over")
	}
}

func TestEngineSavesBeforeItWrites(t *testing.T) {
	w := newWorld(t)
	w.noSave = errors.New("no quota")
	w.commit("1", appOf("x", "a=1"))
	w.run(time.Minute)
	w.did()
	if len(w.stored) != 0 {
		t.Fatal("the test is wrong")
	}
	w.noSave = nil
	w.check = func(task Task) {
		if _, ok := w.stored[task.ID]; !ok {
			t.Errorf("%s is written before it is in the inventory", task.ID)
		}
	}
	w.run(time.Minute)
	w.did("apply a=1")
	if w.stored[id("a")].Hash == "" || !w.stored[id("a")].Current {
		t.Errorf("stored: %+v", w.stored[id("a")])
	}

	// What could not be stored after a change is stored later, with what changed since.
	w.noSave = errors.New("no quota")
	w.commit("2", appOf("x", "a=2"))
	w.run(time.Second)
	w.did("apply a=2")
	w.commit("3", appOf("x", "a=3"))
	w.noSave = nil
	w.run(time.Minute)
	if got := w.stored[id("a")]; got.Commit != "3" || got.Hash != obj("x", "a=3").Hash {
		t.Errorf("stored: %+v", got)
	}
}

// While records are being saved, the time of the next save wakes nobody: Saved will.
func TestEngineDoesNotWakeDuringASave(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "a=1"))
	b, ok := w.e.Unsaved(w.now)
	if !ok {
		t.Fatal("the test is wrong: nothing is to be saved")
	}
	w.commit("2", appOf("x", "a=1", "b=1"))
	if tasks := w.e.Next(w.now, 4); len(tasks) > 0 {
		t.Fatalf("the test is wrong: there is something to do: %v", tasks)
	}
	if at := w.e.Wake(); !at.IsZero() && !at.After(w.now) {
		t.Errorf("wakes at %s, which is due already", at)
	}
	w.e.Saved(b, nil, w.now)
	if _, ok := w.e.Unsaved(w.now); !ok {
		t.Error("what came meanwhile is not saved")
	}
}

func TestEngineSavesAllWhenTheInventoryIsLost(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "a=1", "b=1"))
	w.run(time.Minute)
	clear(w.stored)
	w.noSave = fmt.Errorf("write: %w", errInventoryLost)
	w.commit("2", appOf("x", "a=2", "b=1"))
	w.settle()
	w.noSave = nil
	w.run(time.Minute)
	if len(w.stored) != 2 {
		t.Errorf("stored: %v", w.stored)
	}
}

func TestEngineBookkeeping(t *testing.T) {
	tests := []struct {
		name  string
		event func(w *world)
		did   string
		saves int
	}{
		{"one object changed", func(w *world) { w.commit("2", appOf("x", "a=2", "b=1", "c=1")) }, "apply a=2", 2},
		{"one field drifted", func(w *world) {
			w.live[id("a")].fingerprint = "theirs"
			w.changed(id("a"), w.live[id("a")])
		}, "apply a=1", 0},
		{"one object deleted", func(w *world) { w.remove(id("a")) }, "apply a=1", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.commit("1", appOf("x", "a=1", "b=1", "c=1"))
			w.run(time.Minute)
			w.log = nil
			saves := 0
			tt.event(w)
			for range 60 {
				w.tell()
				for w.save() {
					saves++
				}
				for _, task := range w.e.Next(w.now, 4) {
					w.e.Done(w.do(task), w.now)
				}
				w.now = w.now.Add(time.Second)
			}
			w.did(tt.did)
			if saves > tt.saves {
				t.Errorf("%d inventory writes, want at most %d", saves, tt.saves)
			}
		})
	}
}

func TestEngineBrake(t *testing.T) {
	limits := func(minObjects, maxPercent int) fleet.Prune {
		return fleet.Prune{MinObjects: &minObjects, MaxPercent: &maxPercent}
	}
	ten := []string{"a=1", "b=1", "c=1", "d=1", "e=1", "f=1", "g=1", "h=1", "i=1", "j=1"}
	tests := []struct {
		name  string
		limit fleet.Prune
		next  []App
		held  int
	}{
		{"nothing is left", limits(100, 100), nil, 10},
		{"an empty app is left", limits(100, 100), []App{{Name: "x"}}, 10},
		{"over both limits", limits(4, 50), []App{appOf("x", ten[:4]...)}, 6},
		{"at the percentage", limits(4, 50), []App{appOf("x", ten[:5]...)}, 0},
		{"too few to count", limits(7, 50), []App{appOf("x", ten[:4]...)}, 0},
		{"all renamed, below the limit", limits(11, 50), []App{appOf("x", "z=1")}, 0},
		{"the app leaves for another cluster", limits(1, 1), []App{{Name: "x", Leaves: true}}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.desired.Prune = tt.limit
			w.commit("1", appOf("x", ten...))
			w.settle()
			w.commit("2", tt.next...)
			w.run(time.Minute)
			held := 0
			for _, h := range w.e.State("x", w.now).Held {
				held += len(h.Objects)
			}
			left := 0
			for _, x := range ten {
				if w.live[obj("x", x).ID] != nil {
					left++
				}
			}
			desired := 0
			for _, a := range tt.next {
				for _, o := range a.Objects {
					if w.stored[o.ID].App != "" && o.ID != id("z") {
						desired++
					}
				}
			}
			if held != tt.held || left != tt.held+desired {
				t.Errorf("%d held and %d left, want %d and %d", held, left, tt.held, tt.held+desired)
			}
		})
	}
}

func TestEngineBrakeDoesNotCountWhatLeaves(t *testing.T) {
	w := newWorld(t)
	limit := 2
	w.desired.Prune.MinObjects = &limit
	w.commit("1", appOf("x", "a=1", "b=1", "c=1", "d=1"), appOf("y", "e=1", keep))
	w.settle()
	w.log = nil
	w.commit("2", App{Name: "x", Leaves: true}, appOf("y", keep))
	w.run(time.Minute)
	if len(w.live) != 1 {
		t.Errorf("did %v; e was counted with what leaves", w.log)
	}
}

func TestEngineBrakeIsRemembered(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "a=1", "b=1"))
	w.settle()
	w.log = nil
	w.commit("2")
	w.run(time.Minute)
	w.restart()
	w.run(time.Hour)
	w.commit("3", appOf("y", "new=1")) // not the commit's last word on everything, but x is still held
	w.run(time.Hour)
	w.did("apply new=1")
	w.says("x", "permit", "commit 2")

	until := fleet.Date{Time: w.now.Add(time.Hour)}
	w.now = w.now.Add(2 * time.Hour)
	w.desired.Prune.Permit = []fleet.Permit{{App: "x", Until: until}}
	w.commit("4", appOf("y", "new=1"))
	w.run(time.Minute)
	w.did() // it has run out
	w.desired.Prune.Permit[0].Until.Time = w.now.Add(time.Hour)
	w.commit("5", appOf("y", "new=1"))
	w.run(time.Minute)
	w.did("prune b", "prune a")
	if len(w.stored) != 1 {
		t.Errorf("stored: %v", w.stored)
	}
}

func TestEngineHeldObjectsThatAreGone(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "a=1", "b=1", "Namespace/n=1"))
	w.settle()
	w.commit("2")
	w.run(time.Minute)
	w.remove(id("a"))
	w.remove(id("Namespace/n"))
	w.run(time.Minute)
	if _, ok := w.stored[id("a")]; ok || len(w.stored) != 1 {
		t.Errorf("stored: %v", w.stored)
	}
	w.commit("3", appOf("x", "b=1")) // back in Git: nothing is held, nothing was changed
	w.run(time.Minute)
	if s := w.e.State("x", w.now); len(s.Held) != 0 || !s.Ready {
		t.Errorf("state: %+v", s)
	}
}

func TestEngineProtectedKinds(t *testing.T) {
	for _, kind := range []string{"Namespace/n", "apiextensions.k8s.io/CustomResourceDefinition/n.g", "PersistentVolumeClaim/n", "PersistentVolume/n"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			w.commit("1", appOf("x", kind+"=1", "a=1"), appOf("y", keep))
			w.settle()
			w.log = nil
			w.commit("2", App{Name: "x", Leaves: true}, appOf("y", keep))
			w.run(time.Hour)
			w.did("prune a")
			w.says("x", "protected kind")
			w.desired.Prune.Permit = []fleet.Permit{{App: "x", Kinds: []string{id(kind).GroupKind.Kind}, Until: fleet.Date{Time: w.now.Add(time.Hour)}}}
			w.commit("3", appOf("y", keep))
			w.run(time.Minute)
			w.did("prune " + id(kind).Name)
		})
	}
}

func TestEngineUnknownIsNotGone(t *testing.T) {
	t.Run("the app is unknown", func(t *testing.T) {
		w := newWorld(t)
		w.commit("1", appOf("x", "a=1", "b=1"), appOf("y", keep))
		w.settle()
		w.log = nil
		w.desired.Incomplete = []string{"app x does not render"}
		w.commit("2", App{Name: "x", Unknown: true}, appOf("y", keep))
		w.run(time.Hour)
		w.did()
		w.drift("a")
		w.run(time.Second)
		w.did("apply a=1") // healed all the same
	})
	t.Run("the list is incomplete", func(t *testing.T) {
		w := newWorld(t)
		w.commit("1", appOf("x", "a=1", "b=1", keep))
		w.settle()
		w.log = nil
		w.desired.Incomplete = []string{"a file cannot be read"}
		w.commit("2", appOf("x", keep, "n=1"))
		w.run(time.Hour)
		w.did("apply n=1")
		w.says("x", "a file cannot be read")
		w.sick[id("n")] = true
		w.desired.Incomplete = nil
		w.commit("3", appOf("x", keep, "n=1"))
		w.run(time.Hour)
		w.did("prune b", "prune a")
	})
	t.Run("the object is claimed", func(t *testing.T) {
		w := newWorld(t)
		w.commit("1", appOf("x", "a=1", keep))
		w.settle()
		w.log = nil
		w.desired.Claimed = map[object.ObjMetadata]string{id("a"): "y"}
		w.commit("2", appOf("x", keep))
		w.run(time.Hour)
		w.restart()
		w.run(time.Hour)
		w.did()
		w.desired.Claimed = nil
		w.commit("3", appOf("x", keep), appOf("y", "a=2"))
		w.run(time.Hour)
		w.did("apply a=2")
	})
	t.Run("the object is invalid", func(t *testing.T) {
		w := newWorld(t)
		w.commit("1", appOf("x", "a=1", keep))
		w.settle()
		w.log = nil
		x := appOf("x", keep)
		x.Invalid = []ObjectError{{ID: id("a"), Err: errors.New("no")}}
		w.commit("2", x)
		w.run(time.Hour)
		w.did()
	})
}

// What is here is counted, also while it is not known whether it is to stay: nobody may take it for gone.
func TestEngineCountsWhatIsKept(t *testing.T) {
	leaving := func(unknown bool) App { return App{Name: "x", Exclusive: true, Leaves: true, Unknown: unknown} }
	start := func(t *testing.T) *world {
		t.Helper()
		w := newWorld(t)
		w.replicas[id("apps/StatefulSet/db")] = [2]int32{3, 2}
		w.commit("1", appOf("x", "apps/StatefulSet/db=1", "PersistentVolumeClaim/data=1"), appOf("y", keep))
		w.settle()
		return w
	}
	want := func(w *world, orphans, stay, kept int, replicas, ready int32) {
		w.t.Helper()
		s := w.e.State("x", w.now)
		if s.Objects != 0 || s.Orphans != orphans || s.Stay != stay || s.Kept != kept || s.Replicas != replicas || s.ReadyReplicas != ready {
			w.t.Errorf("state %+v", s)
		}
	}
	t.Run("it was leaving, and now nothing is known", func(t *testing.T) {
		w := start(t)
		w.live[id("apps/StatefulSet/db")].finalizer = true
		w.commit("2", leaving(false), appOf("y", keep))
		w.settle()
		want(w, 2, 1, 0, 3, 2)
		w.desired.Incomplete = []string{"a file cannot be read"}
		w.e.TakeChanged()
		w.commit("3", leaving(true), appOf("y", keep))
		if !w.e.TakeChanged()["x"] {
			t.Error("nobody is told")
		}
		want(w, 0, 0, 1, 3, 2)
		w.restart()
		want(w, 0, 0, 1, 3, 2)
	})
	t.Run("another app claims it", func(t *testing.T) {
		w := start(t)
		w.desired.Claimed = map[object.ObjMetadata]string{id("apps/StatefulSet/db"): "z"}
		w.commit("2", leaving(false), appOf("y", keep))
		w.restart()
		want(w, 1, 1, 1, 3, 2)
	})
}

// The replicas of an app are those of the workload by which they are divided, of whatever kind it is, or else of all
// its Deployments and StatefulSets. That workload is as it should be when its status says so.
func TestEngineReplicas(t *testing.T) {
	objects := []string{"apps/Deployment/web=1", "apps/Deployment/worker=1", "argoproj.io/Rollout/canary=1"}
	tests := []struct {
		name        string
		divided     *fleet.Replicas
		want, ready int32
		isReady     bool
	}{
		{"not divided", nil, 14, 13, true},
		{"by a Deployment", &fleet.Replicas{Total: 12, Target: &fleet.Target{Kind: "Deployment", Name: "web"}}, 4, 4, true},
		{"by another kind", &fleet.Replicas{Total: 12, Target: &fleet.Target{Kind: "Rollout", Name: "canary"}}, 5, 2, false},
	}
	w := newWorld(t)
	w.replicas[id(strings.TrimSuffix(objects[0], "=1"))] = [2]int32{4, 4}
	w.replicas[id(strings.TrimSuffix(objects[1], "=1"))] = [2]int32{10, 9}
	w.replicas[id(strings.TrimSuffix(objects[2], "=1"))] = [2]int32{5, 2}
	x := appOf("x", objects...)
	for _, tt := range tests {
		x.Divided = tt.divided
		w.e.TakeChanged()
		w.commit("1", x)
		if !w.e.TakeChanged()["x"] {
			t.Errorf("%s: nobody is told", tt.name)
		}
		w.settle()
		if s := w.e.State("x", w.now); s.Replicas != tt.want || s.ReadyReplicas != tt.ready || s.Ready != tt.isReady {
			t.Errorf("%s: state %+v", tt.name, s)
		}
	}
	w.says("x", "canary", "2 of 5 replicas are ready by its status.readyReplicas")
	// The same division, read from another commit.
	x.Divided = &fleet.Replicas{Total: 13, Target: &fleet.Target{Kind: "Rollout", Name: "canary"}}
	w.e.TakeChanged()
	w.commit("2", x)
	if w.e.TakeChanged()["x"] {
		t.Error("told for nothing")
	}
	x.Divided, x.Unknown, x.Objects = &fleet.Replicas{Target: &fleet.Target{Kind: "Deployment", Name: "web"}}, true, nil
	w.commit("3", x)
	w.restart()
	if s := w.e.State("x", w.now); s.Replicas != 4 || s.ReadyReplicas != 4 {
		t.Errorf("what is kept: state %+v", s)
	}
}

func TestEngineRenameWaits(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "old=1", keep), appOf("y", "other=1"))
	w.settle()
	w.log = nil
	w.sick[id("new")] = true
	w.commit("2", appOf("x", "new=1", keep), appOf("y", "another=1"))
	w.run(time.Second)
	w.did("apply new=1", "apply another=1", "prune other") // another app does not wait for it
	w.says("x", "waits for ConfigMap/ns/new")
	w.commit("3", appOf("x", "new=2", keep)) // a fix that does not help
	w.run(time.Second)
	w.did("apply new=2", "prune another")
	w.restart()
	w.run(time.Second)
	w.commit("4", appOf("x", "new=2", "keep=2"))
	w.run(time.Second)
	w.did("apply keep=2")
	w.fail[id("new")] = errors.New("invalid")
	w.commit("5", appOf("x", "new=3", "keep=2"))
	w.commit("6", appOf("x", "new=3", "keep=3"))
	w.run(2 * time.Minute)
	if held := w.e.State("x", w.now).Held; len(held) != 1 || held[0].Expected || held[0].Objects[0] != "ConfigMap/ns/old" {
		t.Errorf("held: %+v", held)
	}
	if w.live[id("old")] == nil {
		t.Fatal("the old one is gone")
	}
	w.log = nil
	clear(w.fail)
	w.run(10 * time.Minute)
	w.did("apply new=3")
	w.heal("new")
	w.run(time.Second)
	w.did("prune old")
	if r := w.stored[id("new")]; r.Awaited != nil {
		t.Errorf("stored: %+v", r)
	}
}

func TestEngineRenameWaitsWhenItsCommitWasIncomplete(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "old=1", keep))
	w.settle()
	w.log = nil
	w.sick[id("new")] = true
	w.desired.Incomplete = []string{"a file cannot be read"}
	w.commit("2", appOf("x", "new=1", keep))
	w.run(time.Minute)
	w.desired.Incomplete = nil
	w.commit("3", appOf("x", "new=1", keep))
	w.run(time.Minute)
	w.did("apply new=1")
	w.heal("new")
	w.run(time.Second)
	w.did("prune old")
}

func TestEngineSickObjectBlocksNoOtherPrune(t *testing.T) {
	w := newWorld(t)
	w.sick[id("sick")] = true
	w.commit("1", appOf("x", "sick=1", "a=1", keep))
	w.settle()
	w.log = nil
	w.commit("2", appOf("x", "sick=1", keep))
	w.run(time.Second)
	w.did("prune a")
}

func TestEnginePruneFirst(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "old=1 holdfast.dev/prune=first", keep))
	w.settle()
	w.log = nil
	w.fail[id("new")] = errors.New("the port is taken")
	w.check = func(task Task) {
		if task.Action == Prune {
			delete(w.fail, id("new"))
		}
	}
	w.commit("2", appOf("x", "new=1", keep))
	w.settle() // the new one does not wait for its next attempt either
	w.did("fail new", "prune old", "apply new=1")
}

func TestEngineFinalizers(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "a=1", keep))
	w.settle()
	w.live[id("a")].finalizer = true
	w.log = nil
	w.commit("2", appOf("x", keep))
	w.run(time.Minute)
	if _, ok := w.stored[id("a")]; !ok {
		t.Fatal("it left the inventory before it was gone")
	}
	w.says("x", "is being deleted")
	w.commit("3", appOf("x", "a=3", keep)) // it comes back to Git, and has to wait until it is gone
	w.run(time.Minute)
	w.did()
	w.remove(id("a"))
	w.run(time.Second)
	w.did("apply a=3")
}

func TestEngineSameObjectUnderAnotherGroup(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "Event/a=1", keep))
	w.settle()
	w.log = nil
	// The kind of the new group is not served yet: nobody knows whether it is the same object.
	twin := id("events.k8s.io/Event/a")
	w.fail[twin] = &NoMatchError{Kind: twin.GroupKind}
	w.commit("2", appOf("x", keep), appOf("y", "events.k8s.io/Event/a=1"))
	w.run(10 * time.Minute)
	w.says("x", "may be the same object")
	w.log = nil
	delete(w.fail, twin)
	w.live[twin] = w.live[id("Event/a")] // one object, seen twice
	w.run(10 * time.Minute)
	w.did("apply a=1", "release a")
	if _, ok := w.stored[id("Event/a")]; ok || w.live[twin] == nil {
		t.Errorf("stored: %v, live: %v", w.stored, w.live)
	}
}

func TestEngineOneObjectOfTwoApps(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "a=1"))
	w.settle()
	w.commit("2", appOf("b", "a=2", "c=1"), appOf("x", "a=1"))
	w.settle()
	w.says("b", `also declared by app "x"`)
	if s := w.e.State("x", w.now); !s.Ready {
		t.Errorf("x is not Ready: %+v", s)
	}
	w.did("apply a=1", "apply c=1")
	w.restart()
	w.settle()
	w.did()
	w.commit("3", appOf("b", "a=2", "c=1"))
	w.run(time.Second)
	w.did("apply a=2")
	if !w.e.State("b", w.now).Ready {
		t.Error("b is not Ready")
	}
}

func TestEngineRestartAppliesNothing(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "a=1", "b=1", "c=1"))
	w.run(time.Minute)
	w.log = nil
	delete(w.live, id("b"))
	w.live[id("c")].fingerprint += "x"
	w.restart()
	w.run(time.Minute)
	slices.Sort(w.log)
	w.did("apply b=1", "apply c=1")
}

func TestEngineFights(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "a=1", "b=1"))
	w.settle()
	w.log = nil
	for range 600 { // a minute of changes, ten a second
		w.drift("a")
		w.run(100 * time.Millisecond)
	}
	if n := len(w.log); n < 8 || n > 13 {
		t.Errorf("%d repairs in a minute", n)
	}
	w.says("x", "Fights:[ConfigMap/ns/a]")
	w.log = nil
	w.drift("b")
	w.settle()
	w.did("apply b=1") // others are repaired at once
	w.run(5 * time.Minute)
	if s := w.e.State("x", w.now); len(s.Fights) != 0 || !s.Ready {
		t.Errorf("the fight is over: %+v", s)
	}
	w.log = nil
	w.drift("a")
	w.settle()
	w.did("apply a=1")
}

// An apply that was cancelled may have made the replicas ours: until the next has succeeded it is not known that they
// are not.
func TestEngineReplicasAfterACancelledApply(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "a=1"))
	w.settle()
	w.drift("a")
	w.tell()
	next := func(want bool) Task {
		t.Helper()
		tasks := w.e.Next(w.now, 1)
		if len(tasks) != 1 || tasks[0].NotReplicas != want {
			t.Fatalf("tasks %+v", tasks)
		}
		return tasks[0]
	}
	w.e.Done(Result{Task: next(true), Outcome: Failed, Err: ErrSuperseded}, w.now)
	w.drift("a") // news from before the cancelled apply tells nothing about it
	w.tell()
	w.e.Done(w.do(next(false)), w.now)
	w.settle()
	w.drift("a")
	w.tell()
	next(true)
}

// A repair that has no effect is not repeated without end.
func TestEngineRepairWithoutEffect(t *testing.T) {
	w := newWorld(t)
	x := appOf("x", "a=1")
	x.Drift.Mode = fleet.Strict
	w.commit("1", x)
	w.settle()
	w.log = nil
	w.live[id("a")].human = true
	w.changed(id("a"), w.live[id("a")])
	w.run(time.Minute)
	if n := len(w.log); n < 6 || n > 13 {
		t.Errorf("%d repairs in a minute", n)
	}
	w.says("x", "Fights:[ConfigMap/ns/a]")
}

func TestEngineDetect(t *testing.T) {
	w := newWorld(t)
	x := appOf("x", "a=1", "b=1")
	x.Drift.Mode = fleet.Detect
	w.commit("1", x)
	w.settle()
	w.log = nil
	w.drift("a")
	w.remove(id("b"))
	w.run(time.Hour)
	w.did()
	w.says("x", "Detected:[ConfigMap/ns/a ConfigMap/ns/b]", "Ready:false")
}

func TestEngineSuspended(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "a=1", "b=1", "c=1"))
	w.settle()
	w.log = nil
	x := appOf("x", "a=2", "c=1")
	x.Suspended = true
	w.commit("2", x)
	w.drift("c")
	w.run(time.Hour)
	w.did()
	w.commit("3", appOf("x", "a=2", "c=1"))
	w.run(time.Second)
	w.did("apply c=1", "apply a=2", "prune b") // repairs first
}

func TestEngineReconcileDisabled(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "a=1", "b=1 holdfast.dev/reconcile=disabled"))
	w.settle()
	w.did("apply a=1", "apply b=1") // it is created, and then left alone
	w.drift("b")
	w.commit("2", appOf("x", "a=1", "b=2 holdfast.dev/reconcile=disabled", "c=1 after:b"))
	w.run(time.Hour)
	w.did("apply c=1") // what depends on it need not wait for ever
	w.says("x", "Ready:true")
	w.remove(id("b"))
	w.run(time.Hour)
	w.did()
	w.says("x", "Ready:true")
}

func TestEngineReconcileDisabledLive(t *testing.T) {
	w := newWorld(t)
	w.sick[id("a")] = true
	w.commit("1", appOf("x", "a=1", "b=1 after:a"))
	w.settle()
	w.did("apply a=1")
	w.live[id("a")].annotations = map[string]string{live.AnnotationReconcile: "disabled"}
	w.drift("a")
	w.settle()
	w.did("apply b=1")
	w.live[id("a")].annotations = nil
	w.drift("a")
	w.settle()
	w.did("apply a=1")
}

// What failed to be repaired because its namespace was gone is not waited for once that is back.
func TestEngineNamespaceComesBack(t *testing.T) {
	w := newWorld(t)
	w.commit("1", appOf("x", "Namespace/ns=1", "a=1"))
	w.run(time.Minute)
	w.remove(id("Namespace/ns"))
	w.fail[id("Namespace/ns")] = errors.New("not now")
	w.run(17 * time.Second) // so that their attempts do not fall together
	w.remove(id("a"))
	w.fail[id("a")] = errors.New("the namespace is being terminated")
	w.run(20 * time.Minute)
	clear(w.fail)
	w.log = nil
	for range 300 {
		w.run(time.Second)
		if slices.Contains(w.log, "apply ns=1") {
			break
		}
	}
	if !slices.Contains(w.log, "apply a=1") {
		t.Errorf("did %q", w.log)
	}
}

// With other fields ignored, the stored fingerprint means nothing: the object is applied once, and not as a repair.
func TestEngineOtherFieldsIgnored(t *testing.T) {
	w := newWorld(t)
	x := appOf("x", "a=1", "b=1")
	w.commit("1", x)
	w.settle()
	w.log = nil
	x.Ignore = map[object.ObjMetadata][]string{id("a"): {"/data/key"}}
	w.check = func(task Task) {
		if task.Cause != Sync {
			t.Errorf("%s is taken for drift", task.ID.Name)
		}
	}
	w.commit("2", x)
	w.live[id("a")].fingerprint += "x" // as it reads without the ignored field
	w.changed(id("a"), w.live[id("a")])
	w.run(time.Minute)
	w.did("apply a=1")
	w.restart()
	w.run(time.Minute)
	w.did()
}

func TestEngineOrderOfNews(t *testing.T) {
	view := func(rv, fingerprint string) live.View {
		return live.View{ID: id("a"), ResourceVersion: rv, Fingerprint: fingerprint, Status: status.CurrentStatus, Instance: instance}
	}
	ready := func() (*world, string) {
		w := newWorld(t)
		w.commit("1", appOf("x", "a=1"))
		w.rv = 98
		w.settle() // at 99
		w.log = nil
		return w, "f" + obj("x", "a=1").Hash
	}
	t.Run("what is older than our own write is dropped", func(t *testing.T) {
		w, _ := ready()
		w.e.Observe(view("98", "old"), w.now)
		w.e.Gone(id("a"), "97", w.now)
		w.settle()
		w.did()
	})
	t.Run("versions are numbers, not text", func(t *testing.T) {
		w, _ := ready()
		w.e.Observe(view("100", "other"), w.now)
		w.settle()
		w.did("apply a=1")
	})
	t.Run("a list that is older is no loss", func(t *testing.T) {
		w, _ := ready()
		w.e.Synced(id("a").GroupKind, "98", nil, w.now)
		w.settle()
		w.did()
		w.e.Synced(id("a").GroupKind, "99", nil, w.now)
		w.settle()
		w.did("apply a=1")
	})
	t.Run("news that overtakes our answer waits for it", func(t *testing.T) {
		w, good := ready()
		w.drift("a") // 100
		w.tell()
		task := w.e.Next(w.now, 1)
		if len(task) != 1 {
			t.Fatal("no repair")
		}
		w.e.Observe(view("101", good), w.now)  // our own write
		w.e.Observe(view("102", "bad"), w.now) // and somebody's, right after it
		w.rv = 100
		w.e.Done(w.do(task[0]), w.now) // answers with 101
		if more := w.e.Next(w.now, 1); len(more) != 1 || more[0].Cause != Drift {
			t.Errorf("the second change went unseen: %v", more)
		}
	})
}

func TestEngineSickObjectHoldsBackNoFix(t *testing.T) {
	w := newWorld(t)
	w.sick[id("a")] = true
	w.commit("1", appOf("x", "a=1", "b=1"))
	w.settle()
	if s := w.e.State("x", w.now); s.Ready {
		t.Errorf("state: %+v", s)
	}
	w.run(2 * time.Minute)
	w.log = nil
	delete(w.sick, id("a"))
	w.commit("2", appOf("x", "a=2", "b=1"))
	w.settle()
	w.did("apply a=2") // nothing waits for the broken one
	if s := w.e.State("x", w.now); !s.Ready {
		t.Errorf("state: %+v", s)
	}
}

func TestEngineManyPrunes(t *testing.T) {
	const n = 5000
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("o%04d=1", i))
	}
	w := newWorld(t)
	w.commit("1", appOf("x", all...))
	w.settle()
	w.log = nil
	start := time.Now()
	w.commit("2", App{Name: "x", Leaves: true})
	w.run(time.Minute)
	if len(w.live) != 0 || len(w.stored) != 0 {
		t.Errorf("%d live and %d stored are left", len(w.live), len(w.stored))
	}
	if took := time.Since(start); took > 5*time.Second { // some tens of milliseconds if it is linear
		t.Errorf("%d prunes took the engine %s", n, took)
	}
}
