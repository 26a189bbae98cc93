package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/localcluster"
)

func TestUsage(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	for _, test := range []struct {
		name, args string
		out        string // part of the output
		err        error
	}{
		{"no command", "", "", errUsage},
		{"unknown command", "start x", "", errUsage},
		{"up without a name", "up", "", errUsage},
		{"up with two names", "up a b", "", errUsage},
		{"unknown flag", "up a --wide", "", errUsage},
		{"flag of another command", "down a --bare", "", errUsage},
		{"list with a name", "list a", "", errUsage},
		{"negative nodes", "up a --nodes -1", "", errUsage},
		{"impossible name", "up No_Name", "", localcluster.ErrName},
		{"down of none", "down nobody", "", localcluster.ErrNoCluster},
		{"empty list", "list", "no clusters", nil},
		{"help", "--help", "Exit codes", nil},
		{"help of a command", "up --help", "Exit codes", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(t.Context(), strings.Fields(test.args), &out, &out)
			if !errors.Is(err, test.err) { // nil only matches nil
				t.Errorf("error %v, want %v", err, test.err)
			}
			if !strings.Contains(out.String(), test.out) {
				t.Errorf("output %q, want it to have %q", out.String(), test.out)
			}
		})
	}
}

func TestUpListDown(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a local control plane")
	}
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	dir := filepath.Join(state, "holdfast", "localcluster", "dev")
	do := func(args string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), strings.Fields(args), &out, new(bytes.Buffer))
		return out.String(), err
	}
	t.Cleanup(func() {
		if err := localcluster.Down("dev"); err != nil && !errors.Is(err, localcluster.ErrNoCluster) {
			t.Error(err)
		}
	})

	out, err := do("up dev --bare")
	if err != nil {
		t.Fatal(err)
	}
	if want := "export KUBECONFIG=" + filepath.Join(dir, "kubeconfig"); !strings.Contains(out, want) {
		t.Errorf("output of up %q, want it to have %q", out, want)
	}
	if _, err := do("up dev"); !errors.Is(err, localcluster.ErrExists) {
		t.Errorf("second up: error %v, want %v", err, localcluster.ErrExists)
	}
	if out, err = do("list"); err != nil || !strings.Contains(out, "dev   ready  https://127.0.0.1:") {
		t.Errorf("list: %q, %v", out, err)
	}
	if _, err := do("down dev"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("folder after down: %v", err)
	}

	// After a reboot there is a folder but no process.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.json"), []byte(`{"name":"dev"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err = do("list"); err != nil || !strings.Contains(out, "dev   stopped") {
		t.Errorf("list of a stopped cluster: %q, %v", out, err)
	}
	if _, err := do("down dev"); err != nil {
		t.Error(err)
	}
}
