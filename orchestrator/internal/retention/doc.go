// Package retention removes for good what a server has kept long enough: events, gaps, runs,
// log lines and audit records, each for a time of its own. Before that it writes them into an
// archive, where one is wanted.
//
//	every 10 minutes, each organisation, each kind:
//
//	  read a page ─▶ write it down ─▶ … ─▶ fsync, rename ─▶ remove, a small transaction at a time
//	  (oldest first)  (NDJSON, gzip)       (the file is whole)   (at most a fifth of the time)
//
// # Invariants
//
//   - Nothing is removed before the file that has it is on disk under its final name. A
//     sweep that is killed in between is done again: then two files have the same records.
//   - What goes on is not touched: a run goes only once it has finished that long ago, with all
//     that is of it.
//   - The newest event, line and audit record stay, so that numbers are never given twice.
//   - Audit records go only behind one that says through which, with the digest of the last
//     ([store.Cut]): the rest can still be verified, and the archive with it.
//   - The transactions that remove take at most a fifth of the time, each about as long as a
//     batch of events; agents do not notice.
//
// Streams are kept for ever: they say which numbers of an agent have come, so that an event
// that was removed does not start a run again when it is sent once more.
//
// # Clocks
//
// A clock that jumps could make everything old. When the wall clock and the time that has
// really passed differ by more than an hour, nothing is removed for a day. What was written
// while the clock was far ahead is as old as it says, and holds up what came behind it.
//
// # Failure
//
// A failed sweep is logged and counted, removes nothing that is not archived, and is tried
// again at the next. With several servers the one that leads sweeps.
package retention
