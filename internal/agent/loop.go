package agent

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/object"

	"github.com/holdfast-dev/holdfast/internal/apply"
	"github.com/holdfast-dev/holdfast/internal/drift"
	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/metrics"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/status"
	"github.com/holdfast-dev/holdfast/internal/tree"
)

// workers is how many requests may be under way: an API server with etcd is no faster with more, and
// each then takes longer.
const workers = 8

// watchGrace is how long a watch may be without an answer until its objects count as not known to be well: an API
// server that is restarted is no news.
const watchGrace = time.Minute

// compileAgain is how long after a compilation that left something open it is tried again.
const compileAgain = 10 * time.Second

// heartbeat is how often the loop turns though nothing happened: for what only the clock changes.
const heartbeat = 10 * time.Second

// loop is the state of the agent. One goroutine owns it (run); what others may touch says so.
type loop struct {
	o       Options
	log     zerolog.Logger
	metrics *metrics.Metrics
	clients *kube.Clients
	source  *gitsource.Source
	polls   *polls // of source
	beat    func()

	compiler  *compiler
	inventory *apply.Inventory
	engine    *apply.Engine
	executor  *apply.Executor
	watcher   *drift.Watcher
	writer    *status.Writer
	recorder  *status.Recorder
	load      status.Load
	bus       bus

	// News for the loop.
	work     sync.WaitGroup // what runs beside the loop, but for tasks
	compiled chan compileResult
	results  chan apply.Result
	saved    chan saveResult
	resolved chan []resolution

	// Git.
	head      *gitsource.Snapshot
	good      string // the last commit whose fleet files could be used
	refused   error  // why the newest commit is not followed
	compiling bool
	again     bool // what is being compiled is out of date
	more      bool // there is news that it has not seen
	compileAt time.Time
	noted     map[note]bool
	rescope   bool // the scope of a kind has become known
	cancelOld context.CancelFunc

	// Apps.
	current  *compilation
	apps     map[string]*app
	waiting  []*app          // for other apps
	absent   []string        // the Exclusive apps that are not to be here
	later    schedule        // when an app has to be looked at again though nothing happens
	unready  map[string]bool // apps that were not Ready when last worked out
	counts   metrics.ObjectCounts
	pruned   map[string][]string // since the last publication, by app
	blamed   map[string]string   // who last changed an object that was repaired, by its name
	failures map[object.ObjMetadata]string
	started  time.Time                        // when the present commit was taken up; zero when its stages have been measured
	applied  time.Time                        // when it had been applied
	answered time.Time                        // when the last task was done
	seen     map[object.ObjMetadata]time.Time // since when what may be drift is known, for what is not repaired yet

	// What is on record as enforced, by app; unrecorded is set if nothing at all is.
	records    map[string]apply.AppRecord
	unrecorded bool

	// Requests under way.
	cancel   map[object.ObjMetadata]context.CancelCauseFunc
	inFlight int
	saving   int // saves of the inventory

	// Watches.
	kinds     map[schema.GroupKind]kube.Resource
	unknown   map[schema.GroupKind]time.Time // not served when asked; when to ask again
	resolving bool
	syncing   map[schema.GroupKind]bool      // watched, and not listed yet
	watchErrs map[schema.GroupKind]error     // answers that refuse a watch
	watchDown map[schema.GroupKind]time.Time // since when a watch has had no answer

	publishAt    time.Time
	published    time.Time       // when it was done last
	dirty        map[string]bool // apps whose state has to be worked out again
	lastProblems string
	outage       string

	// ignore and fingerprints are read by the watches' goroutines, view and turned by the HTTP server's and the
	// status bus's.
	ignore       atomic.Pointer[map[object.ObjMetadata][]string]
	fingerprints *fingerprints
	view         atomic.Pointer[view]
	turned       atomic.Pointer[time.Time] // when the loop turned last: until then what is in view is true
	ready        atomic.Pointer[error]
}

