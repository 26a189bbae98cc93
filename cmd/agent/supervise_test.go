package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/agent"
	"github.com/holdfast-dev/holdfast/internal/config"
)

// play runs a supervisor over agents that only record which options they got. Each takes a second to
// end, and two at once are an error.
type play struct {
	t       *testing.T
	changes chan config.File
	began   []string
	running int
	fail    chan error
}

func newPlay(t *testing.T) (*play, *supervisor) {
	t.Helper()
	p := &play{t: t, changes: make(chan config.File), fail: make(chan error)}
	return p, &supervisor{
		run:     p.run,
		load:    load,
		changes: p.changes,
		begin: func(zerolog.Logger) {
			if p.running != 0 {
				t.Error("begin while an agent runs")
			}
		},
	}
}

// load takes the file's first line for the only setting.
func load(f *config.File) (launch, error) {
	cluster, _, _ := strings.Cut(string(f.Content), "\n")
	if cluster == "wrong" {
		return launch{}, errors.New("wrong")
	}
	return launch{options: agent.Options{Cluster: cluster, Log: zerolog.Nop()}, settings: cluster}, nil
}

func (p *play) run(ctx context.Context, o agent.Options) error {
	p.running++
	defer func() { p.running-- }()
	if p.running > 1 {
		p.t.Error("two agents run at once")
	}
	p.began = append(p.began, o.Cluster)
	select {
	case err := <-p.fail:
		return err
	case <-ctx.Done():
		time.Sleep(time.Second)
		return ctx.Err()
	}
}

func TestSupervise(t *testing.T) {
	for _, tc := range []struct {
		name    string
		files   []string
		fail    error
		want    []string
		wantErr bool
	}{
		{name: "told to stop", want: []string{"first"}},
		{name: "a new file", files: []string{"second", "third"}, want: []string{"first", "second", "third"}},
		{name: "a wrong file leaves the agent alone", files: []string{"wrong"}, want: []string{"first"}},
		{name: "a wrong file, then a good one", files: []string{"wrong", "second"}, want: []string{"first", "second"}},
		{name: "a file that changes no setting", files: []string{"first\n# a comment"}, want: []string{"first"}},
		{name: "the agent fails by itself", fail: errors.New("no such luck"), want: []string{"first"}, wantErr: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, s := newPlay(t)
				ctx, cancel := context.WithCancel(t.Context())
				first, err := load(&config.File{Content: []byte("first")})
				if err != nil {
					t.Fatal(err)
				}
				result := make(chan error, 1)
				go func() { result <- s.supervise(ctx, first) }()
				for _, content := range tc.files {
					p.changes <- config.File{Path: "c.yaml", Content: []byte(content)}
				}
				synctest.Wait()
				time.Sleep(10 * time.Second)
				if tc.fail != nil {
					p.fail <- tc.fail
				} else {
					cancel()
				}
				err = <-result
				cancel()
				if (err != nil) != tc.wantErr {
					t.Errorf("error %v, want one: %v", err, tc.wantErr)
				}
				if len(p.began) != len(tc.want) {
					t.Fatalf("agents ran with %q, want %q", p.began, tc.want)
				}
				for i := range tc.want {
					if p.began[i] != tc.want[i] {
						t.Errorf("agents ran with %q, want %q", p.began, tc.want)
					}
				}
				if p.running != 0 {
					t.Error("an agent still runs")
				}
			})
		})
	}
}
