// Package broker answers system calls of plugins for the kernel: connect(2), and
// where nothing else holds them, listen(2) and signals.
//
// Without namespaces a plugin sees the host's sockets. Landlock before ABI 9 does not
// hold connects to unix sockets by path, a seccomp filter cannot read addresses, and
// neither knows a destination from another. So the filter of package seccomp
// (Policy.Broker) sends connect to this process, which decides about a copy of the
// address and connects the caller's socket itself:
//
//	plugin ── connect ──▶ filter: notify ──▶ Serve ── decides ──▶ connects, answers
//	  (waits in the call)                     copy of the address   the caller's socket
//
// # What is allowed
//
//   - unix: the sockets that are named ([Rules.Sockets]), and those below the process's own directories
//     ([Rules.Below]). Abstract names are nobody's and refused.
//   - internet: what [Rules.Dial] says. The agent connects, so Landlock's rules about
//     ports do not apply to a brokered process: Dial is the rule.
//   - signals ([Rules.Own]): to processes of the plugin, whole groups too, so that
//     parents can end their children. listen: on unix sockets.
//
// # Invariants
//
//   - What was decided is what happens: address and path are not read twice. A path is
//     opened beneath a directory that is held open since Serve began, symlinks cannot
//     lead out, and the connect goes to the descriptor.
//   - The kernel continues no call, but a signal of a process to itself: registers only.
//   - A number of a process is used only while that process waits for the answer, or
//     through a descriptor of it opened before the decision.
//   - Blocking and non-blocking sockets get what connect(2) says, SO_SNDTIMEO included;
//     a refusal is EACCES (EPERM for signals).
//   - Each listener has one goroutine and at most 16 more for connects that wait; when
//     all wait, further calls of the same plugin do. Nothing outlives Serve.
//
// # Two ways to a socket
//
// pidfd_getfd borrows the caller's socket; all of it stays as it was. Docker's and
// containerd's default profiles refuse that call without CAP_SYS_PTRACE. There the
// broker connects a socket of its own and puts it at the caller's number
// (SECCOMP_IOCTL_NOTIF_ADDFD, Linux 5.9): options, a bound address and epoll
// registrations made before connect are lost, other descriptors of the same socket
// stay unconnected, and listen is refused to plugins with a network.
//
// # What falls short
//
//   - The peer of a unix socket sees the agent as who connected (SO_PEERCRED).
//   - A signal with a handler without SA_RESTART (Python's signal.signal) that arrives
//     before the broker has received the call ends it with EINTR and nothing done.
//     Before Linux 5.19 ([FilterFlags]) until it is answered; the next try succeeds.
//   - A process that makes itself unreadable (PR_SET_DUMPABLE 0, another user where the
//     agent has no CAP_SYS_PTRACE) gets EACCES for everything.
//   - Signals to another thread by tkill (musl's pthread_kill, before Landlock ABI 6)
//     are refused.
//
// # Concurrency, failure
//
// Serve may run for many listeners at once. When it returns, calls of processes that
// are left fail with ENOSYS: closed, not open. [Supported] says whether this host
// allows it all; 44 µs for a connect (27 without a broker), 0.3 ms by exchange.
//
// # How to debug it
//
// [Rules.Report] gets every decision with its target and errno.
package broker
