package engine

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// DefaultKeepFree is for the results of a fleet over hours, for what is audited, and for
// SQLite's log, which grows until it is cut.
const DefaultKeepFree = 256 << 20

// keptShare is which part of a small disk is kept at most.
const keptShare = 16

// Disk is where the store is, and how much of it is for what must not fail.
type Disk struct {
	Space func() (free, total int64, err error) // nil: nobody can tell, and nothing is kept
	Keep  int64                                 // bytes; of a small disk it is a share
}

// Kept is how much is kept of a disk of that size.
func (d Disk) Kept(total int64) int64 { return min(d.Keep, total/keptShare) }

// room is the state of the mark below which events are not taken.
type room struct {
	disk  Disk
	since atomic.Int64 // nanoseconds of the wall clock; 0: there is room
}

// Full says what is wrong with the disk: while less is free than is kept, no event comes in
// by agent or webhook, no line of a log and no package, so that results, certificates and audit records do. It
// is asked and not remembered. A disk of which nothing can be told has room.
func (e *Engine) Full() (api.Condition, bool) {
	d := e.room.disk
	if d.Space == nil {
		return api.Condition{}, false
	}
	free, total, err := d.Space()
	if kept := d.Kept(total); err == nil && free < kept {
		if e.room.since.CompareAndSwap(0, e.now().UnixNano()) {
			e.log.Warn("no events are taken: the disk is nearly full", "free", free, "kept", kept)
		}
		return api.Condition{
			Name: "disk", Status: "degraded", Since: api.At(time.Unix(0, e.room.since.Load())),
			Message: fmt.Sprintf("the disk of the database has %d bytes left, and %d are kept for results and audit records", free, kept),
			Remedy:  "free disk space: all goes on by itself; until then agents keep their events and drop copies of their logs, and webhooks and packages are refused",
		}, true
	}
	if e.room.since.Swap(0) != 0 {
		e.log.Info("the disk has room again")
	}
	return api.Condition{}, false
}

// refuseIfFull is the answer to what may wait.
func (e *Engine) refuseIfFull() error {
	if _, full := e.Full(); !full {
		return nil
	}
	refusal := api.Errorf(api.CodeUnavailable, "The orchestrator's disk is nearly full and what is left is for results; keep this and try again when there is space.")
	refusal.RetryAfter = fullRetry
	return refusal
}
