// Package cgroup puts each launch of a plugin into a Linux control group of its
// own, so that the kernel holds its whole tree to limits on memory, processes and
// CPU, ends it in one step, and counts what it took.
//
// It owns: finding where this agent may make groups, one group below there for the
// agent ([Parent]) and one below that for each launch ([Group]). It is plain files
// (cgroups(7)), with no library and no daemon. It refuses to touch groups that
// others manage or share, and it never starts or moves a plugin: whoever forks does,
// with [Group.FD] or [Group.Procs].
//
// # Where groups are made
//
//	version 2                                     version 1, for each of memory, pids, cpu
//	  our own group, delegated                      our own group
//	  ├── agent          the agent moves here       └── NAME
//	  └── NAME           hands controllers on           └── LAUNCH
//	      └── LAUNCH     limits, the plugin
//
// Version 2 is taken where our group offers the memory controller and is ours:
// marked by systemd as delegated, the root of a container's tree, or writable and
// without another process. Else version 1, where it is mounted and writable, which
// mostly means root. Else Open's error says what to change, and the watchdog of
// package sandbox is all that holds.
//
// # Invariants
//
//   - A process that entered a group cannot leave it: the files that would let it
//     belong to the agent, and the sandbox hides them.
//   - Memory that is swapped out counts: a group gets no swap besides its limit.
//   - No process is signalled by a number that could have been reused.
//   - Kill and Close return within about five seconds; then they name what is stuck.
//   - A missing controller is never silent: Describe names it, Has tells.
//
// # Cost, measured on Linux 6.18 with two processors
//
//	make a group with limits, remove it     version 1: 0.34 ms in four hierarchies (go test -bench Group)
//	enter by CLONE_INTO_CGROUP              version 2: nothing measurable
//	enter by "0" into tasks                 version 1: 0.03 ms for four hierarchies (0.2 from a shell: -bench Enter)
//	enter by "0" into cgroup.procs          version 1: 9 ms, p95 16
//	end a group of 6 busy processes         1.4 ms by cgroup.kill, 1.6 ms one by one
//
// The last is why [Group.Procs] are the "tasks" files in version 1: moving a whole
// process waits for an RCU grace period, in which no processor forks; moving the
// calling thread does not, and a child between fork and execve has only one. Groups
// made ahead of time would save less than a tenth of a launch and would have to be
// accounted for, so there are none. Writing to the hierarchies at once does not help
// either: they share the wait.
//
// # Failure, and how to debug it
//
// A group whose processes hang in the kernel cannot be removed: Close says which,
// and the next agent of the same name ends them (Sweep). `systemd-cgls` or
// `find /sys/fs/cgroup -name NAME` shows the groups; `memory.events` (version 1:
// `memory.oom_control`) in one tells whether the kernel killed for memory.
package cgroup
