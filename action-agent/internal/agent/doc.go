// Package agent is what only an action agent does: it takes instructions and runs
// action and output plugins.
//
//	poll ─▶ offer ─▶ journal ACCEPTED ─▶ claim ─▶ journal STARTING ─▶ plugin ─▶ journal ENDED
//	                                      │ 409: not ours any more                     │
//	                                      └──────────────▶ forgotten     report loop ◀─┘─▶ acknowledged: REPORTED
//
// Every arrow that a crash could hit is a line in the journal first
// (shared/internal/execution), so after a restart the agent knows what may have run:
// what had not started is reported as such and can be offered again, what had is
// reported as interrupted, and a result that exists is sent until it is acknowledged.
//
// Meanwhile a second goroutine prepares the run, down to a process that waits for its
// command where one can be forked; what is not given the right to start is ended.
//
// One goroutine polls, one reports, and each instruction that runs has one that owns
// it, one that runs it and one that renews its lease; at most api.max_concurrent run at once. At the end
// of the process running plugins are stopped, journalled as interrupted, and reported
// as far as the orchestrator answers within a few seconds.
package agent
