// Package sqlite keeps the orchestrator's state in one SQLite file: the engine of
// package store that needs no set-up. It is meant for one process at a time; whoever
// opens it holds a lock on the directory.
//
//	Update ─▶ sqlstore.Writer (one goroutine)          View ─▶ one of a few read connections
//	          BEGIN IMMEDIATE · functions · COMMIT              BEGIN · fn · ROLLBACK
//
// Statements, records, migrations and the writer are those of package sqlstore.
//
// # Invariants
//
//   - WAL with synchronous=FULL: what was answered survives a power cut. With NORMAL it
//     does not.
//   - Every statement is prepared when a connection is opened, so one that does not fit
//     the schema fails the start and not the night.
//   - The file and its -wal and -shm are readable by their owner alone (0600).
//   - Migrations are numbered and only added to; each is one transaction. A database of a
//     newer schema is refused.
//
// # Failure
//
// An error of SQLite inside a function, other than a key that is taken, undoes that
// function whatever it makes of the error. On some, such as a full disk, SQLite rolls
// back the whole group; then all of the group get the error, and nothing was changed.
// A commit that fails for want of space was rolled back (store.ErrFull). Any other
// failed commit is store.ErrUnknownOutcome and the store does nothing more.
//
// # How to debug it
//
// `sqlite3 stavily.db` beside the running server is safe: readers do not block it, and it
// waits 5 s for a foreign writer. `select doc from runs` are the records as JSON.
package sqlite
