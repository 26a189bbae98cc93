package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/internal/config"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/memory"
)

const agentLong = `Run the agent of one cluster until it is told to stop.

The agent follows a branch of the fleet repository, renders what this cluster
should have, applies it with server-side apply, prunes what is gone from Git,
and puts back whatever somebody else changes. It works on when Git is down.

Every flag has an environment variable, shown in brackets, and a key in the file
named by --config, spelled as the flag: "data-dir: /data". A flag counts more
than the environment, that more than the file. The file is read strictly, and is
watched: when it changes, the agent goes on with the new settings in the same
process; a new file with a mistake is reported and the old settings stay.

Secrets are never given by flag. --credentials names a folder with the files of
a mounted Secret, which may be rotated at any time:
  username, password          HTTPS with basic authentication
  bearerToken                 HTTPS with a token
  identity, known_hosts       SSH; password is the key's passphrase
  ca.crt, tls.crt, tls.key    a private authority; a client certificate
  webhook.token               what push webhooks are checked with

The agent reports to the other clusters through a Git ref of its own, and reads
theirs while a gate waits for them. --status-credentials names a folder with the
same files for that repository, and these:
  signing.key                 signs this cluster's reports (an SSH private key);
                              signing.password is its passphrase
  allowed_signers             then only reports count that are signed by a key
                              that this file lists for their cluster

The first SIGTERM or SIGINT ends the agent in good order, a second at once.`

const agentExample = `  # By hand, and first only looking at what it would do
  holdfast agent --cluster us-east-1 --repo https://git.example.com/fleet.git \
    --kubeconfig ~/.kube/us-east-1 --dry-run

  # A private repository over SSH, with a folder that holds identity and known_hosts
  holdfast agent --cluster us-east-1 --repo ssh://git@git.example.com/fleet.git --credentials ./credentials

  # All settings from a file
  holdfast agent --config /etc/holdfast/config.yaml`

func newAgent() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "agent --cluster NAME --repo URL",
		Short:   "Run the agent of one cluster",
		Long:    agentLong,
		Example: agentExample,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l := loader{lookupEnv: os.LookupEnv, stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr(), given: map[string]string{}}
			cmd.Flags().Visit(func(f *pflag.Flag) { l.given[f.Name] = f.Value.String() })
			return superviseAgent(cmd.Context(), l)
		},
	}
	newSettings(cmd.Flags())
	nameEnv(cmd.Flags())
	complete(cmd, "log-format", logFormats...)
	complete(cmd, "log-level", logLevels...)
	for _, dir := range []string{"credentials", "status-credentials", "data-dir"} {
		if err := cmd.MarkFlagDirname(dir); err != nil {
			panic(err) // no such flag: a mistake of ours
		}
	}
	return cmd
}

// superviseAgent reads the settings, runs the agent, and runs it anew when the file changes.
func superviseAgent(ctx context.Context, l loader) error {
	memory.Tune(l.lookupEnv)
	file, err := l.file()
	if err != nil {
		return misuse(err)
	}
	first, err := l.load(file)
	if err != nil {
		return misuse(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var changes <-chan config.File
	if file != nil {
		changes = config.Watch(ctx, file.Path, file.Content, first.options.Log)
	}
	defer func() {
		cancel()
		if changes != nil {
			for range changes { // until the watch has ended
			}
		}
	}()
	s := supervisor{run: agent.Run, load: l.load, changes: changes, begin: kube.LogTo}
	return s.supervise(ctx, first)
}

// loader makes the agent's options of all their sources, anew each time the file changes.
type loader struct {
	lookupEnv func(string) (string, bool)
	// given are the flags of the command line.
	given          map[string]string
	stdout, stderr io.Writer
}

// file reads the configuration file; nil if none is named.
func (l loader) file() (*config.File, error) {
	path, ok := l.given["config"]
	if !ok {
		path, _ = l.lookupEnv(config.Env("config"))
	}
	if path == "" {
		return nil, nil //nolint:nilnil // no file is no error
	}
	return config.Read(path)
}

// load returns checked options.
func (l loader) load(file *config.File) (launch, error) {
	flags := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	s := newSettings(flags)
	for name, value := range l.given {
		if err := flags.Set(name, value); err != nil {
			return launch{}, err
		}
	}
	if err := config.Fill(flags, config.Sources{LookupEnv: l.lookupEnv, File: file}); err != nil {
		return launch{}, err
	}
	o, err := s.options(l.stderr)
	if err != nil {
		return launch{}, err
	}
	o.Out = l.stdout
	var all strings.Builder
	flags.VisitAll(func(f *pflag.Flag) { fmt.Fprintf(&all, "%s=%q\n", f.Name, f.Value) })
	return launch{options: o, settings: all.String()}, nil
}
