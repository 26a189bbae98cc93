package agent

import (
	"context"
	"errors"
)

// Run runs an agent until ctx ends; it returns after everything it started has ended.
func Run(_ context.Context, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	return errors.New("the agent is still being built")
}
