// Package sandbox is the one seam through which every plugin process is started,
// confined, watched and ended.
//
// It owns: the launch, the levels of confinement and the self-test that finds which of
// them a host really gives ([Probe]), the watch over time, memory and files, the death
// of the whole process tree, and saying honestly what of this held ([Host.Posture]). It
// does not know what a plugin is or what it says, nor what it should be granted: paths
// and destinations in a [Spec] are taken as they stand.
//
// # Levels
//
//	full      user, mount, process-id, IPC, host-name, cgroup and network namespaces;
//	          a private read-only root; Landlock; seccomp
//	confined  Landlock and seccomp; connect(2) and bind(2) answered by the agent
//	limited   seccomp; resource limits
//	none      resource limits
//
// macOS gives confined by a seatbelt profile (package seatbelt) where the self-test
// finds that it holds. Windows gives limited: a restricted token of low integrity in a
// Job Object, which holds writing but neither reading nor the network.
//
// At every level: no new privileges, no capabilities, own session, environment from
// scratch, no inherited descriptors, limits, death with the agent.
//
// # Launch (Linux)
//
//	Start ─ compile ─▶ program: a list of system calls ─▶ fork thread: clone(2) as vfork
//	                                                          │ child runs the list
//	   ◀── which call failed, and why ── shared memory ───────┤
//	                                                          ▼ execve: the plugin
//
// The agent prepares everything in ordinary Go; the child only makes the calls (vfork in
// vfork_linux.go, the calls in launch_linux.go and its neighbours). There is no helper
// program and no second start of one. All forks go through one locked thread that lives
// as long as the process: PR_SET_PDEATHSIG (prctl(2)) fires when the forking thread
// ends. That thread stands still during a launch, about a millisecond; an interval timer
// in the child bounds it. On macOS the program re-executes itself as a launcher ([Main]),
// which becomes sandbox-exec, which becomes the plugin; Windows puts a suspended process
// into a Job Object and resumes it.
//
// # Death of a tree (Linux)
//
// At level full the plugin is the first process of its namespace: with it the kernel
// ends all. Elsewhere every plugin process is a child subreaper
// (PR_SET_CHILD_SUBREAPER), so that a running tree can be walked down from it, and the
// agent is one: a direct child that it did not start and that is in another session can
// only be a leftover, and is killed until none is found. When the agent itself is
// killed, a keeper, this program under another name, ends whatever bears the mark of
// its plugins (keeper_linux.go); should that be killed too, the next agent does ([Keep]).
//
// # Limits
//
// Memory, processes and CPU: the launch's control group where there is one, else (and in
// version 1 besides, to end the rest of a tree of which the kernel killed one) a look
// every 50 ms, 0.03 ms of six processes; six that allocate at full speed reach 150 to 210
// MiB at a limit of 128 (go test -v -run MemoryBomb). What is stored in Temp: a file
// system in memory at level full, else package quota, which also watches Home.
//
// # Invariants
//
//   - A level is reached whole or the launch fails: nothing is left out to make it work.
//   - When Wait returns without error nothing of the tree is left: at most grace
//     plus one second after Kill, the end of ctx, a limit or the plugin's own exit.
//   - No process is signalled by a number that could have been reused.
//   - Every limit that ends a process has a name in [Exit.Reason].
//   - When the agent dies, all its plugins' processes die within a second.
//
// # Concurrency, failure
//
// All functions may be called concurrently. The forking thread (forkLoop) is the only
// goroutine that outlives them. Each process has one goroutine that
// owns its life and one that waits for it. A process that survives SIGKILL (stuck
// in the kernel) is an error of Wait, after five seconds.
//
// # How to debug it
//
// A launch that fails names the call: "mount /usr: operation not permitted". `sandbox
// check` of an agent prints what its host gives and why not more. `strace -f -p AGENT`
// shows the calls of a launch in order. See ADR 4.
package sandbox
