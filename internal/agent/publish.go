package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/apply"
	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gate"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/live"
	"github.com/holdfast-dev/holdfast/internal/metrics"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/status"
)

// publishEvery is the least time between two publications, so that a busy cluster costs little.
const publishEvery = 200 * time.Millisecond

// app is what the loop keeps of one app on this cluster.
type app struct {
	*compiledApp
	// placed tells that the app belongs here at head.
	placed bool
	// changed is the commit that last changed the app here.
	changed string
	// timeout is head's health timeout.
	timeout time.Duration
	// drift is what head wants done about drift.
	drift fleet.DriftMode
	// corrected were counted by processes before this one.
	corrected int64
	lastDrift *time.Time
	// moved is when head last changed where the app runs, or something else that other clusters may wait for;
	// zero if they do not wait for this app.
	moved time.Time
	// heldSince keeps since when a gate holds.
	heldSince map[status.Gate]time.Time
	// fights and detected are the objects whose fight, or whose drift that is left alone, has been told.
	fights, detected map[string]bool
	// state is what was published last, nil before; it is never altered. counts are its objects by what they do.
	state  *status.AppState
	counts metrics.ObjectCounts
}

func newApp() *app {
	return &app{
		compiledApp: &compiledApp{}, heldSince: map[status.Gate]time.Time{}, fights: map[string]bool{}, detected: map[string]bool{},
	}
}

// ready tells that the app is Ready with the content that it has now.
func (a *app) ready() bool {
	return a.placed && a.state != nil && a.state.Ready && a.state.Content == a.adopted.Content
}

// restoredApp is an app as the cluster remembers it.
func restoredApp(s status.AppState) *app {
	a := newApp()
	a.changed, a.corrected, a.lastDrift, a.state = s.Changed, s.Drift.Corrected, s.Drift.Last, &s
	a.adopted = adopted{Revision: s.Changed, Content: s.Content}
	a.defined = s.Placement
	for _, h := range s.Held {
		a.heldSince[h.Gate] = h.Since
	}
	return a
}

// setApps takes over what was compiled. The apps for which it is news have their state worked out again; the
// state of the others only moves on to the commit.
func (l *loop) setApps(c *compilation, now time.Time) {
	l.waiting = l.waiting[:0]
	for name, a := range l.apps {
		if c.apps[name] != nil {
			continue
		}
		if a.placed || l.current == nil {
			a.placed, a.compiledApp, a.moved = false, &compiledApp{}, now
			l.dirtyApp(name)
		}
		a.promised = c.commit
		l.moveOn(a, now)
	}
	for i := range c.desired.Apps {
		d := &c.desired.Apps[i]
		ca := c.apps[d.Name]
		if ca == nil {
			continue
		}
		a := l.apps[d.Name]
		if a == nil {
			a = newApp()
			l.apps[d.Name] = a
		}
		if ca.heldBy(status.GateDependsOn) {
			l.waiting = append(l.waiting, a)
		}
		if ca.moves(a.compiledApp) {
			a.moved = now
		}
		ca.promised = cmp.Or(ca.promised, a.promised)
		news := !a.placed || !a.says(ca) || a.timeout != d.HealthTimeout || a.drift != d.Drift.ModeOrDefault()
		if a.adopted.Content != ca.adopted.Content || a.changed == "" {
			a.changed = ca.adopted.Revision
		}
		a.compiledApp, a.placed, a.timeout, a.drift = ca, true, d.HealthTimeout, d.Drift.ModeOrDefault()
		if news {
			l.dirtyApp(d.Name)
		} else {
			l.moveOn(a, now)
		}
	}
	l.absent = c.absent
	l.publishAt = now
}

// moveOn makes an app's state, if there is one, that of other commits and leaves the rest. What has proven
// itself at the commit before has at this one too.
func (l *loop) moveOn(a *app, now time.Time) {
	if a.state == nil || a.state.Revision == a.adopted.Revision && a.state.Placement == a.promised {
		return
	}
	s := *a.state
	if s.Proven == s.Revision && !a.adopted.none() {
		s.Proven = a.adopted.Revision
	}
	s.Revision, s.Placement = a.adopted.Revision, a.promised
	a.state = &s
	if a.awaited(now) {
		l.bus.changed()
	}
}

