// Package pgtest runs a PostgreSQL server for a test: a new cluster in the test's own
// directory, that of Debian's package postgresql, and nothing that was there before is
// touched. A test is skipped only where PostgreSQL is not installed.
//
//	cluster := pgtest.Start(t)          // initdb and start, once for a test and its subtests
//	url := cluster.NewDatabase(t)       // each with a database of its own
//	cluster.Terminate(t)                // end every connection, as an administrator may
//	cluster.Crash(t); cluster.Resume(t) // kill the database and start it again
//
// PostgreSQL refuses to run as root, so that as root it runs as the user postgres, which
// the package of Debian makes.
//
// It does not fsync: a process that is killed loses nothing by that, only a power cut does.
package pgtest
