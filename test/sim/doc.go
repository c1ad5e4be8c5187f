// Package sim lives through the lives of a server, its agents and the network between them, in
// simulated time: an hour takes less than a second. The engine, its store, the Agent API, the
// agents' loops, spool, journal and audit log are the real ones; what is made up is what plugins
// do, the network, the clocks on the wall and when processes die.
//
//	        ┌ choose ─ what harms there are, by the seed ─ step ─ step ─ … ─ settle ─ judge ┐
//	driver ─┤                                                                               │
//	        └ report events · kill · doom at a commit · cut off · set clocks · cancel runs ─┘
//
//	 sensor agents ──┐        link: lost, late, doubled, cut       ┌── server, SQLite
//	 action agents ──┴── each call: dies before · after the answer ─┴── dies before · after a commit
//
// A process that dies leaves a copy of its files as they are at that moment, sometimes with the
// beginning of another record, and begins a new life over it later. What the old one still does
// goes to files that nobody reads and a network that takes nothing.
//
// # Invariants
//
//   - A seed's life is the same whenever it is lived. Time is that of testing/synctest, in which
//     one thing happens after another; every draw is made from the seed and the name of what it
//     is for, never from a stream that several share; crypto/rand is that of testing/cryptotest.
//   - The world keeps its own books (history), which no code that is tested writes.
//   - Harm ends before the judgement, so that everything must come to its end.
//
// # How to debug it
//
// `make sim SEED=n` lives one seed and prints everything that happened in it. A seed in which a
// promise was broken goes into testdata/seeds, with what it was.
package sim
