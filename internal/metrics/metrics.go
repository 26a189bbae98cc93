package metrics

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Stage is a stage of a sync, as a label value.
type Stage string

// The stages. StageReady is the time from the end of the apply until everything was healthy.
const (
	StageFetch  Stage = "fetch"
	StageLoad   Stage = "load"
	StageRender Stage = "render"
	StageApply  Stage = "apply"
	StageReady  Stage = "ready"
)

// ObjectState is what a managed object is doing. Each object of the inventory is in exactly one state.
type ObjectState int

// The states.
const (
	StateCurrent ObjectState = iota
	StateProgressing
	StateFailed
	StateHeld
	StateOrphan
)

// objectStates are the states as label values.
var objectStates = [...]string{
	StateCurrent: "current", StateProgressing: "progressing", StateFailed: "failed", StateHeld: "held", StateOrphan: "orphan",
}

// ObjectCounts is how many objects are in each state.
type ObjectCounts [len(objectStates)]int

const (
	maxManagers = 50  // field managers told apart in drift_corrected_total
	maxKinds    = 200 // kinds told apart there
	maxReasons  = 30  // reasons of failed fetches
	other       = "other"
)

// What a poll found, and where a rendered app came from.
const (
	pollUnchanged = "unchanged"
	pollChanged   = "changed"
	pollFailed    = "failed"
	renderBuilt   = "built"
	renderReused  = "reused"
	resultWell    = "well"
	resultFailed  = "failed"
)

// Metrics are the agent's metrics. Make one with New.
type Metrics struct {
	registry *prometheus.Registry

	syncDuration  *prometheus.HistogramVec
	objects       *prometheus.GaugeVec
	drift         *prometheus.CounterVec
	fetchFailures *prometheus.CounterVec
	lastFetch     prometheus.Gauge
	lastSync      prometheus.Gauge
	heldGates     *prometheus.GaugeVec
	errors        *prometheus.GaugeVec
	apiRequests   *prometheus.CounterVec
	patchDuration prometheus.Histogram
	polls         *prometheus.CounterVec
	pollDuration  prometheus.Histogram
	received      prometheus.Counter
	rendered      *prometheus.CounterVec
	pushToLive    prometheus.Histogram
	driftRepair   prometheus.Histogram
	startup       prometheus.Gauge
	statusPushes  *prometheus.CounterVec
	statusPush    prometheus.Histogram
	statusPushed  prometheus.Gauge
	statusReads   *prometheus.CounterVec
	statusRead    prometheus.Counter
	gateWait      *prometheus.HistogramVec

	healing sync.Once
	started time.Time    // when the process began to work
	pushed  atomic.Int64 // when the oldest commit that is not live yet was noticed, in Unix nanoseconds; 0 for none

	managers, kinds, reasons *bounded
}