// says tells whether two compilations say the same of an app, but for the commits.
func (a *compiledApp) says(b *compiledApp) bool {
	return a.adopted.Content == b.adopted.Content && a.wanted == b.wanted && fmt.Sprint(a.err) == fmt.Sprint(b.err) &&
		slices.EqualFunc(a.held, b.held, func(x, y gate.Held) bool { return x.Gate == y.Gate && x.Reason == y.Reason })
}

func (a *compiledApp) heldBy(g status.Gate) bool {
	return slices.ContainsFunc(a.held, func(h gate.Held) bool { return h.Gate == g })
}

// moves tells whether a compilation has an app run elsewhere or otherwise than the one before, or brings new content
// that later waves wait for: then other clusters may wait to hear of this one.
func (a *compiledApp) moves(before *compiledApp) bool {
	waits := a.app.Gate() != fleet.NoGate || len(a.app.Spec.Rollout.Waves) > 0
	return waits && (!slices.Equal(a.placed.Clusters, before.placed.Clusters) || !maps.Equal(a.placed.Replicas, before.placed.Replicas) ||
		len(a.app.Spec.Rollout.Waves) > 0 && a.wanted != before.wanted)
}

// awaitedFor is for how long after a move each commit that is seen is told to others at once, since they may wait until
// this cluster has seen that one; later it rides the heartbeat.
const awaitedFor = 10 * time.Minute

// awaited tells whether other clusters may wait to hear of the app.
func (a *app) awaited(now time.Time) bool {
	return !a.moved.IsZero() && now.Before(a.moved.Add(awaitedFor))
}

func (l *loop) dirtyApp(name string) { l.dirty[name] = true }

// publish works out how the apps stand, if anything changed, and tells everybody.
func (l *loop) publish(ctx context.Context, now time.Time) {
	for _, name := range l.later.due(now) {
		l.dirtyApp(name)
		l.publishAt = now
		l.bus.changed()
	}
	for name := range l.engine.TakeChanged() {
		l.dirtyApp(name)
		if l.publishAt.IsZero() {
			l.publishAt = now
		}
	}
	if l.current == nil {
		l.publishAt = time.Time{}
	}
	if next := l.published.Add(publishEvery); !l.publishAt.IsZero() && l.publishAt.Before(next) {
		l.publishAt = next
	}
	if l.publishAt.IsZero() || now.Before(l.publishAt) {
		return
	}
	l.publishAt, l.published = time.Time{}, now
	l.logOutage()
	problems := l.problems()
	if fmt.Sprint(problems) != l.lastProblems {
		l.lastProblems = fmt.Sprint(problems)
		for name := range l.apps {
			l.dirtyApp(name)
		}
	}
	changed, gone := make(map[string]status.AppState, len(l.dirty)), []string(nil)
	for name := range l.dirty {
		a := l.apps[name]
		es := l.engine.State(name, now)
		if (a == nil || !a.placed) && es.Objects == 0 && es.Orphans == 0 && es.Kept == 0 {
			if a != nil {
				l.count(a, metrics.ObjectCounts{})
			}
			delete(l.apps, name)
			delete(l.unready, name)
			gone = append(gone, name)
			l.metrics.Forget(name)
			delete(l.later, name)
			l.bus.changed()
			continue
		}
		if a == nil {
			a = newApp()
			l.apps[name] = a
		}
		before, next := a.state, l.appState(name, a, es, problems, now)
		l.count(a, counted(es))
		if before != nil && l.unseen(es) && onlyUnseen(before, &next, es) {
			l.unready[name] = true
			l.lookAgain(name, a, now)
			continue // what was said of it last, or before the restart, may still be true
		}
		a.state = &next
		if next.Ready {
			delete(l.unready, name)
		} else {
			l.unready[name] = true
		}
		changed[name] = next
		l.lookAgain(name, a, now)
		if status.ConcernsOthers(before, &next) || before != nil && a.awaited(now) && (before.Revision != next.Revision || before.Placement != next.Placement) {
			l.bus.changed()
		}
		l.recorder.Record(status.Transitions(before, &next)...)
		l.recorder.Record(l.episodes(name, a, es)...)
		if objects := l.pruned[name]; len(objects) > 0 {
			l.recorder.Record(status.Pruned(name, objects))
			delete(l.pruned, name)
		}
		l.metrics.App(name, len(next.Errors), gateNames(next.Held)...)
	}
	clear(l.dirty)
	l.writer.Update(changed, gone)
	l.metrics.Objects(l.counts)
	l.setReport(now)
	if !l.compiling && l.released() {
		l.compile(ctx)
	}
}

