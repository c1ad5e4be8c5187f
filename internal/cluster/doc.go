// Package cluster runs a server and agents as real child processes in one
// directory: what `stavily dev`, `stavily demo`, the end-to-end tests and the
// benchmarks stand on, so that all of them exercise the same thing.
//
// It uses the programs only as a user would: command lines, files, exit codes and
// signals. Everything is made below one directory and on free ports of the loopback
// address; Close ends every process it started and no other.
//
//	New ─▶ StartServer ─▶ AddAgent (token, enrol, plugins, monitors) ─▶ StartAgent
//	          │  ▲                                                        │  ▲
//	          └──┘ Kill, Stop, Pause, Resume and start again by name  ◀───┘──┘
//
// A Cluster is safe for concurrent use by name: do not start and kill the same
// process from two goroutines.
package cluster
