package statusbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// publishing is a Publisher over a bus in memory, in a bubble of time.
type publishing struct {
	*Publisher
	t    *testing.T
	bus  *bus
	log  lines
	stop func()

	mu   sync.Mutex
	seen []PushAttempt
}

func (p *publishing) observe(a PushAttempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, a)
}

func (p *publishing) attempts() []PushAttempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]PushAttempt(nil), p.seen...)
}

// publish runs a Publisher of us-east; change may alter its options.
func publish(t *testing.T, b *bus, change func(*PublisherOptions)) *publishing {
	t.Helper()
	p := &publishing{t: t, bus: b}
	o := PublisherOptions{
		Cluster: "us-east",
		Report:  func() status.Report { return reportOf("us-east", time.Now()) },
		Log:     p.log.logger(),
		Observe: p.observe,
	}
	if change != nil {
		change(&o)
	}
	var err error
	p.Publisher, err = newPublisher(o, b.push)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	p.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		done <- nil
	}
	t.Cleanup(p.stop)
	synctest.Wait()
	return p
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (p *publishing) want(n int, what string) {
	p.t.Helper()
	if got := len(p.bus.pushes()); got != n {
		p.t.Fatalf("%s: %d pushes, want %d", what, got, n)
	}
}

func TestTheFirstPushWaitsForACommitAndThenTheHeartbeatPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var commit atomic.Value
		commit.Store("")
		p := publish(t, newBus(t), func(o *PublisherOptions) {
			o.Report = func() status.Report {
				r := reportOf("us-east", time.Now())
				r.Commit = commit.Load().(string)
				return r
			}
		})
		pass(time.Minute)
		p.want(0, "before the first commit")
		commit.Store(someCommit)
		pass(defaultMinInterval)
		p.want(1, "with the first commit")
		pass(DefaultHeartbeat * 8 / 10)
		p.want(1, "before the heartbeat")
		pass(DefaultHeartbeat * 3 / 10)
		p.want(2, "after the heartbeat")
		pass(time.Hour)
		if n := len(p.bus.pushes()); n < 28 || n > 36 {
			t.Errorf("%d pushes in an hour", n)
		}
		if report, err := p.bus.published("us-east"); err != nil || time.Since(report.Time) > DefaultHeartbeat*11/10+time.Second {
			t.Errorf("the newest report is of %s, %v", report.Time, err)
		}
		if seen := p.attempts(); len(seen) != len(p.bus.pushes()) || seen[0].Err != nil || seen[0].Requests != 1 || seen[0].Commit == "" {
			t.Errorf("observed %+v", seen)
		}
	})
}

func TestChangesAreBatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := publish(t, newBus(t), nil)
		p.want(1, "at the start")
		pass(time.Minute)
		p.Changed()
		synctest.Wait()
		p.want(1, "right after a change")
		pass(defaultGather)
		p.want(2, "a moment after a change")

		// A busy cluster: a change every 100 ms, for a minute.
		start := time.Now()
		for time.Since(start) < time.Minute {
			p.Changed()
			pass(100 * time.Millisecond)
		}
		times := p.bus.pushes()[1:]
		for i := 1; i < len(times); i++ {
			if apart := times[i].Sub(times[i-1]); apart < defaultMinInterval || apart > defaultMinInterval+defaultGather {
				t.Errorf("two pushes are %s apart", apart)
			}
		}
		if len(times) < 17 || len(times) > 21 {
			t.Errorf("%d pushes in a busy minute", len(times))
		}
		// The last change is not lost.
		pass(defaultMinInterval + defaultGather)
		n := len(p.bus.pushes())
		pass(time.Minute)
		p.want(n, "after the last change")
	})
}

func TestAChangeDuringAPushIsPushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		var slow *publishing
		b := newBus(t)
		slow = publish(t, b, func(o *PublisherOptions) {
			o.Report = func() status.Report {
				r := reportOf("us-east", time.Now())
				r.Agent = fmt.Sprint(n.Load())
				return r
			}
			o.Record = func(context.Context, status.Report) error { time.Sleep(time.Second); return nil }
		})
		pass(500 * time.Millisecond)
		n.Store(1)
		slow.Changed()
		pass(500*time.Millisecond + defaultMinInterval + time.Second)
		slow.want(2, "a change during the push")
		if r, err := b.published("us-east"); err != nil || r.Agent != "1" {
			t.Errorf("published is %q, %v", r.Agent, err)
		}
	})
}

func TestFailuresAreToldOnceAndTriedAgain(t *testing.T) {
	cases := []struct {
		name        string
		err         error
		least, most time.Duration // between two attempts, at last
	}{
		{"a server that is down", refusal(gitsource.KindUnreachable, "nothing listens"), 30 * time.Second, time.Minute},
		{"no right to push", refusal(gitsource.KindAuth, "may not push"), time.Minute, 2 * time.Minute},
		{"a hook", refusal(gitsource.KindRefused, "a hook or a rule forbids it"), time.Minute, 2 * time.Minute},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				b.setDown(c.err)
				p := publish(t, b, nil)
				if p.Err() == nil {
					t.Fatal("the first failure is not told")
				}
				for range 100 {
					p.Changed() // does not make it more often
					pass(time.Second)
				}
				if n := len(p.attempts()); n < 5 || n > 20 {
					t.Errorf("%d attempts in the first 100 s", n)
				}
				pass(time.Hour)
				seen := p.attempts()
				last := seen[len(seen)-1].Start.Sub(seen[len(seen)-2].Start)
				if last < c.least || last > c.most {
					t.Errorf("at last attempts are %s apart", last)
				}
				if n := p.log.count("is not published"); n != 1 {
					t.Errorf("the failure is told %d times", n)
				}
				if c.most > time.Minute && !strings.Contains(p.Err().Error(), "--status-repo") {
					t.Errorf("the error does not say what to do: %v", p.Err())
				}
				b.setDown(nil)
				pass(c.most)
				if p.Err() != nil || p.log.count("published again") != 1 {
					t.Errorf("after it has passed: %v", p.Err())
				}
				if report, err := b.published("us-east"); err != nil || report.Time.Before(time.Now().Add(-c.most-time.Second)) {
					t.Errorf("published is the report of %s, %v", report.Time, err)
				}
			})
		})
	}
}

func TestNothingIsSaidThatIsNotOnRecordOrCannotBeSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		var broken atomic.Value
		broken.Store("record")
		key := newKey(t)
		var recorded atomic.Value
		p := publish(t, b, func(o *PublisherOptions) {
			o.Record = func(_ context.Context, r status.Report) error {
				if broken.Load() == "record" {
					return errors.New("the API server is away")
				}
				recorded.Store(r.Time)
				return nil
			}
			o.Signer = func() (ssh.Signer, error) {
				if broken.Load() == "key" {
					return nil, errors.New("the passphrase is wrong")
				}
				return key, nil
			}
		})
		p.want(0, "without a record")
		if err := p.Err(); err == nil || !strings.Contains(err.Error(), "API server") {
			t.Errorf("got %v", err)
		}
		broken.Store("key")
		pass(time.Minute)
		p.want(0, "without a signature")
		if err := p.Err(); err == nil || !strings.Contains(err.Error(), "passphrase") {
			t.Errorf("got %v", err)
		}
		broken.Store("")
		pass(time.Minute)
		p.want(1, "with both")
		if r, err := b.published("us-east"); err != nil || !r.Time.Equal(recorded.Load().(time.Time)) {
			t.Errorf("published is the report of %s, %v", r.Time, err)
		}
	})
}

