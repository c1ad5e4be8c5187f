// Package cli is the command line of stavily: the server, and the commands with
// which people operate it over its socket, or over HTTPS with an API token (contexts.go).
//
// It owns flags, help, tables and exit codes, and refuses to reach into the data
// directory: what it shows comes from a running server through package operatorapi. Only
// fsck, which is there for when no server can run, opens the database itself.
//
//	main ── New() ── AddCommand(…) ── Execute(ctx, root, args) ── exit code
//
// # Exit codes
//
//	0  done                       2  wrong usage: flags, arguments, unknown command
//	1  refused or failed          3  no server answers
//
// # Invariants
//
//   - Standard output carries the answer alone, so it can be piped; everything said
//     about it goes to standard error.
//   - With -o json or yaml the output is that of the types of package operatorapi, which only
//     gain fields. Tables are for people and may change.
//   - Whatever came from an agent is printed with control characters escaped: an event
//     cannot move the cursor of whoever reads it.
//   - Every command that can be run has an example in its help.
package cli
