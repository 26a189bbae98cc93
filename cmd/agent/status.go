package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/gitsource"
	"github.com/holdfast-dev/holdfast/internal/overview"
	"github.com/holdfast-dev/holdfast/internal/plain"
	"github.com/holdfast-dev/holdfast/internal/spell"
	"github.com/holdfast-dev/holdfast/internal/statusbus"
)

const statusLong = `Show the whole fleet: what every cluster runs, by what its agent last reported.

It reads Git alone: the clusters from the fleet repository, and their reports
from the refs refs/holdfast/status/<cluster> of the status repository. It needs
no kubeconfig, and asks no cluster. The first line tells the whole story; clusters
that need a person come first in the table; below it are reasons and messages.

BEHIND is how many commits the branch has that the cluster has not seen. APPS is
how many are Ready, of how many are there; "?" after it means that it may not be
true any more. SEEN is the age of the report. After 6 minutes, three heartbeats,
the cluster is SILENT, and what it had counts as unknown.

With an allowed_signers in the folder of the credentials, only reports are
believed that are signed by a key that it lists for the cluster.

--watch goes on looking, until it is interrupted: on a terminal it draws in place,
otherwise it prints what has changed. -o json is an array of the last report of
each cluster, and with --watch one such array on a line for each change; what is
missing from it is said on standard error.

Exit codes: 0 well, whatever the state of the fleet; 2 wrong use; 3 failed, or
not all could be read.`

const statusExample = `  # How is the fleet?
  holdfast status --repo https://git.example.com/fleet.git

  # One region, and stay with it
  holdfast status --repo https://git.example.com/fleet.git --selector region=us-east --watch

  # A private fleet repository, and reports in one of their own
  holdfast status --repo ssh://git@git.example.com/fleet.git --credentials ./fleet-key \
    --status-repo ssh://git@git.example.com/fleet-status.git --status-credentials ./status-key

  # Which apps are not Ready, and where
  holdfast status --repo https://git.example.com/fleet.git -o json |
    jq -r '.[] | .cluster as $c | .apps[] | select(.ready | not) | "\($c) \(.name)"'

  # One cluster's report, with nothing but git
  git fetch https://git.example.com/fleet.git refs/holdfast/status/us-east-1 && git show FETCH_HEAD:status.json`

// statusFlags are the flags of status.
type statusFlags struct {
	repo, branch, path, credentials string
	statusRepo, statusCredentials   string
	cluster, selector, output       string
	watch                           bool
}

const outputTable = "table"

var statusOutputs = []string{outputTable, outputJSON}

func newStatus() *cobra.Command {
	var r statusFlags
	cmd := &cobra.Command{
		Use:     "status --repo URL",
		Short:   "Show the whole fleet, from Git alone",
		Long:    statusLong,
		Example: statusExample,
		Args:    noArgs,
		RunE:    filled(r.run),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&r.repo, "repo", "", "`URL` of the fleet repository: https://, ssh://, user@host:path or file://")
	f.StringVar(&r.branch, "branch", "main", "`BRANCH` that the clusters follow")
	f.StringVar(&r.path, "path", ".", "`FOLDER` of the repository that holds fleet.yaml, clusters/ and apps/")
	f.StringVar(&r.credentials, "credentials", "", "`FOLDER` with the files of a Secret for the repository, as for the agent")
	f.StringVar(&r.statusRepo, "status-repo", "", "`URL` of the repository with the reports (default: the fleet repository)")
	f.StringVar(&r.statusCredentials, "status-credentials", "", "`FOLDER` as --credentials, for --status-repo")
	f.StringVar(&r.cluster, "cluster", "", "`NAME`: only this cluster (default: all)")
	f.StringVarP(&r.selector, "selector", "l", "", "`LABELS` as kubectl has them, such as region=us-east,env!=test: only the clusters that match")
	f.StringVarP(&r.output, "output", "o", outputTable, "`FORMAT`: table or json")
	f.BoolVarP(&r.watch, "watch", "w", false, "go on, and show what changes")
	nameEnv(f)
	for _, dir := range []string{"credentials", "status-credentials"} {
		if err := cmd.MarkFlagDirname(dir); err != nil {
			panic(err) // no such flag: a mistake of ours
		}
	}
	complete(cmd, "output", statusOutputs...)
	return cmd
}

// run looks once, or until it is interrupted.
func (r *statusFlags) run(ctx context.Context, out, stderr io.Writer) error {
	only, err := r.check()
	if err != nil {
		return misuse(err)
	}
	r.checkSigners(stderr)
	// Whatever ends the program, what was fetched is removed first: also when nobody reads the output any more
	// (`| head`), or the terminal is closed.
	signal.Ignore(syscall.SIGPIPE)
	interrupted, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	f, err := r.follow(interrupted)
	if err != nil {
		return err
	}
	defer f.close()
	f.progress = newWaiting(stderr, "reading the fleet's repository")
	if r.watch {
		err = f.run(interrupted, r.watching(only, out, stderr))
	} else {
		err = f.run(interrupted, r.once(only, out, stderr))
	}
	switch {
	case errors.Is(err, syscall.EPIPE):
		return nil
	case r.watch && interrupted.Err() != nil:
		return nil
	}
	return err
}

