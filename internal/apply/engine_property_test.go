package apply

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

// history drives a world at random and knows, without the engine, what must never happen.
type history struct {
	*world
	rt      *rapid.T
	commits int
	names   []string
	// emptied is the commit that left nothing in Git; the objects that were there then may not be
	// deleted until one of them is permitted, or Git has it again.
	emptied map[object.ObjMetadata]bool
}

// what a commit does not say is gone.
func (h *history) unknown(task Task) string {
	d := h.desired
	if len(d.Incomplete) > 0 {
		return "the list of objects is not whole"
	}
	if _, ok := d.Claimed[task.ID]; ok {
		return "it is claimed"
	}
	for _, a := range d.Apps {
		if a.Unknown && a.Name == task.App {
			return "its app is unknown"
		}
		if a.Suspended && a.Name == task.App {
			return "its app is suspended"
		}
		for _, o := range a.Objects {
			if o.ID == task.ID {
				return "it is desired"
			}
		}
	}
	return ""
}

func (h *history) inspect(task Task) {
	switch task.Action {
	case Apply:
		if _, ok := h.stored[task.ID]; !ok {
			h.t.Fatalf("%s is written before it is in the inventory", task.ID.Name)
		}
		for _, a := range h.desired.Apps {
			if a.Suspended && a.Name == task.App {
				h.t.Fatalf("%s is written though its app is suspended", task.ID.Name)
			}
		}
	case Prune:
		if why := h.unknown(task); why != "" {
			h.t.Fatalf("%s is pruned though %s", task.ID.Name, why)
		}
		permitted := h.desired.Prune.Permits(task.App, task.ID.GroupKind.Kind, h.now)
		if task.Absent || permitted {
			return
		}
		if fleet.ProtectedKind(task.ID.GroupKind.Kind) {
			h.t.Fatalf("%s is pruned though its kind is protected", task.ID.Name)
		}
		if h.emptied[task.ID] && h.live[task.ID] != nil {
			h.t.Fatalf("%s is pruned though its commit left nothing", task.ID.Name)
		}
	}
}

// owned fails if there is an object of ours that the stored inventory does not know.
func (h *history) owned() {
	for id, o := range h.live {
		if _, ok := h.stored[id]; o.instance == instance && !ok {
			h.t.Fatalf("%s is live and in no inventory", id.Name)
		}
	}
}

func (h *history) commitAtRandom() {
	h.commits++
	h.set(randomCommit(h.rt, h.commits, h.desired, h.names, h.now))
	h.noteEmptied()
}

// randomCommit draws a commit of two apps after another, from which it may take an app over as it is.
func randomCommit(rt *rapid.T, n int, before Desired, names []string, now time.Time) Desired {
	d := Desired{Commit: fmt.Sprintf("c%d", n), Claimed: map[object.ObjMetadata]string{}}
	if rapid.IntRange(0, 5).Draw(rt, "incomplete") == 0 {
		d.Incomplete = []string{"something"}
	}
	if rapid.IntRange(0, 3).Draw(rt, "permit") == 0 {
		d.Prune.Permit = []fleet.Permit{{App: "x", Until: fleet.Date{Time: now.Add(time.Minute)}}}
	}
	empty := rapid.IntRange(0, 5).Draw(rt, "empty") == 0
	for _, name := range []string{"x", "y"} {
		a := App{Name: name, HealthTimeout: time.Minute}
		as := slices.IndexFunc(before.Apps, func(a App) bool { return a.Name == name && !a.Unknown })
		switch rapid.IntRange(0, 9).Draw(rt, "app "+name) {
		case 0:
			continue
		case 1:
			a.Unknown = true
			d.Incomplete = append(d.Incomplete, name+" is unknown")
		case 2:
			a.Suspended = true
		case 3, 4, 5:
			if as >= 0 && !empty {
				d.Apps = append(d.Apps, before.Apps[as])
				continue
			}
		}
		if !empty && !a.Unknown {
			for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 4, rapid.ID[string]).Draw(rt, "objects of "+name) {
				text := n + "=" + rapid.SampledFrom([]string{"1", "2"}).Draw(rt, n)
				if dep := rapid.SampledFrom([]string{"", "", "", "a", "b"}).Draw(rt, "dep of "+n); dep != "" && id(n).GroupKind.Kind == "ConfigMap" {
					text += " after:" + dep
				}
				a.Objects = append(a.Objects, obj(name, text))
			}
		}
		d.Apps = append(d.Apps, a)
	}
	if rapid.IntRange(0, 4).Draw(rt, "claim") == 0 {
		claimed := id(rapid.SampledFrom(names).Draw(rt, "claimed"))
		d.Claimed[claimed] = "y"
	}
	return d
}

// noteEmptied keeps emptied: a commit that has nothing, leaves nothing open and claims nothing holds what
// there is.
func (h *history) noteEmptied() {
	d := h.desired
	desired := map[object.ObjMetadata]bool{}
	for _, a := range d.Apps {
		for _, o := range a.Objects {
			desired[o.ID] = true
			delete(h.emptied, o.ID)
		}
	}
	for id, r := range h.stored {
		if len(d.Incomplete)+len(desired)+len(d.Claimed) == 0 && r.Hash != "" && h.live[id] != nil {
			h.emptied[id] = true
		}
	}
}

// rise is a restart. That a commit was held is known afterwards if it could be stored.
func (h *history) rise() {
	h.restart()
	maps.DeleteFunc(h.emptied, func(id object.ObjMetadata, _ bool) bool { return !h.stored[id].Braked })
	h.noteEmptied() // the present commit is judged again
}

