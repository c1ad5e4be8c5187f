// Package warm starts executions of a plugin by forking a process that has already
// imported it: a zygote. A start takes a millisecond instead of the 25 to 90 that an
// interpreter and its imports take.
//
// It owns: the pool ([Pool]), the life of each zygote, the messages to it, and the
// watch over what it forks. It does not know what an execution is asked; and it
// never trusts a zygote, which runs the plugin's code: limits, cancels and the
// counting of processes are done from outside, by the kernel's own figures.
//
// # A zygote's life
//
//	Prepare ─▶ raising ─▶ ready ⇄ executions ─▶ retiring ─▶ gone
//	              │                                ▲
//	              └─▶ refused (said once), failed  └ many executions · old · idle · another
//	                  (again after a pause)          configuration · too many · misbehaviour
//
// One that is used at the end of its life gets a successor first, which takes its place
// when it is ready.
//
// It is the plugin, started in its sandbox exactly as for a cold run, with one
// descriptor more: a SEQPACKET socket. The handshake of contract stdio is done with it
// once. A plugin is only prepared after a cold run of it went through the handshake as
// a plugin of the SDK, so the first run never waits for a zygote.
//
// # An execution
//
//	agent                                zygote ── forks ahead ─▶ spare
//	start + stdin, stdout, stderr ──────────────────────────────▶ │ becomes the execution:
//	◀────────────────────── hello (the kernel adds who says it) ── │ own session, scratch,
//	                                                              │ limits, Landlock domain
//	                                                              │ stands by
//	environment, one command ───────────────────────────────────▶ │ runs
//	◀───────────────────────────────────────────────────── answer │
//	◀──────────────────────── ended ◀───── SIGCHLD ◀───────────── │
//	look for strays: children of the zygote in another session that are no execution are
//	killed; one or two in its own session are spares, more are misbehaviour
//
// Nothing of an execution that stands by is anybody's yet, so who had a seat before may leave one
// for who comes next ([Seat.Keep]). Its time and its part in the limits of the group begin when
// it is given to a run.
//
// # Invariants
//
//   - An execution sees nothing that another one left: memory, scratch, environment.
//   - When the process of an execution is done, nothing of it is left. An execution that
//     the zygote does not end in time is ended with the zygote and all that came from it.
//   - Memory and process limits hold for each execution's own tree. Resident pages that
//     it shares with the zygote count, as they would in a process of its own: a limit
//     means the same warm and cold.
//   - An idle pool holds no process.
//
// # Concurrency, failure
//
// All of it may be used concurrently. A zygote that dies takes its executions with it;
// each ends with an error that says so ([ErrLost]), and what is asked for next runs cold. Nothing
// is asked of an execution before its start has succeeded, so a start that fails may
// be repeated cold ([ErrCold]).
//
// # How to debug it
//
// A zygote is a child of the agent whose environment has STAVILY_ZYGOTE_FD; its
// children are executions. The decision is docs/adr/0005-warm-executions.md.
package warm
