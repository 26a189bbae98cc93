// Command chartlint lints and renders a Helm chart under each of its ci/*-values.yaml, as `helm lint --strict`
// and `helm template` would, without the helm program:
//
//	go run ./cmd/chartlint ../charts/agent
//
// It exits with 1 if anything is wrong, and with 2 if it is called wrongly.
package main

import (
	"fmt"
	"os"

	"github.com/holdfast-dev/holdfast/charttest"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: chartlint CHART")
		os.Exit(2)
	}
	if err := lint(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func lint(chart string) error {
	all, err := charttest.CIValues(chart)
	if err != nil {
		return err
	}
	for _, values := range all {
		if err := charttest.Lint(chart, values.Values); err != nil {
			return fmt.Errorf("values %q: %w", values.Name, err)
		}
		if _, _, err := charttest.Render(chart, values.Values); err != nil {
			return fmt.Errorf("values %q: %w", values.Name, err)
		}
		fmt.Fprintf(os.Stderr, "%s with values %q: well\n", chart, values.Name)
	}
	return nil
}
