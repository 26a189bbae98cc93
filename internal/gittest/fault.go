package gittest

import (
	"io"
	"log" //nolint:depguard // only to silence net/http, which takes no other logger
	"net/http"
	"strings"
	"time"
)

// Fault is how the server misbehaves. Exactly one of Status, CutAfter, Hang, Redirect and Delay is set.
type Fault struct {
	// Path restricts the fault to requests whose path and query contain it, such as "git-upload-pack"; "" is every request.
	Path string
	// Method restricts it to this HTTP method.
	Method string
	// Command restricts it to requests with this command: see Request.
	Command string
	// Times is how many requests it hits; 0 is until ClearFaults.
	Times int

	// Status answers with this status and no repository content.
	Status int
	// Body goes with Status.
	Body string
	// CutAfter sends that many bytes of the true answer and then cuts the connection.
	CutAfter int64
	// Hang accepts the request and never answers.
	Hang bool
	// Redirect sends the client to the same path below this URL.
	Redirect string
	// Delay is how long the true answer is held back, after the request was carried out.
	Delay time.Duration
	// Garbage replaces the answer's body after CutAfter bytes by other bytes instead of cutting the connection.
	Garbage bool
}

// AddFault makes the server misbehave from now on. The oldest matching fault counts.
func (s *Server) AddFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults makes the server behave again. Requests that hang stay so until their client gives up.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (s *Server) takeFault(r *http.Request, command string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if !strings.Contains(r.URL.RequestURI(), f.Path) || (f.Method != "" && f.Method != r.Method) || (f.Command != "" && f.Command != command) {
			continue
		}
		hit := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			}
		}
		return &hit
	}
	return nil
}

// serve misbehaves; false means that the true answer is to go on through w.
func (f *Fault) serve(w *countingWriter, r *http.Request, closing <-chan struct{}) bool {
	switch {
	case f.Status != 0:
		http.Error(w, f.Body, f.Status)
		return true
	case f.Hang:
		select {
		case <-r.Context().Done():
		case <-closing:
		}
		return true
	case f.Redirect != "":
		http.Redirect(w, r, strings.TrimSuffix(f.Redirect, "/")+r.URL.RequestURI(), http.StatusFound)
		return true
	case f.Delay != 0:
		w.wait = func() {
			select {
			case <-time.After(f.Delay):
			case <-r.Context().Done():
			case <-closing:
			}
		}
		return false
	default:
		w.cut, w.garbage = f.CutAfter, f.Garbage
		return false
	}
}

// countingWriter counts an answer's bytes, and cuts or spoils it when told.
type countingWriter struct {
	http.ResponseWriter
	status  int
	n       int64
	cut     int64 // -1: whole
	garbage bool
	wait    func() // before the answer begins, if it is set
}

func (w *countingWriter) WriteHeader(status int) {
	if w.wait != nil {
		w.wait()
	}
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if w.cut >= 0 && w.n+int64(len(p)) > w.cut {
		keep := max(w.cut-w.n, 0)
		if !w.garbage {
			n, _ := w.ResponseWriter.Write(p[:keep])
			w.n += int64(n)
			w.Flush()
			panic(http.ErrAbortHandler)
		}
		spoiled := append([]byte(nil), p...)
		for i := keep; i < int64(len(spoiled)); i++ {
			spoiled[i] ^= 0x5a
		}
		p = spoiled
	}
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

func (w *countingWriter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

type countingReader struct {
	io.ReadCloser
	n int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.n += int64(n)
	return n, err
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func discardLog() *log.Logger { return log.New(discard{}, "", 0) }