type compileResult struct {
	c   *compilation
	err error
}

type saveResult struct {
	batch apply.Batch
	err   error
}

type resolution struct {
	kind     schema.GroupKind
	resource kube.Resource
	err      error
}

func newLoop(o Options, m *metrics.Metrics, clients *kube.Clients, source *gitsource.Source) *loop {
	l := &loop{
		o: o, log: o.Log.With().Str("cluster", o.Cluster).Logger(), metrics: m, clients: clients, source: source,
		beat:     func() {},
		compiled: make(chan compileResult, 1),
		results:  make(chan apply.Result, workers),
		saved:    make(chan saveResult, 1),
		resolved: make(chan []resolution, 1),
		apps:     map[string]*app{}, later: schedule{}, unready: map[string]bool{}, dirty: map[string]bool{},
		pruned: map[string][]string{}, blamed: map[string]string{}, failures: map[object.ObjMetadata]string{},
		cancel: map[object.ObjMetadata]context.CancelCauseFunc{}, seen: map[object.ObjMetadata]time.Time{},
		kinds: map[schema.GroupKind]kube.Resource{}, unknown: map[schema.GroupKind]time.Time{},
		syncing: map[schema.GroupKind]bool{}, watchErrs: map[schema.GroupKind]error{}, watchDown: map[schema.GroupKind]time.Time{},
		fingerprints: newFingerprints(),
	}
	manager := kube.FieldManager(o.Namespace)
	l.compiler = &compiler{
		cluster: o.Cluster, instance: o.Namespace, fleets: fleet.NewLoader(), renderer: render.NewRenderer(),
		tree:    func(ctx context.Context, commit string) (tree.Tree, error) { return source.Snapshot(ctx, commit) },
		lineage: newLineage(source),
		record:  l.record,
		resolve: l.resolveKind,
		stage:   func(stage string, d time.Duration) { m.Stage(metrics.Stage(stage), d) },
	}
	l.compiler.renderer.Observe = m.Rendered
	l.inventory = apply.NewInventory(clients.Kubernetes, o.Namespace, o.Namespace, manager)
	l.executor = apply.NewExecutor(clients, manager, o.Namespace, o.Namespace)
	l.ignore.Store(&map[object.ObjMetadata][]string{})
	l.watcher = drift.NewWatcher(drift.Options{
		Dynamic: clients.Dynamic, Metadata: clients.Metadata, Instance: o.Namespace, Manager: manager,
		Ignore:  func(id object.ObjMetadata) []string { return (*l.ignore.Load())[id] },
		Applied: l.fingerprints.has,
		Log:     l.log,
	})
	l.recorder = status.NewRecorder(clients.Kubernetes.CoreV1(), "", &l.load)
	l.writer = status.NewWriter(status.WriterOptions{
		Client: clients.Dynamic, Instance: o.Namespace, FieldManager: manager, OnUID: l.recorder.Bind, Load: &l.load, Log: l.log,
	})
	l.notReady(errors.New("starting"))
	return l
}

// run is the main loop.
func (l *loop) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.recorder.Run(ctx) })
	group.Go(func() error {
		if err := l.restore(ctx); err != nil {
			return err
		}
		group.Go(func() error { return l.source.Run(ctx) })
		l.bus.run(ctx, group)
		group.Go(func() error { return l.watcher.Run(ctx) })
		group.Go(func() error { return l.writer.Run(ctx) })
		return l.turns(ctx)
	})
	err := group.Wait()
	l.finish(context.WithoutCancel(ctx))
	return err
}