// unseen tells that objects of an app have not been looked at since the start, and that they will be: their kind's list
// is on its way.
func (l *loop) unseen(es apply.AppState) bool {
	return slices.ContainsFunc(es.Unseen, func(id object.ObjMetadata) bool { return l.pending(id.GroupKind) })
}

// onlyUnseen tells that a state is news only because objects have not been looked at: the app has the content that it
// had and the same gates hold it, nothing of it is wrong, and nothing is to be done about it. To say that it is not
// Ready any more would be wrong, and after a restart would be so for every app. One that was not Ready is said to be so, and
// cannot be Ready before all of it has been looked at: what it waits for can wait until then.
func onlyUnseen(before, next *status.AppState, es apply.AppState) bool {
	return next.Content == before.Content && len(next.Errors) == 0 && !next.Suspended &&
		(before.Since.IsZero() && len(before.Errors) == 0 || len(es.Waiting) == len(es.Unseen)) &&
		slices.EqualFunc(next.Held, before.Held, func(a, b status.Held) bool { return a.Gate == b.Gate })
}

// released tells whether an app that waits for others need not any more, so that its content can be
// adopted, or it can leave. It is asked whenever states were worked out: those that a compilation began with may have
// changed while it ran.
func (l *loop) released() bool {
	if len(l.waiting) == 0 {
		return false
	}
	present := l.engine.Present()
	here := func(name string) bool { // as in decision.follow, or what that keeps would be released at once, for ever
		_, enforced := l.current.enforced[name]
		return enforced || present[name]
	}
	ready := func(dep string) bool {
		d := l.apps[dep]
		return d != nil && d.ready() && d.adopted.Content == d.wanted
	}
	return slices.ContainsFunc(l.waiting, func(a *app) bool {
		if len(a.keptFor) > 0 {
			return !slices.ContainsFunc(a.keptFor, here)
		}
		return !slices.ContainsFunc(a.dependsOn, func(dep string) bool { return !ready(dep) })
	})
}

// episodes tells, once for each time that it begins, of objects that somebody keeps overwriting and of
// drift that is left alone.
func (l *loop) episodes(name string, a *app, es apply.AppState) []status.Event {
	var events []status.Event
	for _, object := range begun(a.fights, es.Fights) {
		events = append(events, status.Fight(name, object, l.blamed[object]))
	}
	var left []string
	if a.drift == fleet.Detect {
		left = es.Detected
	}
	for _, object := range begun(a.detected, left) {
		manager, fields := l.takenBy(name, object)
		events = append(events, status.DriftDetected(name, object, manager, fields))
	}
	return events
}

// takenBy tells who changed an object that is left so, and which fields, as far as can be told.
func (l *loop) takenBy(app, object string) (manager string, fields []string) {
	obj, managed := l.engine.Drifted(app, object)
	if obj == nil {
		return "", nil
	}
	u, err := obj.Unstructured()
	if err != nil { // it was rendered from one
		return "", nil
	}
	r := live.Taken(managed, kube.FieldManager(l.o.Namespace), u)
	return first(r.Managers), r.Fields
}

// begun makes known equal to now and returns what is new in it.
func begun(known map[string]bool, now []string) []string {
	var fresh []string
	for _, object := range now {
		if !known[object] {
			fresh = append(fresh, object)
			known[object] = true
		}
	}
	maps.DeleteFunc(known, func(object string, _ bool) bool { return !slices.Contains(now, object) })
	return fresh
}

// problems are what is wrong with everything at once, in the words that each app shows.
func (l *loop) problems() []string {
	var out []string
	if l.refused != nil {
		out = append(out, l.refused.Error())
	}
	if !l.current.good {
		for _, err := range l.current.errs {
			out = append(out, err.Error())
		}
	}
	return out
}

