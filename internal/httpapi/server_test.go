package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/metrics"
	"github.com/holdfast-dev/holdfast/internal/status"
)

const secret = "s3cret-of-the-webhook"

// fixture is a server with everything in reach of a test.
type fixture struct {
	*Server
	polls int
	ready error
	token func() (string, error)
	log   strings.Builder
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{token: func() (string, error) { return secret, nil }}
	server, err := New(Options{
		Listen: "127.0.0.1:0",
		Status: func() status.Report {
			return status.NewReport(status.Reporter{Cluster: "us-east-1"}, map[string]status.AppState{"shop": {}}, time.Unix(1700000000, 0))
		},
		Ready:   func() error { return f.ready },
		Metrics: metrics.New("v1").Handler(),
		Token:   func() (string, error) { return f.token() },
		Poll:    func() { f.polls++ },
		Branch:  "main",
		Log:     zerolog.New(&f.log),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Server = server
	return f
}

func (f *fixture) get(t *testing.T, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestRoutes(t *testing.T) {
	f := newFixture(t)
	for _, test := range []struct {
		method, path string
		code         int
		has          string
	}{
		{"GET", "/", 200, "/api/v1/status"},
		{"GET", "/nothing", 404, `"error"`},
		{"GET", "/healthz", 200, "ok"},
		{"HEAD", "/healthz", 200, ""},
		{"POST", "/healthz", 405, "use GET"},
		{"GET", "/readyz", 200, "ok"},
		{"GET", "/metrics", 200, "holdfast_build_info"},
		{"GET", "/api/v1/status", 200, `"cluster":"us-east-1"`},
		{"DELETE", "/api/v1/status", 405, "use GET"},
		{"GET", "/api/v1/sync", 405, "use POST"},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			w := f.get(t, test.method, test.path)
			if w.Code != test.code || !strings.Contains(w.Body.String(), test.has) {
				t.Errorf("%d %s, want %d and %q", w.Code, w.Body, test.code, test.has)
			}
			if w.Code == http.StatusMethodNotAllowed && w.Header().Get("Allow") == "" {
				t.Error("no Allow header")
			}
		})
	}
	if f.polls != 0 {
		t.Errorf("%d polls", f.polls)
	}
}

func TestStatusIsAReport(t *testing.T) {
	w := newFixture(t).get(t, "GET", "/api/v1/status")
	if _, err := status.Decode(w.Body); err != nil {
		t.Error(err)
	}
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", w.Header())
	}
}

func TestReadyzSaysWhy(t *testing.T) {
	f := newFixture(t)
	f.ready = errors.New("no commit has been verified yet")
	if w := f.get(t, "GET", "/readyz"); w.Code != 503 || !strings.Contains(w.Body.String(), "no commit has been verified yet") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestHealthzFailsWhenTheLoopIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		expect := func(code int) {
			t.Helper()
			if w := f.get(t, "GET", "/healthz"); w.Code != code {
				t.Errorf("%d %s, want %d", w.Code, w.Body, code)
			}
		}
		time.Sleep(59 * time.Second)
		expect(200)
		f.Beat()
		time.Sleep(59 * time.Second)
		expect(200)
		time.Sleep(2 * time.Second)
		expect(503)
		f.Beat()
		expect(200)
	})
}

func TestRunServesAndStops(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	address, err := f.Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address.String()+"/api/v1/status", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	var report map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&report); err != nil {
		t.Error(err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Error(err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the server did not stop")
	}
}

func TestRunReportsATakenAddress(t *testing.T) {
	first := newFixture(t)
	address, err := first.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.listener.Close() }()
	second := newFixture(t)
	second.options.Listen = address.String()
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), address.String()) {
		t.Errorf("error %v", err)
	}
}

func TestNewRequiresItsFunctions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no error")
	}
}
