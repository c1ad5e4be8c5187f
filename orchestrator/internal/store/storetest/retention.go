package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// What is dropped is gone with what is of it alone, and nothing else is.
func testDropping(f *fixture) {
	f.update(everything("x"))
	f.update(func(tx store.Tx) error {
		e := sampleEvent("y")
		e.ID = "02EVENT"
		r := sampleRun("y")
		r.ID = "02RUN"
		return errors.Join(tx.AddEvent(e), tx.PutRun(r), tx.AddLogs([]store.Log{sampleLog("y")}), tx.AddAudit(sampleAudit("y")))
	})
	f.update(func(tx store.Tx) error {
		events, err := tx.Events(store.EventQuery{})
		if err != nil {
			return err
		}
		for _, e := range events {
			err = errors.Join(err, tx.DropEvent(e))
		}
		return errors.Join(err, tx.DropRun("01RUN"), tx.DropLogs(1), tx.DropAudit(1))
	})
	f.view(func(r store.Reader) error {
		gone := map[string]bool{"event": true, "events with an id": true, "evaluations": true, "evaluations in shadow": true, "run": true, "history": true, "instruction": true, "instructions of run": true,
			"waits": true, "approvals": true, "due alarms": true}
		other := map[string]bool{"events": true, "runs": true, "oldest runs": true, "logs": true, "logs of run": true, "logs of instruction": true, "audit": true}
		for _, p := range probes() {
			got, err := p.ask(r)
			switch {
			case gone[p.name] != errors.Is(err, store.ErrNotFound):
				f.Errorf("%s: %v, %v; want it gone: %t", p.name, got, err, gone[p.name])
			case !gone[p.name] && !other[p.name]:
				f.equal(p.name, got, p.want("x"))
			}
		}
		return nil
	})
}

func testOldGaps(f *fixture) {
	old := func(want string, after store.Gap, limit int) []store.Gap {
		f.Helper()
		got := read(f, org, func(r store.Reader) ([]store.Gap, error) { return r.OldGaps(start.Add(time.Second), after, limit) })
		f.equal("old gaps", fmt.Sprint(keys(got, func(g store.Gap) uint64 { return g.From })), want)
		return got
	}
	f.update(func(tx store.Tx) error {
		var err error
		for n := range 6 {
			g := sampleGap("x")
			g.Agent, g.Epoch, g.From, g.ReceivedAt = []api.AgentID{"x", "y"}[n/3], "e"+fmt.Sprint(n%2), uint64(n), start.Add(time.Duration(n%3)*time.Second/2)
			err = errors.Join(err, tx.PutGap(g))
		}
		return err
	})
	old("[0 1 4 3]", store.Gap{}, 10) // and 2 and 5 are not
	page := old("[0 1]", store.Gap{}, 2)
	page = old("[4 3]", page[1], 2)
	old("[]", page[1], 2)
	f.update(func(tx store.Tx) error { return errors.Join(tx.DropGap(page[0]), tx.DropGap(page[0])) })
	old("[0 1 3]", store.Gap{}, 10)
}

// The newest of what is numbered stays, so that no number is given twice.
func testNewestStays(f *fixture) {
	f.update(everything("x"))
	dropAll := func(tx store.Tx) error {
		e, err := tx.Events(store.EventQuery{Newest: true, Limit: 1})
		if err != nil {
			return err
		}
		return errors.Join(tx.DropEvent(e[0]), tx.DropLogs(1<<40), tx.DropAudit(1<<40))
	}
	f.update(dropAll)
	f.reopen()
	f.checkProbes("after dropping the newest", org, "x")
	f.update(func(tx store.Tx) error {
		e := sampleEvent("y")
		e.ID = "02EVENT"
		return errors.Join(tx.AddEvent(e), tx.AddLogs([]store.Log{sampleLog("y")}), tx.AddAudit(sampleAudit("y")), dropAll(tx))
	})
	f.view(func(r store.Reader) error {
		events, _ := r.Events(store.EventQuery{})
		logs, _ := r.Logs(store.LogQuery{})
		audit, err := r.Audit(0, 0)
		f.equal("numbers that are left", fmt.Sprint(keys(events, func(e store.Event) int64 { return e.Cursor }), keys(logs, func(l store.Log) int64 { return l.Cursor }),
			keys(audit, func(a store.Audit) int64 { return a.Seq })), "[1 2] [2] [2]")
		return err
	})
}

func testOldestRuns(f *fixture) {
	f.update(func(tx store.Tx) error {
		var err error
		for n := range 6 {
			r := sampleRun("x")
			r.ID = api.RunID(fmt.Sprint("R", n))
			if n%2 == 1 {
				r.FinishedAt = time.Time{}
			}
			err = errors.Join(err, tx.PutRun(r))
		}
		return err
	})
	f.equal("finished runs", fmt.Sprint(keys(read(f, org, func(r store.Reader) ([]store.Run, error) { return r.OldestRuns("R0", 2) }), func(r store.Run) api.RunID { return r.ID })), "[R2 R4]")
}
