// Package engine is the thin I/O around the pure machines: it takes what agents and
// operators ask, lets delivery, instruction and workflow decide, and makes each
// transition one transaction of the store.
//
// It owns no state that it cannot rebuild from the store. What it keeps in memory is
// who waits (polls, followers), which requests of an agent are in flight, and
// compiled workflow definitions.
//
//	Events ─────▶ delivery.Begin ── event rows ─ workflow.Start ─┐
//	Result ─────▶ instruction.Step ─ Ended ───▶ workflow.Step ───┤
//	reaper ─────▶ instruction.Step ─ Ended ───▶ workflow.Step ───┤ effects: Dispatch,
//	CancelRun ────────────────────────────────▶ workflow.Step ───┘ CancelStep, Record, Finished
//	Publish, Assign, Approve, heartbeat, reaper ─▶ rollout.Step ──▶ Deliver, Record
//	                 all of one line in one transaction        │
//	                         after the commit, but for offers: ▼ polls · followers · reaper
//
// # Invariants
//
//   - Nothing is answered or woken before its commit; a caller that got an
//     answer finds its effect after any crash. A repeated request has one effect. Offers
//     alone go out while they are written: they give no right, and the claim comes behind.
//
//   - Identity is the certificate's ([Engine.Admit]); ids in bodies and paths are only
//     compared. An agent that asks about another's instruction is told 404.
//
//   - A run's state, its history and the instructions it decided on change together.
//     One broken workflow fails its own runs and no batch of events.
//
//   - A step with a sandbox minimum is offered only to agents whose last heartbeat, or
//     enrolment, reported it; it waits for one as for a missing agent, and expires with
//     the posture that was found. What degrades after the offer the agent itself refuses.
//     Every change of a reported posture is audited in the transaction that stores it.
//
//   - Revoking an agent ends its requests in flight at once and refuses the next.
//
//   - A renewed certificate takes the place of the old one when it is first used; until
//     then both are good, so a lost answer strands nobody. The old one is refused and
//     audited afterwards: somebody has a copy.
//
//   - A package has a record only once it was verified whole and its file is durable. A
//     version never changes. What an agent is to have follows from assignments, roll-outs
//     and its own record alone, so that its version is the same after a restart; a package
//     that an agent is not to have does not exist for it.
//
//   - A version that asks for more than any approved one is given to nobody. Approval is of
//     one version's bytes, and of others that ask for no more.
//
// # Concurrency
//
// All methods may be called concurrently. Transactions are ordered by the store's
// single writer. [Engine.Run] is the reaper: it sleeps until the next lease or expiry
// that the store knows, and a transaction that sets an earlier one wakes it.
//
// # Failure
//
// A commit with an unknown outcome ends Run with an error, so that the process exits
// and the next one reads what is true. Any other error fails one request, which the
// agent repeats.
//
// # How to debug it
//
// Every step of a run is a history row: `stavily runs show ID`. What was refused, and
// every change of agents, tokens and workflows, is in the audit table.
package engine