// selection tells which clusters are meant.
type selection func(cluster string, labels map[string]string) bool

// check reads the flags, and returns all that is wrong with them.
func (r *statusFlags) check() (selection, error) {
	var errs []error
	if r.repo == "" {
		errs = append(errs, errors.New("--repo is required"))
	}
	if r.statusRepo == agent.NoStatusRepo {
		errs = append(errs, errors.New("--status-repo none: then there are no reports to show"))
	}
	if !slices.Contains(statusOutputs, r.output) {
		errs = append(errs, fmt.Errorf("--output %q: want table or json%s", r.output, spell.DidYouMean(r.output, statusOutputs)))
	}
	selector, err := labels.Parse(r.selector)
	if err != nil {
		errs = append(errs, fmt.Errorf("--selector %q: want labels as kubectl has them, such as region=us-east,env!=test: %w", r.selector, err))
	}
	errs = append(errs,
		noSecret("repo", r.repo), noSecret("status-repo", r.statusRepo),
		folder("credentials", r.credentials), folder("status-credentials", r.statusCredentials))
	if err = errors.Join(errs...); err != nil {
		return nil, err
	}
	if r.cluster == "" && r.selector == "" {
		return nil, nil //nolint:nilnil // all clusters
	}
	return func(cluster string, set map[string]string) bool {
		return (r.cluster == "" || cluster == r.cluster) && selector.Matches(labels.Set(set))
	}, nil
}

// reports is where the reports are, and with which credentials they are read.
func (r *statusFlags) reports() (repo, credentials string) {
	if r.statusRepo == "" {
		return r.repo, r.credentials
	}
	return r.statusRepo, r.statusCredentials
}

// checkSigners says which lines of allowed_signers cannot be used. Whose reports are not believed because of
// that is told later, but not why.
func (r *statusFlags) checkSigners(stderr io.Writer) {
	_, credentials := r.reports()
	content, err := statusbus.AllowedSignersFrom(credentials)()
	if content == nil || err != nil {
		return // if it cannot be read, reading the reports fails
	}
	if _, err := statusbus.ParseAllowedSigners(content); err != nil {
		fmt.Fprintf(stderr, "warning: %s\n", plain.Line(err.Error()))
	}
}

// follow prepares to read both repositories.
func (r *statusFlags) follow(ctx context.Context) (*follower, error) {
	repo, credentials := r.reports()
	program := "holdfast/" + buildInfo().Version
	return newFollower(ctx,
		gitsource.Options{
			URL: r.repo, Branch: r.branch, Path: r.path, CredentialsDir: r.credentials, Poll: watchBranch, UserAgent: program,
			AcceptHistory: func(s *gitsource.Snapshot) (string, error) { return fleet.AcceptHistory(s) },
		},
		gitsource.Options{URL: repo, CredentialsDir: credentials, UserAgent: program},
	)
}

// once shows what is known as soon as all of it is.
func (r *statusFlags) once(only selection, out, stderr io.Writer) shower {
	return func(s *sight) (bool, error) {
		if !s.complete() {
			return false, nil
		}
		o := overview.New(s.input(clock(), only))
		if o.All == 0 && len(o.Problems) > 0 {
			return true, errors.New(strings.Join(o.Problems, "\n"))
		}
		if err := r.known(o, s); err != nil {
			return true, err
		}
		var err error
		if r.output == outputJSON {
			r.warn(o, stderr)
			err = o.JSON(out, false)
		} else {
			err = printTable(o, out)
		}
		if err == nil && len(o.Problems) > 0 {
			err = errors.New("not all could be read")
		}
		return true, err
	}
}

// warn says what JSON has no place for.
func (r *statusFlags) warn(o *overview.Overview, stderr io.Writer) {
	for _, text := range slices.Concat(o.Problems, o.Warnings()) {
		fmt.Fprintf(stderr, "warning: %s\n", plain.Line(text))
	}
}

// known makes sure that the cluster that is asked for exists.
func (r *statusFlags) known(o *overview.Overview, s *sight) error {
	if r.cluster == "" || len(o.Rows) > 0 || len(o.Problems) > 0 || r.selector != "" {
		return nil
	}
	all := overview.New(s.input(clock(), nil))
	names := make([]string, 0, len(all.Rows))
	for i := range all.Rows {
		names = append(names, all.Rows[i].Cluster)
	}
	slices.Sort(names)
	return misuse(unknown("cluster", r.cluster, names))
}

// printTable prints for a terminal of its size, or a file.
func printTable(o *overview.Overview, out io.Writer) error {
	w := bufio.NewWriter(out)
	if err := o.Text(w, lookOf(out)); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// lookOf is how to print on a terminal: as wide as it is, folded if it is not tall enough, and in colour. Other
// output is plain and whole.
func lookOf(out io.Writer) overview.Look {
	f, ok := out.(*os.File)
	if !ok || !isTerminal(out) {
		return overview.Look{}
	}
	look := overview.Look{Colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if width, height, err := term.GetSize(int(f.Fd())); err == nil {
		look.Width, look.Height = width, max(height-1, 1) // the prompt takes a line
	}
	return look
}
