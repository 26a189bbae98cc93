package localclustertest_test

import (
	"os"
	"testing"

	"github.com/holdfast-dev/holdfast/localcluster"
	"github.com/holdfast-dev/holdfast/localcluster/localclustertest"
)

var shared = localclustertest.Shared(localcluster.Options{Name: "shared", Bare: true})

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

func TestSharedIsOneCluster(t *testing.T) {
	var urls []string
	for range 2 {
		urls = append(urls, shared.Cluster(t).URL())
	}
	if urls[0] != urls[1] {
		t.Errorf("two clusters, at %s and %s", urls[0], urls[1])
	}
}

func TestStartStopsWithItsTest(t *testing.T) {
	var dir string
	t.Run("inner", func(t *testing.T) {
		dir = localclustertest.Start(t, localcluster.Options{Bare: true}).Dir()
	})
	if dir == "" {
		t.SkipNow() // with -short
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("folder after the test: %v", err)
	}
}
