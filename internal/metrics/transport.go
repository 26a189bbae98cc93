package metrics

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Transport counts the requests that pass through next, by purpose, method and status code ("error" if there
// was no answer), and times every PATCH. It fits rest.Config.Wrap. With a nil Metrics it returns next.
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
	t.metrics.apiRequests.WithLabelValues(purpose(r.URL), r.Method, code).Inc()
	if r.Method == http.MethodPatch && err == nil {
		t.metrics.patchDuration.Observe(time.Since(start).Seconds())
	}
	return answer, err
}

// WrappedRoundTripper lets client-go reach the connection underneath, to close idle ones.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }

// The purposes of requests.
const (
	purposeObject    = "object"    // what Git declares
	purposeInventory = "inventory" // the agent's records
	purposeStatus    = "status"    // AppStatus
	purposeEvent     = "event"
	purposeWatch     = "watch"
	purposeDiscovery = "discovery" // what the server serves
)

// purpose tells what a request to the API server is for. The paths are
// /api/v1[/namespaces/NS]/RESOURCE[/NAME] and /apis/GROUP/VERSION[/namespaces/NS]/RESOURCE[/NAME], below whatever
// the server's own address has.
func purpose(u *url.URL) string {
	_, path, core := strings.Cut(u.Path, "/api/")
	if !core {
		var ok bool
		if _, path, ok = strings.Cut(u.Path, "/apis/"); !ok {
			return purposeDiscovery
		}
	}
	parts := strings.Split(path, "/")
	group := ""
	if !core {
		group, parts = parts[0], parts[1:]
	}
	if len(parts) < 2 || parts[1] == "" {
		return purposeDiscovery
	}
	parts = parts[1:] // without the version
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	resource, name := parts[0], ""
	if len(parts) > 1 {
		name = parts[1]
	}
	query := u.Query()
	switch {
	case query.Get("watch") == "true" || query.Get("watch") == "1":
		return purposeWatch
	case group == "holdfast.dev" && resource == "appstatuses":
		return purposeStatus
	case core && resource == "events":
		return purposeEvent
	case core && resource == "configmaps" && (strings.HasPrefix(name, "holdfast-inventory-") || strings.HasPrefix(query.Get("labelSelector"), "holdfast.dev/inventory")):
		return purposeInventory
	default:
		return purposeObject
	}
}
