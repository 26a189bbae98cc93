package apply

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

// twins are two worlds to which the same happens. The engine of the first looks only at what a commit
// changed, that of the second at everything.
type twins struct {
	rt   *rapid.T
	both [2]*world
}

func newTwins(rt *rapid.T) *twins {
	w := &twins{rt: rt, both: [2]*world{newWorld(rt), newWorld(rt)}}
	w.both[1].e.whole = true
	return w
}

func (w *twins) each(f func(*world)) {
	for _, one := range w.both {
		f(one)
	}
}

// work carries out as many tasks as may be done, of which some are not told to have ended before the next commit.
func (w *twins) work(limit int, meanwhile func()) {
	var results [2][]Result
	for i, one := range w.both {
		one.save()
		for _, task := range one.e.Next(one.now, limit) {
			results[i] = append(results[i], one.do(task))
		}
	}
	if a, b := tasks(results[0]), tasks(results[1]); a != b {
		w.rt.Fatalf("tasks differ:\n%s\nif all is looked at:\n%s", a, b)
	}
	meanwhile()
	for i, one := range w.both {
		for _, r := range results[i] {
			one.e.Done(r, one.now)
		}
	}
}

func tasks(results []Result) string {
	var b strings.Builder
	for _, r := range results {
		t := r.Task
		hash := ""
		if t.Object != nil {
			hash = t.Object.Hash
		}
		t.Object, t.seq, t.Drifted = nil, 0, nil
		fmt.Fprintf(&b, "%+v %s\n", t, hash)
	}
	return b.String()
}

// compare fails if the engines do not stand alike.
func (w *twins) compare() {
	a, b := describe(w.both[0]), describe(w.both[1])
	if a != b {
		w.rt.Fatalf("the engines differ:\n%s\nif all is looked at:\n%s", a, b)
	}
}

func describe(w *world) string {
	var b strings.Builder
	for _, app := range []string{"x", "y", "z"} {
		s := w.e.State(app, w.now)
		var held []string
		for _, h := range s.Held {
			for _, word := range []string{" is in it", " depends on it", " is of its kind"} {
				if strings.HasSuffix(h.Reason, word) { // which of several is named is left open
					h.Reason = word
				}
			}
			held = append(held, fmt.Sprintf("%+v", h))
		}
		s.Held = nil
		slices.Sort(held)
		slices.SortFunc(s.Errors, func(x, y ObjectError) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) })
		fmt.Fprintf(&b, "%+v held %v\n", s, held)
	}
	for _, id := range slices.SortedFunc(maps.Keys(w.e.objs), func(a, b object.ObjMetadata) int { return strings.Compare(a.String(), b.String()) }) {
		o := w.e.objs[id]
		fmt.Fprintf(&b, "%s rec %+v saved %v retry %s kept %v claimed %q bad %v changed %q\n", render.Name(id), o.rec, o.saved, o.retry, o.kept, o.claimed, o.bad, o.changed)
	}
	fmt.Fprintf(&b, "unsaved %v flush %s kinds %v outage %v in flight %d left %d applied %d orphans %d",
		slices.Sorted(maps.Keys(names(w.e.unsaved))), w.e.flushAt, w.e.Kinds(), w.e.Outage(), w.e.inFlight, w.e.left, w.e.applied, len(w.e.orphans))
	return b.String()
}

func names[V any](m map[object.ObjMetadata]V) map[string]bool {
	out := map[string]bool{}
	for id := range m {
		out[render.Name(id)] = true
	}
	return out
}

// richCommit draws a commit with everything that Desired can say.
func richCommit(rt *rapid.T, n int, before Desired, now time.Time) Desired {
	objects := []string{
		"a", "b", "c", "d", "apps/Deployment/web", "extensions/Deployment/web", "Namespace/ns", "g.io/Widget/w",
		"apiextensions.k8s.io/CustomResourceDefinition/widgets.g.io",
	}
	d := randomCommit(rt, n, before, objects, now)
	for i := range d.Apps {
		a := &d.Apps[i]
		if slices.ContainsFunc(before.Apps, func(b App) bool { return same(b, *a) }) && rapid.Bool().Draw(rt, "as it was") {
			continue
		}
		some := func(label string) object.ObjMetadata { return id(rapid.SampledFrom(objects).Draw(rt, label)) }
		a.Leaves = rapid.Bool().Draw(rt, "leaves")
		a.Drift.Mode = rapid.SampledFrom([]fleet.DriftMode{"", fleet.Strict, fleet.Detect}).Draw(rt, "mode")
		a.Invalid, a.Ignore = nil, nil
		if rapid.IntRange(0, 3).Draw(rt, "has wrong") == 0 {
			a.Invalid = []ObjectError{{some("wrong"), errors.New("wrong")}}
		}
		if rapid.IntRange(0, 3).Draw(rt, "ignores") == 0 {
			a.Ignore = map[object.ObjMetadata][]string{some("ignored"): {"/data"}}
		}
		a.HealthTimeout = rapid.SampledFrom([]time.Duration{time.Minute, time.Hour}).Draw(rt, "timeout")
		if rapid.Bool().Draw(rt, "same slice") {
			continue
		}
		a.Objects = slices.Clone(a.Objects)
		for j := range a.Objects {
			o := &a.Objects[j]
			switch {
			case o.ID.GroupKind == crdKind:
				kind := "Widget"
				if strings.HasPrefix(o.Hash, "2") {
					kind = "Gadget"
				}
				o.JSON = fmt.Appendf(nil, `{"spec": {"group": "g.io", "names": {"kind": %q}}}`, kind)
				o.Hash = o.Hash[:10] + kind
			case o.ID.GroupKind == namespaceKind && rapid.IntRange(0, 3).Draw(rt, "namespace waits") == 0:
				*o = obj(a.Name, "Namespace/ns="+strings.Split(o.Hash, "-")[0]+" after:a")
			case rapid.IntRange(0, 5).Draw(rt, "left alone") == 0:
				o.Annotations = maps.Clone(o.Annotations)
				if o.Annotations == nil {
					o.Annotations = map[string]string{}
				}
				o.Annotations[live.AnnotationReconcile] = "disabled"
				o.Hash += "-alone"
			}
		}
	}
	return d
}

