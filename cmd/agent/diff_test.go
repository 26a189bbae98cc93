package main

import (
	"os"
	"time"
)

// The scripts run this test's own program; what they expect holds dates.
func init() {
	if at, err := time.Parse(time.RFC3339, os.Getenv("TEST_NOW")); err == nil {
		clock = func() time.Time { return at }
	}
}
