package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/render"
)

const instance = "holdfast-system"

// fataler is what a world needs of a test.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// world is a cluster, its stored inventory and the engine that works on them, without any I/O and with a
// clock of its own. It does what Executor and Inventory do, as far as Engine can tell.
type world struct {
	t   fataler
	e   *Engine
	now time.Time

	desired Desired
	stored  map[object.ObjMetadata]Record
	live    map[object.ObjMetadata]*thing
	rv      int
	news    []func() // what the watches have not told yet

	// fail makes requests for an object fail; lie makes them succeed and report a failure.
	fail map[object.ObjMetadata]error
	lie  map[object.ObjMetadata]bool
	// sick objects are not Current.
	sick map[object.ObjMetadata]bool
	// replicas are how many an object wants and has ready.
	replicas map[object.ObjMetadata][2]int32
	// noSave makes saving the inventory fail.
	noSave error

	log   []string        // what was done: "apply a=1", "prune b"
	check func(task Task) // called for each task before it is done
}

// thing is a live object.
type thing struct {
	hash, fingerprint, instance, app string
	uid                              string
	rv                               int
	annotations                      map[string]string
	finalizer, deleting              bool
	human                            bool // people own fields of it that no repair removes
}

func newWorld(t fataler) *world {
	w := &world{
		t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		stored: map[object.ObjMetadata]Record{}, live: map[object.ObjMetadata]*thing{},
		fail: map[object.ObjMetadata]error{}, lie: map[object.ObjMetadata]bool{}, sick: map[object.ObjMetadata]bool{},
		replicas: map[object.ObjMetadata][2]int32{},
		check:    func(Task) {},
	}
	w.e = NewEngine(instance, nil)
	return w
}

// id reads "name" (a ConfigMap), "Kind/name" or "group/Kind/name"; Namespaces and definitions of kinds
// have no namespace, all others are in "ns".
func id(s string) object.ObjMetadata {
	parts := strings.Split(s, "/")
	o := object.ObjMetadata{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Name: parts[len(parts)-1], Namespace: "ns"}
	if len(parts) > 1 {
		o.GroupKind.Kind = parts[len(parts)-2]
	}
	if len(parts) > 2 {
		o.GroupKind.Group = parts[0]
	}
	if o.GroupKind == namespaceKind || o.GroupKind == crdKind {
		o.Namespace = ""
	}
	return o
}

// obj reads "id=value", with annotations after it: "b=1 config.kubernetes.io/depends-on=..."; "after:a"
// is short for depending on a.
func obj(app, text string) render.Object {
	fields := strings.Fields(text)
	name, value, _ := strings.Cut(fields[0], "=")
	o := render.Object{ID: id(name), Version: "v1", App: app}
	for _, f := range fields[1:] {
		if o.Annotations == nil {
			o.Annotations = map[string]string{}
		}
		if dep, ok := strings.CutPrefix(f, "after:"); ok {
			o.Annotations[live.AnnotationDependsOn] = "/namespaces/ns/ConfigMap/" + dep
			continue
		}
		k, v, _ := strings.Cut(f, "=")
		o.Annotations[k] = v
	}
	sum := sha256.Sum256([]byte(app + text))
	o.Hash = value + "-" + hex.EncodeToString(sum[:4])
	o.JSON = []byte(`{}`)
	return o
}

func appOf(name string, objects ...string) App {
	a := App{Name: name, HealthTimeout: time.Minute}
	for _, o := range objects {
		a.Objects = append(a.Objects, obj(name, o))
	}
	return a
}

// commit sets what is desired.
func (w *world) commit(sha string, apps ...App) []object.ObjMetadata {
	d := w.desired
	d.Commit, d.Apps = sha, apps
	return w.set(d)
}

func (w *world) set(d Desired) []object.ObjMetadata {
	w.desired = d
	return w.e.SetDesired(d, w.now)
}

// save stores what is due. It tells whether there was anything.
func (w *world) save() bool {
	b, ok := w.e.Unsaved(w.now)
	if !ok {
		return false
	}
	if w.noSave == nil {
		for id, r := range b {
			if r == nil {
				delete(w.stored, id)
				continue
			}
			w.stored[id] = *r
		}
	}
	w.e.Saved(b, w.noSave, w.now)
	return true
}

// tell delivers what the watches saw.
func (w *world) tell() {
	news := w.news
	w.news = nil
	for _, f := range news {
		f()
	}
}

// settle does all that can be done without the clock moving.
func (w *world) settle() {
	w.t.Helper()
	for range 10_000 {
		w.tell()
		saved := w.save()
		tasks := w.e.Next(w.now, 4)
		for _, task := range tasks {
			w.e.Done(w.do(task), w.now)
		}
		if !saved && len(tasks) == 0 && len(w.news) == 0 {
			return
		}
	}
	w.t.Fatalf("the engine does not come to rest; it did %v", w.log[max(0, len(w.log)-20):])
}

// run lets the clock run for as long, doing what can be done whenever the engine wants to.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for range 100_000 {
		w.settle()
		next := w.e.Wake()
		if next.IsZero() || next.After(end) {
			w.now = end
			w.settle()
			return
		}
		if next.After(w.now) {
			w.now = next
		} else {
			w.now = w.now.Add(time.Millisecond) // it asked for "now"; it must not do so for ever
		}
	}
	w.t.Fatalf("the engine wakes up without end; wake at %s, now %s", w.e.Wake(), w.now)
}

