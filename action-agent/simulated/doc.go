// Package simulated is an action agent without a host: its real poll, journal, claim, renewal
// and report, over plugins and a network that the caller makes up. It is for test/sim, and no
// program links it.
//
//	test/sim ──▶ Agent.Run ── internal/agent (real) ──▶ Options.Bare.Transport
//	    ▲                           │
//	    └────── Options.Execute ◀───┘ instead of a plugin's process
//
// # Invariants
//
//   - Execute is called where the real agent would start a process: after the journal and the
//     audit log have the start, durably.
//   - Nothing else of the agent is replaced, and its files are real ones below the base directory.
//
// # Concurrency, failure
//
// Run blocks until its context ends or a component fails, as a process does. Several agents may
// run in one process, each over its own directory.
package simulated
