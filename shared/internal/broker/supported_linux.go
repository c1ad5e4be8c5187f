package broker

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// Supported says whether this kernel, and whatever confines the agent itself, allow a
// broker. It asks without changing anything, and may be called at any time.
func Supported() error {
	if _, err := notificationSize(); err != nil {
		return fmt.Errorf("%w: connect(2) cannot be supervised; it takes Linux 5.6", err)
	}
	if flags(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER) != unix.EFAULT {
		return errors.New("seccomp has no listeners: connect(2) cannot be supervised; it takes Linux 5.6")
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return fmt.Errorf("openat2: %w: paths of sockets cannot be checked; it takes Linux 5.6 and a filter that allows it", err)
	}
	unix.Close(fd)
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		return fmt.Errorf("addresses of plugins cannot be read: %w", err)
	}
	mem.Close()
	// Without Yama there is no such file.
	if scope, err := limits.ReadFile("/proc/sys/kernel/yama/ptrace_scope", maxProc); err == nil && scope[0] >= '2' && os.Geteuid() != 0 {
		return errors.New("addresses of plugins cannot be read: sysctl kernel.yama.ptrace_scope is above 1")
	}
	if !canBorrow() && !canExchange() {
		return errors.New("pidfd_getfd is refused to the agent and this kernel cannot replace a descriptor (Linux 5.9): sockets of plugins cannot be connected for them")
	}
	return nil
}

const waitKillable = unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV

// FilterFlags are the flags with which the filter is to be installed. From Linux 5.19
// on, a signal that does not kill no longer interrupts a call that is being answered;
// before, it is answered again when it is made again.
func FilterFlags() uintptr {
	const all = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | waitKillable
	if flags(all) == unix.EFAULT {
		return all
	}
	return unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
}

// flags asks for a filter at no address: EFAULT if the kernel knows the flags.
func flags(f uintptr) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, f, 0)
	return errno
}

// canBorrow reports whether pidfd_getfd works: the kernel has it and no filter of a
// container wants a capability for it.
var canBorrow = sync.OnceValue(func() bool {
	p, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return false
	}
	defer unix.Close(p)
	fd, err := unix.PidfdGetfd(p, p, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
})

// canExchange asks for the version, because asking the kernel itself takes a listener.
var canExchange = sync.OnceValue(func() bool {
	var name unix.Utsname
	var major, minor int
	if unix.Uname(&name) != nil {
		return false
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 5 || major == 5 && minor >= 9
})