// Whatever is committed, seen, lost, refused and interrupted: nothing is deleted that Git has, may have
// or holds, nothing is written that is not in the inventory, and in the end the cluster is as Git wants it.
func TestEngineConverges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{world: newWorld(rt), rt: rt, emptied: map[object.ObjMetadata]bool{}}
		h.names = []string{"a", "b", "c", "d", "apps/Deployment/web", "Namespace/ns"}
		h.check = h.inspect
		some := func() object.ObjMetadata { return id(rapid.SampledFrom(h.names).Draw(rt, "object")) }
		h.commitAtRandom()
		rt.Repeat(map[string]func(*rapid.T){
			"":       func(*rapid.T) { h.owned() },
			"commit": func(*rapid.T) { h.commitAtRandom() },
			"work": func(*rapid.T) {
				h.save()
				for _, task := range h.e.Next(h.now, rapid.IntRange(1, 3).Draw(rt, "limit")) {
					h.e.Done(h.do(task), h.now)
				}
			},
			"interrupted": func(*rapid.T) {
				// A commit arrives while requests are under way.
				h.save()
				tasks := h.e.Next(h.now, 2)
				results := make([]Result, 0, len(tasks))
				for _, task := range tasks {
					results = append(results, h.do(task))
				}
				h.commitAtRandom()
				for _, r := range results {
					if rapid.Bool().Draw(rt, "cancelled") {
						r = Result{Task: r.Task, Outcome: Failed, Err: ErrSuperseded}
					}
					h.e.Done(r, h.now)
				}
			},
			"watch": func(*rapid.T) { h.tell() },
			"list":  func(*rapid.T) { h.tell(); h.list() },
			"pass": func(*rapid.T) {
				h.run(time.Duration(rapid.IntRange(1, 100).Draw(rt, "seconds")) * time.Second)
			},
			"killed": func(*rapid.T) {
				h.save()
				for _, task := range h.e.Next(h.now, 2) {
					h.do(task) // it is done, and nobody learns of it
				}
				h.rise()
			},
			"restart": func(*rapid.T) { h.rise() },
			"fail": func(*rapid.T) {
				h.fail[some()] = rapid.SampledFrom([]error{
					errors.New("refused"), &NoMatchError{}, &UnavailableError{Err: errors.New("down")},
				}).Draw(rt, "error")
			},
			"works":  func(*rapid.T) { delete(h.fail, some()) },
			"lie":    func(*rapid.T) { h.lie[some()] = true },
			"honest": func(*rapid.T) { delete(h.lie, some()) },
			"sick":   func(*rapid.T) { h.sick[some()] = true },
			"heal":   func(*rapid.T) { h.heal(rapid.SampledFrom(h.names).Draw(rt, "object")) },
			"drift": func(*rapid.T) {
				if o := some(); h.live[o] != nil {
					h.live[o].fingerprint += "x"
					h.changed(o, h.live[o])
				}
			},
			"delete": func(*rapid.T) {
				if o := some(); h.live[o] != nil {
					h.remove(o)
				}
			},
			"unlabel": func(*rapid.T) {
				if o := some(); h.live[o] != nil {
					h.live[o].instance = ""
					h.changed(o, h.live[o])
				}
			},
			"disk full":  func(*rapid.T) { h.noSave = errors.New("no quota") },
			"disk empty": func(*rapid.T) { h.noSave = nil },
		})
		h.converge()
	})
}

// converge lets everything work, commits a state that says everything, and compares.
func (h *history) converge() {
	clear(h.fail)
	clear(h.lie)
	h.noSave = nil
	for o := range maps.Clone(h.sick) {
		delete(h.sick, o)
		if h.live[o] != nil {
			h.changed(o, h.live[o])
		}
	}
	d := Desired{Commit: "last", Apps: []App{appOf("x", "a=9 after:b", "b=9"), appOf("y", "c=9", "Namespace/ns=9")}}
	for _, app := range []string{"x", "y"} {
		d.Prune.Permit = append(d.Prune.Permit,
			fleet.Permit{App: app, Until: fleet.Date{Time: h.now.Add(1000 * time.Hour)}},
			fleet.Permit{App: app, Kinds: []string{"Namespace"}, Until: fleet.Date{Time: h.now.Add(1000 * time.Hour)}})
	}
	h.set(d)
	h.run(time.Hour)
	h.owned()
	var want []string
	for _, a := range d.Apps {
		for _, o := range a.Objects {
			want = append(want, o.ID.Name)
			if l := h.live[o.ID]; l == nil || l.hash != o.Hash || l.instance != instance || l.fingerprint != "f"+o.Hash {
				h.t.Fatalf("%s is not as Git wants it: %+v", o.ID.Name, l)
			}
		}
		if s := h.e.State(a.Name, h.now); !s.Ready || len(s.Held) > 0 || s.Orphans > 0 {
			h.t.Fatalf("app %s: %+v", a.Name, s)
		}
	}
	var got []string
	for o, r := range h.stored {
		got = append(got, o.Name)
		if e := h.e.objs[o]; e != nil && e.rec != nil && !reflect.DeepEqual(r, *e.rec) {
			h.t.Fatalf("the inventory says of %s: %+v; the engine knows: %+v", o.Name, r, *e.rec)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		h.t.Fatalf("the inventory lists %v, want %v", got, want)
	}
	for o, l := range h.live {
		if l.instance == instance && !slices.Contains(want, o.Name) {
			h.t.Fatalf("%s is still there", o.Name)
		}
	}
	// At rest, it stays at rest.
	h.log = nil
	h.run(time.Hour)
	if len(h.log) > 0 {
		h.t.Fatalf("at rest, the engine did %v", h.log)
	}
}
