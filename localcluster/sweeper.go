package localcluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// stopFIFO is the pipe in a detached cluster's folder through which it is told to stop.
const stopFIFO = "stop"

// errNoReader means that no sweeper waits at a stop pipe: nothing of that cluster runs.
var errNoReader = errors.New("nobody listens")

// leaderScript keeps a process group in existence. The servers join it; were one of them its
// leader, the group could vanish with it. At the end of its input it waits to be
// killed with the group, and ends by itself should there be no sweeper to do so.
const leaderScript = `trap '' HUP INT TERM QUIT
if read -r detached; then exec tail -f /dev/null; fi
sleep 10`

// sweeperScript waits for the end of its input, which is the end of the caller; or, once told
// "detach", for a line in the stop pipe. Then it kills the group $1, waits until nothing of it is
// left (for two seconds: where nobody reaps orphans they stay in the group for ever), and
// removes the folder $2 ("" to keep it). Files may appear as long as a server
// lives, so it tries that for a while too. $3 is the stop pipe, opened for reading and writing lest
// it wait for a writer. The signal is given with -s: the older form does not understand "--"
// in every shell, and a negative number without it is an option in others.
const sweeperScript = `trap '' HUP INT TERM QUIT
if read -r detached; then read -r stop <>"$3"; fi
kill -s KILL -- "-$1" 2>/dev/null
tries=100
while kill -s 0 -- "-$1" 2>/dev/null && [ "$tries" -gt 0 ]; do tries=$((tries-1)); sleep 0.02; done
if [ -n "$2" ]; then
  tries=100
  while ! rm -rf -- "$2" 2>/dev/null && [ "$tries" -gt 0 ]; do tries=$((tries-1)); sleep 0.1; done
fi`

// sweeper ends a cluster when its caller ends. See the package's documentation.
type sweeper struct {
	group      int           // the process group that the servers join
	leaderGone chan struct{} // closed when the group's leader has been reaped
	leaderPipe *os.File
	process    *exec.Cmd
	pipe       *os.File
}

// startSweeper makes a process group that will be killed, and dir removed unless
// keep is true, once this process ends or sweep is called.
func startSweeper(dir string, keep bool) (*sweeper, error) {
	// The leader comes first. Should the caller die right here, the leader ends by itself.
	leader, leaderPipe, err := startShell(leaderScript)
	if err != nil {
		return nil, err
	}
	s := &sweeper{group: leader.Process.Pid, leaderGone: make(chan struct{}), leaderPipe: leaderPipe}
	go func() {
		_ = leader.Wait() // it is killed with its group
		close(s.leaderGone)
	}()
	remove := dir
	if keep {
		remove = ""
	}
	s.process, s.pipe, err = startShell(sweeperScript, strconv.Itoa(s.group), remove, filepath.Join(dir, stopFIFO))
	if err != nil {
		return nil, errors.Join(err, leader.Process.Kill(), leaderPipe.Close())
	}
	return s, nil
}

// startShell runs a script in a new process group. Its input is a pipe whose other end is
// returned; no other process inherits that end.
func startShell(script string, args ...string) (*exec.Cmd, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make the sweeper's pipe: %w", err)
	}
	cmd := exec.Command("sh", append([]string{"-c", script, "localcluster-sweeper"}, args...)...)
	cmd.Dir = "/" // not in a folder that someone wants to remove
	cmd.Stdin = r
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start the sweeper: %w", err), r.Close(), w.Close())
	}
	if err := r.Close(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start the sweeper: %w", err), w.Close())
	}
	return cmd, w, nil
}

// sweep kills everything in the group, removes the folder, and returns when that is done.
func (s *sweeper) sweep() error {
	err := errors.Join(s.pipe.Close(), s.process.Wait(), s.leaderPipe.Close())
	<-s.leaderGone
	return err
}

// detach lets the cluster outlive this process: from now on a line in the stop pipe ends it.
func (s *sweeper) detach(dir string) error {
	if err := makeFIFO(filepath.Join(dir, stopFIFO)); err != nil {
		return fmt.Errorf("make the stop pipe: %w", err)
	}
	for _, pipe := range []*os.File{s.leaderPipe, s.pipe} {
		if _, err := pipe.WriteString("detach\n"); err != nil {
			return fmt.Errorf("detach the sweeper: %w", err)
		}
	}
	// Only once the sweeper listens may the caller end and others tell it to stop.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		f, err := openFIFO(filepath.Join(dir, stopFIFO))
		if err == nil {
			return f.Close()
		}
		if !errors.Is(err, errNoReader) || time.Now().After(deadline) {
			return fmt.Errorf("wait for the detached sweeper: %w", err)
		}
	}
}

// stopDetached ends the detached cluster in dir and waits until its folder is gone.
// A cluster of which nothing runs, after a reboot for example, leaves only its folder to remove.
func stopDetached(dir string) error {
	f, err := openFIFO(filepath.Join(dir, stopFIFO))
	if errors.Is(err, errNoReader) || errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(dir)
	}
	if err != nil {
		return fmt.Errorf("open the stop pipe: %w", err)
	}
	if _, err := f.WriteString("stop\n"); err != nil {
		return errors.Join(fmt.Errorf("write to the stop pipe: %w", err), f.Close())
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write to the stop pipe: %w", err)
	}
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	return fmt.Errorf("folder %s is still there after 15 s", dir)
}
