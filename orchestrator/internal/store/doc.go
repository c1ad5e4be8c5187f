// Package store is where the orchestrator keeps everything, as interfaces: what can
// be read and written, and what a caller may rely on. Engines live beside it (sqlite, over what they share: sqlstore),
// and storetest is the one suite that every engine must pass.
//
// The organisation is part of every key. A [Scope] belongs to one organisation and no
// method below it takes one, so that a query over all of them does not compile;
// [Store.Orgs], for loops that visit each, is the only exception.
//
//	Store ── Org(id) ──▶ Scope ── View ────▶ Reader   one consistent state, beside writers
//	                        └──── Update ──▶ Tx       alone, all or nothing, durable on return
//
// # Invariants callers rely on
//
//   - Update returns nil only after its commit is durable: it survives kill -9 and a
//     power cut.
//   - A function given to Update runs at most once, and no other Update of the same store
//     runs beside it. If it fails or panics, nothing of it remains.
//   - View sees one state in which every Update is whole or absent, and at least those
//     that returned before it began. It does not wait for writers, nor they for it.
//
// A function given to Update must be short and do no I/O of its own: others wait.
//
// # Failure
//
// [ErrFull] means that nothing was changed and that the same call may succeed later.
// [ErrUnknownOutcome] means that the commit may or may not have happened: a failed
// fsync leaves rows that are there afterwards. The store refuses all further work; the
// process must exit, and the next one finds out by the keys of its records. It never
// means "try again as new". Other errors of the engine changed nothing.
package store
