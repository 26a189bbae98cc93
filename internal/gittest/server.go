package gittest

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options says how a Server serves. The zero value is plain HTTP without authentication.
type Options struct {
	// Dir is where the repositories are; empty is a temporary directory that Close removes.
	Dir string
	// TLS serves HTTPS with a certificate of the server's own authority (Server.CA).
	TLS bool
	// Expired makes that certificate one that ran out yesterday.
	Expired bool
	// ClientCertificate refuses clients without a certificate of the same authority (Server.ClientCertificate).
	ClientCertificate bool
}

// Server is a Git server on a loopback port.
type Server struct {
	dir     string
	ownDir  bool
	addr    string
	scheme  string
	git     string
	certs   *authority
	tls     *tls.Config
	closing chan struct{}
	release func() error // of the port

	mu       sync.Mutex
	old      bool
	http     *http.Server
	listener net.Listener
	basic    [2]string
	bearer   string
	faults   []*Fault
	requests []Request
	running  map[chan struct{}]bool // of the requests that are being answered, each closed when it is recorded
	repos    map[string]*Repo
}

// Request is one request as the server saw it.
type Request struct {
	Time      time.Time
	Method    string
	Path      string // with the query
	Command   string // of protocol version 2: ls-refs or fetch; push; else ""
	UserAgent string
	Remote    string
	Status    int
	Received  int64 // bytes of the request's body
	Sent      int64 // bytes of the answer's body
}

// Start starts a server.
func Start(o Options) (*Server, error) {
	s := &Server{dir: o.Dir, scheme: "http", closing: make(chan struct{}), running: map[chan struct{}]bool{}, repos: map[string]*Repo{}}
	var err error
	if s.git, err = exec.LookPath("git"); err != nil {
		return nil, fmt.Errorf("the test Git server needs git: %w", err)
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "gittest-"); err != nil {
			return nil, fmt.Errorf("create the server's directory: %w", err)
		}
		s.ownDir = true
	}
	if o.TLS {
		s.scheme = "https"
		if s.certs, err = newAuthority(); err != nil {
			return nil, err
		}
		cert, err := s.certs.server(o.Expired)
		if err != nil {
			return nil, err
		}
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
		if o.ClientCertificate {
			s.tls.ClientAuth = tls.RequireAndVerifyClientCert
			s.tls.ClientCAs = x509.NewCertPool()
			s.tls.ClientCAs.AppendCertsFromPEM(s.certs.pem)
		}
	}
	var addr string
	if addr, s.release, err = holdPort(); err != nil {
		return nil, fmt.Errorf("hold a port for the Git server: %w", err)
	}
	if err := s.listen(addr); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

func (s *Server) listen(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("start the Git server: %w", err)
	}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, ErrorLog: discardLog()}
	s.mu.Lock()
	s.addr, s.http, s.listener = l.Addr().String(), srv, l
	s.mu.Unlock()
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	go func() { _ = srv.Serve(l) }() // returns when the server is closed
	return nil
}

// Stop stops listening and cuts every connection: the host is unreachable until Resume.
func (s *Server) Stop() error {
	s.mu.Lock()
	srv, l := s.http, s.listener
	s.mu.Unlock()
	err := srv.Close()
	_ = l.Close() // it may be open still if the server has only just been started
	return err
}

// Resume listens on the same port again after Stop.
func (s *Server) Resume() error { return s.listen(s.addr) }

// Close stops the server for good and removes its temporary directory.
func (s *Server) Close() error {
	close(s.closing)
	err := errors.Join(s.Stop(), s.release())
	if s.ownDir {
		err = errors.Join(err, s.remove())
	}
	return err
}