// Looking only at what a commit changed comes to the same as looking at everything.
func TestSetDesiredFollowsTheChange(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newTwins(rt)
		commits := 0
		commit := func() {
			commits++
			d := richCommit(rt, commits, w.both[0].desired, w.both[0].now)
			w.each(func(one *world) { one.set(d) })
		}
		some := func() object.ObjMetadata {
			return id(rapid.SampledFrom([]string{"a", "b", "c", "d", "apps/Deployment/web", "extensions/Deployment/web", "Namespace/ns", "g.io/Widget/w"}).Draw(rt, "object"))
		}
		alive := func(f func(*world, object.ObjMetadata, *thing)) {
			o := some()
			w.each(func(one *world) {
				if l := one.live[o]; l != nil {
					f(one, o, l)
				}
			})
		}
		commit()
		rt.Repeat(map[string]func(*rapid.T){
			"":       func(*rapid.T) { w.compare() },
			"commit": func(*rapid.T) { commit() },
			"work":   func(*rapid.T) { w.work(rapid.IntRange(1, 3).Draw(rt, "limit"), func() {}) },
			"interrupted": func(*rapid.T) {
				w.work(3, commit)
			},
			"watch": func(*rapid.T) { w.each((*world).tell) },
			"list":  func(*rapid.T) { w.each(func(one *world) { one.tell(); one.list() }) },
			"pass": func(*rapid.T) {
				d := time.Duration(rapid.IntRange(1, 100).Draw(rt, "seconds")) * time.Second
				w.each(func(one *world) { one.now = one.now.Add(d) })
			},
			"settle": func(*rapid.T) { w.each((*world).settle) },
			"fail": func(*rapid.T) {
				o := some()
				err := rapid.SampledFrom([]error{
					errors.New("refused"), &NoMatchError{}, &UnavailableError{Err: errors.New("down")},
				}).Draw(rt, "error")
				w.each(func(one *world) { one.fail[o] = err })
			},
			"works": func(*rapid.T) { o := some(); w.each(func(one *world) { delete(one.fail, o) }) },
			"sick":  func(*rapid.T) { o := some(); w.each(func(one *world) { one.sick[o] = true }) },
			"heal": func(*rapid.T) {
				o := some()
				w.each(func(one *world) {
					delete(one.sick, o)
					if l := one.live[o]; l != nil {
						one.changed(o, l)
					}
				})
			},
			"drift": func(*rapid.T) {
				alive(func(one *world, o object.ObjMetadata, l *thing) { l.fingerprint += "x"; one.changed(o, l) })
			},
			"delete": func(*rapid.T) { alive(func(one *world, o object.ObjMetadata, _ *thing) { one.remove(o) }) },
			"finalizer": func(*rapid.T) {
				alive(func(_ *world, _ object.ObjMetadata, l *thing) { l.finalizer = !l.finalizer })
			},
			"disable": func(*rapid.T) {
				alive(func(one *world, o object.ObjMetadata, l *thing) {
					l.annotations = map[string]string{live.AnnotationReconcile: "disabled"}
					one.changed(o, l)
				})
			},
			"disk full":  func(*rapid.T) { w.each(func(one *world) { one.noSave = errors.New("no quota") }) },
			"disk empty": func(*rapid.T) { w.each(func(one *world) { one.noSave = nil }) },
			"restart": func(*rapid.T) {
				w.each(func(one *world) {
					one.news, one.e = nil, NewEngine(instance, maps.Clone(one.stored))
					one.e.whole = one == w.both[1]
					one.e.SetDesired(one.desired, one.now)
					one.list()
				})
			},
		})
	})
}
