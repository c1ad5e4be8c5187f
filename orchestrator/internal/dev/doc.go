// Package dev is the whole system on one machine, for people who want to see it:
// `stavily demo` shows the main job once and checks it, `stavily dev` keeps the same
// set-up running.
//
// Server and agents are real child processes over mutual TLS (internal/cluster), in
// a directory that is removed afterwards. The demo fills a real directory past its
// limit and then only watches, from outside: what the operator API says, what is
// left in the directory, and what arrived at a small HTTP receiver. It ends with a
// table of checks; one that does not hold makes it fail.
//
//	fill ─▶ sensor directory-size ─▶ event ─▶ workflow ─▶ action cleanup-files
//	          │                                              │
//	          └──────────── recovery event ◀─────────────────┘──▶ output webhook ─▶ receiver
//
// With --crash the demo kills the action agent in the middle of its clean-up, or the
// server between the event and the action, starts it again and checks the same.
package dev
