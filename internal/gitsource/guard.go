package gitsource

import (
	"context"
	"io"
	"time"
)

// guard ends an operation whose server has been silent for too long.
type guard struct {
	idle   time.Duration
	bytes  *int64
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// newGuard returns a context that is cancelled with errIdle once nothing has arrived for idle, or
// with context.DeadlineExceeded after total. What its readers read is added to bytes.
func newGuard(ctx context.Context, idle, total time.Duration, bytes *int64) (context.Context, *guard) {
	ctx, stop := context.WithTimeoutCause(ctx, total, errIdle)
	ctx, cancel := context.WithCancelCause(ctx)
	g := &guard{idle: idle, bytes: bytes}
	g.cancel = func(cause error) { cancel(cause); stop() }
	g.timer = time.AfterFunc(idle, func() { cancel(errIdle) })
	return ctx, g
}

// pause stops counting while this side works, and resume starts again.
func (g *guard) pause()  { g.timer.Stop() }
func (g *guard) resume() { g.timer.Reset(g.idle) }

func (g *guard) stop() {
	g.timer.Stop()
	g.cancel(context.Canceled)
}

// reader notes each arrival.
func (g *guard) reader(r io.Reader) io.Reader { return &guardedReader{g, r} }

type guardedReader struct {
	g *guard
	r io.Reader
}

func (r *guardedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		*r.g.bytes += int64(n)
		r.g.timer.Reset(r.g.idle)
	}
	return n, err
}

// pausingReader stops counting at the end of the stream.
type pausingReader struct {
	g *guard
	r io.Reader
}

func (r *pausingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil {
		r.g.pause()
	}
	return n, err
}
