// Package supervise speaks with plugin processes and keeps them running.
//
// It owns: contract stdio as seen from the agent ([Session]), one run of an action
// by either contract ([RunAction]), a program of contract script ([RunScript]), the
// loop that restarts what ended ([Keep]), and the bounds on what a plugin may say.
// Starting and ending processes is sandbox's; what the words mean is plugin's.
//
// # A session
//
//	Open ── get_info ─▶ initialize ─▶ start ──▶ Call … Call ──▶ Close: stop, end of
//	   │         │            │         │          │             input, TERM, KILL
//	   └─────────┴── fault ───┴─────────┴──────────┘
//	                   ▼
//	             process killed, every later Call returns the same *Fault
//
// One command is under way at a time; a line of standard output that is no part of
// the contract is passed on as log. A plugin that breaks the contract is never
// spoken to again: after a missed answer nobody could tell which answer belongs to
// which command.
//
// # Faults
//
//	silent         no answer within the limit
//	junk           1,000 lines or 1 MiB that are no answer, between two answers
//	line_too_long  a line over 1 MiB, noticed before its end
//	exited         the process ended; the exit says how and why
//	closed_output  standard output was closed and the process lives on
//	refused        get_info, initialize or start was answered without success
//
// # Invariants
//
//   - When Close, RunAction or RunScript returns, nothing of the process tree and no
//     goroutine of ours is left.
//   - A plugin costs the agent at most 1 MiB for its line, 1 MiB for a script's
//     output, and 200 log lines a second of 8 KiB; what is above is counted and said
//     in the log itself.
//   - A process that stands by ([Standby]) is told nothing before its run may start.
//   - An action that does not name its contract runs once: the process that was
//     asked by the stdio handshake is the run, whichever contract it turns out to be.
//   - Keep never gives up and never runs two at once.
//
// # Concurrency
//
// Session methods may be called concurrently. Callbacks come from one goroutine per
// stream and hold the plugin back while they run.
//
// # How to debug it
//
// A Fault says what the plugin did; the log has what it printed; the state of Keep
// says since when and until when. `echo '{"action": "get_info"}' | python3 main.py`
// shows the handshake by hand.
package supervise
