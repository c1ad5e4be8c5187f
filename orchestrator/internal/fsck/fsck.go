package fsck

import (
	"context"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Finding is one thing that cannot be.
type Finding struct {
	Org     api.OrgID `json:"org"`
	Object  string    `json:"object"`
	Problem string    `json:"problem"`
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Org, f.Object, f.Problem) }

// Report is what was looked at, and what is wrong with it.
type Report struct {
	Orgs         int       `json:"organisations"`
	Agents       int       `json:"agents"`
	Events       int       `json:"events"`
	Runs         int       `json:"runs"`
	Instructions int       `json:"instructions"`
	Audit        int       `json:"audit_records"`
	Findings     []Finding `json:"findings"`
	More         int       `json:"more"` // findings that are not listed
}

// maxFindings is how many are listed: with more, what to do is the same.
const maxFindings = 1000

// Check looks at every organisation. The error is a store that cannot be read.
func Check(ctx context.Context, s store.Store) (Report, error) {
	r := Report{Findings: []Finding{}}
	orgs, err := s.Orgs(ctx)
	if err != nil {
		return r, err
	}
	r.Orgs = len(orgs)
	for _, org := range orgs {
		err := s.Org(org).View(ctx, func(reader store.Reader) error {
			c := check{Reader: reader, org: org, report: &r, streams: map[streamKey]*settled{}, runs: map[api.RunID]bool{}}
			return c.all()
		})
		if err != nil {
			return r, fmt.Errorf("organisation %s: %w", org, err)
		}
	}
	return r, nil
}

// check is the look at one organisation.
type check struct {
	store.Reader
	org    api.OrgID
	report *Report

	oldest  time.Time // event that is there
	pruned  bool      // there were older ones
	streams map[streamKey]*settled
	runs    map[api.RunID]bool // that there are, by whether they go on
	pending promises
}

// promises are what runs wait for besides instructions.
type promises struct {
	waits, approvals map[stepKey]bool
	alarms           map[alarmKey]bool
	allAlarms        bool // that there are
}

type stepKey struct {
	run  api.RunID
	step string
}

type alarmKey struct {
	stepKey
	try int
}

func (c *check) found(object, format string, args ...any) {
	if len(c.report.Findings) == maxFindings {
		c.report.More++
		return
	}
	c.report.Findings = append(c.report.Findings, Finding{c.org, object, fmt.Sprintf(format, args...)})
}

func (c *check) all() error {
	for _, part := range []func() error{c.agents, c.events, c.stream, c.promises, c.everyRun, c.kept, c.audit} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (c *check) agents() error {
	agents, err := c.Agents()
	for _, a := range agents {
		c.report.Agents++
		if a.State != store.Active && a.State != store.Revoked && a.State != store.Quarantined {
			c.found("agent "+string(a.ID), "its state is %q", a.State)
		}
		if a.State == store.Revoked && a.RevokedAt.IsZero() {
			c.found("agent "+string(a.ID), "it is revoked, and nothing says since when")
		}
		if a.State == store.Quarantined && a.QuarantinedAt.IsZero() {
			c.found("agent "+string(a.ID), "it is in quarantine, and nothing says since when")
		}
	}
	return err
}

// page is the largest that a store gives.
var page = store.PageSize(1 << 30)

// audit follows the chain of digests. Records before the first digest are of a release that
// made none. What is missing before the first record must be told by one behind it.
func (c *check) audit() error {
	var first, last store.Audit
	var cut store.Cut
	for {
		records, err := c.Audit(last.Seq, page)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			return c.beginning(first, cut)
		}
		if first.Seq == 0 {
			first = records[0]
		}
		for _, r := range records {
			if told, is := store.CutOf(r); is {
				cut = told
			}
			c.follows(last, r)
			last = r
			c.report.Audit++
		}
	}
}

// beginning compares what is missing before the first record with the last cut that a record
// tells of. A cut that was begun has left some of its records.
func (c *check) beginning(first store.Audit, cut store.Cut) error {
	ends := first.Prev
	switch {
	case first.Seq > cut.Through+1:
		c.found("audit", "records 1 to %d are missing, and none says that they were removed for their age", first.Seq-1)
		return nil
	case cut.Through == 0:
		return nil
	case cut.Through >= first.Seq:
		of, err := c.Audit(cut.Through-1, 1)
		if err != nil || len(of) == 0 {
			return err
		}
		ends = of[0].Digest()
	}
	if ends != cut.Digest && ends != "" {
		c.found("audit", "the records through %d ended in %s when they were removed, and record %d says that they ended in %s", cut.Through, cut.Digest, cut.Through+1, ends)
	}
	return nil
}

