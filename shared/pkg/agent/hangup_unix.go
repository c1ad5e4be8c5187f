//go:build unix

package agent

import (
	"os"
	"os/signal"
	"syscall"
)

// hangups are the signals that ask for a reload. From now on they do not end the process.
func hangups() (hangup <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1) // one that comes during a reload asks for another
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}