// turns takes in one piece of news at a time and then does what can be done.
func (l *loop) turns(ctx context.Context) error {
	if head, ok := l.source.Head(); ok {
		// What was verified before the restart: it works while Git is down.
		l.head = head
		l.take(ctx)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			for l.inFlight > 0 {
				l.done(<-l.results)
			}
			l.work.Wait() // each has room for its last news
			return nil
		case u := <-l.source.Updates():
			l.update(ctx, u)
		case c := <-l.compiled:
			l.adopt(ctx, c)
		case e := <-l.watcher.Events():
			l.observe(e)
		case r := <-l.results:
			l.done(r)
		case s := <-l.saved:
			l.saving--
			l.engine.Saved(s.batch, s.err, time.Now())
			l.logSaved(s.err)
		case v := <-l.bus.updates():
			if l.bus.take(v) && l.current != nil {
				l.compileSoon(ctx)
			}
		case rs := <-l.resolved:
			l.served(rs)
		case <-timer.C:
		}
		if l.rescope {
			l.rescope = false
			l.compile(ctx)
		}
		l.beat()
		timer.Reset(l.act(ctx))
	}
}

// act starts whatever can be started and returns how long there is nothing to do without news.
func (l *loop) act(ctx context.Context) time.Duration {
	now := time.Now()
	l.turned.Store(&now)
	for _, t := range l.engine.Next(now, workers-l.inFlight) {
		l.start(ctx, t)
	}
	if l.inFlight >= workers {
		l.load.Note(now) // reports can wait
	}
	if batch, ok := l.engine.Unsaved(now); ok {
		l.saving++
		l.work.Go(func() { l.saved <- saveResult{batch, l.inventory.Save(ctx, batch)} })
	}
	l.resolve(ctx, now)
	l.publish(ctx, now)
	l.measure(now)
	if !l.compileAt.IsZero() && !now.Before(l.compileAt) && !l.compiling {
		l.compile(ctx)
	}

	wait := heartbeat
	for _, at := range []time.Time{l.engine.Wake(), l.publishAt, l.nextResolve(), l.compileAt, l.later.next()} {
		if !at.IsZero() {
			wait = min(wait, max(at.Sub(now), 0))
		}
	}
	return wait
}

// restore reads what the cluster remembers; until then nothing can be decided.
func (l *loop) restore(ctx context.Context) error {
	manager := kube.FieldManager(l.o.Namespace)
	if err := l.retry(ctx, "reach the API server", func(ctx context.Context) error {
		return ensureNamespace(ctx, l.clients, l.o.Namespace, manager)
	}); err != nil {
		return err
	}
	var stored apply.Stored
	if err := l.retry(ctx, "read the inventory", func(ctx context.Context) (err error) {
		stored, err = l.inventory.Load(ctx)
		return err
	}); err != nil {
		return err
	}
	l.good, l.records, l.unrecorded = stored.Commit, stored.Apps, stored.Apps == nil
	l.engine = apply.NewEngine(l.o.Namespace, stored.Records)
	for id, r := range stored.Records {
		l.fingerprints.set(id, r.Fingerprint)
	}
	if err := l.source.SetBase(l.good); err != nil {
		l.log.Warn().Err(err).Msg("the commit recorded in the cluster is unusable")
		l.good = ""
	}
	if err := l.restoreStatus(ctx, manager, stored.Records); err != nil {
		return err
	}
	for name, r := range stored.Apps {
		if r.Content == "" {
			continue
		}
		if l.apps[name] == nil {
			l.apps[name] = newApp()
		}
		l.apps[name].adopted = adopted{Revision: r.Revision, Content: r.Content}
	}
	l.log.Info().Int("objects", len(stored.Records)).Str("commit", l.good).Msg("inventory read")
	return nil
}

// record stores what is to be enforced of all apps. It is called beside the loop, and tries until it has
// succeeded or a newer commit makes it pointless. commit is head, "" while that cannot be used.
func (l *loop) record(ctx context.Context, commit string, apps map[string]apply.AppRecord) error {
	if commit != "" {
		l.inventory.SetHead(commit)
	}
	return l.retry(ctx, "record what is to be enforced", func(ctx context.Context) error { return l.inventory.SaveApps(ctx, apps) })
}

