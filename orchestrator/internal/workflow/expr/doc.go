// Package expr is the expression of a workflow: CEL (cel.dev/cel-go), typed by
// what an event, a step and a run are, compiled once and bounded in what it costs.
//
// It owns the names that an expression may read, the limits below, the `${{ … }}`
// syntax within text, and turning CEL's messages into sentences that name the
// field. It knows nothing of YAML, of runs or of the store: package workflow says
// which names a place may read ([Scope]) and supplies the values ([Values]).
//
//	source ──parse──▶ references checked ──types──▶ Program ──Eval──▶ Value (JSON)
//	   └───────── problems: offset and sentence ──────┘  └──Test──▶ bool, findings
//
// # Types
//
// event, workflow, run and variables have known fields: a misspelt one is found
// when the document is applied. event.data, event.metadata and a step's result are
// foreign JSON and are checked as they are read; has(event.data.x) tests for one.
// A JSON number is an int when it is written as a whole number, else a double.
// Comparing mixes the two freely; arithmetic wants int(…) or double(…).
//
// # Limits
//
// A source has at most [MaxSource] bytes and nests at most 32 deep; an evaluation
// may cost 100,000 operations, with text, lists and patterns charged by their size
// (about 0.1 s at the worst, whatever the event), and several together what their
// [Budget] allows; a value has at most the bytes
// that its reader asks for. Of the macros only has, all and exists are there:
// map and filter build lists as large as their input allows. There is no clock and
// no randomness: the same values give the same result on every machine.
//
// A Program and an Env are immutable and may be used concurrently. An evaluation
// that fails is an error with a sentence; nothing is retried and nothing is logged.
package expr
