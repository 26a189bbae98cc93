// Command localcluster starts and stops real Kubernetes control planes on the loopback
// address, for developers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/holdfast-dev/holdfast/localcluster"
)

const usage = `Real Kubernetes control planes on loopback, without containers: etcd, kube-apiserver,
kube-controller-manager, kube-scheduler and kwok, built from Go modules on first use.

Usage:
  localcluster up NAME [--bare]    start a cluster that stays until it is taken down
  localcluster down NAME           stop it and remove everything of it
  localcluster list                name, state, address and kubeconfig of each
  localcluster build               build the servers now (minutes, once) and start nothing

Flags of up:
  --bare            etcd and the API server only: no controllers, no nodes, no Pods
  --nodes N         number of nodes, over three zones (default 3)
  --region NAME     the nodes' region (default: the cluster's name)

Exit codes: 0 done; 2 wrong use (also: up of a cluster that exists, down of one that
does not); 3 it could not be done.

The servers are kept in the user's cache folder, or in $` + localcluster.CacheEnv + `.
`

// The exit codes are chosen in main alone.
const (
	exitUsage  = 2
	exitFailed = 3
)

// errUsage marks a wrong use of the command.
var errUsage = errors.New("wrong use")

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	switch {
	case err == nil:
		return
	case errors.Is(err, errUsage), errors.Is(err, localcluster.ErrName),
		errors.Is(err, localcluster.ErrExists), errors.Is(err, localcluster.ErrNoCluster):
		fmt.Fprintf(os.Stderr, "localcluster: %v\nRun \"localcluster --help\" for how to use it.\n", err)
		os.Exit(exitUsage)
	default:
		fmt.Fprintf(os.Stderr, "localcluster: %v\n", err)
		os.Exit(exitFailed)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: no command given", errUsage)
	}
	verb, args := args[0], args[1:]
	flags := flag.NewFlagSet(verb, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var bare bool
	var nodes int
	var region string
	if verb == "up" {
		flags.BoolVar(&bare, "bare", false, "")
		flags.IntVar(&nodes, "nodes", 3, "")
		flags.StringVar(&region, "region", "", "")
	}
	names, err := parse(flags, args)
	if errors.Is(err, flag.ErrHelp) || verb == "help" || verb == "--help" || verb == "-h" {
		_, err := io.WriteString(stdout, usage)
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	wantName := verb == "up" || verb == "down"
	if wantName && len(names) != 1 || !wantName && len(names) != 0 {
		return fmt.Errorf("%w: %s takes %d names, got %d", errUsage, verb, map[bool]int{true: 1}[wantName], len(names))
	}
	switch verb {
	case "up":
		options := localcluster.Options{Name: names[0], Bare: bare, Log: stderr}
		if !bare {
			if region == "" {
				region = names[0]
			}
			if nodes < 0 {
				return fmt.Errorf("%w: --nodes %d", errUsage, nodes)
			}
			options.Nodes = localcluster.ZonalNodes(region, nodes)
		}
		return up(ctx, options, stdout)
	case "down":
		if err := localcluster.Down(names[0]); err != nil {
			return err
		}
		_, err := fmt.Fprintf(stdout, "stopped %s\n", names[0])
		return err
	case "list":
		return list(ctx, stdout)
	case "build":
		dir, err := localcluster.Build(ctx, stderr)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(stdout, dir)
		return err
	}
	return fmt.Errorf("%w: unknown command %q", errUsage, verb)
}

// parse lets flags stand before and after names, which package flag alone does not.
func parse(flags *flag.FlagSet, args []string) (names []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return names, nil
		}
		names = append(names, flags.Arg(0))
		args = flags.Args()[1:]
	}
}

func up(ctx context.Context, options localcluster.Options, stdout io.Writer) error {
	info, err := localcluster.Up(ctx, options)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s is ready at %s\n\n  export KUBECONFIG=%s\n\nStop it: localcluster down %s\n",
		info.Name, info.URL, info.Kubeconfig, info.Name)
	return err
}

func list(ctx context.Context, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	infos, err := localcluster.List(ctx)
	if err != nil {
		return err
	}
	if len(infos) == 0 {
		_, err := fmt.Fprintln(stdout, "no clusters; start one: localcluster up NAME")
		return err
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(table, "NAME\tSTATE\tURL\tKUBECONFIG"); err != nil {
		return err
	}
	for _, i := range infos {
		if _, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", i.Name, i.State, i.URL, i.Kubeconfig); err != nil {
			return err
		}
	}
	return table.Flush()
}
