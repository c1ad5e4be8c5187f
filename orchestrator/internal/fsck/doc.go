// Package fsck reads a whole store and says what in it cannot be: what no order of
// transitions leaves behind, whatever crashed in between. It changes nothing and knows no
// engine: everything comes through [store.Reader], one consistent view of each organisation,
// so it can look at a store that is in use, at a restored one, and beside a server.
//
// # Invariants it looks for
//
//   - A run's record, its state and its history agree: status, number and order of lines.
//   - A run that goes on has something to go on with: each step that was dispatched has an
//     instruction that has not ended, one that waits for an event a wait, one that asks an
//     approval, one that retries an alarm. What is finished has nothing of these.
//   - An instruction that is offered or executed has an agent and a lease, one that has
//     ended a time; each belongs to a run and to a step of it.
//   - A run is of a version of a workflow and of an event that are there, and it is the one
//     that the event's evaluation names: an event has not started two.
//   - What was stored of a stream was settled there before, and no more than that; what it
//     settled it counts as stored, known, refused or lost, and what it stored is there.
//   - The audit records count without a hole, and each has the digest of the one before.
//
// Records that were removed for their age are no finding: what names an event is checked
// from the oldest event on.
//
// # Cost
//
// It reads everything once, in pages: a minute or two for a million events. A view is held
// meanwhile, so that a store in use keeps what is replaced until the end.
package fsck
