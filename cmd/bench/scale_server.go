package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/internal/gittest"
)

// gitServer is a real Git server in a process of its own, so that its CPU, with that of the git programs
// that it starts, can be told from the agents'.
type gitServer struct {
	*process
	dir string // with the repositories
	serverAddresses
}

// serverAddresses are what the process prints when it serves.
type serverAddresses struct {
	URL     string // of the Git server
	Control string // of the bench's own questions
}

// usage is what the server has done since its start.
type usage struct {
	// Requests are counted by kind: ls-refs and fetch of protocol version 2, push, and discovery or an older
	// version's request.
	Requests map[string]int
	// Received and Sent are bytes on the wire, headers included.
	Received, Sent int64
	// CPU is that of the server and all that it started, Front the part of the HTTP server itself.
	CPU, Front time.Duration
}

// since is what was used after another moment.
func (u usage) since(before usage) usage {
	d := usage{
		Requests: map[string]int{}, Received: u.Received - before.Received, Sent: u.Sent - before.Sent,
		CPU: u.CPU - before.CPU, Front: u.Front - before.Front,
	}
	for kind, n := range u.Requests {
		if n -= before.Requests[kind]; n > 0 {
			d.Requests[kind] = n
		}
	}
	return d
}

func (u usage) requests() (n int) {
	for _, of := range u.Requests {
		n += of
	}
	return n
}

// startGitServer starts the server with its repositories in the lab.
func (l *lab) startGitServer(ctx context.Context) (_ *gitServer, err error) {
	s := &gitServer{dir: filepath.Join(l.dir, "server")}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // read to the end of what matters
	s.process, err = l.start("git-server", w, l.self, "task", "serve", s.dir)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = r.Close() }) // ends the read
	defer stop()
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s.serverAddresses)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the Git server: %w", err), s.stop())
	}
	return s, nil
}

// usage asks for what the server has done. quiet waits for the end of all requests first: what a request
// cost counts when it has ended.
func (s *gitServer) usage(ctx context.Context, quiet bool) (u usage, err error) {
	path := "/usage"
	if quiet {
		path = "/usage?quiet"
	}
	err = s.ask(ctx, path, &u)
	return u, err
}

// setOldProtocol makes it a server of protocol version 0, or one of version 2 again.
func (s *gitServer) setOldProtocol(ctx context.Context, old bool) error {
	return s.ask(ctx, map[bool]string{true: "/old", false: "/new"}[old], nil)
}

func (s *gitServer) ask(ctx context.Context, path string, into any) error {
	if err := s.alive(); err != nil {
		return err
	}
	if err := ask(ctx, http.MethodPost, s.Control, path, into); err != nil {
		return fmt.Errorf("ask the Git server: %w", err)
	}
	return nil
}

// taskServe is the process of gitServer: it prints its addresses and serves until it is told to end. Argument:
// the folder of the repositories.
func taskServe(ctx context.Context, args []string) (any, error) {
	git, err := gittest.Start(gittest.Options{Dir: args[0]})
	if err != nil {
		return nil, err
	}
	defer git.Close() //nolint:errcheck // the process ends
	m := &meter{git: git, kinds: map[string]int{}}
	control := http.NewServeMux()
	control.HandleFunc("POST /usage", m.answer)
	control.HandleFunc("POST /old", func(http.ResponseWriter, *http.Request) { git.SetOldProtocol(true) })
	control.HandleFunc("POST /new", func(http.ResponseWriter, *http.Request) { git.SetOldProtocol(false) })

	var addresses serverAddresses
	failed := make(chan error, 2)
	for address, handler := range map[*string]http.Handler{&addresses.URL: m, &addresses.Control: control} {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		*address = "http://" + ln.Addr().String()
		if address == &addresses.URL {
			ln = countingListener{ln, m}
		}
		server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
		go func() { failed <- server.Serve(ln) }() // until the process ends
	}
	if err := json.NewEncoder(os.Stdout).Encode(addresses); err != nil {
		return nil, err
	}
	select {
	case err := <-failed:
		return nil, err
	case <-ctx.Done():
		return nil, nil //nolint:nilnil // there is nothing to print
	}
}

// meter counts what passes through the Git server.
type meter struct {
	git            *gittest.Server
	received, sent atomic.Int64
	under          atomic.Int64 // way

	mu    sync.Mutex
	kinds map[string]int // of requests that the Git server does not remember any more
}

func (m *meter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.under.Add(1)
	defer m.under.Add(-1)
	m.git.ServeHTTP(w, r)
}

func (m *meter) answer(w http.ResponseWriter, r *http.Request) {
	quiet := r.URL.Query().Has("quiet")
	for deadline := time.Now().Add(3 * time.Minute); quiet && m.under.Load() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	u := usage{
		Requests: m.count(quiet), Received: m.received.Load(), Sent: m.sent.Load(),
		Front: rusage(syscall.RUSAGE_SELF),
	}
	u.CPU = u.Front + rusage(syscall.RUSAGE_CHILDREN)
	_ = json.NewEncoder(w).Encode(u) // the bench sees its own error
}

// count counts the requests by kind. Only while nothing is under way can the server's record be dropped.
func (m *meter) count(quiet bool) map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	counted := maps.Clone(m.kinds)
	for _, r := range m.git.Recorded() {
		counted[cmp.Or(r.Command, "discovery")]++
	}
	if quiet && m.under.Load() == 0 {
		m.git.ResetRequests()
		m.kinds = maps.Clone(counted)
	}
	return counted
}

// rusage is the CPU time of this process (RUSAGE_SELF) or of all that it started and waited for
// (RUSAGE_CHILDREN), with what these waited for.
func rusage(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// countingListener counts the bytes of its connections.
type countingListener struct {
	net.Listener
	m *meter
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countingConn{c, l.m}, nil
}

type countingConn struct {
	net.Conn
	m *meter
}

func (c countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.m.received.Add(int64(n))
	return n, err
}

func (c countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.m.sent.Add(int64(n))
	return n, err
}
