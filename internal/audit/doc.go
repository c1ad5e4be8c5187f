// Package audit keeps an append-only file in which every record names the one before
// it by hash, so that nobody changes, removes or moves a record without its showing.
//
// It owns the format, durability, repair and verification. What is recorded, and what
// stops when it cannot be, is its users' to decide (docs/audit.md).
//
// # Format
//
// One JSON object a line, its members always in this order:
//
//	{"seq":7,"time":"2026-01-02T03:04:05.678Z","kind":"plugin_installed",
//	 "fields":{"plugin":"cpu-watch"},"prev":"<64 hex>","hash":"<64 hex>"}
//
// hash is the SHA-256 of the line's bytes before `,"hash"`, which hold the number and
// the hash of the record before; the first has 64 zeros there. FILE.head holds the
// number and hash of the last record that is known to be durable, in place: it is what
// tells an end that somebody cut off from one that a crash tore.
//
// # Record
//
//	Record ─▶ joins the open group ─▶ its first member chains, writes, fsyncs ─▶ all return
//	                ▲ those who come during a flush form the next group
//
// # Repair
//
// The bytes of a line without its end that FILE.head does not know were never confirmed:
// they are cut off, and the next record says so (KindRepaired). Nothing else is ever
// removed: where the file does not end as FILE.head says, where it was moved away or
// somebody else wrote to it, the next record says that, the numbers and hashes go on as
// FILE.head has them, and Verify names the place. A file that was moved away is so
// continued by the next one: that is how one begins a new file.
//
// # Failure
//
// What fails is not recorded, its caller gets the error, and the next call tries again,
// opening the file too. After an fsync that failed it is unknown what is on disk: every
// further call then fails with [ErrBroken] until the process starts again.
//
// # Invariants
//
//   - A record whose Record returned nil is found by Verify after kill -9 or power loss.
//   - A change of any byte of a file is found; of a removed end as long as FILE.head or
//     a hash that was noted elsewhere tells of it. Who may write both files and knows
//     this format can make a whole new chain: a hash kept on another machine shows that.
//
// All methods may be called concurrently. There is no goroutine. Only one process may
// have a file open.
package audit
