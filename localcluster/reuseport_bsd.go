//go:build unix && !linux

package localcluster

import "syscall"

const soReusePort = syscall.SO_REUSEPORT
