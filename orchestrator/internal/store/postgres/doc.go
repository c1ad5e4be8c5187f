// Package postgres keeps the orchestrator's state in PostgreSQL: the engine of package store
// for more than one server. Statements, records, migrations and the writer are those of
// package sqlstore, so that a record is the same bytes here and in SQLite.
//
//	Update ─▶ a sqlstore.Writer for each organisation     View ─▶ REPEATABLE READ, READ ONLY
//	          BEGIN · take the turn · functions · COMMIT
//	                    │
//	  turns (org, '')   the row that all servers update first: who has it, writes; its number
//	                    says whether another server wrote since this one last did
//	  turns (org, me)   the number of the last turn that this server committed
//
// # Invariants
//
//   - Of one organisation one function runs at a time, on all servers together: the row of
//     its turn is locked until the commit. So a function may read and then write, as with
//     SQLite. Organisations do not wait for each other.
//   - A connection that is lost during COMMIT is not a failure by itself: the next one waits
//     for the turn and reads whether the lost one has committed its number. Only where the
//     database is not to be reached for a minute is the outcome unknown.
//   - A server that stands still with the turn in its hand loses it after idleLimit: the
//     database ends its transaction.
//   - Text sorts by its bytes (COLLATE "C") and may have what PostgreSQL cannot store: see
//     quote.
//   - Every statement is prepared when a connection is opened, so one that does not fit the
//     schema fails the start and not the night.
//
// # What servers tell each other
//
// Tell is NOTIFY: it reaches the others with the commit, or not at all. Followers that lose
// their connection get a notice without an organisation: look at everything. Nothing is only
// told; what is missed is found in the tables.
//
// # How to debug it
//
// `select * from turns` says how often each organisation was written and by whom last;
// `select * from leases` says who leads. The application_name of a connection is stavily.
package postgres
