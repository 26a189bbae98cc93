package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/config"
)

func TestLoad(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/cache")
	t.Setenv("HOME", "/home/me")
	env := map[string]string{"HOLDFAST_BRANCH": "release", "HOLDFAST_POLL": "1m"}
	l := loader{
		lookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		given:     map[string]string{"cluster": "east", "poll": "30s"},
	}
	loaded, err := l.load(&config.File{Path: "c.yaml", Content: []byte("repo: file:///fleet\nbranch: other\ndry-run: true\nstatus-repo: none\n")})
	if err != nil {
		t.Fatal(err)
	}
	o := loaded.options
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"flag", o.Cluster, "east"},
		{"flag over environment", o.Poll, 30 * time.Second},
		{"environment over file", o.Branch, "release"},
		{"file", o.Repo, "file:///fleet"},
		{"file", o.DryRun, true},
		{"default", o.Path, "."},
		{"default", o.Namespace, "holdfast-system"},
		{"default", o.Version, "dev"},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, tc.got, tc.want)
		}
	}
	if want := filepath.Join("holdfast", "east"); !strings.HasSuffix(o.DataDir, want) {
		t.Errorf("data dir %q, want one that ends in %q", o.DataDir, want)
	}
}

func TestNoSecret(t *testing.T) {
	for _, tc := range []struct {
		url    string
		refuse bool
	}{
		{"https://git.example.com/fleet.git", false},
		{"https://git.example.com/team@home/fleet.git", false},
		{"ssh://git@git.example.com/fleet.git", false},
		{"git@git.example.com:fleet.git", false},
		{"file:///srv/fleet.git", false},
		{"/srv/fleet.git", false},
		{"", false},
		{"https://me:hunter2@git.example.com/fleet.git", true},
		{"https://hunter2@git.example.com/fleet.git", true},
		{"https://me:hun/ter2@git.example.com/fleet.git", true},
		{"https://me:hunt%zzer2@git.example.com/fleet.git", true},
		{"ssh://git:hunter2@git.example.com/fleet.git", true},
	} {
		err := noSecret("repo", tc.url)
		if (err != nil) != tc.refuse {
			t.Errorf("%s: got %v, want refused: %v", tc.url, err, tc.refuse)
		}
		if err != nil && strings.Contains(err.Error(), "hun") {
			t.Errorf("%s: the error repeats the secret: %v", tc.url, err)
		}
	}
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogger(&out, formatAuto, "info")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug().Msg("hidden")
	log.Info().Str("app", "web").Msg("shown")
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("what is no terminal gets JSON, one line: %v\n%s", err, out.Bytes())
	}
	if line["message"] != "shown" || line["app"] != "web" || line["time"] == nil {
		t.Errorf("got %v", line)
	}

	out.Reset()
	if log, err = newLogger(&out, formatConsole, "debug"); err != nil {
		t.Fatal(err)
	}
	log.Debug().Msg("shown")
	if got := out.String(); !strings.Contains(got, "DBG shown") || strings.Contains(got, "\x1b") {
		t.Errorf("console without a terminal: got %q", got)
	}
}
