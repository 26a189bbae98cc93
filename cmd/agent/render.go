package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/internal/fleet"
	"github.com/holdfast-dev/holdfast/internal/kube"
	"github.com/holdfast-dev/holdfast/internal/plain"
	"github.com/holdfast-dev/holdfast/internal/render"
	"github.com/holdfast-dev/holdfast/internal/spell"
)

const renderLong = `Print what one cluster should have, as YAML.

This is what the agent of that cluster would apply: the apps placed there, each
with the overlay, the facts and the share of replicas that the cluster gets.
It needs no cluster, no network and no credentials.

Without --rev the files are read as they are on disk, uncommitted changes
included; of a bare repository it is HEAD. With --rev it is that commit.

The values of Secrets are masked. What is wrong with one app or object goes to
standard error by name, the others are still printed, and the exit code is 3.`

const renderExample = `  # What a cluster runs, by the files as they are on disk
  holdfast render --repo . --cluster us-east-1

  # One app at a commit
  holdfast render --repo . --rev HEAD~1 --cluster us-east-1 --app storefront

  # What an uncommitted change does to a cluster
  diff <(holdfast render --rev HEAD --cluster us-east-1) <(holdfast render --cluster us-east-1)`

// renderFlags are the flags of render.
type renderFlags struct {
	checkout

	cluster, app string
	showSecrets  bool
}

func newRender() *cobra.Command {
	var r renderFlags
	cmd := &cobra.Command{
		Use:     "render --repo DIR --cluster NAME",
		Short:   "Print what one cluster should have, as YAML",
		Long:    renderLong,
		Example: renderExample,
		Args:    noArgs,
		RunE: filled(func(ctx context.Context, stdout, stderr io.Writer) error {
			out := bufio.NewWriter(stdout)
			err := r.run(ctx, out, stderr)
			if flushErr := out.Flush(); flushErr != nil {
				err = errors.Join(err, fmt.Errorf("write the output: %w", flushErr))
			}
			return err
		}),
	}
	f := cmd.Flags()
	f.SortFlags = false
	r.declare(cmd, "`DIR` of the fleet repository on this machine: a clone, a folder in it, or a bare repository")
	f.StringVar(&r.rev, "rev", "", "`REV`: a commit, branch or tag (default: the files on disk)")
	f.StringVar(&r.cluster, "cluster", "", "`NAME` of the cluster")
	f.StringVar(&r.app, "app", "", "`APP`: only this one (default: all)")
	f.BoolVar(&r.showSecrets, "show-secrets", false, "print the values of Secrets")
	nameEnv(f)
	r.completeNames(cmd, "cluster", clusterNames)
	r.completeNames(cmd, "app", appNames)
	return cmd
}

// run prints the objects to out and all that is wrong to stderr.
func (r *renderFlags) run(ctx context.Context, out, stderr io.Writer) error {
	if r.cluster == "" {
		return misusef("--cluster is required")
	}
	o, err := r.open()
	if err != nil {
		return err
	}
	defer o.close()
	cluster, err := r.find(o.fleet)
	if err != nil {
		return err
	}
	res, err := render.Cluster(ctx, render.ClusterRequest{
		Head: o.tree, HeadCommit: o.commit, Fleet: r.only(o.fleet), Name: cluster.Name, Instance: kube.DefaultInstance,
	})
	if err != nil {
		return err
	}
	faults := r.problems(o.fleet, stderr)
	for i := range res.Apps {
		app := &res.Apps[i]
		report(app, stderr, &faults)
		if err := render.Print(out, app.Objects, render.PrintOptions{ShowSecrets: r.showSecrets}); err != nil {
			faults.add(stderr, app.App.Name, err.Error())
		}
	}
	for _, d := range res.Duplicates() {
		for _, app := range d.Apps {
			faults.add(stderr, app, fmt.Sprintf("%s is declared by several apps: %s", render.Name(d.ID), strings.Join(d.Apps, ", ")))
		}
	}
	r.explainNothing(o.fleet, cluster, res, stderr)
	return faults.err()
}

// find returns the cluster, and checks that the app is there.
func (r *renderFlags) find(f *fleet.Fleet) (*fleet.Cluster, error) {
	cluster, ok := f.Cluster(r.cluster)
	if !ok && f.ClusterUnknown(r.cluster) {
		return nil, fmt.Errorf("cluster %q has a file that cannot be used:\n%s", r.cluster, lines(f, func(p fleet.Problem) bool {
			return p.Kind == fleet.KindCluster && p.Name == r.cluster
		}))
	}
	if !ok {
		return nil, misuse(unknown("cluster", r.cluster, clusterNames(f)))
	}
	if r.app == "" {
		return cluster, nil
	}
	if _, ok := f.App(r.app); !ok {
		err := unknown("app", r.app, appNames(f))
		if f.AppUnknown(r.app) {
			return nil, fmt.Errorf("%w\nit may be in a file that cannot be used:\n%s", err, lines(f, func(p fleet.Problem) bool {
				return p.Kind == fleet.KindApp && (p.Name == r.app || p.Name == "")
			}))
		}
		return nil, misuse(err)
	}
	return cluster, nil
}

