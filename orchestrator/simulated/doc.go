// Package simulated is the orchestrator without sockets: its real store, engine and Agent API
// over a directory, which the caller may end at any commit and start again from what was on
// the disk then. It is for test/sim, and no program links it.
//
//	test/sim ── ServeHTTP ──▶ route ─ agentapi ─ engine ──▶ mortal ──▶ SQLite
//	                                                          │
//	            Options.Commit(Before | After) ◀──────────────┘ "die here"
//
// # Invariants
//
//   - A server that has died changes nothing any more and answers nobody: what its goroutines
//     still ask of the store fails, and the caller goes on with a copy of the files.
//   - Commits come one at a time, so that a life is the same whenever it is repeated.
//
// # Concurrency, failure
//
// All methods may be called concurrently. Run ends with the error that would end the process.
package simulated
