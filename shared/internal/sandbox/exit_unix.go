//go:build unix

package sandbox

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// exitOf reads what wait4(2) says.
func exitOf(status unix.WaitStatus, ru *unix.Rusage) Exit {
	e := Exit{
		Code:   -1,
		CPU:    time.Duration(ru.Utime.Nano() + ru.Stime.Nano()),
		MaxRSS: peakOf(ru),
	}
	switch {
	case status.Exited():
		e.Code = status.ExitStatus()
	case status.Signaled():
		e.Signal = status.Signal()
		switch e.Signal {
		case unix.SIGXCPU:
			e.Reason = CPULimit
		case unix.SIGXFSZ:
			e.Reason = FileSizeLimit
		}
	}
	return e
}

// peakOf is the highest resident size in bytes, or 0 when the kernel's figure says
// nothing: a forked process inherits its parent's peak (exec_mmap), so only what
// is above our own is the plugin's.
func peakOf(ru *unix.Rusage) int64 {
	var own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err != nil || ru.Maxrss <= own.Maxrss {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return int64(ru.Maxrss) // bytes there, KiB elsewhere (getrusage(2))
	}
	return int64(ru.Maxrss) << 10
}
