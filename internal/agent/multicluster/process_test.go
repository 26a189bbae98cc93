package multicluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/rs/zerolog"

	"github.com/holdfast-dev/holdfast/internal/agent"
)

// The test binary runs as an agent instead when this variable holds its options: a process that can be
// killed.
const processVariable = "HOLDFAST_TEST_AGENT"

func isAgentProcess() bool { return os.Getenv(processVariable) != "" }

// runAgentProcess returns the exit code.
func runAgentProcess() int {
	var o agent.Options
	if err := json.Unmarshal([]byte(os.Getenv(processVariable)), &o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	o.Log = zerolog.New(os.Stderr).Level(zerolog.InfoLevel)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := agent.Run(ctx, o); err != nil {
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

// startProcess starts the agent of a cluster as a process, which the end of the test kills.
func (f *fleet) startProcess(name string) {
	f.t.Helper()
	o := f.agentOptions(name)
	log := o.Log
	o.Log = zerolog.Logger{}
	b, err := json.Marshal(o)
	must(f.t, err)
	self, err := os.Executable()
	must(f.t, err)
	p := &process{cmd: exec.Command(self), dead: make(chan struct{})} //nolint:gosec // this very binary
	p.cmd.Env = append(os.Environ(), processVariable+"="+string(b))
	p.cmd.Stderr = log
	must(f.t, p.cmd.Start())
	go func() {
		defer close(p.dead)
		_ = p.cmd.Wait() // it was killed, which is what the test is about
	}()
	f.sites[name].process = p
	f.t.Cleanup(p.kill)
}

// kill ends the process with SIGKILL and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.dead
}