// restoreStatus makes sure that AppStatus can be written and reads what it remembers. Without the
// right to, the agent works on and says what is missing: the contents that were adopted are unknown
// then, for every app that has objects here. Any other failure is tried again, since a server that did
// not answer must not look like one that remembers nothing.
func (l *loop) restoreStatus(ctx context.Context, manager string, records map[object.ObjMetadata]apply.Record) error {
	refused := error(nil)
	unlessForbidden := func(err error) error {
		if apierrors.IsForbidden(err) {
			refused = err
			return nil
		}
		return err
	}
	if err := l.retry(ctx, "find the kind AppStatus", func(ctx context.Context) error {
		return unlessForbidden(status.EnsureCRD(ctx, l.clients.Dynamic, manager))
	}); err != nil {
		return err
	}
	if refused != nil {
		l.log.Error().Str("reason", kube.Explain(refused)).Msg("AppStatus may not be written")
		l.recorder.BindNone()
	}
	refused = nil
	if err := l.retry(ctx, "read the AppStatus objects", func(ctx context.Context) error {
		remembered, err := l.writer.Load(ctx)
		for name, s := range remembered {
			l.apps[name] = restoredApp(s)
			l.unready[name] = true
		}
		return unlessForbidden(err)
	}); err != nil {
		return err
	}
	if refused == nil {
		return nil
	}
	l.log.Error().Str("reason", kube.Explain(refused)).Msg("AppStatus may not be read: what was adopted before is not known")
	for _, r := range records {
		if l.apps[r.App] == nil {
			a := newApp()
			a.adopted.unknown = true
			l.apps[r.App] = a
		}
	}
	return nil
}

// finish saves what is not saved yet, for a moment.
func (l *loop) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if l.engine == nil {
		return
	}
	if batch, ok := l.engine.Unsaved(time.Now().Add(time.Hour)); ok {
		if err := l.inventory.Save(ctx, batch); err != nil {
			l.logSaved(err)
		}
	}
	if err := l.writer.Flush(ctx); err != nil {
		l.log.Warn().Str("reason", kube.Explain(err)).Msg("write the last AppStatus")
	}
}

func (l *loop) logSaved(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		l.log.Error().Str("reason", kube.Explain(err)).Msg("save the inventory")
	}
}

// update takes in news of the branch.
func (l *loop) update(ctx context.Context, u gitsource.Update) {
	if u.Err != nil {
		l.log.Warn().Err(u.Err).Msg("fetch failed")
		l.refused = nil
		if needsPerson(gitsource.KindOf(u.Err)) {
			l.refused = u.Err
		}
		l.publishAt = u.Time
		if l.head == nil {
			l.blind(u.Err)
		}
		return
	}
	l.refused = nil
	if l.head != nil && l.head.Commit == u.Snapshot.Commit {
		l.head = u.Snapshot // a fresh clone
		l.publishAt = u.Time
		return
	}
	l.log.Info().Str("commit", u.Snapshot.Commit).Msg("new commit")
	l.head = u.Snapshot
	l.take(ctx)
}

// take takes up the commit that is head now.
func (l *loop) take(ctx context.Context) {
	l.started, l.applied = time.Now(), time.Time{}
	l.compile(ctx)
}

// compile starts to compile head, or, if that is already under way, does so once more afterwards.
func (l *loop) compile(ctx context.Context) {
	if l.compiling {
		l.again = true
		l.cancelOld()
		return
	}
	if l.head == nil {
		return
	}
	l.compiling, l.again, l.more, l.compileAt = true, false, false, time.Time{}
	now := time.Now()
	r := request{
		commit: l.head.Commit, tree: l.head, good: l.good, apps: make(map[string]known, len(l.apps)),
		records: l.records, unrecorded: l.unrecorded, reports: l.bus.reports(l.head.Commit, now), now: now,
	}
	for name := range l.engine.Present() {
		r.apps[name] = known{present: true}
	}
	for name, a := range l.apps {
		k := known{adopted: a.adopted, defined: a.defined, present: r.apps[name].present}
		if a.state != nil {
			k.proven = a.state.ProvenContents
		}
		if a.ready() {
			k.ready, k.since = true, a.state.Since
		}
		r.apps[name] = k
	}
	ctx, l.cancelOld = context.WithCancel(ctx)
	l.work.Go(func() {
		c, err := l.compiler.compile(ctx, r)
		l.compiled <- compileResult{c, err}
	})
}

