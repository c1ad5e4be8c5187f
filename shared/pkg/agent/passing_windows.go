package agent

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// passing are the errors of a host that may go by themselves, or when somebody makes room.
var passing = []error{windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, syscall.ENOSPC, syscall.EIO}
