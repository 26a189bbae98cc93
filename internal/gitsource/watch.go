package gitsource

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a change of the credentials is left to finish: the kubelet swaps ..data after
// writing all files, other tools write one by one.
const settle = 100 * time.Millisecond

// watchCredentials asks for a poll when the credentials change and the last attempt has failed. Without
// a watch they still count at the next poll.
func (s *Source) watchCredentials(ctx context.Context) {
	if s.options.CredentialsDir == "" {
		return
	}
	w, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = w.Close() }() // was only read
		// The directory, not the files: they are links into ..data, which is replaced.
		err = w.Add(s.options.CredentialsDir)
	}
	if err != nil {
		s.options.Log.Warn().Err(err).Msg("the credentials cannot be watched, a change counts at the next poll")
		return
	}
	timer := time.NewTimer(settle)
	timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-w.Events:
			if !ok {
				return
			}
			timer.Reset(settle)
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			s.options.Log.Warn().Err(err).Msg("watching the credentials is disturbed")
		case <-timer.C:
			s.mu.Lock()
			failed := s.failures > 0
			s.mu.Unlock()
			if failed {
				s.Poll()
			}
		}
	}
}
