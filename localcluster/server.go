package localcluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// server is one running program of a cluster.
type server struct {
	name   string
	log    string
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
}

// startServer starts a program in the cluster's process group and folder. Its output is
// appended to log/<name>.log.
func (c *Cluster) startServer(name string, args ...string) (*server, error) {
	log := filepath.Join(c.dir, "log", name+".log")
	if err := os.MkdirAll(filepath.Dir(log), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of logs: %w", err)
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = inGroup(c.sweeper.group)
	err = cmd.Start()
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	s := &server{name: name, log: log, cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(s.exited)
	}()
	return s, nil
}

// died describes a server that ended although nobody asked it to.
func (s *server) died() error {
	return fmt.Errorf("%s ended unexpectedly (%s); the end of its log:\n%s", s.name, s.cmd.ProcessState, indent(readTail(s.log, 12)))
}

// stop sends a signal and waits; after grace it kills.
func (s *server) stop(sig syscall.Signal, grace time.Duration) error {
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(grace):
	}
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", s.name, err)
	}
	<-s.exited
	return nil
}
