// Package engine starts a container engine of a test's own, beside any that the host
// has: all of it is in one directory, with its socket, and it touches neither the
// host's network nor its rules.
//
//	Missing ─ "" ─▶ Start ─▶ Command … ─▶ Stop, which ends the containers first
//
// It needs root. An Engine may be used by several goroutines; who starts it stops it.
package engine
