package agent

import "net"

// peerOf cannot tell: Windows does not say whose process is at the other end of a Unix
// socket. There the access list of the base directory alone decides who may call.
func peerOf(*net.UnixConn) (uid int, known bool, err error) { return 0, false, nil }
