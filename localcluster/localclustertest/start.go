// Package localclustertest starts local clusters for tests.
//
// A cluster costs seconds and hundreds of megabytes, so a package of tests starts one and gives
// each test a namespace of its own, and starts another only where a test breaks the
// cluster on purpose:
//
//	var shared = localclustertest.Shared(localcluster.Options{Bare: true})
//
//	func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }
//
//	func TestApply(t *testing.T) {
//		c := shared.Cluster(t) // started by the first test that asks
//		...
//	}
package localclustertest

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/holdfast-dev/holdfast/localcluster"
)

// tailLines of each server's log are shown when a test fails.
const tailLines = 15

// Start starts a cluster for one test, which it fails if that does not work, and stops it when the
// test ends. If the test fails, the end of the servers' logs is in its output. With -short
// the test is skipped.
func Start(t testing.TB, options localcluster.Options) *localcluster.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a local control plane")
	}
	c, err := localcluster.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs of local cluster %s:\n%s", c.Name(), c.LogTail(tailLines))
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// SharedCluster is one cluster for all tests of a package.
type SharedCluster struct {
	options localcluster.Options
	once    sync.Once
	cluster *localcluster.Cluster
	err     error
}

// Shared returns a cluster that the first test to ask for it starts. A run of only other tests
// never pays for it.
func Shared(options localcluster.Options) *SharedCluster {
	return &SharedCluster{options: options}
}

// Run runs the package's tests and then stops the cluster. It returns the exit code for TestMain.
func (s *SharedCluster) Run(m *testing.M) int { return Run(m, s) }

// Run runs the package's tests and then stops these clusters. It returns the exit code for TestMain.
func Run(m *testing.M, clusters ...*SharedCluster) int {
	code := m.Run()
	failed := code != 0
	for _, s := range clusters {
		if s.cluster == nil {
			continue
		}
		if failed {
			fmt.Fprintf(os.Stderr, "logs of local cluster %s:\n%s", s.cluster.Name(), s.cluster.LogTail(tailLines))
		}
		if err := s.cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// Cluster returns the running cluster, which t must leave as it found it. With -short the test is skipped.
func (s *SharedCluster) Cluster(t testing.TB) *localcluster.Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a local control plane")
	}
	// The test's own context ends before the other tests do, but Start uses it only to wait.
	s.once.Do(func() { s.cluster, s.err = localcluster.Start(t.Context(), s.options) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.cluster
}
