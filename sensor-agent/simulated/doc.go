// Package simulated is a sensor agent without a host: its real spool and delivery, over events
// and a network that the caller makes up. It is for test/sim, and no program links it.
//
//	test/sim ── Agent.Emit ──▶ spool (real) ── delivery (real) ──▶ Options.Bare.Transport
//
// # Invariants
//
//   - An event whose Emit returned nil was accepted as a plugin's is: it is durable.
//   - Nothing of the agent is replaced, and its files are real ones below the base directory.
//
// # Concurrency, failure
//
// Emit may be called concurrently while Run runs, and fails when the spool does. Run blocks
// until its context ends or the delivery fails, as a process does; Close is for afterwards.
package simulated
