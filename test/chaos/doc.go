// Chaos runs real servers and agents under load, kills, pauses, cuts off and restarts
// them at random moments, and then checks from outside what the project promises:
//
//	go run ./test/chaos                       every scenario, with 5 faults each
//	go run ./test/chaos -count 1000 -only action
//	go run ./test/chaos -seed 7 -keep         the faults of seed 7; keeps what was made
//	make partitions                           bad networks of seven kinds, side by side (one takes root)
//	make pauses                               processes that stand still for up to ten minutes
//	make disk-full                            disks without a byte left (root)
//
// Build first: it runs the programs in bin/.
//
//	sensor plugin ─▶ sensor agent ─▶ fault proxy ─▶ server ◀─ fault proxy ◀─ action agent ─▶ action plugin
//	      │                                            ▲                                          │
//	   accepted                              operators │ fsck                                  ledger
//	      └────────────────────▶  history  ◀───────────┴──────────────────────────────────────────┘
//	                                 └─▶ validate: a line for each time that a promise was broken
//
// The history has what plugins wrote down where no agent and no server looks, what the
// driver did and when, and what operators are told in the end. Each guarantee is a
// function of the history alone ([guarantees]), and validate_test.go shows that each one
// fails for a history in which it is broken. A run under less load than its target fails
// as well: it proves nothing.
//
// What the processes do is not deterministic, so a seed gives the same faults and not the
// same run. When a guarantee is broken the whole history is written as JSON, and its
// name and what the processes printed last are shown.
package main
