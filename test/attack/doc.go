// Command attack lets hostile plugins loose on agents and writes down what they got:
// the table in docs/security/sandbox.md.
//
// Each configuration is a machine of its own (process, network, IPC, host-name and
// mount namespaces, or a container) with a real server, sensor agent and action agent,
// started as the user and at the level that the configuration names. Around them
// stands what an attacker would want: keys, tokens, sockets, sibling processes, shared
// memory, a metadata service. Each probe is an event that the feeder plugin emits and
// a workflow turns into a run of the attacker plugin, whose Python function tries one
// thing and says what came of it.
//
//	attack ─┬─ configuration ─ stage (root: loopback, /proc, then drops to the user)
//	        │                    └─ world: bait, cluster, probes, what is seen from outside
//	        │                         event ─▶ workflow ─▶ attacker plugin ─▶ verdict
//	        └─ judge every verdict against what is expected, write the table
//
// # What counts
//
// OPEN is an attack that worked. A probe's own word is not taken where the effect can
// be seen from outside: that a file changed, a listener heard, a process was signalled
// or outlived its run, memory was taken; and what a probe says it read must be what
// the bait holds, not something of the same name in its private view.
//
// The control runs the same probes without a sandbox: every one that can work must,
// and one that does not fails the suite, since a probe that is broken would pass
// everywhere. A probe that died without an answer is never taken for a refusal.
//
// Every attack that works where it is not expected fails the run, with its evidence.
// A configuration that this machine cannot provide is reported as not run, with the
// reason; with -strict that is a failure too.
//
// # Safety
//
// The probes are harmless where they work: signals are ones that nobody minds or 0,
// files of the host are opened and not written, what asks for a right asks with
// arguments that mean nothing. Everything is made below one temporary directory, and
// the process namespace takes everything with it that was started in it.
package main
