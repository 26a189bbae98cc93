package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/localcluster"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		samples []float64
		q, want float64
	}{
		{"one", []float64{3}, 0.5, 3},
		{"odd", []float64{3, 1, 2}, 0.5, 2},
		{"even", []float64{4, 1, 2, 3}, 0.5, 2.5},
		{"p99 of few is the largest", []float64{1, 2, 9}, 0.99, 9},
		{"p99 of many leaves one out", seq(200), 0.99, 198},
	} {
		if got := quantile(c.samples, c.q); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("a median of nothing")
	}
}

func seq(n int) []float64 {
	s := make([]float64, n)
	for i := range s {
		s[i] = float64(i + 1)
	}
	return s
}

func TestReached(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		row       row
		ok, known bool
	}{
		{"no target", row{Ours: []float64{1}}, false, false},
		{"no figure", row{Target: atMost(1)}, false, false},
		{"nothing to compare with", row{Ours: []float64{1}, Target: ratioAtMost(1)}, false, false},
		{"at the limit", row{Ours: []float64{1, 2, 3}, Target: atMost(2)}, true, true},
		{"the worst counts", row{Ours: []float64{1, 2, 3}, Target: worstAtMost(2)}, false, true},
		{"ratio", row{Ours: []float64{3}, Theirs: []float64{2}, Target: ratioAtMost(1.5)}, true, true},
		{"ratio missed", row{Ours: []float64{4}, Theirs: []float64{2}, Target: ratioAtMost(1.5)}, false, true},
	} {
		if ok, known := c.row.reached(); known != c.known || known && ok != c.ok {
			t.Errorf("%s: %t, %t, want %t, %t", c.name, ok, known, c.ok, c.known)
		}
	}
}

// The page around the markers stays as it is.
func TestInsert(t *testing.T) {
	t.Parallel()
	begin := clusterSuite.beginMarker()
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte("before\n"+begin+"stale\n"+endMarker+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := results{suite: clusterSuite, Rows: []row{{Workload: "w", What: "measure", Unit: "ms", Ours: []float64{12.34}}}}
	for range 2 {
		if err := r.insert(file); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := string(b)
	if !strings.HasPrefix(got, "before\n"+begin) || !strings.HasSuffix(got, endMarker+"after\n") ||
		strings.Contains(got, "stale") || strings.Count(got, "12.3 ms") != 1 {
		t.Errorf("got:\n%s", got)
	}
}

// Pages of a LIST count once, and a watch that begins with everything is a LIST.
func TestMostLists(t *testing.T) {
	t.Parallel()
	request := func(verb, resource, uri string) localcluster.Request {
		return localcluster.Request{Verb: verb, Resource: localcluster.Resource{Resource: resource}, URI: uri}
	}
	got := mostLists([]localcluster.Request{
		request("list", "configmaps", "/api/v1/configmaps?limit=500"),
		request("list", "configmaps", "/api/v1/configmaps?limit=500&continue=x"),
		request("watch", "configmaps", "/api/v1/configmaps?watch=true&sendInitialEvents=true"),
		request("watch", "configmaps", "/api/v1/configmaps?watch=true&resourceVersion=5"),
		request("list", "services", "/api/v1/services"),
		request("list", "appstatuses", "/apis/holdfast.dev/v1alpha1/appstatuses"),
	})
	if got != 2 {
		t.Errorf("%d LISTs, want 2", got)
	}
}
