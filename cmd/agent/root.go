package main

import (
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
Exit codes: 0 well, 2 wrong use, 3 failed.`

const rootExample = `  # What would this cluster run, by the files as they are on disk?
  holdfast render --repo . --cluster us-east-1

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
	root.AddCommand(newAgent(), newRender(), newVersion())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	cobra.AddTemplateFunc("wrapped", func(f *pflag.FlagSet) string { return strings.TrimRight(f.FlagUsagesWrapped(100), "\n") })
	root.SetUsageTemplate(usageTemplate)
	return root
}

// usageTemplate is cobra's without what this program does not use, and with lines that fit a terminal.
const usageTemplate = `Usage:{{if .HasAvailableSubCommands}}
  {{.CommandPath}} [command]{{else}}
  {{.UseLine}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{wrapped .LocalFlags}}{{end}}{{if .HasAvailableSubCommands}}

Run "{{.CommandPath}} [command] --help" for more about a command.{{end}}
`

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
