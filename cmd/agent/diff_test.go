package main

import (
	"os"
	"slices"
	"testing"
	"time"
)

// The scripts run this test's own program; what they expect holds dates.
func init() {
	if at, err := time.Parse(time.RFC3339, os.Getenv("TEST_NOW")); err == nil {
		clock = func() time.Time { return at }
	}
}

// TestAgain: which flags make the same comparison once more.
func TestAgain(t *testing.T) {
	for _, tc := range []struct {
		path, cluster string
		want          []string
	}{
		{".", "", nil},
		{"./", "", nil},
		{"fleet", "east", []string{"--path fleet", "--cluster east"}},
		{"my fleet", "", []string{"--path 'my fleet'"}},
	} {
		r := diffFlags{checkout: checkout{path: tc.path}, cluster: tc.cluster}
		if got := r.again(); !slices.Equal(got, tc.want) {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}
