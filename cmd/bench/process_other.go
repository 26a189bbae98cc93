//go:build !linux

package main

import (
	"os/exec"
	"syscall"
	"time"
)

// endWithParent keeps Ctrl-C at a terminal from the process.
func endWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// peakMemory is unknown here.
func peakMemory(int) uint64 { return 0 }

// cpuTime is unknown here.
func cpuTime(int) (time.Duration, bool) { return 0, false }

// machineTime is unknown here.
func machineTime() (time.Duration, bool) { return 0, false }
