package status

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// memory is a store for tests of timing: it notes when what was written.
type memory struct {
	mu      sync.Mutex
	start   time.Time
	objects map[string]stored
	trace   []string
	fail    error
	uids    int
}

func newMemory() *memory { return &memory{start: time.Now(), objects: map[string]stored{}} }

func (m *memory) note(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf("%5.1fs ", time.Since(m.start).Seconds())+fmt.Sprintf(format, args...))
}

func (m *memory) list(context.Context) (map[string]stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.objects), m.fail
}

func (m *memory) apply(_ context.Context, app, object string, s *AppStatusStatus) (stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		m.note("%s fails", app)
		return stored{}, m.fail
	}
	m.note("%s %s %s", app, s.RevisionShort, s.Conditions[0].Reason)
	uid := m.objects[app].uid
	if uid == "" {
		m.uids++
		uid = types.UID(fmt.Sprint("uid-", m.uids))
	}
	m.objects[app] = stored{object: object, uid: uid, status: *s}
	return m.objects[app], nil
}

func (m *memory) remove(_ context.Context, object string, uid types.UID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		m.note("%s is not removed", object)
		return m.fail
	}
	m.note("%s removed, %s", object, uid)
	delete(m.objects, object)
	return nil
}

// expect compares the trace and forgets it. What was written at the same time is in the order of the text.
func (m *memory) expect(t *testing.T, want ...string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	got := slices.Clone(m.trace)
	slices.Sort(got)
	for i := range got {
		got[i] = strings.TrimSpace(got[i])
	}
	if !slices.Equal(got, want) {
		t.Errorf("written:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	m.trace, m.start = nil, time.Now()
}

// run starts a Writer that ends with the test's bubble.
func run(t *testing.T, s *memory, o WriterOptions) *Writer {
	t.Helper()
	o.Log = zerolog.Nop()
	w := newWriter(s, o)
	if _, err := w.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	start(t, w.Run)
	return w
}

func start(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func one(s AppState) map[string]AppState { return map[string]AppState{s.Name: s} }

func progressing(changed string) AppState {
	return AppState{Name: "a", Changed: changed, UnreadySince: time.Now(), HealthTimeout: time.Minute}
}

func readyAt(changed string) AppState {
	return AppState{Name: "a", Changed: changed, Ready: true, Since: time.Now()}
}

func TestWriterSpendsOneWriteOnASmallCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		w := run(t, s, WriterOptions{})
		w.Update(one(progressing("c1")), nil) // new, and soon healthy: creation and status in one
		time.Sleep(300 * time.Millisecond)
		w.Update(one(readyAt("c1")), nil)
		time.Sleep(time.Minute)
		s.expect(t, "0.3s a c1 Ready")

		w.Update(one(progressing("c2")), nil) // applied and healthy within two seconds: one write
		time.Sleep(1500 * time.Millisecond)
		w.Update(one(readyAt("c2")), nil)
		time.Sleep(time.Minute)
		s.expect(t, "1.5s a c2 Ready")

		w.Update(one(progressing("c3")), nil) // slow: two writes, and a third when it counts as stalled
		time.Sleep(70 * time.Second)
		s.expect(t, "2.0s a c3 Progressing", "60.0s a c3 Progressing")
		failed := progressing("c3")
		failed.Errors = broken().Errors
		w.Update(one(failed), nil)
		time.Sleep(time.Second)
		s.expect(t, "0.0s a c3 Failed")
	})
}

func TestWriterIsSilentWhenNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		w := run(t, s, WriterOptions{})
		state := readyAt("c1")
		w.Update(one(state), nil)
		synctest.Wait()
		s.expect(t, "0.0s a c1 Ready")
		for i := range 100 {
			state.Revision, state.Placement, state.Proven = fmt.Sprint(i), fmt.Sprint(i), fmt.Sprint(i)
			w.Update(one(state), nil)
			time.Sleep(time.Second)
		}
		s.expect(t)

		// A restart finds everything as it is, with what moved since the last write as it was then.
		again := newWriter(s, WriterOptions{})
		loaded, err := again.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := loaded["a"]; got.Changed != "c1" || got.Since.IsZero() || got.Ready {
			t.Errorf("loaded %+v", got)
		}
		start(t, again.Run)
		again.Update(one(state), nil)
		time.Sleep(time.Minute)
		s.expect(t)
	})
}

