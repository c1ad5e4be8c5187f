// Package rollout decides in which order agents get a new version of a plugin. It is a
// pure function, (state, input) → (state, effects): no clock, no store, no network.
//
//	             ask for more than approved        approved
//	  ┌──────────────▶ waiting ──────────────────────────┐
//	  │                                                  ▼
//	idle ──────────────────────────────────────────▶ rolling ── one → tenth → all ──▶ idle, Done = Target
//	  ▲  a version in range that is not Done            │  ▲
//	  │  nor skipped                 an agent failed,   │  │ resume: a new attempt,
//	  │                              or is silent past  ▼  │ for all that had it
//	  └──────── abort: skipped ────── the deadline    stopped
//
// It owns which agents have been given the target, and refuses to know how they get it:
// the engine asks [State.For] for each agent, and hands in what the agents report.
//
// # Invariants
//
//   - An agent is given the target, or what completed last; as long as nothing has, it keeps
//     what it was given before. It is given nothing else, ever.
//   - A newer version takes nothing away from an agent: it loses a plugin only when nothing
//     is in range any more, or when an operator aborts the first version.
//   - The target reaches agents beyond a stage only when every agent of the stage has
//     reported it ready and kept it for the settle time, or when an operator says at once.
//   - One agent that reports the target refused, failed or rolled back stops it; so does
//     one that was given it and has not reported it ready by the deadline. Nobody else is
//     given it then until an operator resumes, or another version takes its place.
//   - A target that asks for more than was approved is given to nobody.
//   - Done only ever becomes a version that every agent of the last stage had ready.
//   - Step with the same input again changes nothing: it may be called at any time, and
//     goes on after a restart where the stored state is.
//
// Stages are one agent, a tenth of them (where that is more than one), and all. The first
// by id of those that are online are taken, so that it is known beforehand who goes first.
// In the last stage everybody is given the target, and those that were online when it
// began are waited for: a fleet has always some that are switched off.
//
// # How to debug it
//
// `stavily plugins rollout show ID` prints state, stage and the reports of the agents in
// it; every change of phase is an audit record.
package rollout
