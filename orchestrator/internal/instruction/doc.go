// Package instruction is the life of one instruction on the orchestrator's side: a
// pure machine, (state, input) → (state, effects). It does no I/O, reads no clock and
// makes no lease; the caller hands those in and stores the state in one transaction.
//
//	           Offer                   Claim                     Finish
//	pending ───────────▶ offered ────────────────▶ executing ───────────────▶ completed | failed | timeout
//	  ▲ ▲  Tick: lease ran  │                       │    │                    | cancelled | interrupted
//	  │ └──── out ──────────┘                       │    └─ Tick: lease ran out ─▶ interrupted, LostAgent
//	  │                                             │                                   │
//	  └── Spent: the next offer is attempt + 1 ◀────┴── Finish: interrupted ────────────┘
//	      if nothing ran, or idempotent and attempts are left; and not cancelled or expired
//
//	pending | offered ── Tick: ExpiresAt ─▶ expired (interrupted, if an attempt was claimed before)
//	pending | offered ── Cancel ──────────▶ cancelled           executing ── Cancel ─▶ CancelRequested
//	pending | offered | executing ── ClockSet, ServerStarted ─▶ the same, its lease and expiry moved
//	offered ── Finish ────────────────────▶ rejected, expired … (refused by the agent, without a claim)
//
// # Invariants
//
//   - An attempt is claimed by one (agent, attempt, lease, boot id). The same claim again
//     gets the same answer; any other is told [api.CodeConflict] and must not run.
//   - Nothing is claimed from ExpiresAt on, nor after the lease of its offer.
//   - The attempt grows only when the one before is over: it ended as interrupted, or its
//     agent was lost and the step is idempotent.
//   - After a Tick nothing is offered or executing whose lease ran out before it.
//   - The first result of the current attempt is final. The same result again changes
//     nothing; another one is told [api.CodeGone]. A result under a lease that is not the
//     current one is told [api.CodeConflict].
//   - Terminal states stay, with one exception: an agent that was given up as lost and
//     comes back may say once how its attempt really ended, until a newer attempt is
//     offered. If the run has gone on by then, the effect is [Late] and not [Ended].
//
// An offer that lapses uses up no attempt: nothing was claimed under it.
//
// # Clients without leases
//
// An attempt of 0 and an empty lease mean "what I was offered". Such a client has no
// fence but its identity, which is all it can show.
//
// # How to debug it
//
// [Instruction.Message] says in a sentence why the instruction is where it is. The tests
// drive random inputs against the invariants; `-rapid.log` prints the failing sequence.
package instruction
