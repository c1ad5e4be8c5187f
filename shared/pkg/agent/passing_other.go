//go:build !windows

package agent

import "syscall"

// passing are the errors of a host that may go by themselves, or when somebody makes room.
var passing = []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO}
