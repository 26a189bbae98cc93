package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/agent"
)

// The test binary runs as an agent instead when this variable holds its options: a process that can be
// killed.
const processVariable = "HOLDFAST_TEST_AGENT"

type processOptions struct {
	Cluster, Repo, Branch, Path, Kubeconfig, DataDir, Namespace, Version, StatusRepo string
	Poll                                                                             time.Duration
}

func isAgentProcess() bool { return os.Getenv(processVariable) != "" }

// runAgentProcess returns the exit code.
func runAgentProcess() int {
	var p processOptions
	if err := json.Unmarshal([]byte(os.Getenv(processVariable)), &p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := agent.Run(ctx, agent.Options{
		Cluster: p.Cluster, Repo: p.Repo, Branch: p.Branch, Path: p.Path, Kubeconfig: p.Kubeconfig,
		DataDir: p.DataDir, Namespace: p.Namespace, Version: p.Version, Poll: p.Poll, StatusRepo: p.StatusRepo,
		Log: zerolog.New(os.Stderr).Level(zerolog.InfoLevel),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	return 0
}

// process is an agent in a process of its own.
type process struct {
	cmd  *exec.Cmd
	dead chan struct{}
}

// startProcess starts the agent as a process, which the end of the test kills.
func (e *env) startProcess() *process {
	e.t.Helper()
	o := e.agentOptions()
	b, err := json.Marshal(processOptions{
		Cluster: o.Cluster, Repo: o.Repo, Branch: o.Branch, Path: o.Path, Kubeconfig: o.Kubeconfig,
		DataDir: o.DataDir, Namespace: o.Namespace, Version: o.Version, Poll: o.Poll, StatusRepo: o.StatusRepo,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		e.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(self), dead: make(chan struct{})} //nolint:gosec // this very binary
	p.cmd.Env = append(os.Environ(), processVariable+"="+string(b))
	p.cmd.Stderr = o.Log
	if err := p.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	go func() {
		defer close(p.dead)
		_ = p.cmd.Wait() // it was killed, which is what the tests are about
	}()
	e.t.Cleanup(p.kill)
	return p
}

// kill ends the process with SIGKILL and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.dead
}

func (p *process) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}
