package agent

import "os"

// hangups has none: Windows has no SIGHUP, and `reload` asks at the control socket.
func hangups() (hangup <-chan os.Signal, stop func()) { return nil, func() {} }