// restart replaces the engine by one that knows only what was stored.
func (w *world) restart() {
	w.news = nil
	w.e = NewEngine(instance, maps.Clone(w.stored))
	w.e.SetDesired(w.desired, w.now)
	w.list()
}

// list tells the engine what is there, kind by kind, as the first lists do.
func (w *world) list() {
	for gk := range w.e.Kinds() {
		var views []live.View
		for id, o := range w.live {
			if id.GroupKind == gk && o.instance == instance {
				views = append(views, w.view(id, o))
			}
		}
		w.e.Synced(gk, strconv.Itoa(w.rv), views, w.now)
	}
}

// do carries out a task as Executor does.
func (w *world) do(task Task) Result {
	w.check(task)
	r := Result{Task: task, Outcome: Failed}
	name := short(render.Name(task.ID))
	if err := w.fail[task.ID]; err != nil {
		w.log = append(w.log, "fail "+task.ID.Name)
		r.Err = err
		return r
	}
	o := w.live[task.ID]
	switch {
	case task.Action == Apply:
		if task.First && o != nil && o.instance != "" && o.instance != instance {
			r.Err = &ConflictError{Owner: "somebody"}
			return r
		}
		r.Outcome = Configured
		if o == nil {
			o = &thing{uid: fmt.Sprintf("%s-%d", name, w.rv)}
			r.Outcome = Created
		}
		o.hash, o.instance, o.app, o.annotations = task.Object.Hash, instance, task.App, task.Object.Annotations
		o.fingerprint = "f" + o.hash
		w.changed(task.ID, o)
		v := w.view(task.ID, o)
		r.Live = &v
		w.log = append(w.log, "apply "+task.ID.Name+"="+strings.Split(o.hash, "-")[0])
	case o == nil:
		r.Outcome = Pruned
	case o.instance != instance || Keeps(o.annotations) != "" || task.SameAs[types.UID(o.uid)]:
		w.log = append(w.log, "release "+task.ID.Name)
		r.Outcome = Released
	case task.Absent:
		v := w.view(task.ID, o)
		r.Live, r.Outcome = &v, Unchanged
	case o.finalizer:
		o.deleting = true
		w.changed(task.ID, o)
		v := w.view(task.ID, o)
		r.Live, r.Outcome = &v, Deleting
	default:
		w.log = append(w.log, "prune "+task.ID.Name)
		w.remove(task.ID)
		r.Outcome = Pruned
	}
	if w.lie[task.ID] {
		r = Result{Task: task, Outcome: Failed, Err: fmt.Errorf("nobody knows how it ended")}
	}
	return r
}

// changed gives an object a new resource version, which the watches will tell of.
func (w *world) changed(id object.ObjMetadata, o *thing) {
	w.rv++
	o.rv = w.rv
	w.live[id] = o
	v := w.view(id, o)
	w.news = append(w.news, func() {
		if v.Instance != instance {
			w.e.Gone(id, v.ResourceVersion, w.now)
			return
		}
		w.e.Observe(v, w.now)
	})
}

func (w *world) remove(id object.ObjMetadata) {
	w.rv++
	rv := strconv.Itoa(w.rv)
	delete(w.live, id)
	w.news = append(w.news, func() { w.e.Gone(id, rv, w.now) })
}

func (w *world) view(id object.ObjMetadata, o *thing) live.View {
	v := live.View{
		ID: id, UID: types.UID(o.uid), ResourceVersion: strconv.Itoa(o.rv), Fingerprint: o.fingerprint,
		Status: status.CurrentStatus, Instance: o.instance, App: o.app, Annotations: o.annotations, Deleting: o.deleting, Human: o.human,
	}
	v.Replicas, v.ReadyReplicas = w.replicas[id][0], w.replicas[id][1]
	if w.sick[id] {
		v.Status, v.Message = status.InProgressStatus, "not yet"
	}
	return v
}

// heal makes a sick object Current.
func (w *world) heal(name string) {
	delete(w.sick, id(name))
	if o := w.live[id(name)]; o != nil {
		w.changed(id(name), o)
	}
}

// drift is somebody's change of a field of ours.
func (w *world) drift(name string) {
	o := w.live[id(name)]
	o.fingerprint += "x"
	w.changed(id(name), o)
}

// did returns what was done since it was called before, and fails if it is not that.
func (w *world) did(want ...string) {
	w.t.Helper()
	got := w.log
	w.log = nil
	if !slices.Equal(got, want) {
		w.t.Errorf("did %q, want %q", got, want)
	}
}

// says fails unless the app's state mentions all the words.
func (w *world) says(app string, words ...string) {
	w.t.Helper()
	s := w.e.State(app, w.now)
	text := fmt.Sprintf("%+v", s)
	for _, x := range s.Errors {
		text += "\n" + render.Name(x.ID) + ": " + x.Err.Error()
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			w.t.Errorf("the state of %s lacks %q: %s", app, word, text)
		}
	}
}
