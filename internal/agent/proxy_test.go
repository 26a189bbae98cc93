package agent_test

import (
	"context"
	"fmt"
	"io"
	"log" //nolint:depguard // only to silence net/http, which takes no other logger
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/localcluster"
)

// apiProxy stands between an agent and the API server, to misbehave as networks and servers do. The
// agent is the administrator behind it.
type apiProxy struct {
	kubeconfig string
	server     *httptest.Server

	mu      sync.Mutex
	rule    func(w http.ResponseWriter, r *http.Request, next http.Handler)
	watches map[net.Conn]bool
	// watchRule is rule for watches.
	watchRule func(w http.ResponseWriter, r *http.Request, next http.Handler)
	passing   sync.WaitGroup // mutating requests
}

func newAPIProxy(t *testing.T, cluster *localcluster.Cluster) *apiProxy {
	t.Helper()
	cfg, err := kube.Config(cluster.Kubeconfig(), "")
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p := &apiProxy{watches: map[net.Conn]bool{}}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, forward) }))
	p.server.Config.ErrorLog = forward.ErrorLog
	p.server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	p.server.Start()
	t.Cleanup(func() {
		p.cutWatches()
		p.server.CloseClientConnections()
		p.server.Close()
	})
	p.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: proxy\nclusters: [{name: proxy, cluster: {server: %q}}]\n"+
		"contexts: [{name: proxy, context: {cluster: proxy, user: agent}}]\nusers: [{name: agent, user: {}}]\n", p.server.URL)
	if err := os.WriteFile(p.kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// setRule has every request but watches handled by rule; nil lets them pass.
func (p *apiProxy) setRule(rule func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
}

// setWatchRule is setRule for watches that begin from now on.
func (p *apiProxy) setWatchRule(rule func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchRule = rule
}

func (p *apiProxy) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.URL.Query().Get("watch") != "" {
		p.watch(w, r, next)
		return
	}
	if mutating(r) {
		p.passing.Add(1)
		defer p.passing.Done()
	}
	p.mu.Lock()
	rule := p.rule
	p.mu.Unlock()
	if rule != nil {
		rule(w, r, next)
		return
	}
	next.ServeHTTP(w, r)
}

func (p *apiProxy) watch(w http.ResponseWriter, r *http.Request, next http.Handler) {
	conn, _ := r.Context().Value(connKey{}).(net.Conn) // a watch has its connection to itself
	p.mu.Lock()
	p.watches[conn] = true
	rule := p.watchRule
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.watches, conn)
		p.mu.Unlock()
	}()
	if rule != nil {
		rule(w, r, next)
		return
	}
	next.ServeHTTP(w, r)
}

// connKey is the context key of a request's connection.
type connKey struct{}

// cutWatches breaks the connection of every watch and tells how many there were.
func (p *apiProxy) cutWatches() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.watches)
	for conn := range p.watches {
		_ = conn.Close() // cutting it is the point
		delete(p.watches, conn)
	}
	return n
}

// mutating tells of a request that changes something, Events excepted.
func mutating(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead && !strings.Contains(r.URL.Path, "/events")
}

func abort(http.ResponseWriter) { panic(http.ErrAbortHandler) }
