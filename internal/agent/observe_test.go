package agent_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/agent"
)

// logBuffer keeps what an agent logs.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// reset forgets what was logged.
func (l *logBuffer) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// with adds to what the agent is started with.
func (e *env) with(change func(*agent.Options)) {
	before := e.options
	e.options = func(o *agent.Options) {
		if before != nil {
			before(o)
		}
		change(o)
	}
}

// captureLog keeps what the agent logs from now on, besides showing it.
func (e *env) captureLog(level zerolog.Level) *logBuffer {
	kept := &logBuffer{}
	e.with(func(o *agent.Options) {
		o.Log = zerolog.New(zerolog.MultiLevelWriter(
			kept, &zerolog.FilteredLevelWriter{Writer: zerolog.LevelWriterAdapter{Writer: zerolog.NewTestWriter(e.t)}, Level: zerolog.InfoLevel},
		)).Level(level)
	})
	return kept
}

// waitLog waits until the log has a line with all the words.
func (e *env) waitLog(kept *logBuffer, words ...string) {
	e.t.Helper()
	e.eventually("log says "+strings.Join(words, ", "), func() string {
		for line := range strings.Lines(kept.String()) {
			if containsAll(line, words) {
				return ""
			}
		}
		return "it does not"
	})
}

func containsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// listen has the agent serve HTTP and returns its address.
func (e *env) listen() string {
	e.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		e.t.Fatal(err)
	}
	e.with(func(o *agent.Options) { o.Listen = address })
	return "http://" + address
}

// fetch gets a URL; code 0 means that nobody answers.
func (e *env) fetch(url string) (code int, body string) {
	e.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	return e.send(req)
}

func (e *env) send(req *http.Request) (code int, body string) {
	e.t.Helper()
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	b, err := io.ReadAll(resp.Body)
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}
