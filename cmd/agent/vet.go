package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/spell"
	"github.com/holdfast-dev/holdfast/internal/vet"
)

const vetLong = `Find what is wrong with a fleet repository before it is merged.

The fleet files are checked, every app is built for every cluster that it could
ever run on, and every object is held to the schemas of Kubernetes and to the
CustomResourceDefinitions in the repository. Reported are also apps that run
nowhere, apps and objects that depend on each other in a circle, objects that two
apps declare, selectors that no cluster matches, overlays that nobody uses, and
Secrets in clear text. It needs no cluster, no network and no credentials.

Each finding has a code, which docs/vet.md explains, and a file and line, from
the top of the repository. -o sarif is for code hosts, which show it on the line;
-o json is for programs.

Without --rev the files are read as they are on disk, uncommitted changes
included; of a bare repository it is HEAD. With --rev it is that commit.

Exit codes: 0 no errors; 1 errors, or with --strict warnings; 2 wrong use;
3 failed.`

const vetExample = `  # Is what I have written all right?
  holdfast vet --repo .

  # Stop at warnings too
  holdfast vet --repo . --strict

  # For a code host that shows findings on the line
  holdfast vet --repo . -o sarif > holdfast.sarif`

// vetFlags are the flags of vet.
type vetFlags struct {
	checkout

	output string
	strict bool
}

const outputSARIF = "sarif"

var vetOutputs = []string{outputText, outputJSON, outputSARIF}

func newVet() *cobra.Command {
	var r vetFlags
	cmd := &cobra.Command{
		Use:     "vet --repo DIR",
		Short:   "Find what is wrong with a fleet repository before it is merged",
		Long:    vetLong,
		Example: vetExample,
		Args:    noArgs,
		RunE:    filled(r.run),
	}
	f := cmd.Flags()
	f.SortFlags = false
	r.declare(cmd, "`DIR` of the fleet repository on this machine: a clone, a folder in it, or a bare repository")
	f.StringVar(&r.rev, "rev", "", "`REV`: a commit, branch or tag (default: the files on disk)")
	f.StringVarP(&r.output, "output", "o", outputText, "`FORMAT`: text, json or sarif")
	f.BoolVar(&r.strict, "strict", false, "exit with 1 for warnings too")
	nameEnv(f)
	complete(cmd, "output", vetOutputs...)
	return cmd
}

// run looks at the fleet and prints what it finds. It returns a *findingsError if that should stop a merge.
func (r *vetFlags) run(ctx context.Context, out, stderr io.Writer) error {
	if !slices.Contains(vetOutputs, r.output) {
		return misusef("--output %q: want text, json or sarif%s", r.output, spell.DidYouMean(r.output, vetOutputs))
	}
	report, err := r.vet(ctx, stderr)
	if err != nil {
		return err
	}
	if err := r.print(report, out); err != nil {
		return err
	}
	fmt.Fprintln(stderr, report.Summary())
	if errs, warnings := report.Count(); errs > 0 || r.strict && warnings > 0 {
		return &findingsError{}
	}
	return nil
}

func (r *vetFlags) vet(ctx context.Context, stderr io.Writer) (*vet.Report, error) {
	o, err := r.open()
	var broken *fleet.BrokenError
	if err != nil && !errors.As(err, &broken) {
		return nil, err
	}
	below, err := belowTop(r.dir)
	if err != nil {
		return nil, err
	}
	below = path.Join(below, r.path)
	if broken != nil {
		return vet.Broken(broken.Problems, below), nil
	}
	defer o.close()
	progress := newProgress(stderr, "clusters")
	defer progress.end()
	return vet.Run(ctx, vet.Request{
		Tree: o.tree, Commit: o.commit, Below: below, Fleet: o.fleet, Now: clock(), Progress: progress.tell,
	})
}

func (r *vetFlags) print(report *vet.Report, out io.Writer) (err error) {
	switch r.output {
	case outputJSON:
		err = report.JSON(out)
	case outputSARIF:
		err = report.SARIF(out, buildInfo().Version)
	default:
		err = report.Text(out)
	}
	if err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}
