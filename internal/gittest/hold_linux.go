package gittest

import (
	"errors"
	"fmt"
	"syscall"
)

// holdPort binds a port that the kernel chooses on the loopback address, without listening on it: nobody else is given
// it, and clients are refused. With SO_REUSEADDR, which package net sets too, one may listen on it beside.
func holdPort() (addr string, release func() error, err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	release = func() error { return syscall.Close(fd) }
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return "", nil, errors.Join(err, release())
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", nil, errors.Join(err, release())
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return "", nil, errors.Join(err, release())
	}
	bound, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		return "", nil, errors.Join(fmt.Errorf("unexpected address %T", name), release())
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.Port), release, nil
}
