// Package execution is what an action agent remembers of its instructions: a pure
// machine for the life of one attempt, and a journal that survives kill -9 and power
// loss.
//
//	          Accept              Start               End                Report
//	(unknown) ──────▶ accepted ──────────▶ started ─────────▶ ended ──────────────▶ reported
//	                     │  │                                   ▲                     ▲
//	                     │  └── End: rejected, expired ─────────┘                     │
//	                     └───── Report: the claim was refused, it is not ours ────────┘
//
//	after a restart:  accepted → ended, interrupted, error_details {"started":false}
//	                  started  → ended, interrupted, error_details {"started":true}
//	                  ended    → sent again                 reported → only remembered
//
//	offered again:    reported, and may have run → ended, interrupted, error_details {"started":true}
//	                  reported, and has not      → accepted
//
// The plugin is started after the record of Start is durable, so an attempt that has
// none has not run. Where records are missing, an accepted attempt may have lost its
// Start and is reported as started: in doubt nothing runs twice. A result is sent until
// Report; its record is durable before it is first sent.
//
// # Invariants
//
//   - Every method returns after its record is durable (wal, fsync).
//   - An attempt that may have run is Seen for the retention, 30 days in which the journal
//     is open, so that an orchestrator that was restored from a backup cannot have it run
//     again. The clock on the wall, which may jump by years, has no part in that. At most
//     [maxRemembered] attempts are remembered; the oldest go first. One that was
//     reported without having run may be accepted again, under a new lease. One that may
//     have run is told as that under the new lease: what was told under the old one was
//     refused or is forgotten there, and nobody would ever hear why it is not taken.
//   - Compaction writes what is still needed before it gives the old segments back, and
//     replaying both is the same as replaying one.
//
// # Concurrency, failure
//
// The journal may be used concurrently; what it knows changes only after the record is
// durable. When a write fails the method returns the error and nothing has changed;
// the caller must not go on with what it wanted to record. Only what a restart ends may be
// told without a record, where the disk is full: the next restart says the same.
//
// # How to debug it
//
// `strings data/state/journal/*.wal` shows the records; each is one JSON document.
package execution
