// Package delivery is the receiving side of event delivery: a pure machine that
// says which events of a batch are new and how far a stream is settled. It does no I/O;
// the caller stores the [Stream] in the transaction that stores the events.
//
// An agent numbers its events 1, 2, 3 … in a stream whose epoch is made with its spool.
// A sequence number is settled when its event was received (stored or refused), or
// is known to be lost.
//
//	1 … Through │ Through+1 … │ span │ … │ span │ …
//	  settled   │    hole     │settled│hole│settled│ not seen
//	            │             └─ at most [MaxSpans], merged when they touch
//	            └─ the agent keeps what it has from here on and sends it again
//
// Holes close in three ways: the missing events arrive; the agent declares a gap; or
// the hole is skipped, because the agent began a second batch at the same number above
// it, or because there are more than MaxSpans spans. An agent begins each batch at its
// first unsettled event, so beginning twice above a hole means that it holds nothing
// below: it had been told that all that is settled, by an orchestrator whose database
// was since restored from a backup or begun anew. What is skipped is returned as a gap
// with reason [ReasonSkipped], so it becomes a record and not a silence.
//
// # Invariants
//
//   - The state is bounded, whatever arrives.
//   - No sequence number is accepted twice, in whatever order, however often and however
//     grouped batches arrive.
//   - A number through Through was accepted or rejected once, or lies in a gap that was returned.
//   - Batches of one sender that arrive in any order, but not twice before those below
//     them, are received whole: nothing is skipped.
//   - Through never falls.
//   - As many numbers are settled as the [Tally] has stored, known, rejected, lost and
//     settled under an earlier epoch.
//
// Events without a number, or of a batch without an epoch, come from clients that have
// no spool. Only their id can tell a resend, so they are always accepted here.
package delivery
