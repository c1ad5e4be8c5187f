package api

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// giveUpUnanswered has the kernel end a connection whose peer confirms nothing of what was
// sent for that long; by itself it tries for a quarter of an hour.
func giveUpUnanswered(after time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		set := func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
		}
		if failure := c.Control(set); failure != nil {
			return failure
		}
		return err
	}
}
