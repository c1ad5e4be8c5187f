// Package seatbelt writes the profile that holds a plugin on macOS: the text that
// sandbox-exec(1) compiles and puts on the process and all that it starts.
//
// It owns the text, and nothing else: it runs nowhere but in tests on the systems it
// is not for, and package sandbox starts sandbox-exec with it. sandbox-exec is marked
// as deprecated and is what Chrome, Bazel and others confine with; there is no other
// way without an application bundle and Apple's signature.
//
// # What the profile says
//
//	everything       denied: files, network, signals, Mach services, devices
//	a program's own  system.sb, Apple's list of what every process needs, and the directories
//	                 of the system's programs and libraries, read-only
//	files            of all paths granted and masked the deepest decides
//	network          the agent socket; with ports, TCP to them; with all, all
//	processes        fork and exec, signals and process data within the sandbox only
//
// # Invariants
//
//   - Paths are parameters (sandbox-exec -D), never part of the text: no file name can
//     say anything in the profile's language.
//   - Later rules win, so rules are in the order of the depth of their paths; of a path
//     that is granted and masked the mask wins.
//   - Paths must be free of symbolic links (/tmp is one): the kernel compares what it
//     resolved.
//
// # What it cannot do
//
// No limit on memory or processes, no private view of /tmp or of the process list's
// length, and no test here that macOS takes the text: the golden file in testdata shows
// what it is, and the agent's self-test on macOS tries it and reports level limited
// where it fails.
package seatbelt