// only leaves out the apps that are not asked for. Placement is not changed by it: no app's depends on
// another app.
func (r *renderFlags) only(f *fleet.Fleet) *fleet.Fleet {
	if r.app == "" {
		return f
	}
	one := *f
	one.Apps = slices.DeleteFunc(slices.Clone(f.Apps), func(a *fleet.App) bool { return a.Name != r.app })
	return &one
}

// problems reports the fleet's broken files: an app's counts as a failed app, unless another one is
// asked for; that of another cluster is only a warning.
func (r *renderFlags) problems(f *fleet.Fleet, stderr io.Writer) (faults faults) {
	for _, p := range f.Problems {
		switch {
		case p.Kind != fleet.KindApp:
			fmt.Fprintf(stderr, "warning: %s\n", plain.Line(p.String()))
		case r.app == "" || p.Name == r.app:
			name := p.Name
			if name == "" {
				name = p.Path
			}
			faults.add(stderr, name, p.String())
		}
	}
	return faults
}

// report writes down what is wrong with one app.
func report(app *render.AppResult, stderr io.Writer, faults *faults) {
	name := app.App.Name
	if app.Err != nil {
		faults.add(stderr, name, app.Err.Error())
	}
	for _, e := range app.ObjectErrors {
		faults.add(stderr, name, e.Error())
	}
	for _, w := range app.Warnings {
		fmt.Fprintf(stderr, "warning: app %q: %s\n", name, plain.Line(w))
	}
	if app.Err == nil && app.Placement.Short != "" {
		fmt.Fprintf(stderr, "warning: app %q: %s\n", name, app.Placement.Short)
	}
}

// explainNothing says why there is no output, when no app is placed here.
func (r *renderFlags) explainNothing(f *fleet.Fleet, c *fleet.Cluster, res *render.ClusterResult, stderr io.Writer) {
	for i := range res.Apps {
		if res.Apps[i].Placed || res.Apps[i].Err != nil {
			return
		}
	}
	drain, drained := f.Drained(c)
	switch {
	case drained && drain.Reason != "":
		fmt.Fprintf(stderr, "note: cluster %q is drained: %s\n", c.Name, plain.Line(drain.Reason))
	case drained:
		fmt.Fprintf(stderr, "note: cluster %q is drained\n", c.Name)
	case r.app != "" && len(res.Apps) == 1:
		where := strings.Join(res.Apps[0].Placement.Clusters, ", ")
		if where == "" {
			where = "none"
		}
		fmt.Fprintf(stderr, "note: app %q is not placed on cluster %q; it is placed on: %s\n", r.app, c.Name, where)
	default:
		fmt.Fprintf(stderr, "note: no app is placed on cluster %q\n", c.Name)
	}
}

// faults are the names of the apps that failed.
type faults struct{ apps []string }

// add writes one fault down. Text that names the app already, or its file, is left as it is.
func (f *faults) add(stderr io.Writer, app, text string) {
	if !slices.Contains(f.apps, app) {
		f.apps = append(f.apps, app)
	}
	prefix := fmt.Sprintf("app %q: ", app)
	if strings.HasPrefix(text, prefix) || strings.HasPrefix(text, "apps/") || strings.HasPrefix(text, "clusters/") {
		prefix = ""
	}
	fmt.Fprintf(stderr, "error: %s%s\n", prefix, plain.Line(text))
}

// err says how many apps failed; nil if none did.
func (f *faults) err() error {
	switch len(f.apps) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("app %q failed", f.apps[0])
	default:
		slices.Sort(f.apps)
		return fmt.Errorf("%d apps failed: %s", len(f.apps), strings.Join(f.apps, ", "))
	}
}

// unknown is the error for a name that the fleet does not have.
func unknown(kind, name string, known []string) error {
	if len(known) == 0 {
		return fmt.Errorf("unknown %s %q: the fleet has none", kind, name)
	}
	const most = 20
	list := strings.Join(known, ", ")
	if len(known) > most {
		list = fmt.Sprintf("%s and %d more", strings.Join(known[:most], ", "), len(known)-most)
	}
	return fmt.Errorf("unknown %s %q%s; known: %s", kind, name, spell.DidYouMean(name, known), list)
}

func lines(f *fleet.Fleet, keep func(fleet.Problem) bool) string {
	var found []string
	for _, p := range f.Problems {
		if keep(p) {
			found = append(found, "  "+p.String())
		}
	}
	return strings.Join(found, "\n")
}

func clusterNames(f *fleet.Fleet) (names []string) {
	for _, c := range f.Clusters {
		names = append(names, c.Name)
	}
	return names
}

func appNames(f *fleet.Fleet) (names []string) {
	for _, a := range f.Apps {
		names = append(names, a.Name)
	}
	return names
}

// completeNames completes a flag with names from the repository that the other flags name.
func (c *checkout) completeNames(cmd *cobra.Command, flag string, names func(*fleet.Fleet) []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if err := fill(cmd); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		o, err := c.open()
		if err != nil {
			cobra.CompDebugln(err.Error(), false)
			return nil, cobra.ShellCompDirectiveError
		}
		defer o.close()
		matching := slices.DeleteFunc(names(o.fleet), func(name string) bool { return !strings.HasPrefix(name, prefix) })
		return matching, cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // no such flag: a mistake of ours
	}
}
