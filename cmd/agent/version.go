package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version and commit are set by -ldflags "-X main.version=... -X main.commit=..."; see the Makefile.
var version, commit string

// build is what is known of the running program.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// buildInfo falls back to what the Go tool recorded when no version was linked in.
func buildInfo() build {
	b := build{Version: version, Commit: commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "(devel)" {
			b.Version = cmp.Or(b.Version, v)
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = cmp.Or(b.Commit, s.Value)
			}
		}
	}
	b.Version, b.Commit = cmp.Or(b.Version, "dev"), cmp.Or(b.Commit, "unknown")
	return b
}

func newVersion() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit, the Go release and the platform",
		Long: `Print the program's version, the commit it was built from, the Go release and
the platform. The version is also what the agent sends as its user agent,
holdfast/<version>, so it shows in a server's logs.`,
		Example: `  holdfast version
  holdfast version -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fill(cmd); err != nil {
				return err
			}
			b := buildInfo()
			var text string
			switch output {
			case "text":
				text = fmt.Sprintf("holdfast %s\ncommit    %s\ngo        %s\nplatform  %s\n", b.Version, b.Commit, b.Go, b.Platform)
			case "json":
				j, err := json.Marshal(b)
				if err != nil {
					return fmt.Errorf("print version: %w", err)
				}
				text = string(j) + "\n"
			default:
				return misusef("--output %q: want text or json", output)
			}
			_, err := fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`FORMAT`: text or json")
	nameEnv(cmd.Flags())
	complete(cmd, "output", "text", "json")
	return cmd
}

// complete offers fixed values for a flag's completion.
func complete(cmd *cobra.Command, flag string, values ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values, cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(fmt.Sprintf("completion of --%s: %v", strings.TrimSpace(flag), err)) // no such flag: a mistake of ours
	}
}