// appState puts together what is known of an app.
func (l *loop) appState(name string, a *app, es apply.AppState, problems []string, now time.Time) status.AppState {
	before := a.state
	if before == nil {
		before = &status.AppState{}
	}
	s := status.AppState{
		Name: name, Revision: a.adopted.Revision, Changed: a.changed, Placement: a.promised,
		Content: a.adopted.Content, HealthTimeout: a.timeout,
		Proven: before.Proven, ProvenContents: before.ProvenContents,
		Replicas: status.Replicas{Desired: es.Replicas, Ready: es.ReadyReplicas},
		Objects:  es.Objects + es.Kept + es.Orphans - es.Stay, Suspended: es.Suspended,
	}
	for _, p := range problems {
		s.Errors = append(s.Errors, status.ObjectError{Message: p})
	}
	if a.err != nil {
		s.Errors = append(s.Errors, status.ObjectError{Message: a.err.Error()})
	}
	for gk, err := range l.watchErrs {
		if l.engine.AppsOf(gk)[name] {
			why := kube.Explain(err)
			if apierrors.IsNotFound(err) {
				why = "the API server does not serve the kind"
			}
			s.Errors = append(s.Errors, status.ObjectError{Object: gk.String(), Message: "watch: " + why})
		}
	}
	for gk, since := range l.watchDown {
		if now.Sub(since) >= watchGrace && l.engine.AppsOf(gk)[name] {
			s.Errors = append(s.Errors, status.ObjectError{Object: gk.String(), Message: fmt.Sprintf(
				"watch: the API server does not answer since %s, so how the objects stand is not known", since.UTC().Format(time.RFC3339))})
		}
	}
	for _, e := range es.Errors {
		s.Errors = append(s.Errors, status.ObjectError{Object: render.Name(e.ID), Message: kube.Explain(e.Err)})
	}
	for _, f := range es.Fights {
		s.Errors = append(s.Errors, status.ObjectError{Object: f, Message: fmt.Sprintf("%s keeps overwriting what Git declares: repairs are slowed down", whoever(l.blamed[f]))})
	}
	slices.SortStableFunc(s.Errors, func(x, y status.ObjectError) int { return cmp.Compare(x.Object, y.Object) })
	for _, w := range es.Waiting {
		s.Waiting = append(s.Waiting, status.Waiting{Object: render.Name(w.ID), Message: w.Why})
	}
	s.Held = l.heldGates(a, es, now)
	s.Drift = status.Drift{Corrected: a.corrected + int64(es.Corrected), Last: a.lastDrift}
	if !es.LastDrift.IsZero() {
		last := es.LastDrift
		s.Drift.Last = &last
	}
	if l.unseen(es) {
		s.Replicas = before.Replicas // those that were looked at are not all
	}
	// An app that has left is as it should be when all that it still has here is held.
	s.Ready = es.Ready && len(s.Errors) == 0 && !s.Suspended && (a.placed && !a.adopted.none() || !a.placed && atRest(es))
	switch {
	case s.Ready && before.Ready && before.Content == s.Content && !before.Since.IsZero():
		s.Since = before.Since
	case s.Ready:
		s.Since = now
	case before.Ready || before.UnreadySince.IsZero() || before.Content != s.Content:
		s.UnreadySince = now
	default:
		s.UnreadySince = before.UnreadySince
	}
	if s.Ready && a.placed {
		if soaked, _ := gate.Soaked(a.app, l.current.labels, s.Since, now); soaked {
			s.Proven, s.ProvenContents = s.Revision, status.Prove(before.ProvenContents, s.Content)
		}
	}
	return s
}

// lookAgain notes when the app's state changes though nothing happens: what is Ready will have soaked here, for later waves
// and, if it has just moved, for those who wait to hand it over; a watch will have been without an answer for too long.
func (l *loop) lookAgain(name string, a *app, now time.Time) {
	delete(l.later, name)
	note := func(at time.Time) {
		if now.Before(at) {
			l.later[name] = earliest(l.later[name], at)
		}
	}
	for gk, since := range l.watchDown {
		if l.engine.AppsOf(gk)[name] {
			note(since.Add(watchGrace))
		}
	}
	if !a.state.Ready || !a.placed {
		return
	}
	if _, at := gate.Soaked(a.app, l.current.labels, a.state.Since, now); !at.IsZero() {
		note(at)
	}
	if a.awaited(now) {
		note(a.state.Since.Add(a.app.Spec.Failover.SoakOrDefault()))
	}
}

// whoever names a field manager, if it is known.
func whoever(manager string) string {
	if manager == "" {
		return "somebody"
	}
	return strconv.Quote(manager)
}

