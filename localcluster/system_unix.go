//go:build unix

package localcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// lockFile takes an exclusive lock that ends with the process. It calls busy once if it
// has to wait.
func lockFile(ctx context.Context, path string, busy func()) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		if first {
			busy()
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// ownGroup makes a process the leader of a new process group, out of reach of the
// terminal's Ctrl-C; inGroup puts it into an existing one.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func inGroup(pgid int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pgid: pgid}
}

// holdPort binds a port that the kernel chooses on the loopback address, without listening
// on it. With SO_REUSEPORT a server of the same user may bind it too; nobody else is given it.
func holdPort() (port int, release func() error, err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("make a socket: %w", err)
	}
	syscall.CloseOnExec(fd)
	release = func() error { return syscall.Close(fd) }
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soReusePort, 1); err != nil {
		return 0, nil, errors.Join(fmt.Errorf("share a port: %w", err), release())
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, nil, errors.Join(fmt.Errorf("bind a port on %s: %w", net.IPv4(127, 0, 0, 1), err), release())
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, nil, errors.Join(fmt.Errorf("read the bound port: %w", err), release())
	}
	addr, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		return 0, nil, errors.Join(fmt.Errorf("read the bound port: unexpected address %T", name), release())
	}
	return addr.Port, release, nil
}

// makeFIFO makes a named pipe; openFIFO opens one for writing, and fails at once when nobody
// reads it.
func makeFIFO(path string) error { return syscall.Mkfifo(path, 0o600) }

func openFIFO(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENXIO) {
		return nil, errNoReader
	}
	return f, err
}
