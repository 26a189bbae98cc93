package main

import (
	"os/exec"
	"syscall"
)

// endWithParent keeps Ctrl-C at a terminal from the process, and ends it if we are killed.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