// remove removes the repositories. A git process whose connection was cut may still write for a moment.
func (s *Server) remove() (err error) {
	for range 50 {
		if err = os.RemoveAll(s.dir); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// NewRepo creates an empty repository with the branch main unborn.
func (s *Server) NewRepo(name string) (*Repo, error) {
	r, err := InitRepo(filepath.Join(s.dir, name+".git"))
	if err != nil {
		return nil, err
	}
	r.url = s.URL() + "/" + name + ".git"
	s.mu.Lock()
	s.repos[name] = r
	s.mu.Unlock()
	return r, nil
}

// URL is the server's address, without a slash at the end.
func (s *Server) URL() string { return s.scheme + "://" + s.addr }

// CA is the certificate of the server's authority as PEM; nil without TLS.
func (s *Server) CA() []byte {
	if s.certs == nil {
		return nil
	}
	return s.certs.pem
}

// ClientCertificate issues a client certificate and its key as PEM.
func (s *Server) ClientCertificate() (cert, key []byte, err error) {
	if s.certs == nil {
		return nil, nil, fmt.Errorf("the server does not use TLS")
	}
	return s.certs.client()
}

// SetBasicAuth makes the server demand this user and password; empty strings lift that.
func (s *Server) SetBasicAuth(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.basic = [2]string{user, password}
}

// SetBearer makes the server demand this bearer token; "" lifts that.
func (s *Server) SetBearer(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bearer = token
}

// SetOldProtocol makes it a server that knows no protocol version 2, or one that does again.
func (s *Server) SetOldProtocol(old bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.old = old
}

func (s *Server) oldProtocol() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.old
}

// Requests returns the requests since the start or the last ResetRequests. It waits for those that are under way: a
// client has its answer before its request is recorded.
func (s *Server) Requests() []Request {
	s.settle()
	return s.Recorded()
}

// Recorded is Requests without waiting.
func (s *Server) Recorded() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// settle waits until the requests that are under way are recorded, but not for ever: one may hang.
func (s *Server) settle() {
	s.mu.Lock()
	running := slices.Collect(maps.Keys(s.running))
	s.mu.Unlock()
	late := time.After(10 * time.Second)
	for _, recorded := range running {
		select {
		case <-recorded:
		case <-late:
			return
		}
	}
}

// ResetRequests forgets the requests until now, those that are under way too.
func (s *Server) ResetRequests() {
	s.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// ServeHTTP answers one request; it is exported so that a Server can be put behind another handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	cw := &countingWriter{ResponseWriter: w, status: http.StatusOK, cut: -1}
	cr := &countingReader{ReadCloser: r.Body}
	r.Body = cr
	if s.oldProtocol() {
		r.Header.Del("Git-Protocol")
	}
	cmd := peekCommand(r)
	recorded := make(chan struct{})
	s.mu.Lock()
	s.running[recorded] = true
	s.mu.Unlock()
	defer func() {
		defer close(recorded)
		s.mu.Lock()
		delete(s.running, recorded)
		s.requests = append(s.requests, Request{
			Time: time.Now(), Method: r.Method, Path: r.URL.RequestURI(), Command: cmd, UserAgent: r.UserAgent(),
			Remote: r.RemoteAddr, Status: cw.status, Received: cr.n, Sent: cw.n,
		})
		s.mu.Unlock()
	}()
	if f := s.takeFault(r, cmd); f != nil {
		if done := f.serve(cw, r, s.closing); done {
			return
		}
	}
	if !s.authorised(r) {
		cw.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(cw, "authentication required", http.StatusUnauthorized)
		return
	}
	h := cgi.Handler{
		Path:   s.git,
		Args:   []string{"http-backend"},
		Dir:    s.dir,
		Env:    s.cgiEnv(r),
		Stderr: discard{},
		Logger: discardLog(),
	}
	h.ServeHTTP(cw, r)
}

// peekCommand tells a push, and reads the command at the beginning of a request of protocol version 2.
func peekCommand(r *http.Request) string {
	if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
		return "push"
	}
	if !strings.Contains(r.Header.Get("Git-Protocol"), "version=2") || r.Method != http.MethodPost {
		return ""
	}
	body := bufio.NewReader(r.Body)
	line, _ := body.Peek(32) // a shorter one is as good
	r.Body = &bufferedBody{body, r.Body}
	text, _, _ := strings.Cut(string(line), "\n")
	_, command, _ := strings.Cut(text, "command=")
	return command
}

type bufferedBody struct {
	io.Reader
	io.Closer
}

func (s *Server) cgiEnv(r *http.Request) []string {
	env := Environment()
	env = append(env, "GIT_PROJECT_ROOT="+s.dir, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=ada")
	if p := r.Header.Get("Git-Protocol"); p != "" {
		env = append(env, "GIT_PROTOCOL="+p)
	}
	return env
}

func (s *Server) authorised(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bearer != "" {
		return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") == s.bearer
	}
	if s.basic != [2]string{} {
		user, password, ok := r.BasicAuth()
		return ok && user == s.basic[0] && password == s.basic[1]
	}
	return true
}

// Push pushes HEAD of the work tree dir to the branch of repo, over HTTP, whatever the branch was before.
func (s *Server) Push(ctx context.Context, dir string, repo *Repo, branch string) error {
	_, err := Git(ctx, dir, "push", "--quiet", "--force", repo.URL(), "HEAD:refs/heads/"+branch)
	return err
}