func TestAnotherAgentThatReportsAsTheSameClusterIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const loud = "another agent reports as this cluster"
		b := newBus(t)
		b.put("us-east", reportOf("us-east", time.Now().Add(-time.Hour)), nil) // of an earlier process
		p := publish(t, b, nil)
		if p.log.count(loud) != 0 || p.Err() != nil {
			t.Error("what an earlier process left is taken for another agent's")
		}
		p.want(1, "over an older report")

		b.remove("us-east")
		p.Changed()
		pass(defaultMinInterval)
		if p.log.count(loud) != 0 || len(b.pushes()) != 2 {
			t.Error("a deleted ref is taken for another agent's")
		}
		for range 300 {
			b.put("us-east", reportOf("us-east", time.Now().Add(-time.Second)), nil)
			p.Changed()
			pass(defaultMinInterval + defaultGather)
		}
		if n := p.log.count(loud); n < 1 || n > 3 {
			t.Errorf("told %d times in 16 minutes", n)
		}
		if p.Err() != nil {
			t.Errorf("the own report is not published: %v", p.Err())
		}
	})
}

func TestALostAnswerIsNotAnotherAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		var lose atomic.Int32
		p := publish(t, b, nil)
		p.stop()
		p.push = func(ctx context.Context, tr *gitsource.Traffic, u gitsource.Push) error {
			err := b.push(ctx, tr, u)
			if err == nil && lose.Add(-1) >= 0 {
				return refusal(gitsource.KindCut, "the connection broke")
			}
			return err
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = p.Run(ctx) }()
		synctest.Wait()
		lose.Store(2)
		p.Changed()
		pass(time.Minute)
		cancel()
		<-done
		if p.log.count("another agent") != 0 || p.Err() != nil {
			t.Errorf("a push whose answer was lost is taken for another agent's, %v", p.Err())
		}
		if len(b.pushes()) != 5 {
			t.Errorf("%d pushes", len(b.pushes()))
		}
	})
}

func TestARefThatNeverStandsStillIsAnError(t *testing.T) {
	p, err := newPublisher(PublisherOptions{Cluster: "us-east", Report: func() status.Report { return status.Report{} }},
		func(_ context.Context, _ *gitsource.Traffic, u gitsource.Push) error {
			return &gitsource.RefMovedError{Ref: u.Ref, Now: plumbing.ComputeHash(plumbing.BlobObject, u.Old[:])}
		})
	must(t, err)
	a := new(PushAttempt)
	if err := p.publish(t.Context(), reportOf("us-east", time.Now()), a); err == nil || !strings.Contains(err.Error(), "has moved") {
		t.Errorf("got %v", err)
	}
	if err := p.publish(t.Context(), reportOf("us-west", time.Now()), a); err == nil || !strings.Contains(err.Error(), "us-west") {
		t.Errorf("a report of another cluster gives %v", err)
	}
}

func TestSchedule(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	for name, c := range map[string]struct {
		s    schedule
		want int
	}{
		"the heartbeat":                   {schedule{beat: at(100)}, 100},
		"a change":                        {schedule{beat: at(100), changes: at(10)}, 10},
		"a change too soon after a push":  {schedule{beat: at(100), changes: at(10), earliest: at(20)}, 20},
		"a change just before the beat":   {schedule{beat: at(100), changes: at(101)}, 100},
		"after a failure changes wait":    {schedule{beat: at(60), changes: at(10), earliest: at(60)}, 60},
		"the heartbeat is never too soon": {schedule{beat: at(5), earliest: at(20)}, 20},
	} {
		if got := c.s.next(); !got.Equal(at(c.want)) {
			t.Errorf("%s: due at %d, want %d", name, got.Unix(), c.want)
		}
	}
}

func TestPublisherOptions(t *testing.T) {
	report := func() status.Report { return status.Report{} }
	for says, o := range map[string]PublisherOptions{
		"DNS label": {Cluster: "a/b", Report: report},
		"negative":  {Cluster: "a", Report: report, Gather: -1},
		"reports":   {Cluster: "a"},
	} {
		if _, err := newPublisher(o, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v gives %v", o, err)
		}
	}
	if _, err := NewPublisher(PublisherOptions{Cluster: "a", Report: report}); err == nil {
		t.Error("a publisher without a repository")
	}
}