// atRest tells that nothing of an app is about to be pruned: what is left is held.
func atRest(es apply.AppState) bool { return heldObjects(es) == es.Orphans }

// heldObjects counts the deletions that a gate holds.
func heldObjects(es apply.AppState) int {
	n := 0
	for _, h := range es.Held {
		if !h.Expected {
			n += len(h.Objects)
		}
	}
	return n
}

// heldGates lists the gates that hold an app, and keeps since when.
func (l *loop) heldGates(a *app, es apply.AppState, now time.Time) []status.Held {
	reasons := map[status.Gate][]string{}
	since := map[status.Gate]time.Time{}
	for _, h := range a.held {
		reasons[h.Gate] = append(reasons[h.Gate], h.Reason)
		since[h.Gate] = now
	}
	for _, h := range es.Held {
		if h.Expected {
			continue
		}
		reasons[status.GatePrune] = append(reasons[status.GatePrune], fmt.Sprintf("%s (%s)", h.Reason, listed(h.Objects)))
		if t, ok := since[status.GatePrune]; !ok || h.Since.Before(t) {
			since[status.GatePrune] = h.Since
		}
	}
	var held []status.Held
	for gate, rs := range reasons {
		t, ok := a.heldSince[gate]
		if !ok {
			t = since[gate]
			a.heldSince[gate] = t
		}
		held = append(held, status.Held{Gate: gate, Since: t, Reason: strings.Join(rs, "; ")})
	}
	for gate, began := range a.heldSince {
		if reasons[gate] == nil {
			delete(a.heldSince, gate)
			l.metrics.GateReleased(string(gate), now.Sub(began))
		}
	}
	slices.SortFunc(held, func(x, y status.Held) int {
		return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Gate, y.Gate))
	})
	return held
}

// maxListed bounds how many objects a reason names.
const maxListed = 20

