// Package backup writes everything that a server on SQLite is into one file while it runs,
// and makes a data directory of such a file again.
//
//	Write:    VACUUM INTO (one moment of the database) ─▶ tar ─▶ gzip ─▶ age, if wanted ─▶ fsync, rename
//	Restore:  the other way round, into a directory beside ─▶ digests, the authority, SQLite's pages ─▶ the
//	          caller's look at it ─▶ rename
//
// The file has the database, the certificate authority with its key, the packages, and a
// manifest with the digest of each. The keys that secrets are sealed with are in it only if it
// is encrypted (https://age-encryption.org, so that `age -d` opens it without this program):
// the database beside them would be as good as the secrets themselves.
//
// # Invariants
//
//   - A backup has its name only once it is whole and on disk; nothing is overwritten.
//   - Restore makes a directory only where there is none or an empty one, so it cannot meet a
//     server that runs or a state that somebody needs; and all of it or nothing.
//   - What is in a backup is either in its manifest with that digest, or the backup is refused.
//
// # Failure
//
// An interrupted Write leaves files that end in .part, which the next one replaces; an
// interrupted Restore leaves a directory DATA-DIR.restore, likewise.
package backup