// While objects are applied as fast as the cluster takes them, reports are few: what failed or holds first,
// what is about to change not at all. Afterwards all are written, once each.
func TestWriterYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		var load Load
		w := run(t, s, WriterOptions{Load: &load})
		states := map[string]AppState{}
		for i := range 100 {
			name := fmt.Sprintf("app-%02d", i)
			states[name] = AppState{Name: name, Changed: "c1", UnreadySince: time.Now()}
		}
		load.Note(time.Now())
		w.Update(states, nil)
		failed := states["app-99"]
		failed.Errors = broken().Errors
		for tick := range 100 { // ten seconds
			load.Note(time.Now())
			now := map[string]AppState{}
			if tick == 50 {
				now["app-99"] = failed
			}
			if tick%10 == 0 { // one a second becomes Ready
				ready := states[fmt.Sprintf("app-%02d", tick/10)]
				ready.Ready = true
				now[ready.Name] = ready
			}
			w.Update(now, nil)
			time.Sleep(100 * time.Millisecond)
		}
		s.mu.Lock()
		if n := len(s.trace); n != 11 {
			t.Errorf("%d writes in ten busy seconds, want those of ten apps that are Ready and of one that failed: %v", n, s.trace)
		}
		s.trace, s.start = nil, time.Now()
		s.mu.Unlock()
		time.Sleep(loadLasts)
		synctest.Wait()
		if n := len(s.trace); n != 89 {
			t.Errorf("%d writes afterwards, want one of each other app", n)
		}
	})
}

// Reports that come faster than they may be written while the cluster is busy wait, the urgent ones least.
func TestWriterYieldsWithMuchToSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		var load Load
		w := run(t, s, WriterOptions{Load: &load})
		states := map[string]AppState{}
		for i := range 100 {
			name := fmt.Sprintf("app-%02d", i)
			states[name] = AppState{Name: name, Changed: "c1", Ready: true}
		}
		failed := AppState{Name: "zz", Changed: "c1", Errors: broken().Errors}
		states["zz"] = failed
		load.Note(time.Now())
		w.Update(states, nil)
		for range 39 { // and not a 40th time: at two seconds another write is due
			load.Note(time.Now())
			time.Sleep(50 * time.Millisecond)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := len(s.trace); n != int(2*time.Second/slowInterval) || !strings.Contains(s.trace[0], "zz") {
			t.Errorf("%d writes in two busy seconds: %v", n, s.trace)
		}
	})
}

func TestWriterGathersCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		w := run(t, s, WriterOptions{})
		state := readyAt("c1")
		for range 75 { // a fight; no correction comes at the moment of a write
			state.Drift.Corrected++
			w.Update(one(state), nil)
			time.Sleep(130 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		s.expect(t, "0.0s a c1 Ready", "5.1s a c1 Ready", "10.2s a c1 Ready")
		synctest.Wait()
		if got := s.objects["a"].status.Drift.Corrected; got != 75 {
			t.Errorf("%d corrections are written", got)
		}
	})
}

// When many objects have been corrected at once, their counters follow later and slowly, and keep no other news waiting.
func TestWriterTalliesAreFewAndLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		w := run(t, s, WriterOptions{})
		states := map[string]AppState{}
		for i := range 100 {
			name := fmt.Sprintf("app-%02d", i)
			states[name] = AppState{Name: name, Changed: "c1", Ready: true}
		}
		w.Update(states, nil)
		synctest.Wait()
		writes := func() int {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.trace)
		}
		if n := writes(); n != 100 {
			t.Fatalf("%d writes of 100 new apps", n)
		}
		for name, state := range states {
			state.Drift.Corrected = 1
			states[name] = state
		}
		w.Update(states, nil)
		time.Sleep(tallyDelay - time.Millisecond)
		if n := writes() - 100; n != 0 {
			t.Errorf("%d writes before their time", n)
		}
		time.Sleep(5*time.Second - time.Millisecond)
		if n := writes() - 100; n != 20 {
			t.Errorf("%d writes in five seconds, want 4 a second", n)
		}
		failed := states["app-99"]
		failed.Errors = broken().Errors
		w.Update(one(failed), nil)
		synctest.Wait()
		if n := len(s.objects["app-99"].status.Errors); n != len(failed.Errors) {
			t.Errorf("%d errors are written of an app that has just failed, want %d", n, len(failed.Errors))
		}
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for name, o := range s.objects {
			if o.status.Drift.Corrected != 1 {
				t.Errorf("%s: %d corrections are written in the end", name, o.status.Drift.Corrected)
			}
		}
	})
}

