package cgroup

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// killMember sends SIGKILL to a process that is, still, in the group at dir. The
// descriptor is taken before the look, so a number that was reused cannot be hit.
func killMember(pid int, dir string) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	switch {
	case !isMember(pid, dir):
	case err == nil:
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // who is missed is found at the next look
	case errors.Is(err, unix.ENOSYS): // Linux < 5.3 has no descriptors of processes
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// delegated reports whether systemd gave the group to its service, for groups that
// it makes itself (Delegate=yes). The first mark can be read by everybody and is
// set since systemd 251, the second by root.
func delegated(dir string) bool {
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		var value [1]byte
		if n, err := unix.Getxattr(dir, name, value[:]); err == nil && n == 1 && value[0] == '1' {
			return true
		}
	}
	return false
}

// mayWrite reports whether this process may make groups in dir and move processes
// there.
func mayWrite(dir string) error {
	for _, name := range []string{"", "/cgroup.procs", "/cgroup.subtree_control"} {
		if err := unix.Access(dir+name, unix.W_OK); err != nil && !errors.Is(err, unix.ENOENT) {
			return &os.PathError{Op: "write", Path: dir + name, Err: err}
		}
	}
	return nil
}
