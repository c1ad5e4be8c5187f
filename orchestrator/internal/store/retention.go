package store

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Dropper removes for good what was kept long enough. The newest event, line and audit record
// stay whatever is asked: the next one's number follows from theirs.
type Dropper interface {
	// DropEvent removes an event with what workflows made of it.
	DropEvent(Event) error
	// DropGap removes a gap; the stream goes on to know that its numbers are settled.
	DropGap(Gap) error
	// DropRun removes a run that has finished, with its history, its instructions and what
	// stands for steps of it; its log lines stay.
	DropRun(api.RunID) error
	DropLogs(through int64) error  // those with at most this cursor
	DropAudit(through int64) error // those with at most this Seq; see Cut
}

// Cut is an end that was taken off the audit records: those through a number, of which the
// last had that digest. It is on record before it is done, so that a missing beginning which
// no record tells of shows.
type Cut struct {
	Through int64
	Digest  string
	Archive string // file that has them; empty: none
}

const cutAction = "audit.cut"

// Audit is the record of a cut.
func (c Cut) Audit(at time.Time, actor string) Audit {
	detail := c.Digest + " removed"
	if c.Archive != "" {
		detail = c.Digest + " archived in " + c.Archive
	}
	return Audit{At: at, Actor: actor, Action: cutAction, Object: strconv.FormatInt(c.Through, 10), Detail: detail}
}

// CutOf is the cut that a record tells of, if it tells of one.
func CutOf(a Audit) (c Cut, is bool) {
	if a.Action != cutAction {
		return c, false
	}
	through, err := strconv.ParseInt(a.Object, 10, 64)
	digest, rest, _ := strings.Cut(a.Detail, " ")
	c = Cut{Through: through, Digest: digest, Archive: strings.TrimPrefix(rest, "archived in ")}
	if c.Archive == rest {
		c.Archive = ""
	}
	return c, err == nil && through > 0 && through < a.Seq
}

func (c Cut) String() string { return fmt.Sprintf("records through %d, %s", c.Through, c.Digest) }