// compileSoon compiles head once more, and lets a compilation that is under way come to its end before, and be adopted:
// news may come faster than that.
func (l *loop) compileSoon(ctx context.Context) {
	if l.compiling {
		l.more = true
		return
	}
	l.compile(ctx)
}

// adopt makes what was compiled the desired state.
func (l *loop) adopt(ctx context.Context, r compileResult) {
	l.compiling = false
	l.cancelOld()
	if r.c != nil {
		l.records, l.unrecorded = r.c.records, false
	}
	if l.again {
		l.compile(ctx)
		return
	}
	if r.err != nil {
		if ctx.Err() == nil {
			l.log.Error().Err(r.err).Msg("nothing can be applied")
			l.blind(r.err)
			l.compileAt = time.Now().Add(compileAgain)
		}
		return
	}
	now := time.Now()
	for _, err := range r.c.errs {
		l.log.Error().Err(err).Str("commit", r.c.commit).Msg("fleet repository")
	}
	if r.c.good {
		l.good = r.c.commit
	}
	l.compileAt = r.c.again
	if r.c.uncertain {
		l.compileAt = earliest(l.compileAt, now.Add(compileAgain))
	}
	if l.more {
		l.compileAt = now
	}
	l.tellNotes(r.c.notes)
	ignore := r.c.ignore
	l.ignore.Store(&ignore)
	l.setApps(r.c, now)
	for _, id := range l.engine.SetDesired(r.c.desired, now) {
		if cancel := l.cancel[id]; cancel != nil {
			cancel(apply.ErrSuperseded)
		}
	}
	l.current = r.c
	l.bus.ask(r.c)
	l.log.Debug().Str("commit", r.c.commit).Int("apps", len(r.c.apps)).Msg("desired state set")
}

// tellNotes says what people should know, once for each different thing.
func (l *loop) tellNotes(notes []note) {
	told := make(map[note]bool, len(notes))
	for _, n := range notes {
		told[n] = true
		if !l.noted[n] {
			l.log.Warn().Str("app", n.app).Str("reason", n.text).Msg("worth knowing")
			l.recorder.Record(status.Event{App: n.app, Warning: true, Reason: status.EventNote, Message: n.text})
		}
	}
	l.noted = told
}

// start carries out a task in a goroutine of its own.
func (l *loop) start(ctx context.Context, t apply.Task) {
	ctx, cancel := context.WithCancelCause(ctx)
	l.cancel[t.ID] = cancel
	l.inFlight++
	go func() { l.results <- l.executor.Do(ctx, t) }()
}

// done takes in how a task ended.
func (l *loop) done(r apply.Result) {
	l.inFlight--
	now := time.Now()
	l.answered = now
	if cancel := l.cancel[r.Task.ID]; cancel != nil {
		cancel(nil)
		delete(l.cancel, r.Task.ID)
	}
	l.engine.Done(r, now)
	if r.Task.Action == apply.Apply && r.Live != nil {
		l.fingerprints.set(r.Task.ID, r.Live.Fingerprint)
	}
	l.logResult(r)
	switch {
	case errors.Is(r.Err, apply.ErrScope):
		l.rescope = true
	case r.Outcome == apply.Pruned:
		l.fingerprints.set(r.Task.ID, "")
		l.pruned[r.Task.App] = append(l.pruned[r.Task.App], render.Name(r.Task.ID))
	}
	if r.Task.Cause == apply.Drift && r.Err == nil && r.Outcome != apply.Unchanged {
		manager := first(r.Managers)
		l.blamed[render.Name(r.Task.ID)] = manager
		l.metrics.DriftCorrected(r.Task.ID.GroupKind.Kind, manager)
		if at, ok := l.seen[r.Task.ID]; ok {
			l.metrics.DriftRepaired(now.Sub(at))
			delete(l.seen, r.Task.ID)
		}
		l.recorder.Record(status.DriftCorrected(r.Task.App, render.Name(r.Task.ID), manager, r.Fields))
	}
	if r.Task.ID.GroupKind.Kind == "CustomResourceDefinition" && r.Err == nil {
		clear(l.unknown) // its kind may be served from now on
	}
	delete(l.unknown, r.Task.ID.GroupKind)
}

