package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/status"
)

const (
	// DefaultStuckAfter is how long the loop may be silent before /healthz fails.
	DefaultStuckAfter = 60 * time.Second

	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	shutdownTimeout   = 5 * time.Second
	maxHeaderBytes    = 32 << 10
)

// Options are what the server serves and what it calls. The functions are called from many goroutines
// and must not block.
type Options struct {
	// Listen is the address, as in ":8080".
	Listen string
	// Status returns what this cluster reports.
	Status func() status.Report
	// Ready returns why the agent is not ready yet, nil once it is.
	Ready func() error
	// Metrics serves /metrics.
	Metrics http.Handler
	// Token returns the webhook secret, "" if there is none: see TokenFile.
	Token func() (string, error)
	// Poll asks for a fetch, soon.
	Poll func()
	// Branch is the branch that the agent follows; pushes to others are ignored. If empty, none are.
	Branch string
	// StuckAfter is how long the loop may be silent before /healthz fails; DefaultStuckAfter if zero.
	StuckAfter time.Duration
	Log        zerolog.Logger
}

func (o *Options) validate() error {
	if o.Status == nil || o.Ready == nil || o.Metrics == nil || o.Token == nil || o.Poll == nil {
		return errors.New("http server: Status, Ready, Metrics, Token and Poll are required")
	}
	if o.StuckAfter < 0 {
		return errors.New("http server: StuckAfter is negative")
	}
	if o.StuckAfter == 0 {
		o.StuckAfter = DefaultStuckAfter
	}
	return nil
}

// Server is the agent's HTTP server.
type Server struct {
	options  Options
	listener net.Listener
	beat     atomic.Pointer[time.Time]
}

// New returns a server that does not listen yet. The loop counts as alive from now on.
func New(o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Server{options: o}
	s.Beat()
	return s, nil
}

// Listen binds the address and returns it, with the port that was chosen if it was 0. Run does it by itself
// unless it has been done.
func (s *Server) Listen(ctx context.Context) (net.Addr, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.options.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", s.options.Listen, err)
	}
	s.listener = listener
	return listener.Addr(), nil
}

// Run serves until ctx ends, then lets requests under way finish for a few seconds. It returns nil
// unless it could not serve.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		if _, err := s.Listen(ctx); err != nil {
			return err
		}
	}
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
	s.options.Log.Debug().Stringer("address", s.listener.Addr()).Msg("HTTP server listens")
	stopped := make(chan struct{})
	var served error
	go func() {
		defer close(stopped)
		served = server.Serve(s.listener)
	}()
	select {
	case <-stopped:
		return fmt.Errorf("serve HTTP: %w", served)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		s.options.Log.Debug().Err(err).Msg("HTTP requests cut off at the end")
		if err := server.Close(); err != nil {
			return fmt.Errorf("close HTTP server: %w", err)
		}
	}
	<-stopped
	return nil
}

// Handler returns all routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/healthz", allow(s.healthz, http.MethodGet, http.MethodHead))
	mux.Handle("/readyz", allow(s.readyz, http.MethodGet, http.MethodHead))
	mux.Handle("/metrics", allow(s.options.Metrics.ServeHTTP, http.MethodGet, http.MethodHead))
	mux.Handle("/api/v1/status", allow(s.status, http.MethodGet, http.MethodHead))
	mux.Handle("/api/v1/sync", allow(s.sync, http.MethodPost))
	mux.Handle("/{$}", allow(index, http.MethodGet, http.MethodHead))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, "nothing is served here; see /")
	})
	return mux
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.options.Status())
}

func index(w http.ResponseWriter, _ *http.Request) {
	text(w, http.StatusOK, `Holdfast agent

GET  /api/v1/status  what this cluster reports, as JSON
POST /api/v1/sync    fetch now (push webhooks, or a bearer token)
GET  /metrics        Prometheus
GET  /healthz        is the loop alive?
GET  /readyz         is the cluster watched and desired state known?
`)
}
