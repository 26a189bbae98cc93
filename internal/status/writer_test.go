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

// expect compares the trace and forgets it.
func (m *memory) expect(t *testing.T, want ...string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	got := make([]string, len(m.trace))
	for i := range m.trace {
		got[i] = strings.TrimSpace(m.trace[i])
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
	start(t, w)
	return w
}

func start(t *testing.T, w *Writer) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx); err != nil {
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
		w.Update(one(progressing("c1"))) // new: at once
		synctest.Wait()
		s.expect(t, "0.0s a c1 Progressing")

		time.Sleep(300 * time.Millisecond)
		w.Update(one(readyAt("c1")))
		time.Sleep(time.Minute)
		s.expect(t, "1.0s a c1 Ready")

		w.Update(one(progressing("c2"))) // applied and healthy within two seconds: one write
		time.Sleep(1500 * time.Millisecond)
		w.Update(one(readyAt("c2")))
		time.Sleep(time.Minute)
		s.expect(t, "1.5s a c2 Ready")

		w.Update(one(progressing("c3"))) // slow: two writes, and a third when it counts as stalled
		time.Sleep(70 * time.Second)
		s.expect(t, "2.0s a c3 Progressing", "60.0s a c3 Progressing")
		failed := progressing("c3")
		failed.Errors = broken().Errors
		w.Update(one(failed))
		time.Sleep(time.Second)
		s.expect(t, "0.0s a c3 Failed")
	})
}

func TestWriterIsSilentWhenNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		w := run(t, s, WriterOptions{})
		state := readyAt("c1")
		w.Update(one(state))
		synctest.Wait()
		s.expect(t, "0.0s a c1 Ready")
		for i := range 100 {
			state.Revision, state.Placement, state.Proven = fmt.Sprint(i), fmt.Sprint(i), fmt.Sprint(i)
			w.Update(one(state))
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
		start(t, again)
		again.Update(one(state))
		time.Sleep(time.Minute)
		s.expect(t)
	})
}

func TestWriterGathersCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		w := run(t, s, WriterOptions{})
		state := readyAt("c1")
		for range 100 { // a fight: a correction every 100 ms
			state.Drift.Corrected++
			w.Update(one(state))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		s.expect(t, "0.0s a c1 Ready", "5.0s a c1 Ready", "10.0s a c1 Ready")
		synctest.Wait()
		if got := s.objects["a"].status.Drift.Corrected; got != 100 {
			t.Errorf("%d corrections are written", got)
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
		w.Update(one(readyAt("c1")))
		time.Sleep(time.Minute)
		s.expect(t, "0.0s a c1 Ready", "0.0s old removed, uid-old")
		w.Update(map[string]AppState{})
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
		w.Update(one(readyAt("c1")))
		time.Sleep(10 * time.Minute)
		s.mu.Lock()
		if n := len(s.trace); n < 10 || n > 20 {
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
		w.Update(states)
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
	w.Update(one(readyAt("c1")))
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
	w.Update(states)
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"old old.two uid-old", "a a uid-1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
