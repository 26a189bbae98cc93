package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"
)

// Options are everything that an agent is told from outside.
type Options struct {
	// Cluster is this cluster's name in the fleet repository.
	Cluster string
	// Repo is the fleet repository's URL, Branch the branch to follow and Path the folder of the
	// repository that is the fleet's root.
	Repo, Branch, Path string
	// Credentials is a folder with the files of a mounted Secret; "" = none.
	Credentials string
	// StatusRepo is the URL of the repository for status reports: "" = Repo, NoStatusRepo = no reports.
	// StatusCredentials is a folder as Credentials, "" = the same.
	StatusRepo, StatusCredentials string
	// Heartbeat is how often the cluster reports though nothing has changed; 0 = two minutes. Others take it for silent
	// after six minutes, however long this is.
	Heartbeat time.Duration
	// Kubeconfig is a file; "" = KUBECONFIG, else the Pod's own service account.
	Kubeconfig string
	// Poll is how often the branch is asked for.
	Poll time.Duration
	// DataDir holds the clone.
	DataDir string
	// Namespace is the agent's own, and the value of the instance label.
	Namespace string
	// Listen is the address of the HTTP server; "" = none.
	Listen string
	// StuckAfter is how long the loop may be silent before /healthz fails; 0 = a minute. The loop of an
	// idle agent turns every ten seconds.
	StuckAfter time.Duration
	// DryRun plans once against the live cluster, prints the plan to Out, and writes nothing.
	DryRun bool
	// Out is where results go: a dry run's plan.
	Out io.Writer
	// Version of the program.
	Version string
	// Log is where everything is logged.
	Log zerolog.Logger
}

func (o Options) statusRepo() string { return cmp.Or(o.StatusRepo, o.Repo) }

func (o Options) statusCredentials() string {
	if o.StatusRepo == "" {
		return cmp.Or(o.StatusCredentials, o.Credentials)
	}
	return o.StatusCredentials
}

// Validate returns all that is wrong with the options, in words that name the flag.
func (o Options) Validate() error {
	var errs []error
	need := func(flag, value string) {
		if value == "" {
			errs = append(errs, fmt.Errorf("--%s is required", flag))
		}
	}
	need("cluster", o.Cluster)
	need("repo", o.Repo)
	need("branch", o.Branch)
	need("data-dir", o.DataDir)
	need("namespace", o.Namespace)
	if o.Poll < time.Second {
		errs = append(errs, fmt.Errorf("--poll %s is too short: at least 1s", o.Poll))
	}
	return errors.Join(errs...)
}
