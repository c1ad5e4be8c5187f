// Package workflow is the workflow language and the run of one: a document goes in
// and a checked, immutable Definition comes out; an event goes in and a Decision
// comes out; a state and an input go in and the next state and its effects come out.
//
// All of it computes and nothing else: no clock, no randomness, no I/O, no
// goroutines. The engine supplies the event, the cooldown and what became of the
// steps, and stores the new state and carries out the effects in one transaction.
// It owns the language's rules; it does not know agents, leases, retries or stores.
//
//	text ──Parse──▶ Definition ──Decide(event)──▶ Decision (clause by clause)
//	                    │                            ▲ Take, Close: what Windows make of several events
//	                    │                            ▲ HoldEvent, HoldRun: what the past says
//	                  Start ──▶ State, effects ──Step(input)──▶ State, effects ──▶ …
//
// # A step
//
//	         needs satisfied, when true             StepStarted
//	waiting ───────────────────────────▶ dispatched ───────────▶ running
//	   │                                  ▲  └──────── StepEnded ───┴──▶ completed | failed | timeout |
//	   ├─ its when is false ─────▶ skipped, satisfied                    interrupted | expired | rejected |
//	   ├─ a need not satisfied ──▶ skipped                               cancelled
//	   ├─ when or with fails ────▶ failed
//	   └─ run cancelled ─────────▶ cancelled
//
// Where the step has a `retry` that the end fits, it is retrying instead, and an Alarm
// dispatches the next try. A step with `wait_for` is awaiting instead of dispatched; it
// completes with the event that it waits for (EventCame), or has the status timeout (Alarm).
// One with `approval` is asking until enough people have said the same of one digest (Verdict).
// One that runs on `each` of several agents is choosing until they are known (Chosen), and then
// running: its parts "step[agent]" are steps of their own, a few at once. "undo:step" takes back
// what a step has done, "output@step" tells of an approval that is needed: what of it has not
// begun when the approval ends never does.
//
// A step whose `when` reads others waits for their end, whatever that is: so failures are
// answered. A need is satisfied when it completed, and when it was skipped by its own `when`:
// leaving out an optional step does not stop what comes after it. What needs a step
// that failed is skipped; independent branches go on.
//
// # A run
//
//	queued ──Admit──▶ running ──all actions ended──▶ completed | failed | cancelled ──outputs ended──▶ Done
//	                                                             escalated ──outputs ended──▶ Done
//
// After a failure on_failure decides: what does not need the failed action goes on, nothing more
// starts, or what has completed is undone as well, the last first, before the status is final.
//
// It completed when every action is satisfied, was cancelled when that was asked
// for before, and failed otherwise. Status is final before the outputs for it are
// dispatched, and what becomes of them does not change it; nobody is told of a
// cancelled run, since somebody asked for it. Done is set when what tells of approvals has
// ended as well. [Finished] comes once, with it.
//
// # Invariants (state-machine tests)
//
//   - Each try of a step is dispatched at most once, never before its needs; a step ends once.
//   - The same state and input give the same state and effects; an input that the
//     state already reflects changes nothing.
//   - Once every dispatched step has ended and every alarm has come, the run is Done: nothing
//     waits for ever.
//   - A State means the same after a round trip through JSON, and [Step] refuses one
//     that belongs to another text.
//
// At most 100 steps, 500 expressions and 128 KiB a document; 256 KiB an input, and
// a kept result. A condition that cannot be evaluated is never taken for true: the
// run does not start, or the step fails, with a sentence that names the field.
//
// A Definition may be used concurrently. To see why a run did or did not happen,
// read Decision.Clauses; to see why it went as it did, its Record effects.
package workflow
