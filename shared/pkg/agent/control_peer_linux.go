package agent

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel whose process is at the other end.
func peerOf(c *net.UnixConn) (uid int, known bool, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	var peer *unix.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) { peer, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || asked != nil {
		return 0, false, errors.Join(err, asked)
	}
	return int(peer.Uid), true, nil
}
