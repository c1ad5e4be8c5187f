//go:build unix && !linux

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// self is this program. A file that was replaced since the start is found as the
// new one; the order between both is plain JSON that new versions may only add to.
func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

func sessionAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// adopt does nothing: there are no subreapers here.
func adopt() {}

// confine sets the resource limits that exist here and becomes the plugin. It
// returns only with an error. Descriptors need no closing: Go opens all of them
// close-on-exec and passes on only those that it is told to.
func confine(o order, status *os.File) error {
	unix.CloseOnExec(orderFD)
	unix.CloseOnExec(statusFD)
	for _, r := range o.RLimits {
		if r.Resource == unix.RLIMIT_AS {
			continue // accepted and not enforced (macOS setrlimit)
		}
		if err := r.clamp(); err != nil {
			return err
		}
		if err := unix.Setrlimit(r.Resource, &r.Value); err != nil {
			return fmt.Errorf("set resource limit %d: %w", r.Resource, err)
		}
	}
	if os.Getppid() != o.Parent {
		return errors.New("the agent died")
	}
	if _, err := status.Write([]byte{committed}); err != nil {
		return err
	}
	var errno syscall.Errno
	if err := syscall.Exec(o.Path, o.Args, o.Env); !errors.As(err, &errno) {
		return err
	}
	return errors.New(strconv.Itoa(int(errno)))
}
