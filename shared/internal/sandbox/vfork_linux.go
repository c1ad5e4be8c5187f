package sandbox

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The runtime's part in a fork: signals are blocked, the stack may not grow, and
// the child gets the default handlers back. They are package syscall's and kept
// stable for others too (go.dev/issue/67401).

//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

//go:linkname runtimeAfterForkInChild syscall.runtime_AfterForkInChild
func runtimeAfterForkInChild()

// rawVfork is clone(2) or clone3(2) for a child that borrows this stack. The return
// address stays in a register, because the child overwrites it on the stack.
//
//go:noescape
func rawVfork(nr, a1, a2 uintptr) (pid uintptr, errno syscall.Errno)

// cloneArgs is the first version of struct clone_args (clone3(2)) that knows
// cgroups.
type cloneArgs struct {
	flags, pidFD, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

const cloneIntoCgroup = 0x200000000

// fork runs a program in a new process and returns its id once the plugin executes,
// or the launch failed and p says why; then the process is a zombie to be reaped.
// The calling thread must be locked and outlive the process (PR_SET_PDEATHSIG), and
// stands still meanwhile.
func (p *program) fork() (int, error) {
	flags := p.flags | unix.CLONE_VM | unix.CLONE_VFORK
	var args *cloneArgs
	if p.cgroup >= 0 {
		args = &cloneArgs{flags: uint64(flags) | cloneIntoCgroup, exitSignal: uint64(unix.SIGCHLD), cgroup: uint64(p.cgroup)}
	}
	syscall.ForkLock.Lock() // no descriptor may be between its creation and its close-on-exec flag
	defer syscall.ForkLock.Unlock()
	pid, errno := vfork(p, flags|uintptr(unix.SIGCHLD), args)
	runtimeAfterFork()
	if errno != 0 {
		return 0, errno
	}
	return int(pid), nil
}

// vfork is the only function of which two processes execute the same call. The child
// never returns from it, so that the parent finds its frames untouched; the parent
// returns at once. Between fork and exec nothing is called that could grow the stack,
// allocate or take a lock, and no pointer is written.
//
//go:noinline
//go:norace
//go:nocheckptr
func vfork(p *program, flags uintptr, args *cloneArgs) (pid uintptr, errno syscall.Errno) {
	var (
		i, j, n int
		o       *op
		a       [6]uintptr
		r       uintptr
		e       syscall.Errno
		bad     bool
	)
	n = len(p.ops)
	runtimeBeforeFork()
	if args != nil {
		pid, errno = rawVfork(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args))
	} else {
		pid, errno = rawVfork(unix.SYS_CLONE, flags, 0)
	}
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	// The child.
	runtimeAfterForkInChild()
	for i = 0; i < n; i++ {
		o = &p.ops[i]
		for j = 0; j < len(a); j++ {
			a[j] = o.arg[j]
			if o.from[j] != 0 {
				a[j] = p.regs[o.from[j]]
			}
		}
		r, _, e = syscall.RawSyscall6(o.nr, a[0], a[1], a[2], a[3], a[4], a[5])
		p.regs[o.into] = r // register 0 is never read
		if o.store != nil {
			*o.store = int32(r)
		}
		switch o.judge {
		case must:
			bad = e != 0
		case equals:
			bad = e != 0 || r != o.want
		case failing:
			bad = uintptr(e) != o.want
		case ifThere:
			bad = e != 0 && e != syscall.ENOENT
		default:
			bad = false
			if e != 0 {
				i += o.skip
				continue
			}
		}
		if bad {
			p.failed, p.errno = i, e
			break
		}
	}
	for { // the last op is execve: whoever comes here has failed
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, exitLauncher, 0, 0)
	}
}

// exitLauncher is the exit code of a process that could not become the plugin; 125 is
// what env(1) and docker(1) use for it.
const exitLauncher = 125
