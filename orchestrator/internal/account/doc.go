// Package account knows who may operate the orchestrator: users with a password, the
// sessions of their browsers, API tokens of their programs, and the one-time links by
// which they choose a password.
//
// It owns names, roles, passwords and credentials, and refuses to know what a route does:
// package route asks it who comes with a credential and compares the [Role].
//
//	link ──accept──▶ password ──login──▶ session ──┐
//	OpenID provider ───────────login──▶ session ──┼──▶ [Caller] {org, user, role}
//	                    API token ────────────────┘
//
// # Invariants
//
//   - A user, and everything that shows who it is, belongs to one organisation and is
//     looked up in that one alone: a credential names its organisation, so none is ever
//     found in another.
//   - A credential has 130 random bits and only its SHA-256 is kept; a password is kept as
//     argon2id. Neither is in an error, a log or an audit record.
//   - What a credential gives is decided anew on each request: the role of its user now,
//     and of a token at most the token's own. A session ends after [SessionLife], or after
//     [SessionIdle] without a request; nothing extends the first.
//   - A login makes a new session and ends the one that the browser came with, so that
//     nobody can plant one. A password that is set ends all sessions of the user.
//   - The last admin of an organisation cannot be removed, disabled or given less.
//   - A wrong name and a wrong password cost the same time and get the same answer. At most
//     four passwords are hashed at a time (19 MiB each), the rest waits its turn.
//
// # Concurrency
//
// [Accounts] may be used by any number of goroutines. [Accounts.Run] ends requests whose
// credential ended meanwhile, also by another server on the same store, within
// [recheckAfter]; those that this server ended end at once.
//
// # How to debug it
//
// Each login, and each that a known user's name was refused, is an audit record:
// `stavily audit list`. `stavily users list` shows who there is and when they came last. See
// docs/access.md.
package account
