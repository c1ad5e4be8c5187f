// Package spool keeps events on disk until the orchestrator has them.
//
//	Append ─▶ room? ─▶ wal, fsync ─▶ accepted        Batch ◀─ from the first that is not settled
//	            │ no: wait until ctx ends                │
//	            ▼                                        ▼ sent, acknowledged
//	         ErrFull                          Ack ─▶ settled, segments given back
//
// It does not decide when to send (package delivery does) and does not look into
// payloads.
//
// # On disk
//
//	log/       a wal.Log of the events, each with the time when it was appended
//	position   epoch and acknowledged number, twice, written in place in turn: damage
//	           costs at most one of them, and a full disk cannot keep an
//	           acknowledgement from freeing space; each with what became of the events
//	refused/   the newest [keptRefused] events that were set aside
//
// # Epochs
//
// The stream is named by its epoch, 128 random bits made with the spool, so that a
// wiped disk cannot reuse numbers. It is renewed when a number may be given out a second
// time: the end of the log was cut off or is gone, the position was destroyed, or the orchestrator
// knows numbers that were never given out here (the machine was restored from a
// snapshot). What waits is then sent again, and recognised by its id.
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
//   - Nothing is dropped silently: a batch has every number from the first unsettled one
//     through its last exactly once, as a record or inside a gap that says why: corrupt
//     (damaged on disk), refused (set aside), or renewed (settled under an earlier epoch;
//     Count is 0, nothing is lost).
//   - What was taken is delivered, rejected, refused, corrupt, unseen or waits: see [Account],
//     which goes on over restarts.
//   - Settled numbers stay settled over a restart, or are sent again; an unsettled one
//     never becomes settled by itself.
//
// All methods may be called concurrently; there is no goroutine. A full disk is an
// error of Append and passes by itself. After an error that wraps wal.ErrBroken the
// process must end and reopen. `strings <dir>/log/*.wal` shows the events.
package spool
