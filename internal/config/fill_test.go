package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/internal/config"
)

type settings struct {
	dir    string
	poll   time.Duration
	dryRun bool
	config string
}

func flags(t *testing.T, args ...string) (*pflag.FlagSet, *settings) {
	t.Helper()
	var s settings
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	fs.StringVar(&s.dir, "data-dir", "default", "")
	fs.DurationVar(&s.poll, "poll", 15*time.Second, "")
	fs.BoolVar(&s.dryRun, "dry-run", false, "")
	fs.StringVar(&s.config, "config", "", "")
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs, &s
}

func TestPrecedence(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		env  map[string]string
		file string
		want settings
	}{
		{name: "nothing given", want: settings{dir: "default", poll: 15 * time.Second}},
		{
			name: "file over default", file: "# ours\ndata-dir: /file\ndry-run: true\npoll: 1m\n",
			want: settings{dir: "/file", dryRun: true, poll: time.Minute},
		},
		{
			name: "environment over file", file: "data-dir: /file\npoll: 1m\n", env: map[string]string{"HOLDFAST_DATA_DIR": "/env"},
			want: settings{dir: "/env", poll: time.Minute},
		},
		{
			name: "flag over all", file: "data-dir: /file\n", env: map[string]string{"HOLDFAST_DATA_DIR": "/env"},
			args: []string{"--data-dir=/flag"}, want: settings{dir: "/flag", poll: 15 * time.Second},
		},
		{
			name: "a flag with the default's value still counts", env: map[string]string{"HOLDFAST_DRY_RUN": "true"},
			args: []string{"--dry-run=false"}, want: settings{dir: "default", poll: 15 * time.Second},
		},
		{
			name: "an empty variable is not set", file: "data-dir: /file\n", env: map[string]string{"HOLDFAST_DATA_DIR": ""},
			want: settings{dir: "/file", poll: 15 * time.Second},
		},
		{
			name: "an empty value in the file is one", file: "data-dir: \"\"\n",
			want: settings{poll: 15 * time.Second},
		},
		{name: "only comments", file: "# nothing\n", want: settings{dir: "default", poll: 15 * time.Second}},
		{name: "only a document mark", file: "---\n", want: settings{dir: "default", poll: 15 * time.Second}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs, got := flags(t, tc.args...)
			err := config.Fill(fs, config.Sources{
				LookupEnv: func(name string) (string, bool) { v, ok := tc.env[name]; return v, ok },
				File:      &config.File{Path: "c.yaml", Content: []byte(tc.file)},
			})
			if err != nil {
				t.Fatal(err)
			}
			if *got != tc.want {
				t.Errorf("got %+v, want %+v", *got, tc.want)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		env        map[string]string
		want       []string
	}{
		{name: "unknown key", file: "poll: 1m\ndata-dri: /x\n", want: []string{`c.yaml:2: unknown key "data-dri" (did you mean "data-dir"?)`}},
		{name: "unknown key, nothing near", file: "colour: red\n", want: []string{`c.yaml:1: unknown key "colour"`}},
		{name: "bad value", file: "\npoll: often\n", want: []string{`c.yaml:2: poll: "often" is not valid: time: invalid duration`}},
		{name: "all mistakes at once", file: "poll: often\nx: 1\n", env: map[string]string{"HOLDFAST_DRY_RUN": "perhaps"}, want: []string{
			`HOLDFAST_DRY_RUN: "perhaps" is not valid`, "c.yaml:1: poll", `c.yaml:2: unknown key "x"`,
		}},
		{name: "twice", file: "poll: 1m\npoll: 2m\n", want: []string{`c.yaml:2: key "poll" is there already, in line 1`}},
		{name: "no value", file: "poll:\n", want: []string{"c.yaml:1: poll: has no value"}},
		{name: "a list", file: "poll: [1m]\n", want: []string{"c.yaml:1: poll: want one plain value"}},
		{name: "an alias", file: "data-dir: &a x\npoll: *a\n", want: []string{"c.yaml:2: poll: want one plain value"}},
		{name: "not a mapping", file: "- poll\n", want: []string{"c.yaml:1: want keys and values"}},
		{name: "not YAML", file: "poll: 1m\n\tx: y\n", want: []string{"c.yaml:2: not YAML: "}},
		{name: "two documents", file: "poll: 1m\n---\npoll: 2m\n", want: []string{"c.yaml:2: only one YAML document"}},
		{name: "itself", file: "config: x\n", want: []string{`c.yaml:1: the key "config" has no place`}},
		{name: "a key that is no word", file: "[a]: x\n", want: []string{"c.yaml:1: a key must be a word"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs, _ := flags(t)
			err := config.Fill(fs, config.Sources{
				LookupEnv: func(name string) (string, bool) { v, ok := tc.env[name]; return v, ok },
				File:      &config.File{Path: "c.yaml", Content: []byte(tc.file)},
			})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
		})
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("poll: 1m\ndata-dir: /x\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("---\n...\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		fs, _ := flags(t)
		_ = config.Fill(fs, config.Sources{File: &config.File{Path: "c.yaml", Content: content}}) // must not panic
	})
}
