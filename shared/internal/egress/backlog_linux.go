package egress

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// backlog reports whether connections wait to be accepted.
func backlog(l listener) bool {
	c, ok := l.Listener.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	wait := false
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		wait = err == nil && n > 0 && p[0].Revents == unix.POLLIN
	})
	return err == nil && wait // a closed listener has none
}
