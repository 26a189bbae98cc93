package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// process is a contestant: the agent or a reference.
type process struct {
	name    string
	cmd     *exec.Cmd
	log     string // file with all that it wrote to standard error
	started time.Time
	done    chan struct{}
	err     error // how it ended; to be read after done

	highest atomic.Uint64 // bytes of memory at most so far
}

// start runs a program until it ends, is stopped, or the bench ends. Its standard output goes to stdout
// if that is not nil, else where its errors go.
func (l *lab) start(name string, stdout *os.File, program string, args ...string) (*process, error) {
	l.processes++
	p := &process{name: name, log: filepath.Join(l.logs, fmt.Sprintf("%03d-%s.log", l.processes, name)), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	// Not with a context: a contestant is ended in good order, by stop.
	p.cmd = exec.Command(program, args...) //nolint:gosec,noctx // ours
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if stdout != nil {
		p.cmd.Stdout = stdout
	}
	endWithParent(p.cmd)
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	go func() {
		p.err = errors.Join(p.cmd.Wait(), log.Close())
		close(p.done)
	}()
	return p, nil
}

// wait waits for the end of a process that ends by itself.
func (p *process) wait(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			if p.err != nil {
				return fmt.Errorf("%s: %w\n%s", p.name, p.err, p.tail())
			}
			return nil
		case <-ctx.Done():
			return errors.Join(ctx.Err(), p.stop())
		case <-tick.C:
			p.observe()
		}
	}
}

// alive is an error if the process has ended, which it was not to do by itself.
func (p *process) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended by itself: %w\n%s", p.name, p.err, p.tail())
	default:
		return nil
	}
}

// suspend keeps the process from doing anything until resume.
func (p *process) suspend() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("suspend %s: %w", p.name, err)
	}
	return nil
}

// resume lets a suspended process go on.
func (p *process) resume() error {
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("resume %s: %w", p.name, err)
	}
	return nil
}

// stop ends the process in good order, and by force if that takes too long.
func (p *process) stop() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	p.observe()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill() // it may have ended just now
		<-p.done
		return fmt.Errorf("%s did not end within 20 s of SIGTERM", p.name)
	}
}

// observe takes note of the memory at its highest.
func (p *process) observe() {
	if b := peakMemory(p.cmd.Process.Pid); b > p.highest.Load() {
		p.highest.Store(b)
	}
}

// peak is the most memory that the process held so far, in MiB; 0 if that is unknown.
func (p *process) peak() float64 {
	p.observe()
	return float64(p.highest.Load()) / (1 << 20)
}

// cpu is what the process used of all cores, in seconds; to be asked when it has ended.
func (p *process) cpu() float64 {
	state := p.cmd.ProcessState
	if state == nil {
		return 0
	}
	return seconds(state.UserTime() + state.SystemTime())
}

// tail is the end of what the process wrote.
func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
