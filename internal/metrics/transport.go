package metrics

import (
	"net/http"
	"strconv"
	"time"
)

// Transport counts the requests that pass through next, by method and status code ("error" if there was no
// answer), and times every PATCH. It fits rest.Config.Wrap. With a nil Metrics it returns next.
func (m *Metrics) Transport(next http.RoundTripper) http.RoundTripper {
	if m == nil {
		return next
	}
	return &transport{next: next, metrics: m}
}

type transport struct {
	next    http.RoundTripper
	metrics *Metrics
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	start := time.Now()
	answer, err := t.next.RoundTrip(r)
	code := "error"
	if err == nil {
		code = strconv.Itoa(answer.StatusCode)
	}
	t.metrics.apiRequests.WithLabelValues(r.Method, code).Inc()
	if r.Method == http.MethodPatch && err == nil {
		t.metrics.patchDuration.Observe(time.Since(start).Seconds())
	}
	return answer, err
}

// WrappedRoundTripper lets client-go reach the connection underneath, to close idle ones.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }
