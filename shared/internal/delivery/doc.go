// Package delivery is the sending side of event delivery as a pure machine: when to
// send, how much, how long to wait, what to acknowledge and what to give up. The
// agent's delivery loop carries out its effects on package spool and the client, and
// feeds back what happened.
//
//	        Appended              Answered: Ack, and on while something waits
//	idle ─────────────▶ sending ──────────────────────────────────────────────▶ idle
//	                     ▲   │ │
//	         Elapsed     │   │ └─ Failed, refused or too large: half as many items ─▶ sending
//	waiting ─────────────┘   │      └─ a single event, refused: SetAside, it becomes a gap
//	   ▲                     │
//	   └──── Wait ◀──────────┘  Failed, transient or alone too large; or an answer without progress
//
// # Effects, carried out in their order
//
//	Send      read a batch of at most Max items from the spool and send it; then
//	          Answered or Failed, exactly one of them
//	Wait      a timer; then Elapsed
//	Ack       settle the spool through a number
//	SetAside  make one event a gap: the orchestrator will never take it
//	Renew     begin a new epoch: the orchestrator knows numbers that we never gave
//	          out, so this spool was restored from a snapshot (and has given out fewer
//	          since than it forgot; else the two lives cannot be told apart)
//
// An Ack or SetAside that fails is logged and the loop goes on: at worst events are
// sent again, and recognised.
//
// # Refusals
//
// A batch that is refused for what it is (400, 413, 422) would be refused for ever, so
// it is halved until one event is left, which is set aside. One poison event therefore
// never blocks the others and costs none of them. Each further one without an accepted
// event in between waits longer, so that an orchestrator which refuses everything by
// mistake costs a few dozen events an hour and not the spool. Whatever else fails
// (network, 401, 403, 429, 5xx) is tried again for ever and loses nothing.
//
// Where a proxy refuses the size (413, and not the orchestrator's) the batch is halved
// too. A single event that is still too large for it is not set aside: the same event
// passes once the proxy's limit is raised, and until then those behind it wait as well,
// because events arrive in their order.
//
// # Invariants
//
//   - At most one batch is in flight, and never while waiting, so events arrive in
//     their order.
//   - Only numbers that an answer settled are acknowledged, and none above the newest.
//   - Only an event that was refused alone is set aside.
//   - With an orchestrator that answers, every number is acknowledged after finitely
//     many steps, whatever came before.
package delivery
