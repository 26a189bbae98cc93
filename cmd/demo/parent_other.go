//go:build !linux

package main

import (
	"os/exec"
	"syscall"
)

// endWithParent keeps Ctrl-C at a terminal from the process.
func endWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
