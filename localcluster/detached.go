package localcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// infoFile describes a detached cluster, in its folder.
const infoFile = "cluster.json"

// Sentinel errors for callers that branch on them.
var (
	ErrExists    = errors.New("a cluster of that name exists")
	ErrNoCluster = errors.New("no cluster of that name exists")
)

// Info describes a detached cluster.
type Info struct {
	Name       string    `json:"name"`
	URL        string    `json:"url"`
	Kubeconfig string    `json:"kubeconfig"`
	Dir        string    `json:"dir"`
	Bare       bool      `json:"bare"`
	Started    time.Time `json:"started"`
	// State is "ready", "starting", "not ready: <why>" or "stopped" (its processes are gone, as after a reboot).
	State string `json:"-"`
}

// Up starts a cluster that outlives the caller, until Down ends it. Its folder is below
// $XDG_STATE_HOME or ~/.local/state. Options.Dir and KeepDir do not apply. The error is
// ErrExists if there is one of that name, running or not.
func Up(ctx context.Context, options Options) (Info, error) {
	dir, err := detachedDir(options.Name)
	if err != nil {
		return Info{}, err
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return Info{}, errors.Join(fmt.Errorf("start local cluster %q: %w", options.Name, ErrExists), err)
	}
	options.Dir, options.KeepDir = dir, false
	// Nobody follows this audit log, and the cluster may stay for weeks.
	options.APIServerFlags = append([]string{"--audit-log-maxsize=50", "--audit-log-maxbackup=1"}, options.APIServerFlags...)
	c, err := Start(ctx, options)
	if err != nil {
		return Info{}, err
	}
	info := Info{Name: c.name, URL: c.URL(), Kubeconfig: c.Kubeconfig(), Dir: dir, Bare: options.Bare, Started: time.Now().Round(time.Second), State: "ready"}
	if err := c.detach(info); err != nil {
		return Info{}, errors.Join(fmt.Errorf("detach local cluster %q: %w", options.Name, err), c.Stop())
	}
	return info, nil
}

func (c *Cluster) detach(info Info) error {
	data, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.dir, infoFile), append(data, '\n'), 0o600); err != nil {
		return err
	}
	return c.sweeper.detach(c.dir)
}

// Down ends a detached cluster and removes its folder. The error is ErrNoCluster if there is none.
func Down(name string) error {
	dir, err := detachedDir(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stop local cluster %q: %w", name, ErrNoCluster)
	}
	if err := stopDetached(dir); err != nil {
		return fmt.Errorf("stop local cluster %q: %w", name, err)
	}
	return nil
}

// List returns the detached clusters, by name, and asks each how it is.
func List(ctx context.Context) ([]Info, error) {
	root, err := detachedRoot()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list local clusters: %w", err)
	}
	var infos []Info
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		dir := filepath.Join(root, e.Name())
		info := Info{Name: e.Name(), Dir: dir}
		data, err := os.ReadFile(filepath.Join(dir, infoFile))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			info.State = "starting"
		case err != nil:
			return nil, fmt.Errorf("read local cluster %q: %w", e.Name(), err)
		default:
			if err := json.Unmarshal(data, &info); err != nil {
				return nil, fmt.Errorf("read local cluster %q: %w", e.Name(), err)
			}
			info.State = detachedState(ctx, info)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// detachedState asks the sweeper whether the processes live, and the API server whether it is ready.
func detachedState(ctx context.Context, info Info) string {
	f, err := openFIFO(filepath.Join(info.Dir, stopFIFO))
	if errors.Is(err, errNoReader) || errors.Is(err, fs.ErrNotExist) {
		return "stopped"
	}
	if err != nil {
		return "not ready: " + err.Error()
	}
	if err := f.Close(); err != nil {
		return "not ready: " + err.Error()
	}
	ca, err := os.ReadFile(filepath.Join(info.Dir, "ca.crt"))
	if err != nil {
		return "not ready: " + err.Error()
	}
	client, err := newClient(ca, keyPair{}) // every user may ask for readiness, and so may nobody
	if err == nil {
		err = request(ctx, client, "GET", info.URL+"/readyz", nil, nil)
	}
	if err != nil {
		return "not ready: " + err.Error()
	}
	return "ready"
}

func detachedDir(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	root, err := detachedRoot()
	return filepath.Join(root, name), err
}

func detachedRoot() (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if state == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the folder of local clusters: %w", err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "holdfast", "localcluster"), nil
}
