package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/internal/kube"
)

// maxClusterName leaves room for what is put before and after a cluster's name in names of objects.
const maxClusterName = 55

// settings are the agent's flags as they are given.
type settings struct {
	agent.Options

	config              string
	logFormat, logLevel string
}

// newSettings declares the agent's flags.
func newSettings(f *pflag.FlagSet) *settings {
	var s settings
	f.SortFlags = false
	f.StringVar(&s.Cluster, "cluster", "", "this cluster's `NAME`: its folder below clusters/ in the fleet repository")
	f.StringVar(&s.Repo, "repo", "", "`URL` of the fleet repository: https://, ssh://, user@host:path or file://")
	f.StringVar(&s.Branch, "branch", "main", "`BRANCH` to follow")
	f.StringVar(&s.Path, "path", ".", "`FOLDER` of the repository that holds fleet.yaml, clusters/ and apps/")
	f.StringVar(&s.Credentials, "credentials", "", "`FOLDER` with the files of a mounted Secret for the repository")
	f.StringVar(&s.Kubeconfig, "kubeconfig", "", "`FILE` that names the cluster (default: $KUBECONFIG, else the Pod's service account)")
	f.DurationVar(&s.Poll, "poll", 15*time.Second, "how often the branch is looked at, such as 15s or 1m; a webhook makes the wait shorter")
	f.StringVar(&s.DataDir, "data-dir", "",
		"`FOLDER` for the clone, one for each agent; can be lost, then it is cloned anew (default: holdfast/<cluster> in the user's cache folder)")
	f.StringVar(&s.Namespace, "namespace", kube.DefaultInstance,
		"the agent's own `NAMESPACE`, which holds its inventory; also the mark of what it owns, so another one is another owner")
	f.StringVar(&s.Listen, "listen", ":8080", "`ADDRESS` of /healthz, /readyz, /metrics and /api/v1; \"\" for none")
	f.StringVar(&s.StatusRepo, "status-repo", "",
		"`URL` of the repository for status reports, to which the agent pushes; \"none\" for no reports: then gates that wait for other clusters hold (default: the fleet repository)")
	f.StringVar(&s.StatusCredentials, "status-credentials", "", "`FOLDER` as --credentials, for --status-repo")
	f.BoolVar(&s.DryRun, "dry-run", false, "plan against the live cluster and report, but write nothing: for a cluster that already runs things")
	f.StringVar(&s.logFormat, "log-format", formatAuto, "`FORMAT` of the log: json, console, or auto: console on a terminal, else json")
	f.StringVar(&s.logLevel, "log-level", "info", "`LEVEL` from which on is logged: debug, info, warn or error")
	f.StringVar(&s.config, "config", "", "YAML `FILE` with settings, a key for each flag; it is watched")
	return &s
}

// options checks all settings and returns all that is wrong with them.
func (s *settings) options(stderr io.Writer) (agent.Options, error) {
	o := s.Options
	o.Version = buildInfo().Version
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	o.Log, err = newLogger(stderr, s.logFormat, s.logLevel)
	check(err)
	if o.DataDir == "" && o.Cluster != "" {
		o.DataDir, err = defaultDataDir(o.Cluster)
		check(err)
	}
	if o.DataDir == "" {
		o.DataDir = "unknown" // said already, or only the cluster is missing
	}
	check(clusterName(o.Cluster))
	check(o.Validate())
	check(noSecret("repo", o.Repo))
	if o.StatusRepo != agent.NoStatusRepo {
		check(noSecret("status-repo", o.StatusRepo))
	}
	check(folder("credentials", o.Credentials))
	check(folder("status-credentials", o.StatusCredentials))
	check(listenAddress(o.Listen))
	if o.Namespace != "" && len(validation.IsDNS1123Label(o.Namespace)) > 0 {
		check(fmt.Errorf("--namespace %q: want lower-case letters, digits and -, at most 63", o.Namespace))
	}
	return o, errors.Join(errs...)
}

func defaultDataDir(cluster string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("--data-dir is required: %w", err)
	}
	return filepath.Join(cache, "holdfast", cluster), nil
}

func clusterName(name string) error {
	if name == "" {
		return nil // said by Validate
	}
	if len(name) > maxClusterName || len(validation.IsDNS1123Label(name)) > 0 {
		return fmt.Errorf("--cluster %q: want lower-case letters, digits and -, at most %d", name, maxClusterName)
	}
	return nil
}

// noSecret refuses a URL that carries a secret. The URL is not repeated in the error.
func noSecret(flag, url string) error {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return nil // user@host:path and plain folders have no place for a password
	}
	host, _, _ := strings.Cut(rest, "/")
	at := strings.LastIndex(host, "@")
	if at < 0 {
		// A password with a slash in it ends up behind the host.
		if at = strings.LastIndex(rest, "@"); at < 0 || !strings.Contains(rest[:at], ":") {
			return nil
		}
		host = rest
	}
	user := host[:at]
	// What stands alone before the @ is the account for SSH; for HTTP it is a token as often as not.
	if strings.EqualFold(scheme, "ssh") && !strings.Contains(user, ":") {
		return nil
	}
	return fmt.Errorf("--%s holds a user name or password, which would end up in process lists and logs: "+
		"put them into a folder, in files named username and password, and name it with --%s", flag, credentialsFor(flag))
}

func credentialsFor(flag string) string {
	if flag == "status-repo" {
		return "status-credentials"
	}
	return "credentials"
}

func folder(flag, path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("--%s %s: not a folder", flag, path)
	}
	return nil
}

func listenAddress(address string) error {
	if address == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("--listen %q: want HOST:PORT or :PORT", address)
	}
	return nil
}