func (c *check) follows(last, r store.Audit) {
	switch {
	case last.Seq > 0 && r.Seq != last.Seq+1:
		c.found("audit", "record %d is followed by %d", last.Seq, r.Seq)
	case last.Seq == 0 && r.Seq == 1 && r.Prev != "" && r.Prev != store.NoAudit:
		c.found("audit", "record 1 says that there was one before it")
	case last.Prev != "" && r.Prev == "":
		c.found("audit", "record %d has no digest of the one before", r.Seq)
	case last.Seq > 0 && r.Prev != "" && r.Prev != last.Digest():
		c.found("audit", "record %d was changed after it was written, or record %d was", last.Seq, r.Seq)
	}
}

// Trail is the end of an organisation's audit records. Kept elsewhere, its digest shows
// whether any up to it was changed or taken out since.
type Trail struct {
	Org     api.OrgID `json:"org"`
	Records int       `json:"records"`
	Seq     int64     `json:"seq"`
	Digest  string    `json:"digest"`
}

// Audit looks at the audit records alone, and gives the digest of one of them, or of the last
// where seq is 0. That there is no such record is an error, unless something is wrong with them.
func Audit(ctx context.Context, st store.Store, org api.OrgID, seq int64) (t Trail, wrong []Finding, err error) {
	report := &Report{}
	err = st.Org(org).View(ctx, func(r store.Reader) error {
		if err := (&check{Reader: r, org: org, report: report}).audit(); err != nil {
			return err
		}
		before := seq
		if seq > 0 {
			before++
		}
		last, err := r.AuditBefore(before, 1)
		t = Trail{Org: org, Records: report.Audit}
		if len(last) > 0 {
			t.Seq, t.Digest = last[0].Seq, last[0].Digest()
		}
		if err == nil && seq > 0 && t.Seq != seq && len(report.Findings) == 0 {
			err = noRecord(r, seq)
		}
		return err
	})
	return t, report.Findings, err
}

// noRecord says which audit records there are instead.
func noRecord(r store.Reader, seq int64) error {
	first, err := r.Audit(0, 1)
	if err != nil {
		return err
	}
	last, err := r.AuditBefore(0, 1)
	switch {
	case err != nil:
		return err
	case len(first) == 0 || len(last) == 0:
		return fmt.Errorf("there is no record %d: nothing is on record", seq)
	case seq < first[0].Seq:
		return fmt.Errorf("there is no record %d: the first that is kept is %d", seq, first[0].Seq)
	}
	return fmt.Errorf("there is no record %d: the last is %d", seq, last[0].Seq)
}

// promises reads what runs wait for.
func (c *check) promises() error {
	c.pending = promises{waits: map[stepKey]bool{}, approvals: map[stepKey]bool{}, alarms: map[alarmKey]bool{}}
	waits, err := c.Waits()
	if err != nil {
		return err
	}
	for _, w := range waits {
		c.pending.waits[stepKey{w.Run, w.Step}] = true
	}
	approvals, err := c.Approvals()
	if err != nil {
		return err
	}
	for _, a := range approvals {
		c.pending.approvals[stepKey{a.Run, a.Step}] = true
	}
	const ever = 200 * 365 * 24 * time.Hour // within what the columns of times hold
	alarms, err := c.DueAlarms(time.Now().Add(ever), page)
	for _, a := range alarms {
		c.pending.alarms[alarmKey{stepKey{a.Run, a.Step}, a.Try}] = true
	}
	c.pending.allAlarms = len(alarms) < page
	return err
}

// kept looks at what waits for runs that do not go on.
func (c *check) kept() error {
	for key := range c.pending.waits {
		c.active(key, "a wait for an event")
	}
	for key := range c.pending.approvals {
		c.active(key, "an approval")
	}
	return nil
}

func (c *check) active(key stepKey, what string) {
	if goesOn, there := c.runs[key.run]; !there || !goesOn {
		c.found("run "+string(key.run), "there is %s of step %s, and the run does not go on", what, key.step)
	}
}