// New returns metrics with nothing counted. The version is the agent's; the commit that it was built from
// is read from the binary.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		syncDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "holdfast_sync_duration_seconds", Help: "How long a stage of a sync took.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600},
		}, []string{"stage"}),
		objects: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "holdfast_objects", Help: "Objects in the inventory of this cluster, by state.",
		}, []string{"state"}),
		drift: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_drift_corrected_total", Help: "Corrections of foreign changes, by the kind of the object and the field manager that made the change.",
		}, []string{"kind", "manager"}),
		fetchFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_fetch_failures_total", Help: "Failed polls of the Git repository, by reason.",
		}, []string{"reason"}),
		lastFetch: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "holdfast_fetch_last_timestamp_seconds", Help: "When the Git repository last answered, in Unix time. 0 if never.",
		}),
		lastSync: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "holdfast_sync_last_timestamp_seconds", Help: "When a sync last ended without an error, in Unix time. 0 if never.",
		}),
		heldGates: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "holdfast_held_gates", Help: "1 for each gate that holds an app.",
		}, []string{"gate", "app"}),
		errors: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "holdfast_errors", Help: "Objects of an app that failed, for every app that has any.",
		}, []string{"app"}),
		apiRequests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_api_requests_total", Help: "Requests to the API server, by what they were for, HTTP method and status code.",
		}, []string{"purpose", "method", "code"}),
		patchDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "holdfast_patch_duration_seconds", Help: "How long the API server took to answer a PATCH.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		polls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_polls_total", Help: "Polls of the Git repository, by what they found.",
		}, []string{"result"}),
		pollDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "holdfast_poll_duration_seconds", Help: "How long a poll of the Git repository took that found nothing new.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_fetch_received_bytes_total", Help: "Bytes of Git packs that were fetched.",
		}),
		rendered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_rendered_apps_total", Help: "Apps rendered, by whether they were built or a former result was used.",
		}, []string{"result"}),
		pushToLive: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "holdfast_push_to_live_seconds", Help: "From the poll or webhook that brought a commit until its last object was applied.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600},
		}),
		driftRepair: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "holdfast_drift_repair_seconds", Help: "From the arrival of a foreign change until the API server had answered its correction.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		startup: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "holdfast_startup_duration_seconds", Help: "From the agent's start until everything was watched and it could heal. 0 until then.",
		}),
		statusPushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_status_pushes_total", Help: "Pushes of this cluster's status report, by result.",
		}, []string{"result"}),
		statusPush: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "holdfast_status_push_duration_seconds", Help: "How long it took to push this cluster's status report.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		statusPushed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "holdfast_status_push_last_timestamp_seconds", Help: "When this cluster's status report was last pushed, in Unix time. 0 if never.",
		}),
		statusReads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_status_reads_total", Help: "Looks at the status reports of other clusters, which gates wait for, by result.",
		}, []string{"result"}),
		statusRead: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_status_read_bytes_total", Help: "Bytes that were received when other clusters' status reports were looked at.",
		}),
		gateWait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "holdfast_gate_wait_seconds", Help: "How long a gate held an app, once it held no longer.",
			Buckets: []float64{1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600},
		}, []string{"gate"}),
		started:  time.Now(),
		managers: &bounded{limit: maxManagers},
		kinds:    &bounded{limit: maxKinds},
		reasons:  &bounded{limit: maxReasons},
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "holdfast_build_info", Help: "Always 1; the labels tell what is running.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version(), "commit": revision()},
	})
	build.Set(1)
	m.registry.MustRegister(
		m.syncDuration, m.objects, m.drift, m.fetchFailures, m.lastFetch, m.lastSync,
		m.heldGates, m.errors, m.apiRequests, m.patchDuration, build,
		m.polls, m.pollDuration, m.received, m.rendered, m.pushToLive, m.driftRepair, m.startup,
		m.statusPushes, m.statusPush, m.statusPushed, m.statusReads, m.statusRead, m.gateWait,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	for _, state := range objectStates {
		m.objects.WithLabelValues(state)
	}
	for _, result := range []string{pollUnchanged, pollChanged, pollFailed} {
		m.polls.WithLabelValues(result)
	}
	for _, result := range []string{renderBuilt, renderReused} {
		m.rendered.WithLabelValues(result)
	}
	for _, result := range []string{resultWell, resultFailed} {
		m.statusPushes.WithLabelValues(result)
		m.statusReads.WithLabelValues(result)
	}
	return m
}

// revision is the commit that the binary was built from, if the build recorded it.
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	if m == nil {
		return http.NotFoundHandler()
	}
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Stage notes how long a stage took.
func (m *Metrics) Stage(s Stage, d time.Duration) {
	if m != nil {
		m.syncDuration.WithLabelValues(string(s)).Observe(d.Seconds())
	}
}

// Objects sets how many objects are in each state.
func (m *Metrics) Objects(counts ObjectCounts) {
	if m == nil {
		return
	}
	for s, n := range counts {
		m.objects.WithLabelValues(objectStates[s]).Set(float64(n))
	}
}

// DriftCorrected counts a correction. manager is the field manager that made the change, "" if unknown.
func (m *Metrics) DriftCorrected(kind, manager string) {
	if m == nil {
		return
	}
	if manager == "" {
		manager = "unknown"
	}
	m.drift.WithLabelValues(m.kinds.value(kind), m.managers.value(manager)).Inc()
}