// observe takes in what a watch saw.
func (l *loop) observe(e drift.Event) {
	now := time.Now()
	gk := e.Resource.GroupKind()
	switch e.Kind {
	case drift.Synced:
		delete(l.syncing, gk)
		l.engine.Synced(gk, e.ResourceVersion, e.Lives, now)
	case drift.Changed:
		l.sawDrift(e)
		l.engine.Observe(e.Live, now)
	case drift.Deleted:
		l.sawDrift(e)
		l.engine.Gone(e.Live.ID, e.Live.ResourceVersion, now)
	case drift.Failed:
		delete(l.syncing, gk)
		if kube.IsVerdict(e.Err) {
			l.watchErrs[gk] = e.Err
			l.log.Warn().Str("gvk", gk.String()).Str("reason", kube.Explain(e.Err)).Msg("watch failed")
		} else if _, known := l.watchDown[gk]; !known {
			l.watchDown[gk] = e.Since
		}
		l.dirtyAppsOf(gk, now)
	case drift.Recovered:
		delete(l.watchErrs, gk)
		delete(l.watchDown, gk)
		l.dirtyAppsOf(gk, now)
	}
}

// maxSeen bounds how many repairs are timed at once.
const maxSeen = 1000

// sawDrift notes when an event arrived that may turn out to be drift. What did not is forgotten when all is
// done.
func (l *loop) sawDrift(e drift.Event) {
	id := e.Live.ID
	if _, ok := l.seen[id]; !ok && l.cancel[id] == nil && len(l.seen) < maxSeen {
		l.seen[id] = e.At
	}
}

// dirtyAppsOf makes the apps that have objects of a kind work out anew how they stand: the engine knows
// nothing of what is wrong with a watch.
func (l *loop) dirtyAppsOf(gk schema.GroupKind, now time.Time) {
	for name := range l.engine.AppsOf(gk) {
		l.dirtyApp(name)
	}
	l.publishAt = now
}

// measure notes how long the stages of a commit took, when nothing is left to do.
func (l *loop) measure(now time.Time) {
	if l.current == nil || l.engine.Busy() {
		return
	}
	clear(l.seen)
	if l.started.IsZero() || l.current.commit != l.head.Commit || l.saving > 0 {
		return
	}
	if l.applied.IsZero() {
		l.applied = l.started
		if l.answered.After(l.started) {
			l.applied = l.answered // what is written down of it may come later
		}
		l.metrics.Stage(metrics.StageApply, l.applied.Sub(l.started))
		l.metrics.Applied(l.applied)
	}
	if !l.publishAt.IsZero() {
		return // how the apps stand is not known yet
	}
	if len(l.unready) > 0 || len(l.dirty) > 0 {
		return
	}
	l.metrics.Stage(metrics.StageReady, now.Sub(l.applied))
	l.metrics.Synced(now)
	l.started = time.Time{}
}

// needsPerson tells failures of the repository itself, which somebody has to mend, from those of the
// way there, which pass.
func needsPerson(kind gitsource.Kind) bool {
	switch kind {
	case gitsource.KindRewritten, gitsource.KindPath, gitsource.KindBranch, gitsource.KindEmpty, gitsource.KindNotFound:
		return true
	}
	return false
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