func listed(objects []string) string {
	if len(objects) <= maxListed {
		return strings.Join(objects, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(objects[:maxListed], ", "), len(objects)-maxListed)
}

func gateNames(held []status.Held) []string {
	names := make([]string, 0, len(held))
	for _, h := range held {
		names = append(names, string(h.Gate))
	}
	return names
}

// blind tells why nothing is known of what should run here, while that is so: after a start without a
// clone and without Git, or at a commit that cannot be used with none before it. What this agent said of
// its apps before it was stopped would be taken for true.
func (l *loop) blind(err error) {
	l.notReady(err)
	if l.current != nil {
		return
	}
	states := make(map[string]status.AppState, len(l.apps))
	for name, a := range l.apps {
		if a.state == nil {
			continue
		}
		s := *a.state
		s.Ready, s.Since = false, time.Time{}
		s.Errors = []status.ObjectError{{Message: "nothing is known of what should run here, so nothing is healed: " + err.Error()}}
		states[name] = s
	}
	l.writer.Update(states, nil)
	v := &view{reporter: l.reporter(), at: time.Now()}
	for _, s := range states {
		v.states = append(v.states, &s)
	}
	l.view.Store(v)
}

// count replaces what an app adds to the number of objects by what they do.
func (l *loop) count(a *app, counts metrics.ObjectCounts) {
	for state, n := range counts {
		l.counts[state] += n - a.counts[state]
	}
	a.counts = counts
}

// counted sorts an app's objects by what they are doing, each into one state.
func counted(es apply.AppState) metrics.ObjectCounts {
	held := heldObjects(es)
	return metrics.ObjectCounts{
		metrics.StateCurrent: es.Current, metrics.StateFailed: es.Failed, metrics.StateProgressing: len(es.Waiting),
		metrics.StateHeld: held, metrics.StateOrphan: es.Orphans - held,
	}
}

// view is what the HTTP server makes its report of, when it is asked.
type view struct {
	reporter status.Reporter
	states   []*status.AppState
	// absent are apps that are said not to be here, at the commit.
	absent []string
	commit string
	// whole is set if every app of which something is here is among the states.
	whole bool
	at    time.Time
}

// setReport renews what the HTTP server shows.
func (l *loop) setReport(now time.Time) {
	v := &view{reporter: l.reporter(), states: make([]*status.AppState, 0, len(l.apps)), absent: l.absent, commit: l.current.commit, whole: true, at: now}
	for _, a := range l.apps {
		if a.state != nil {
			v.states = append(v.states, a.state)
		}
	}
	l.view.Store(v)
	if err := l.engine.Outage(); err != nil {
		l.notReady(fmt.Errorf("the API server is unavailable: %s", kube.Explain(err)))
		return
	}
	kinds := len(l.engine.Kinds())
	if len(l.syncing) == 0 && len(l.kinds) >= kinds-len(l.unknown) {
		l.notReady(nil)
		l.metrics.Healing(now)
		return
	}
	l.notReady(fmt.Errorf("%d kinds are not watched yet", len(l.syncing)+kinds-len(l.kinds)))
}

func (l *loop) reporter() status.Reporter {
	r := status.Reporter{Cluster: l.o.Cluster, Agent: l.o.Version, Commit: l.headCommit()}
	if l.polls != nil {
		r.Fetched = l.polls.answered()
	}
	if l.current != nil {
		r.Labels = l.current.labels
	}
	return r
}

func (l *loop) headCommit() string {
	if l.head == nil {
		return ""
	}
	return l.head.Commit
}

// busReport is called by the status bus. It has no commit before all that is here is known: what a report leaves out
// counts as not here.
func (l *loop) busReport() status.Report {
	if v := l.view.Load(); v == nil || !v.whole {
		return status.Report{}
	}
	return l.report()
}

// report is called by the HTTP server and by busReport.
func (l *loop) report() status.Report {
	v := l.view.Load()
	if v == nil {
		v = &view{reporter: status.Reporter{Cluster: l.o.Cluster, Agent: l.o.Version}, at: time.Now()}
	}
	states := make(map[string]status.AppState, len(v.states)+len(v.absent))
	for _, name := range v.absent {
		states[name] = status.AppState{Placement: v.commit}
	}
	for _, s := range v.states {
		states[s.Name] = *s
	}
	at := v.at
	if turned := l.turned.Load(); v.whole && turned != nil && turned.After(at) {
		at = *turned // it has stayed so
	}
	return status.NewReport(v.reporter, states, at)
}

// readiness is called by the HTTP server: why the agent is not ready, or nil.
func (l *loop) readiness() error { return *l.ready.Load() }

func (l *loop) notReady(err error) { l.ready.Store(&err) }

// logOutage says once that the API server cannot be worked with, and once that it can again.
func (l *loop) logOutage() {
	now := ""
	if err := l.engine.Outage(); err != nil {
		now = kube.Explain(err)
	}
	switch {
	case now == l.outage:
	case now != "":
		l.log.Error().Str("reason", now).Msg("the API server is unavailable; everything waits")
	default:
		l.log.Info().Msg("the API server is available again")
	}
	l.outage = now
}

// logResult logs what a task did: at info what changed, once for each different failure.
func (l *loop) logResult(r apply.Result) {
	id := r.Task.ID
	with := func(e *zerolog.Event) *zerolog.Event {
		return e.Str("gvk", id.GroupKind.String()).Str("namespace", id.Namespace).Str("name", id.Name).
			Str("app", r.Task.App).Str("action", string(r.Outcome)).Dur("took", r.Took)
	}
	var out *apply.UnavailableError
	switch {
	case errors.Is(r.Err, apply.ErrSuperseded), errors.As(r.Err, &out), errors.Is(r.Err, context.Canceled):
		with(l.log.Debug()).Str("reason", r.Err.Error()).Msg("not done")
	case r.Err != nil:
		reason := kube.Explain(r.Err)
		if l.failures[id] == reason {
			with(l.log.Debug()).Str("reason", reason).Msg("failed again")
			return
		}
		l.failures[id] = reason
		with(l.log.Error()).Str("reason", reason).Msg(string(r.Task.Action) + " failed")
	case r.Task.Cause == apply.Drift && r.Outcome != apply.Unchanged:
		delete(l.failures, id)
		with(l.log.Info()).Strs("managers", r.Managers).Strs("fields", r.Fields).Bool("missing", r.Task.Missing).Msg("drift corrected")
	case r.Outcome == apply.Unchanged:
		delete(l.failures, id)
		with(l.log.Debug()).Msg("applied")
	default:
		delete(l.failures, id)
		with(l.log.Info()).Str("why", r.Why).Msg("applied")
	}
}