// Polled notes a poll of the Git repository that began at start and was answered: what it found and
// how many bytes of packs it fetched.
func (m *Metrics) Polled(start time.Time, took time.Duration, changed bool, received int64) {
	if m == nil {
		return
	}
	m.lastFetch.Set(seconds(start.Add(took)))
	m.received.Add(float64(received))
	if !changed {
		m.polls.WithLabelValues(pollUnchanged).Inc()
		m.pollDuration.Observe(took.Seconds())
		return
	}
	m.polls.WithLabelValues(pollChanged).Inc()
	m.Stage(StageFetch, took)
	m.pushed.CompareAndSwap(0, start.UnixNano())
}

// PollFailed counts a failed poll. reason is one word of few, such as "auth", never an error's text.
func (m *Metrics) PollFailed(reason string) {
	if m != nil {
		m.polls.WithLabelValues(pollFailed).Inc()
		m.fetchFailures.WithLabelValues(m.reasons.value(reason)).Inc()
	}
}

// StatusPushed notes an attempt to push this cluster's status report.
func (m *Metrics) StatusPushed(took time.Duration, well bool) {
	if m == nil {
		return
	}
	m.statusPushes.WithLabelValues(resultOf(well)).Inc()
	if well {
		m.statusPush.Observe(took.Seconds())
		m.statusPushed.SetToCurrentTime()
	}
}

// StatusRead notes a look at other clusters' status reports, with the bytes that were received.
func (m *Metrics) StatusRead(bytes int64, well bool) {
	if m != nil {
		m.statusReads.WithLabelValues(resultOf(well)).Inc()
		m.statusRead.Add(float64(bytes))
	}
}

// GateReleased notes that a gate holds an app no longer, and for how long it did.
func (m *Metrics) GateReleased(gate string, held time.Duration) {
	if m != nil {
		m.gateWait.WithLabelValues(gate).Observe(held.Seconds())
	}
}

func resultOf(well bool) string {
	if well {
		return resultWell
	}
	return resultFailed
}

// Applied notes that everything that the newest commit wants had been applied at the time t.
func (m *Metrics) Applied(t time.Time) {
	if m == nil {
		return
	}
	if pushed := m.pushed.Swap(0); pushed != 0 {
		m.pushToLive.Observe(t.Sub(time.Unix(0, pushed)).Seconds())
	}
}

// Rendered counts an app that was rendered: built, or taken from a former result.
func (m *Metrics) Rendered(built bool) {
	if m == nil {
		return
	}
	result := renderReused
	if built {
		result = renderBuilt
	}
	m.rendered.WithLabelValues(result).Inc()
}

// DriftRepaired notes how long a foreign change lived, from its arrival here until it was corrected.
func (m *Metrics) DriftRepaired(d time.Duration) {
	if m != nil {
		m.driftRepair.Observe(d.Seconds())
	}
}

// Healing notes that the agent can heal everything at the time t. Only the first time counts.
func (m *Metrics) Healing(t time.Time) {
	if m == nil {
		return
	}
	m.healing.Do(func() { m.startup.Set(t.Sub(m.started).Seconds()) })
}

// Synced notes that a sync ended without an error at the time t.
func (m *Metrics) Synced(t time.Time) {
	if m != nil {
		m.lastSync.Set(seconds(t))
	}
}

// App sets an app's errors and the gates that hold it.
func (m *Metrics) App(app string, errors int, gates ...string) {
	if m == nil {
		return
	}
	m.Forget(app)
	if errors > 0 {
		m.errors.WithLabelValues(app).Set(float64(errors))
	}
	for _, g := range gates {
		m.heldGates.WithLabelValues(g, app).Set(1)
	}
}

// Forget removes an app that is no longer on this cluster.
func (m *Metrics) Forget(app string) {
	if m == nil {
		return
	}
	m.errors.DeleteLabelValues(app)
	m.heldGates.DeletePartialMatch(prometheus.Labels{"app": app})
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// bounded lets through the first values that it sees, up to its limit, and calls all others "other".
type bounded struct {
	limit int

	mu   sync.Mutex
	seen map[string]bool
}

func (b *bounded) value(s string) string {
	if len(s) > 128 {
		return other
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[s] {
		return s
	}
	if len(b.seen) >= b.limit {
		return other
	}
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	b.seen[s] = true
	return s
}
