// Package broker answers connect(2) and bind(2) of plugins for the kernel, and where
// nothing else holds them, listen(2) and signals.
//
// Without namespaces a plugin sees the host's sockets. Landlock holds no connects to
// unix sockets by path (before ABI 9) and no binds to abstract names, a seccomp filter
// cannot read addresses, and neither knows a destination from another. So the filter
// (seccomp.Policy.Broker) sends these calls to this process, which decides about a copy
// of the address and connects or binds the caller's socket itself:
//
//	plugin ── connect ──▶ filter: notify ──▶ Serve ── decides ──▶ connects, answers
//	  (waits in the call)                     copy of the address   the caller's socket
//
// # What is allowed
//
//   - unix: to connect to the sockets that are named ([Rules.Sockets]), and to what is
//     below the process's own directories ([Rules.Below]), where it may also bind.
//     Abstract names are refused: whoever binds one first is the service.
//   - internet: what [Rules.Dial] and [Rules.Listen] say. The agent connects and binds,
//     so Landlock's rules about ports do not apply to a brokered process.
//   - signals ([Rules.Own]): to processes of the plugin, whole groups too, so that
//     parents can end their children. listen: on unix sockets.
//
// # Invariants
//
//   - What was decided is what happens: address and path are not read twice. A path is
//     opened beneath a directory that is held open since Serve began, symlinks cannot
//     lead out, and the connect goes to the descriptor.
//   - bind takes words, which getsockname(2) repeats, so a short-lived thread binds: in
//     the caller's directory, with its umask, ids and no capabilities, under a Landlock
//     domain in which sockets can be made below Below alone, whatever is renamed.
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
// broker connects or binds a socket of its own and puts it at the caller's number
// (SECCOMP_IOCTL_NOTIF_ADDFD, Linux 5.9): options, epoll registrations and a bound
// address made before are lost (SO_REUSEADDR is set), other descriptors of the same
// socket stay as they were, and listen is refused to plugins with a network. These
// profiles refuse unshare(2) too: a socket's file then gets the agent's umask, and
// getsockname(2) tells of a relative path the absolute one.
//
// # What falls short
//
//   - The peer of a unix socket sees the agent as who connected (SO_PEERCRED). Without
//     Landlock nothing can be bound to a path.
//   - A signal with a handler without SA_RESTART (Python's signal.signal) that arrives
//     before the broker has received the call ends it with EINTR and nothing done.
//     Before Linux 5.19 ([FilterFlags]) until it is answered; the next try succeeds.
//   - A process that makes itself unreadable (PR_SET_DUMPABLE 0, another user where the
//     agent has no CAP_SYS_PTRACE) gets EACCES for everything.
//   - Signals to another thread by tkill (musl's pthread_kill, before Landlock ABI 6)
//     are refused.
//
// # Concurrency, failure, debugging
//
// Serve may run for many listeners at once. When it returns, calls of processes that
// are left fail with ENOSYS: closed, not open. [Supported] says whether this host
// allows it all; 44 µs for a connect (27 without a broker), 0.3 ms by exchange.
// [Rules.Report] gets every decision with its target and errno.
package broker
