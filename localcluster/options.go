package localcluster

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Options say what cluster Start makes. The zero value is a full cluster with three
// nodes in three zones, in a fresh temporary folder.
type Options struct {
	// Name is used in the kubeconfig, in nodes' names and in messages; a DNS label of at
	// most 40 characters. Default "local".
	Name string
	// Bare leaves out the controllers, the scheduler and the nodes: etcd and the API server
	// only. It starts faster and takes half the memory. Nothing is garbage
	// collected, no namespace finishes deleting, no Pod is made or run, and
	// a Pod needs no ServiceAccount.
	Bare bool
	// Dir holds the cluster's files. It is made if missing, must be empty, and is
	// removed by Stop. Default: a fresh folder in os.TempDir.
	Dir string
	// KeepDir leaves Dir (logs, audit log, kubeconfigs, data) in place after Stop or a
	// crash of the caller.
	KeepDir bool
	// Nodes of a full cluster. Default: ZonalNodes(Name, 3).
	Nodes []Node
	// APIServerFlags are added after the API server's own flags and so win over them.
	APIServerFlags []string
	// Log receives what Start and Stop do. Default: nothing, except that a first build,
	// which takes minutes, is told to os.Stderr.
	Log io.Writer
}

// Node is a node that kwok plays: always Ready, with room for any number of Pods.
type Node struct {
	Name string
	// Labels are added to kubernetes.io/hostname, os and arch.
	Labels map[string]string
}

// ZonalNodes returns n nodes in a region, in turn in the zones <region>a, <region>b and
// <region>c, with the well-known topology labels.
func ZonalNodes(region string, n int) []Node {
	nodes := make([]Node, n)
	for i := range nodes {
		zone := region + string(rune('a'+i%3))
		nodes[i] = Node{
			Name: fmt.Sprintf("%s-node-%d", region, i+1),
			Labels: map[string]string{
				"topology.kubernetes.io/region": region,
				"topology.kubernetes.io/zone":   zone,
			},
		}
	}
	return nodes
}

var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)

// complete returns o with its defaults filled in, or why it cannot be used.
func (o Options) complete() (Options, error) {
	if o.Name == "" {
		o.Name = "local"
	}
	if err := checkName(o.Name); err != nil {
		return o, err
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.Bare && len(o.Nodes) > 0 {
		return o, errors.New("a bare cluster has no nodes: it has nothing to run them")
	}
	if !o.Bare && o.Nodes == nil {
		o.Nodes = ZonalNodes(o.Name, 3)
	}
	nodes := make([]Node, len(o.Nodes))
	for i, n := range o.Nodes {
		labels := map[string]string{"kubernetes.io/hostname": n.Name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
		maps.Copy(labels, n.Labels)
		nodes[i] = Node{Name: n.Name, Labels: labels}
	}
	o.Nodes = nodes
	return o, nil
}

// ErrName marks a name that no cluster can have.
var ErrName = errors.New("not a DNS label of at most 40 characters")

func checkName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("cluster name %q: %w", name, ErrName)
	}
	return nil
}

// makeDir returns the folder for the cluster's files, which only its owner may enter: it
// holds keys, and etcd's socket.
func (o Options) makeDir() (string, error) {
	if o.Dir == "" {
		return os.MkdirTemp("", "localcluster-"+o.Name+"-")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		names := make([]string, 0, len(entries))
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return "", fmt.Errorf("folder %s is not empty: it has %s", dir, strings.Join(names, ", "))
	}
	return dir, os.Chmod(dir, 0o700)
}