func TestWriterRemovesOnlyWhatIsKnownToBeGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		s.objects["old"] = stored{object: "old", uid: "uid-old"}
		w := run(t, s, WriterOptions{})
		time.Sleep(time.Minute)
		s.expect(t) // no Update yet: nothing is known
		w.Update(one(readyAt("c1")), nil)
		time.Sleep(time.Minute)
		s.expect(t, "0.0s a c1 Ready")
		w.Update(nil, []string{"old"})
		time.Sleep(time.Minute)
		s.expect(t, "0.0s old removed, uid-old")
		w.Update(nil, []string{"a"})
		time.Sleep(time.Minute)
		s.expect(t, "0.0s a removed, uid-1")
		synctest.Wait()
		if len(w.entries) != 0 {
			t.Errorf("%d entries are kept", len(w.entries))
		}
	})
}

func TestWriterTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		w := run(t, s, WriterOptions{})
		s.fail = errors.New("the API server is away")
		w.Update(one(readyAt("c1")), nil)
		time.Sleep(10 * time.Minute)
		s.mu.Lock()
		if n := len(s.trace); n < 10 || n > 30 {
			t.Errorf("%d tries in ten minutes: %v", n, s.trace)
		}
		s.fail, s.trace = nil, nil
		s.mu.Unlock()
		if err := w.Flush(t.Context()); err != nil { // does not wait for its turn
			t.Fatal(err)
		}
		synctest.Wait()
		if got := len(s.trace); got != 1 {
			t.Errorf("%d writes by Flush", got)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := len(s.trace); got != 1 {
			t.Errorf("%d writes in the end", got)
		}
	})
}

func TestWriterWithoutTheKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		w := run(t, s, WriterOptions{})
		s.fail = apierrors.NewForbidden(GVR.GroupResource(), "a", errors.New("no"))
		states := one(readyAt("c1"))
		for i := range 300 {
			name := fmt.Sprint("app-", i)
			states[name] = AppState{Name: name, Changed: "c1"}
		}
		w.Update(states, nil)
		time.Sleep(10 * time.Hour)
		s.mu.Lock()
		if n := len(s.trace); n > 75 {
			t.Errorf("%d tries in ten hours for 301 apps", n)
		}
		s.fail, s.trace = nil, nil
		s.mu.Unlock()
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		if n := len(s.objects); n != 301 {
			t.Errorf("%d objects in the end", n)
		}
	})
}

func TestFlushReportsFailures(t *testing.T) {
	s := newMemory()
	s.objects["old"] = stored{object: "old", uid: "uid-old"}
	w := newWriter(s, WriterOptions{Log: zerolog.Nop()})
	if _, err := w.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.fail = errors.New("away")
	w.Update(one(readyAt("c1")), []string{"old"})
	if err := w.Flush(t.Context()); err == nil || strings.Count(err.Error(), "away") != 2 {
		t.Errorf("error %v, want one for each object", err)
	}
}

func TestLoadFailsRatherThanForget(t *testing.T) {
	s := newMemory()
	s.fail = errors.New("away")
	if states, err := newWriter(s, WriterOptions{}).Load(t.Context()); err == nil || states != nil {
		t.Errorf("%v, %v", states, err)
	}
}

func TestWriterTellsUIDs(t *testing.T) {
	s := newMemory()
	s.objects["old"] = stored{object: "old.two", uid: "uid-old"}
	var got []string
	w := newWriter(s, WriterOptions{Log: zerolog.Nop(), OnUID: func(app, object string, uid types.UID) {
		got = append(got, fmt.Sprint(app, " ", object, " ", uid))
	}})
	if _, err := w.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	states := one(readyAt("c1"))
	states["old"] = AppState{Name: "old"}
	w.Update(states, nil)
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"old old.two uid-old", "a a uid-1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
