package main

import (
	"context"
	"errors"

	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/internal/config"
)

// launch is what one agent is started with.
type launch struct {
	options agent.Options
	// settings are the values of all flags, as text: equal texts mean that nothing is different.
	settings string
}

// supervisor runs an agent, and anew with other options each time that the configuration changes.
// Only one agent runs at any time: the next begins after all of the last has ended.
type supervisor struct {
	run     func(context.Context, agent.Options) error
	load    func(*config.File) (launch, error)
	changes <-chan config.File
	// begin is called before each run, while nothing runs.
	begin func(zerolog.Logger)
}

// supervise returns when ctx has ended, with nil, or when the agent fails by itself.
func (s *supervisor) supervise(ctx context.Context, now launch) error {
	for {
		next, err := s.until(ctx, now)
		if next == nil {
			return err
		}
		if err != nil {
			now.options.Log.Error().Err(err).Msg("agent ended with an error on the way to its new configuration")
		}
		now = *next
	}
}

// until runs one agent to its end. It returns what to go on with, or nil.
func (s *supervisor) until(ctx context.Context, now launch) (next *launch, err error) {
	if ctx.Err() != nil {
		return nil, nil //nolint:nilnil // told to stop
	}
	log := now.options.Log
	s.begin(log)
	running, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.run(running, now.options) }()
	for {
		select {
		case err := <-done:
			if ctx.Err() != nil {
				return nil, ended(err, ctx)
			}
			return nil, err
		case file, ok := <-s.changes:
			if !ok {
				s.changes = nil
				continue
			}
			changed, err := s.load(&file)
			if err != nil {
				log.Error().Err(err).Msg("new configuration is wrong: the one in force stays")
				continue
			}
			if changed.settings == now.settings {
				log.Info().Str("file", file.Path).Msg("configuration file changed, but no setting")
				continue
			}
			log.Info().Str("file", file.Path).Msg("configuration changed: starting anew with it")
			stop()
			err = ended(<-done, running)
			if ctx.Err() != nil {
				return nil, err
			}
			return &changed, err
		}
	}
}

// ended drops an error that says no more than that ctx has ended.
func ended(err error, ctx context.Context) error { //nolint:revive // the error is the subject
	if err != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}
