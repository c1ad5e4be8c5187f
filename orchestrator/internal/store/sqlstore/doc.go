// Package sqlstore is what the engines of package store share: the SQL statements, how
// records become rows, the migrations, and the writer that lets those who wait share a
// commit. An engine brings connections: what a [Session] and a [Connection] do.
//
//	Update ─▶ jobs ─▶ Writer (one goroutine)
//	                  Begin
//	                    Savepoint · fn 1 · Release
//	                    Savepoint · fn 2 · RollbackTo   (its error, and nobody else's)
//	                    …  whatever waits, at most 256
//	                  Commit ─ one fsync ─▶ answers all
//
// There is no linger: a lone caller pays one fsync, and while that runs the next group
// gathers by itself.
//
// # Adding a table
//
// Write migrations/NNNN_name.sql with the next free number, and NNNN_name.down.sql that
// undoes it. Both are in the SQL that SQLite and PostgreSQL have in common, with the types
// TEXT and INTEGER, and STRICT or WITHOUT ROWID where SQLite is to have them; [ForPostgres]
// turns it into the other dialect. Then a variable with prepare for each statement and the
// methods of reader and tx; a record's JSON is the column doc.
//
//   - Parameters are ?1, ?2, …, of which ?1 is the organisation.
//   - An Add… says ON CONFLICT DO NOTHING and goes through tx.add, which tells the caller:
//     after a failed statement the transaction of PostgreSQL would be over.
//   - A subquery in FROM has a name (AS found), and a truth value is 0 or 1.
//
// # Invariants
//
//   - Nobody is answered before the commit, also not with an error of his own function:
//     it may rest on what others of the group wrote.
//   - One that was released is never changed; a migration is applied whole or not at all.
package sqlstore
