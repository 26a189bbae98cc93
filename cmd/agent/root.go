package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/internal/config"
	"github.com/holdfast-dev/holdfast/internal/spell"
)

const rootLong = `Holdfast keeps Kubernetes clusters as one shared Git repository says.

Each cluster runs an agent. It pulls the fleet repository, renders what its own
cluster should have from the cluster's labels, applies that, and keeps it that
way. There is no hub: a pull request is the change control, and a region fails
over by one edited line of fleet.yaml.

Results go to standard output, everything else to standard error.
Exit codes: 0 well, 1 differences or findings, 2 wrong use, 3 failed.`

const rootExample = `  # What would this cluster run, by the files as they are on disk?
  holdfast render --repo . --cluster us-east-1

  # Move every app out of a region, and see what that means
  holdfast failover --repo . --drain region=us-east

  # Run the agent by hand against the cluster of a kubeconfig
  holdfast agent --cluster us-east-1 --repo https://git.example.com/fleet.git --kubeconfig ~/.kube/us-east-1`

// newRoot builds the program's commands.
func newRoot(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "holdfast",
		Short:         "Keeps Kubernetes clusters as one shared Git repository says",
		Long:          rootLong,
		Example:       rootExample,
		Version:       buildInfo().Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return misusef("unknown command %q%s", args[0], spell.DidYouMean(args[0], commandNames(cmd)))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misuse(err) })
	root.AddCommand(newAgent(), newDiff(), newFailover(), newRender(), newStatus(), newVersion(), newVet())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.SetUsageFunc(usage)
	return root
}

// usage prints how a command is used: cobra's own text without what this program does not use, and with
// lines that fit a terminal. It is code and not a template, because with a template in the program the
// linker must keep every method of every type, which made it half as large again, in memory too.
func usage(cmd *cobra.Command) error {
	var b strings.Builder
	line := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		line = cmd.CommandPath() + " [command]"
	}
	fmt.Fprintf(&b, "Usage:\n  %s", line)
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\n\nExamples:\n%s", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\n\nCommands:")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() || c.Name() == "help" {
				fmt.Fprintf(&b, "\n  %-*s %s", c.NamePadding(), c.Name(), c.Short)
			}
		}
	}
	if cmd.HasAvailableLocalFlags() {
		b.WriteString("\n\nFlags:\n" + strings.TrimRight(cmd.LocalFlags().FlagUsagesWrapped(100), "\n"))
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n\nRun %q for more about a command.", cmd.CommandPath()+" [command] --help")
	}
	b.WriteString("\n")
	_, err := io.WriteString(cmd.OutOrStderr(), b.String())
	return err //nolint:wrapcheck // of the terminal
}

func commandNames(cmd *cobra.Command) (names []string) {
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// noArgs refuses arguments that are no flags.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misusef("unexpected argument %q: everything is given by flags", args[0])
	}
	return nil
}

// nameEnv adds to each flag's help the name of its environment variable.
func nameEnv(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) { f.Usage += " [" + config.Env(f.Name) + "]" })
}
