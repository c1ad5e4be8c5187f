// Package sandbox is the one seam through which every plugin process is started,
// watched and ended.
//
// It owns: the launch (own session, no new privileges, no inherited descriptors,
// environment from scratch, resource limits), the watch over time and memory, the
// death of the whole process tree, and saying honestly what of this the platform
// gave ([Posture]). It does not know what a plugin is or what it says: standard
// input and output are the caller's files.
//
// # Launch (Linux, macOS)
//
//	agent ── fork thread ──▶ the same binary as launcher ── execve ──▶ plugin
//	   │        setsid, PDEATHSIG     ▲      │
//	   └─ order over descriptor 3 ────┘      └─ status over descriptor 4
//
// The launcher is the program itself: [Main], the first statement of main, notices
// and never returns there. The order never travels in arguments or environment,
// which other users can read. Start returns after execve succeeded, or with the
// reason why it did not. All forks go through one locked thread that lives as long
// as the process: PR_SET_PDEATHSIG (prctl(2)) fires when the forking thread ends,
// not when the process does. Windows puts a suspended process into a Job Object
// and resumes it.
//
// # Death of a tree (Linux)
//
// Every plugin process is a child subreaper (PR_SET_CHILD_SUBREAPER): what its
// children leave behind becomes its own child, so that all of a running tree can be
// found, counted and told from another plugin's by walking down from it. Kill asks
// the group with TERM, waits, and kills the group. With the first process dead its
// leftovers fall to the agent, also a subreaper: a direct child of the agent that it
// did not start and that is in another session can only be such a leftover, and is
// killed and reaped, again and again until none is found. The agent's own helpers
// stay in its session and are safe.
//
// # Invariants
//
//   - When Wait returns without error nothing of the tree is left: at most grace
//     plus one second after Kill, the end of ctx, a limit or the plugin's own exit.
//   - No process is signalled by a number that could have been reused.
//   - Every limit that ends a process has a name in [Exit.Reason].
//   - When the agent dies, so does the first process of every plugin. What that had
//     started lives on until the next agent of the same base directory ends it
//     ([Reclaim]); ending it at once takes a process-id namespace.
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
// A plugin's process is a session leader whose parent is the agent; `ps -o
// pid,ppid,sid,stat,args` shows the tree. A launch that fails says at which step.
package sandbox
