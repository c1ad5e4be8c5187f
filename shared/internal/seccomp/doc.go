// Package seccomp makes the system call filter that every plugin runs under.
//
// [Filter] is a pure function from a [Policy] to a classic BPF program for the
// architecture that this binary was built for (linux/amd64, linux/arm64). Installing
// it, right before execve, is the sandbox's business. The filter is the layer that
// holds what namespaces and Landlock do not see; what it needs not hold, because they
// do, it leaves alone.
//
// # What it allows
//
// An allow-list, because a list of what is bad ages with every kernel. It comes from
// what Docker allows by default, so that what runs in a container runs here, minus
// what no plugin needs. Every number that golang.org/x/sys knows has a decision (a
// test holds it, for both architectures):
//
//	harmless   allowed
//	depends    by arguments: socket, clone, ioctl, prctl, fcntl, open modes, limits, signals, …
//	refused    EPERM: reaches others, the machine, or kernel parts with a history
//	absent     ENOSYS: programs try it and have another way (clone3, io_uring, memfd, …)
//	unknown    ENOSYS: as the kernel that the program was not built for
//	foreign    the process is killed: 32-bit and x32 calls have other numbers
//
// The filter sees registers, never memory: a call whose danger is in memory is absent
// (clone3, openat2) or goes to the broker (connect, bind). Arguments that the kernel takes
// as int are compared as 32 bits, pointers as 64.
//
// # What it cannot tell
//
//   - Without namespaces and with Landlock before ABI 6, whose process a number names:
//     signals to others then need the broker.
//   - Without namespaces, whose file a path names: there chmod, chown, utime, setxattr
//     and inotify by path are refused even on the plugin's own files, and shutil.copy
//     and copytree fail at the mode (copyfile works; os.fchmod and os.utime(fd) do).
//   - The address in sendmsg: hence no datagram sockets, of any family, unless Network
//     is All (internet) or the process is Namespaced (unix).
//
// # How it is made
//
//	lists, rules ──▶ diagram of questions about words ──▶ program, written backwards
//
// Equal questions are one node, and so the same instructions; the call's number is
// found by halving. Not go-seccomp-bpf v1.6.0: it compares the number with one call
// after another, has no masked equality (socket types, file types), compares 64 bits
// where the kernel takes 32, so that set high bits evade a rule, and after an argument
// that does not fit goes on comparing that argument as if it were the call's number.
// A program has about 300 instructions, of which a call runs at most 25, and takes
// 0.3 ms to make, once for each policy. From 5.11 on the kernel remembers which calls
// are allowed whatever their arguments: they cost nothing, the others 20 to 50 ns.
//
// # How to debug it
//
// A refused call is an error in the plugin (PermissionError, ENOSYS); a killed process
// ends with SIGSYS. strace works only from outside, since ptrace is refused inside; the
// decision for a call is in the tables of calls_linux.go.
package seccomp
