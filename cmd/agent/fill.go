package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/internal/config"
)

// fill sets the flags of a command that has no configuration file from the environment.
func fill(cmd *cobra.Command) error {
	return misuse(config.Fill(cmd.Flags(), config.Sources{LookupEnv: os.LookupEnv}))
}
