package seccomp

import (
	"testing"

	"golang.org/x/sys/unix"
)

var olderCells = []cell{
	same("allow", unix.SYS_OPEN, 1, unix.O_RDONLY, 0o4755),
	same("EPERM", unix.SYS_OPEN, 1, unix.O_CREAT, 0o4755),
	same("allow", unix.SYS_CREAT, 1, 0o644),
	same("EPERM", unix.SYS_CREAT, 1, 0o2644),
	same("allow", unix.SYS_MKNOD, 1, unix.S_IFIFO|0o600, 0),
	same("EPERM", unix.SYS_MKNOD, 1, unix.S_IFCHR|0o600, 0),
	host(unix.SYS_CHMOD, 1, 0o644),
	same("EPERM", unix.SYS_CHMOD, 1, 0o4755),
	host(unix.SYS_CHOWN, 1, 0, 0),
	host(unix.SYS_UTIMES, 1, 1),
	same("EPERM", unix.SYS_IOPL, 3),
	same("ENOSYS", unix.SYS_MODIFY_LDT, 1, 1, 16),
}

func TestOlderCalls(t *testing.T) {
	for _, c := range olderCells {
		for _, network := range []Net{None, TCP, All} {
			c.check(t, network)
		}
	}
}
