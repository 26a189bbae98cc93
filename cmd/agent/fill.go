package main

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/internal/config"
)

// fill sets the flags of a command that has no configuration file from the environment.
func fill(cmd *cobra.Command) error {
	return misuse(config.Fill(cmd.Flags(), config.Sources{LookupEnv: os.LookupEnv}))
}

// filled makes what cobra runs of a function: it is called with the flags filled.
func filled(run func(ctx context.Context, out, stderr io.Writer) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		if err := fill(cmd); err != nil {
			return err
		}
		return run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
}
