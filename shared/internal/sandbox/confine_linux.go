package sandbox

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// self is this program, even after the file was replaced by an update.
func self() string { return "/proc/self/exe" }

func sessionAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// adopt makes this process the parent of what its plugins leave behind.
func adopt() {
	// Linux >= 3.4 cannot refuse it.
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// oomScore makes the kernel end a plugin before the agent when memory runs out.
const oomScore = "500"

// confine gives up what the plugin must not have, then becomes it. It returns
// only with an error.
func confine(o order, status *os.File) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0); err != nil {
		fmt.Fprintln(os.Stderr, "stavily: the kernel will not prefer this plugin when memory runs out:", err)
	}
	if err := closeOnExec(orderFD); err != nil {
		return fmt.Errorf("close inherited descriptors: %w", err)
	}
	if o.Files > 0 {
		if err := unix.Dup3(statusFD+1, orderFD, 0); err != nil {
			return fmt.Errorf("pass on a descriptor: %w", err)
		}
	}
	e, err := prepareExec(o, status)
	if err != nil {
		return err
	}
	if _, err := status.Write([]byte{committed}); err != nil {
		return err
	}
	e.run()
	return nil // not reached: run ends in the plugin or in exit
}

// closeOnExec marks every descriptor from first on.
func closeOnExec(first uint) error {
	err := unix.CloseRange(first, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd") // Linux < 5.11
	if err != nil {
		return err
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err == nil && uint(fd) >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// finalExec is everything that the last steps need, made before the resource
// limits hold: after them the Go runtime may not get memory or a thread any more,
// and would die at random.
type finalExec struct {
	path       *byte
	argv, envv []*byte
	rlimits    []rlimit
	parent     uintptr
	status     uintptr
	failure    []byte // room for the digits of the errno of a failed execve
}

func prepareExec(o order, status *os.File) (*finalExec, error) {
	path, err := unix.BytePtrFromString(o.Path)
	if err != nil {
		return nil, fmt.Errorf("program path: %w", err)
	}
	argv, err := syscall.SlicePtrFromStrings(o.Args)
	if err != nil {
		return nil, fmt.Errorf("arguments: %w", err)
	}
	envv, err := syscall.SlicePtrFromStrings(o.Env)
	if err != nil {
		return nil, fmt.Errorf("environment: %w", err)
	}
	for i := range o.RLimits {
		if err := o.RLimits[i].clamp(); err != nil {
			return nil, err
		}
	}
	return &finalExec{
		path: path, argv: argv, envv: envv,
		rlimits: o.RLimits, parent: uintptr(o.Parent), status: status.Fd(),
		failure: make([]byte, 0, 20),
	}, nil
}

// run sets the limits, re-arms the death signal and executes, with raw system
// calls and without allocating. The parent is checked after the signal is armed:
// had it died before, nobody would ever send it (prctl(2)).
//
//go:norace
func (e *finalExec) run() {
	for i := range e.rlimits {
		r := &e.rlimits[i]
		unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(r.Resource), uintptr(unsafe.Pointer(&r.Value)), 0, 0, 0)
	}
	unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
	if parent, _, _ := unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); parent != e.parent {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, exitLauncher, 0, 0)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(e.path)), uintptr(unsafe.Pointer(&e.argv[0])), uintptr(unsafe.Pointer(&e.envv[0])))
	msg := strconv.AppendInt(e.failure, int64(errno), 10)
	unix.RawSyscall(unix.SYS_WRITE, e.status, uintptr(unsafe.Pointer(&msg[0])), uintptr(len(msg)))
	unix.RawSyscall(unix.SYS_EXIT_GROUP, exitLauncher, 0, 0)
}
