// Package depot keeps the package files of the orchestrator, each under the SHA-256 of
// its content.
//
//	<data>/packages/<64 hex digits>.tar.gz
//	<data>/packages/incoming-*               on its way in; removed at the next start
//
//	bytes ─ Receive: bounded, aside, hashed, fsync ─▶ Incoming ─┬─ Keep: rename, fsync of the directory
//	                                                            └─ Discard
//
// It owns files and refuses to know whose they are: which organisation has a package,
// and so who may have the file, is the store's. Two organisations that publish the same
// bytes share one file and do not learn of each other.
//
// # Invariants
//
//   - A file under a digest is whole and durable, or not there: after a crash there may be
//     a file that no record names, never a record whose file is missing, as long as the
//     caller keeps before it commits and removes after it commits.
//   - A file never changes once it has its name.
//   - Not more than the limit given to Receive is ever written for one upload.
//
// A depot is safe for concurrent use. That a file is removed while the same content is
// published again is for the caller to exclude.
package depot
