package statusbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/holdfast-dev/holdfast/internal/gitsource"
)

// reading is a Reader over a bus in memory, in a bubble of time.
type reading struct {
	*Reader
	t   *testing.T
	bus *bus
	log lines

	mu     sync.Mutex
	rounds []Round
	allow  atomic.Pointer[string] // allowed signers; nil is none
	bad    atomic.Bool            // they cannot be read
}

func newReading(t *testing.T, signers ...string) *reading {
	t.Helper()
	r := &reading{t: t, bus: newBus(t)}
	for _, s := range signers {
		r.allow.Store(&s)
	}
	var err error
	r.Reader, err = newReader(ReaderOptions{
		Cluster: "us-east", Log: r.log.logger(),
		Observe: func(round Round) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.rounds = append(r.rounds, round)
		},
		AllowedSigners: func() ([]byte, error) {
			if r.bad.Load() {
				return nil, errors.New("the folder cannot be read")
			}
			if s := r.allow.Load(); s != nil {
				return []byte(*s), nil
			}
			return nil, nil
		},
	}, r.bus)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	synctest.Wait()
	return r
}

// view is the newest view, which must be there.
func (r *reading) view() View {
	r.t.Helper()
	select {
	case v := <-r.Updates():
		return v
	default:
		r.t.Fatal("there is no view")
		return View{}
	}
}

// next lets a round pass and returns its view.
func (r *reading) next() View {
	r.t.Helper()
	select {
	case <-r.Updates():
	default:
	}
	for range 200 {
		pass(100 * time.Millisecond)
		select {
		case v := <-r.Updates():
			return v
		default:
		}
	}
	r.t.Fatal("there is no view after 20 s")
	return View{}
}

func (r *reading) lastRound() Round {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rounds[len(r.rounds)-1]
}

func TestNothingIsAskedOfTheServerUnlessSomethingIsAskedOfTheReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.bus.put("us-west", reportOf("us-west", time.Now()), nil)
		pass(time.Hour)
		r.Ask([]string{"us-east", "no/cluster"}, false) // its own name is nothing to wait for
		pass(time.Hour)
		if lists, _ := r.bus.counts(); lists != 0 {
			t.Fatalf("%d lists while nothing is asked", lists)
		}

		r.Ask([]string{"us-west"}, false)
		synctest.Wait()
		v := r.view()
		if s := v.Clusters["us-west"]; s.Report == nil || s.Problem != "" || !v.Asked || v.Err != nil || !v.Covers("us-west") || v.Covers("eu-west") {
			t.Errorf("the view is %+v", v)
		}
		for range 100 {
			r.Ask([]string{"us-west", "us-west", "us-east"}, false) // the same
			synctest.Wait()
		}
		if lists, fetches := r.bus.counts(); lists != 1 || fetches != 1 {
			t.Errorf("the same question again costs %d lists and %d fetches", lists, fetches)
		}

		r.Ask(nil, false)
		pass(minSpacing)
		if v := r.view(); v.Asked || len(v.Clusters) > 0 || v.Covers("us-west") {
			t.Errorf("when nothing is asked any more the view is %+v", v)
		}
		if len(r.memory.clusters) > 0 {
			t.Error("reports are kept that nobody asks for")
		}
		lists, _ := r.bus.counts()
		pass(time.Hour)
		if again, _ := r.bus.counts(); again != lists {
			t.Errorf("%d lists when nothing is asked any more", again-lists)
		}
	})
}

func TestHowOftenIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.Ask([]string{"us-west"}, false)
		pass(slowAfter)
		if lists, _ := r.bus.counts(); lists < 90 || lists > 112 {
			t.Errorf("%d lists in the first five minutes", lists)
		}
		before, _ := r.bus.counts()
		pass(time.Hour)
		if lists, _ := r.bus.counts(); lists-before < 217 || lists-before > 268 {
			t.Errorf("%d lists in the hour after", lists-before)
		}
		// Another question is answered at once, and then as often as at first.
		before, _ = r.bus.counts()
		r.Ask([]string{"us-west", "eu-west"}, false)
		pass(minSpacing)
		if lists, _ := r.bus.counts(); lists != before+1 {
			t.Errorf("%d lists right after another question", lists-before)
		}
		pass(time.Minute)
		if lists, _ := r.bus.counts(); lists-before < 18 {
			t.Errorf("%d lists in the minute after another question", lists-before)
		}
		// However often the question changes, rounds stay apart.
		before, _ = r.bus.counts()
		for i := range 100 {
			r.Ask([]string{fmt.Sprintf("c-%d", i)}, false)
			pass(10 * time.Millisecond)
		}
		if lists, _ := r.bus.counts(); lists-before > 3 {
			t.Errorf("%d lists in a second", lists-before)
		}
	})
}

func TestWhatIsAskedForByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		for i := range 60 {
			name := fmt.Sprintf("us-west-%d", i)
			r.bus.put(name, reportOf(name, time.Now()), nil)
		}
		r.bus.put("us-east", reportOf("us-east", time.Now()), nil)
		r.bus.putFound("Not/A/Cluster", plumbing.NewHash(someCommit), found{})
		prefixes := func() []string { return r.bus.lists[len(r.bus.lists)-1] }

		r.Ask([]string{"us-west-1", "none"}, false)
		synctest.Wait()
		v := r.view()
		if len(v.Clusters) != 2 || v.Clusters["us-west-1"].Report == nil { // and not us-west-10
			t.Errorf("known are %d clusters", len(v.Clusters))
		}
		if s := v.Clusters["none"]; s.Report != nil || s.Problem != "" || s.Fresh(time.Now()) {
			t.Errorf("of a cluster that has never published is known %+v", s)
		}
		if got := strings.Join(prefixes(), " "); got != Ref("none")+" "+Ref("us-west-1") {
			t.Errorf("asked for %s", got)
		}

		var many []string
		for i := range 51 {
			many = append(many, fmt.Sprintf("us-west-%d", i))
		}
		r.Ask(many, false)
		pass(minSpacing)
		if v := r.view(); len(v.Clusters) != 51 || !slices.Equal(prefixes(), []string{RefPrefix}) {
			t.Errorf("known are %d clusters, asked for %q", len(v.Clusters), prefixes())
		}
		r.Ask(nil, true)
		pass(minSpacing)
		if v := r.view(); len(v.Clusters) != 60 || v.Clusters["us-west-59"].Report == nil || !v.Covers("anything") {
			t.Errorf("of all, %d clusters are known", len(v.Clusters))
		}
		if read := r.lastRound().Read; read != 9 {
			t.Errorf("%d clusters were read, of which 51 were known", read)
		}
		r.Ask([]string{"us-west-1"}, false)
		pass(minSpacing)
		if v := r.view(); len(v.Clusters) != 1 || len(r.memory.clusters) != 1 {
			t.Errorf("%d clusters are kept of which nobody asks", len(v.Clusters)-1)
		}
	})
}

func TestFreshIsWhatWasSeenToMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.bus.put("us-west", reportOf("us-west", time.Now()), nil)
		r.Ask([]string{"us-west", "new"}, false)
		synctest.Wait()
		first := time.Now()
		if s := r.view().Clusters["us-west"]; s.Report == nil || !s.MovedAfter.IsZero() || s.Fresh(time.Now()) {
			t.Errorf("at first sight: %+v", s)
		}
		pass(time.Second)
		r.bus.put("us-west", reportOf("us-west", time.Now()), nil)
		s := r.next().Clusters["us-west"]
		if !s.MovedAfter.Equal(first) || !s.Fresh(time.Now()) || s.Fresh(first.Add(FreshFor)) {
			t.Errorf("it moved after %s, told is %s", first, s.MovedAfter)
		}
		// It stands still, and is no longer fresh one day.
		_, fetches := r.bus.counts()
		pass(FreshFor)
		s = r.view().Clusters["us-west"]
		if s.Fresh(time.Now()) || !s.MovedAfter.Equal(first) || s.Report == nil {
			t.Errorf("without a move: %+v", s)
		}
		if _, again := r.bus.counts(); again != fetches {
			t.Error("a ref that did not move was fetched")
		}

		// Whoever may push can have a ref move, but not what was signed or said at an older time.
		junk, commit := bareCommit("junk", time.Now())
		old := reportOf("us-west", s.Report.Time)
		for range 3 {
			r.bus.putFound("us-west", junk, found{commit: commit, content: []byte("{")})
			if s := r.next().Clusters["us-west"]; s.Problem == "" || s.Fresh(time.Now()) || s.Report == nil {
				t.Errorf("junk: %+v", s)
			}
			r.bus.put("us-west", old, nil)
			if s := r.next().Clusters["us-west"]; s.Problem == "" || s.Fresh(time.Now()) {
				t.Errorf("the old report once more: %+v", s)
			}
		}
		// A cluster that begins to publish has moved.
		r.bus.put("new", reportOf("new", time.Now()), nil)
		if s := r.next().Clusters["new"]; !s.Fresh(time.Now()) {
			t.Errorf("the first report of a cluster: %+v", s)
		}
	})
}

func TestAReportThatIsPutThereAgainDoesNotCountAsAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		report := reportOf("us-west", time.Now())
		r.bus.put("us-west", report, nil)
		r.Ask([]string{"us-west"}, false)
		synctest.Wait()
		r.view()
		r.bus.put("us-west", reportOf("another", time.Now()), nil)
		if s := r.next().Clusters["us-west"]; s.Problem == "" {
			t.Errorf("a forged report: %+v", s)
		}
		r.bus.put("us-west", report, nil)
		if s := r.next().Clusters["us-west"]; s.Problem != "" || s.Fresh(time.Now()) || s.Report == nil {
			t.Errorf("the same report once more: %+v", s)
		}
	})
}

func TestADeletedRefProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.bus.put("us-west", reportOf("us-west", time.Now()), nil)
		r.Ask([]string{"us-west"}, false)
		synctest.Wait()
		r.view()
		pass(time.Second)
		last := reportOf("us-west", time.Now())
		r.bus.put("us-west", last, nil)
		if s := r.next().Clusters["us-west"]; !s.Fresh(time.Now()) {
			t.Fatalf("%+v", s)
		}
		r.bus.remove("us-west")
		s := r.next().Clusters["us-west"]
		if s.Report == nil || !strings.Contains(s.Problem, "was deleted") || s.Fresh(time.Now()) {
			t.Errorf("after the deletion: %+v", s)
		}
		r.bus.put("us-west", last, nil)
		if s := r.next().Clusters["us-west"]; s.Problem != "" || s.Fresh(time.Now()) {
			t.Errorf("with the same report again: %+v", s)
		}
		r.bus.put("us-west", reportOf("us-west", time.Now()), nil)
		if s := r.next().Clusters["us-west"]; !s.Fresh(time.Now()) {
			t.Errorf("with a new report: %+v", s)
		}
	})
}

func TestAServerThatIsDownTakesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.bus.put("us-west", reportOf("us-west", time.Now()), nil)
		r.Ask([]string{"us-west"}, false)
		synctest.Wait()
		r.view()
		r.bus.setDown(refusal(gitsource.KindUnreachable, "nothing listens"))
		v := r.next()
		if v.Err == nil || v.Clusters["us-west"].Report == nil || !v.Asked {
			t.Errorf("the view is %+v", v)
		}
		before, _ := r.bus.counts()
		for i := range 3600 {
			r.Ask([]string{"us-west", fmt.Sprintf("c-%d", i/60)}, false) // does not make it more often than usual
			pass(time.Second)
		}
		if lists, _ := r.bus.counts(); lists-before > 400 {
			t.Errorf("%d lists in an hour of a server that is down", lists-before)
		}
		if n := r.log.count("cannot be read"); n != 1 {
			t.Errorf("told %d times", n)
		}
		r.bus.setDown(nil)
		pass(mostReadPause)
		if v := r.view(); v.Err != nil || v.Clusters["us-west"].Report == nil {
			t.Errorf("when it is back: %+v", v)
		}
	})
}

func TestTheFirstRoundFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		r.bus.setDown(refusal(gitsource.KindUnreachable, "nothing listens"))
		r.Ask([]string{"us-west"}, false)
		synctest.Wait()
		if v := r.view(); v.Err == nil || !v.Asked || !v.Covers("us-west") || len(v.Clusters) > 0 {
			t.Errorf("the view is %+v", v)
		}
	})
}

func TestOneBadClusterHidesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		const n = 500
		for i := range n {
			name := fmt.Sprintf("c-%d", i)
			h := r.bus.put(name, reportOf(name, time.Now()), nil)
			switch i {
			case 77:
				r.bus.toxic[h] = refusal(gitsource.KindTooLarge, "the server sends more than is accepted")
			case 333:
				r.bus.toxic[h] = refusal(gitsource.KindProtocol, "the server says: not our ref")
			}
		}
		r.Ask(nil, true)
		synctest.Wait()
		v := r.view()
		good := 0
		for _, s := range v.Clusters {
			if s.Report != nil {
				good++
			}
		}
		if good != n-2 || v.Err != nil {
			t.Errorf("%d of %d clusters are known, %v", good, n, v.Err)
		}
		if p := v.Clusters["c-77"].Problem; !strings.Contains(p, "sends more than is accepted") || strings.Contains(p, "git.example.com") {
			t.Errorf("the problem is %q", p)
		}
		_, fetches := r.bus.counts()
		if fetches > 40 || r.lastRound().Ignored != 2 || r.lastRound().Read != n || r.lastRound().Listed != n {
			t.Errorf("%d fetches, the round is %+v", fetches, r.lastRound())
		}
		// The bad ones are tried again, now and then, and alone.
		pass(readAgain * 3)
		_, again := r.bus.counts()
		if again-fetches < 6 || again-fetches > 12 {
			t.Errorf("%d fetches in three minutes", again-fetches)
		}
		r.bus.heal()
		pass(readAgain + defaultInterval)
		if s := r.view().Clusters["c-77"]; s.Problem != "" || s.Report == nil {
			t.Errorf("when it can be fetched: %+v", s)
		}
	})
}

func TestManyBadClustersDoNotTakeOverARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		for i := range 300 {
			name := fmt.Sprintf("c-%03d", i)
			h := r.bus.put(name, reportOf(name, time.Now()), nil)
			if i < 200 {
				r.bus.toxic[h] = refusal(gitsource.KindTooLarge, "too large")
			}
		}
		r.Ask(nil, true)
		synctest.Wait()
		v := r.view()
		if lists, fetches := r.bus.counts(); lists+fetches > maxRequests+1 || v.Err == nil || !strings.Contains(v.Err.Error(), "are left") {
			t.Errorf("%d requests, %v", lists+fetches, v.Err)
		}
		pass(time.Minute)
		good := 0
		for _, s := range r.view().Clusters {
			if s.Report != nil {
				good++
			}
		}
		if good != 100 {
			t.Errorf("%d of 100 good clusters are known", good)
		}
	})
}

func TestWhoseSignaturesAreBelievedMayChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t)
		key, other := newKey(t), newKey(t)
		set := func(s string) { r.allow.Store(&s) }
		r.bus.put("signed", reportOf("signed", time.Now()), key)
		r.bus.put("unsigned", reportOf("unsigned", time.Now()), nil)
		r.Ask(nil, true)
		synctest.Wait()
		believed := func(v View, want ...string) {
			t.Helper()
			var got []string
			for name, s := range v.Clusters {
				if s.Report != nil {
					got = append(got, name)
				} else if s.Problem == "" {
					t.Errorf("%s is not believed without a reason", name)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) || v.Err != nil {
				t.Errorf("believed are %q, want %q, %v", got, want, v.Err)
			}
		}
		believed(r.view(), "signed", "unsigned")
		set("")
		believed(r.next()) // an empty file lists nobody
		set(allow("signed", "", other))
		believed(r.next())
		set(allow("*", "", key) + "# a comment\n")
		v := r.next()
		believed(v, "signed")
		pass(time.Second)
		r.bus.put("signed", reportOf("signed", time.Now()), key)
		if s := r.next().Clusters["signed"]; !s.Fresh(time.Now()) {
			t.Errorf("%+v", s)
		}
		set(allow("*", "", key) + "# another comment\n")
		if s := r.next().Clusters["signed"]; !s.Fresh(time.Now()) {
			t.Error("it is no longer fresh, though its signature is still believed")
		}
		// A revoked key takes along what it signed.
		set(allow("*", "", other) + "broken line\n")
		believed(r.next())
		if r.log.count("line 2 is left out") != 1 {
			t.Error("a line that cannot be used is not told")
		}
		// What cannot be read is not taken for absent.
		r.bad.Store(true)
		if v := r.next(); v.Err == nil || !strings.Contains(v.Err.Error(), "cannot be read") || v.Clusters["unsigned"].Report != nil {
			t.Errorf("the view is %+v", v)
		}
		r.bad.Store(false)
		set(allow("*", "", key))
		believed(r.next(), "signed")
	})
}

func TestLostAllowedSignersDoNotMakeEverybodyBelieved(t *testing.T) {
	const text = "allowed_signers is gone from the credentials"
	for name, seen := range map[string]func(*reading){
		"after a round": func(r *reading) {
			r.Ask([]string{"signed", "unsigned"}, false)
			r.next()
		},
		"after a round, and nothing was asked for a while": func(r *reading) {
			r.Ask([]string{"signed", "unsigned"}, false)
			r.next()
			r.Ask(nil, false)
			r.next()
		},
		"before anything is asked": func(*reading) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				key := newKey(t)
				signers := allow("*", "", key)
				r := newReading(t, signers)
				r.bus.put("signed", reportOf("signed", time.Now()), key)
				r.bus.put("unsigned", reportOf("unsigned", time.Now()), nil)
				seen(r)
				r.allow.Store(nil)
				r.Ask(nil, true)
				for range 3 {
					v := r.next()
					if v.Err == nil || !strings.Contains(v.Err.Error(), text) || v.Clusters["unsigned"].Report != nil {
						t.Errorf("the view is %+v", v)
					}
				}
				if n := r.log.count(text); n != 1 {
					t.Errorf("it is logged %d times", n)
				}
				r.allow.Store(&signers)
				if v := r.next(); v.Err != nil || v.Clusters["signed"].Report == nil || v.Clusters["unsigned"].Report != nil {
					t.Errorf("with the file again, the view is %+v", v)
				}
			})
		})
	}
}

func TestFreshNeedsBothClocks(t *testing.T) {
	moved := time.Now()
	s := Seen{MovedAfter: moved}
	if !s.Fresh(moved.Add(FreshFor-time.Second)) || s.Fresh(moved.Add(FreshFor)) {
		t.Error("fresh is not three heartbeats")
	}
	// Suspended for a day: the monotonic clock stood still.
	if s.Fresh(moved.Round(0).Add(24 * time.Hour)) {
		t.Error("fresh after a day")
	}
	if (Seen{}).Fresh(moved) {
		t.Error("fresh without a move")
	}
}

func TestReaderOptions(t *testing.T) {
	if _, err := newReader(ReaderOptions{Interval: -1}, nil); err == nil {
		t.Error("a negative time is accepted")
	}
	if _, err := NewReader(ReaderOptions{}); err == nil {
		t.Error("a reader without a repository")
	}
	if _, err := ReadAll(t.Context(), ReaderOptions{Dir: "/no/such/folder"}); err == nil {
		t.Error("a folder that is not there is accepted")
	}
}
