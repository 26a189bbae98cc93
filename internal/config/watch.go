package config

import (
	"bytes"
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rs/zerolog"
)

const (
	// settle is how long after the last event the file is read: an editor writes in several steps,
	// and so does the kubelet.
	settle = 100 * time.Millisecond
	// recheck is how often the file is read without any event: a link into another folder, and some
	// network file systems, change without one.
	recheck = time.Minute
)

// Watch sends the file's content each time that it differs from what was sent last, seen at first.
// A file that cannot be read is logged and waited for: the settings in force stay. The channel
// holds the latest content alone and is closed after ctx has ended and nothing of the watch is left.
func Watch(ctx context.Context, path string, seen []byte, log zerolog.Logger) <-chan File {
	out := make(chan File, 1)
	w := &watch{path: path, seen: seen, out: out, log: log.With().Str("file", path).Logger()}
	events, errs, stop := w.notify()
	go func() {
		defer close(out)
		defer stop()
		w.run(ctx, events, errs)
	}()
	return out
}

type watch struct {
	path string
	seen []byte
	out  chan File
	log  zerolog.Logger
	lost bool
}

// notify watches the folder. Where the system has no watch left, the file is only read from time to
// time.
func (w *watch) notify() (<-chan fsnotify.Event, <-chan error, func()) {
	n, err := fsnotify.NewWatcher()
	if err == nil {
		if err = n.Add(filepath.Dir(w.path)); err == nil {
			return n.Events, n.Errors, func() { _ = n.Close() }
		}
		_ = n.Close()
	}
	w.log.Warn().Err(err).Stringer("every", recheck).Msg("cannot watch the configuration's folder: reading it from time to time")
	return nil, nil, func() {}
}

func (w *watch) run(ctx context.Context, events <-chan fsnotify.Event, errs <-chan error) {
	again := time.NewTicker(recheck)
	defer again.Stop()
	settled := time.NewTimer(0) // what changed before the watch began is seen at once
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			settled.Reset(settle)
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			// An overflow says that events were lost, so the file must be looked at.
			w.log.Debug().Err(err).Msg("configuration watch")
			settled.Reset(settle)
		case <-settled.C:
			w.look()
		case <-again.C:
			w.look()
		}
	}
}

// look reads the file and offers it if it is new.
func (w *watch) look() {
	f, err := Read(w.path)
	if err != nil {
		if !w.lost {
			w.log.Error().Err(err).Msg("configuration cannot be read: the one in force stays")
		}
		w.lost = true
		return
	}
	w.lost = false
	if bytes.Equal(f.Content, w.seen) {
		return
	}
	w.seen = f.Content
	select {
	case <-w.out: // nobody took the last one: it is out of date
	default:
	}
	w.out <- *f // there is room: this goroutine alone sends
}
