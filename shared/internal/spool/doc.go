// Package spool keeps events on disk until the orchestrator has them.
//
//	Append ─▶ room? ─▶ wal, fsync ─▶ accepted        Batch ◀─ from the first that is not settled
//	            │ no: wait until ctx ends                │
//	            ▼                                        ▼ sent, acknowledged
//	         ErrFull                          Ack ─▶ settled, segments given back
//
// The stream is named by its epoch, 128 random bits made with the spool, so that a
// wiped disk cannot reuse numbers. It is renewed when the end of the log was cut off,
// since a number may then be given out a second time. Nothing is dropped silently: a
// number that cannot be delivered (damage on disk, an event that the orchestrator will
// never take) is in a gap, which Batch hands out in its place until it is acknowledged.
//
// # Bounds
//
// The log takes at most Options.MaxBytes (256 MiB unless set), the last tenth of which
// only critical events may use. A full spool holds its callers back: what a plugin was
// told is accepted is never thrown away for what comes later.
//
// # Invariants
//
//   - Append returns nil only after fsync.
//   - A batch has every number from the first unsettled one through its last exactly
//     once, as record or inside a gap.
//   - Settled numbers stay settled over a restart, or are sent again; an unsettled one
//     never becomes settled by itself.
//
// All methods may be called concurrently; there is no goroutine. After an error that
// wraps wal.ErrBroken the process must end and reopen. `strings <dir>/log/*.wal` shows
// the events; refused/ keeps the latest that were set aside.
package spool
