// Package server runs the orchestrator: it opens what is in a data directory, wires
// store, certificate authority, engine and the two listeners, and stops them in order.
//
//	<data>/server.lock     held by the one server of this directory
//	<data>/stavily.db      SQLite: everything but keys
//	<data>/ca/             the certificate authority, see package ca
//	<data>/packages/       published packages, see package depot
//	<data>/operator.sock   operator API, mode 0600
//
//	lock ─ store ─ ca ─ engine ─┬─ agents' listener (TLS)     first to end
//	                            ├─ operator socket            stops the rest
//	                            └─ engine.Run (reaper)
//
// # Invariants
//
//   - Ready is called, and the address said, only when both listeners accept.
//   - When the context ends, listeners close, waiting polls and followers are answered
//     with 503 and Retry-After 1, requests in flight get 20 s, and Run returns nil.
//   - A commit whose outcome is unknown ends Run with an error: the process must
//     exit, and the next one finds in the database what is true.
//   - A SIGKILL at any moment loses nothing that was acknowledged.
//
// # How to debug it
//
// `stavily server --log-level debug`; `curl --unix-socket <data>/operator.sock
// http://stavily/api/v1/health`.
package server
