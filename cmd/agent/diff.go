package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/preview"
	"github.com/holdfast-dev/holdfast/internal/spell"
)

const diffLong = `Say what a commit changes in every cluster: which objects it creates, changes and
deletes, where apps and replicas move, what that waits for, and which deletions
agents would hold.

Both commits are rendered for all clusters, from the objects of a Git repository
on this machine: nothing is checked out, and no cluster, network or credentials
are needed. Only apps that may differ are rendered. What is the same in several
clusters is told once.

By default HEAD is compared with what the default branch of origin has, from
where the two have parted: what a pull request changes. With --direct they are
compared as they are, so that what the base alone has counts as taken back.

-o markdown fits a comment on a pull request: what is too much for --max-size is
left out, the least important first, and it says so. -o json is for programs.
The values of Secrets are never shown; a change of one is.

Exit codes: 0 no differences; 1 differences; 2 wrong use; 3 failed.`

const diffExample = `  # What does this branch change?
  holdfast diff --repo .

  # What would go live with the last commit?
  holdfast diff --base HEAD~1 --head HEAD

  # For a comment on a pull request, as CI runs it
  holdfast diff --base origin/main --head HEAD -o markdown

  # Every object of one cluster
  holdfast diff --base v1.4 --head v1.5 --cluster us-east-1 -o json`

// diffFlags are the flags of diff.
type diffFlags struct {
	checkout

	base, head, cluster, output string
	direct                      bool
	maxSize                     int
}

// The values of --output.
const (
	outputText     = "text"
	outputMarkdown = "markdown"
	outputJSON     = "json"
)

var diffOutputs = []string{outputText, outputMarkdown, outputJSON}

// clock is the present time: by it permits have run out or not.
var clock = time.Now

func newDiff() *cobra.Command {
	var r diffFlags
	cmd := &cobra.Command{
		Use:     "diff --repo DIR --base REV --head REV",
		Short:   "Say what a commit changes in every cluster",
		Long:    diffLong,
		Example: diffExample,
		Args:    noArgs,
		RunE:    filled(r.run),
	}
	f := cmd.Flags()
	f.SortFlags = false
	r.declare(cmd, "`DIR` of the fleet repository on this machine: a clone, a folder in it, or a bare repository")
	f.StringVar(&r.base, "base", "", "`REV` to compare with: a commit, branch or tag (default: origin/HEAD, origin/main or origin/master)")
	f.StringVar(&r.head, "head", "HEAD", "`REV` that is to be looked at")
	f.BoolVar(&r.direct, "direct", false, "compare with --base itself, not with where --head has parted from it")
	f.StringVar(&r.cluster, "cluster", "", "`NAME`: only this cluster (default: all)")
	f.StringVarP(&r.output, "output", "o", outputText, "`FORMAT`: text, markdown or json")
	f.IntVar(&r.maxSize, "max-size", 65000, fmt.Sprintf("`BYTES` that markdown may have, at least %d: GitHub takes 65,536 characters in a comment", preview.LeastMarkdown))
	nameEnv(f)
	complete(cmd, "output", diffOutputs...)
	r.completeNames(cmd, "cluster", clusterNames)
	return cmd
}

// run compares and prints. It returns a *findingsError if there are differences.
func (r *diffFlags) run(ctx context.Context, out, stderr io.Writer) error {
	if !slices.Contains(diffOutputs, r.output) {
		return misusef("--output %q: want text, markdown or json%s", r.output, spell.DidYouMean(r.output, diffOutputs))
	}
	if r.maxSize < preview.LeastMarkdown {
		return misusef("--max-size %d: want at least %d", r.maxSize, preview.LeastMarkdown)
	}
	if err := r.check(); err != nil {
		return err
	}
	base, head, err := r.commits()
	if err != nil {
		return err
	}
	progress := newProgress(stderr, "clusters")
	d, err := preview.Compare(ctx, base, head, preview.Options{Cluster: r.cluster, Now: clock(), Progress: progress.tell})
	progress.end()
	var unknownCluster *preview.UnknownClusterError
	switch {
	case errors.As(err, &unknownCluster):
		return misuse(unknown("cluster", unknownCluster.Name, unknownCluster.Known))
	case errors.Is(err, fleet.ErrNoFleet):
		return fmt.Errorf("%w (is --path right?)", err)
	case err != nil:
		return err
	}
	if err := r.print(d, out); err != nil {
		return err
	}
	if !d.Empty() {
		return &findingsError{}
	}
	return nil
}

// commits opens the two commits.
func (r *diffFlags) commits() (base, head preview.Commit, err error) {
	revs, err := openRevisions(r.dir)
	if err != nil {
		return base, head, err
	}
	to, err := revs.find(r.head)
	if err != nil {
		return base, head, fmt.Errorf("--head: %w", err)
	}
	from, err := revs.base(r.base)
	if err != nil {
		return base, head, fmt.Errorf("--base: %w", err)
	}
	if !r.direct {
		if from, err = revs.mergeBase(from, to); err != nil {
			return base, head, err
		}
	}
	if base, err = r.commit("base", from.String()); err != nil {
		return base, head, err
	}
	head, err = r.commit("head", to.String())
	return base, head, err
}

func (r *diffFlags) commit(name, id string) (preview.Commit, error) {
	at := r.checkout
	at.rev = id
	o, err := at.files()
	if path := (*gitsource.PathError)(nil); errors.As(err, &path) {
		return preview.Commit{}, fmt.Errorf("%s: %w (is --path right?)", name, err)
	}
	if err != nil {
		return preview.Commit{}, fmt.Errorf("%s: %w", name, err)
	}
	return preview.Commit{ID: o.commit, Tree: o.tree}, nil
}

// again are the flags by which, beside the commits, the same comparison is made once more.
func (r *diffFlags) again() (flags []string) {
	if path.Clean(r.path) != "." {
		flags = append(flags, "--path "+shellWord(r.path))
	}
	if r.cluster != "" {
		flags = append(flags, "--cluster "+shellWord(r.cluster))
	}
	return flags
}

func (r *diffFlags) print(d *preview.Diff, out io.Writer) (err error) {
	w := bufio.NewWriter(out)
	switch r.output {
	case outputJSON:
		err = d.JSON(w)
	case outputMarkdown:
		err = d.Markdown(w, r.maxSize, r.again()...)
	default:
		err = d.Text(w, isTerminal(out) && os.Getenv("NO_COLOR") == "")
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}
