package retention

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Names of the kinds, which are names of files too.
const (
	events = "events"
	gaps   = "gaps"
	runs   = "runs"
	logs   = "logs"
	audits = "audit"
)

// kind is how one kind of record is found and removed.
type kind struct {
	name string
	keep time.Duration
	// old reads the next page behind what was read before; empty: nothing more is old.
	old func(r store.Reader, before time.Time, after string, page int) (batch, error)
}

// batch are some records of a kind.
type batch struct {
	records     int
	lines       []any  // as they are archived
	first, last string // keys, which sort as the records do
	drop        func(store.Tx) error
	cut         store.Cut // of audit records
	next        string    // where to read on, where that is not last
}

func (s *Sweeper) kinds() []kind {
	return []kind{
		{runs, s.o.Runs, oldRuns},
		{events, s.o.Events, oldEvents},
		{gaps, s.o.Events, oldGaps},
		{logs, s.o.Logs, oldLogs},
		{audits, s.o.Audit, oldAudit},
	}
}

// EventRecord is a line of an archive of events.
type EventRecord struct {
	Event       store.Event        `json:"event"`
	Evaluations []store.Evaluation `json:"evaluations,omitempty"`
}

// RunRecord is a line of an archive of runs.
type RunRecord struct {
	Run          store.Run                 `json:"run"`
	History      []store.History           `json:"history,omitempty"`
	Instructions []instruction.Instruction `json:"instructions,omitempty"`
}

// numbered is the key of a record that has a number.
func numbered(n int64) string {
	text := strconv.FormatInt(n, 10)
	return "0000000000000000000"[len(text):] + text
}

func number(key string) int64 {
	n, err := strconv.ParseInt(key, 10, 64)
	if err != nil {
		return 0 // the beginning
	}
	return n
}

func (b *batch) add(key string, line any) {
	if b.records == 0 {
		b.first = key
	}
	b.last = key
	b.records++
	b.lines = append(b.lines, line)
}

// oldEvents reads on until the first that is not old. Those behind it came later, whatever
// the clock said.
func oldEvents(r store.Reader, before time.Time, after string, page int) (b batch, err error) {
	newest, err := r.Events(store.EventQuery{Newest: true, Limit: 1})
	if err != nil || len(newest) == 0 {
		return b, err
	}
	all, err := r.Events(store.EventQuery{After: number(after), Limit: page})
	if err != nil {
		return b, err
	}
	var keys []store.Event
	for _, e := range all {
		if !e.ReceivedAt.Before(before) || e.Cursor == newest[0].Cursor {
			break
		}
		evaluations, err := r.Evaluations(e.ID)
		if err != nil {
			return b, err
		}
		b.add(numbered(e.Cursor), EventRecord{e, ofSender(evaluations, e.Agent)})
		keys = append(keys, store.Event{Event: api.Event{ID: e.ID}, Cursor: e.Cursor, Agent: e.Agent})
	}
	b.drop = func(tx store.Tx) error {
		for _, e := range keys {
			if err := tx.DropEvent(e); err != nil {
				return err
			}
		}
		return nil
	}
	return b, nil
}

// oldGaps reads in the order of agents and streams, as their keys do. A file is named by when the
// first and the last that it has were received.
func oldGaps(r store.Reader, before time.Time, after string, page int) (b batch, err error) {
	all, err := r.OldGaps(before, gapAt(after), page)
	if err != nil {
		return b, err
	}
	for _, g := range all {
		b.add(numbered(g.ReceivedAt.UnixNano()), g)
		b.next = fmt.Sprintf("%s/%s/%d", g.Agent, g.Epoch, g.From)
	}
	b.drop = func(tx store.Tx) error {
		for _, g := range all {
			if err := tx.DropGap(g); err != nil {
				return err
			}
		}
		return nil
	}
	return b, nil
}

// gapAt is the key of the gap at which a page ended; of "" it is the beginning.
func gapAt(next string) (g store.Gap) {
	agent, rest, _ := strings.Cut(next, "/") // neither an agent's id nor an epoch has one
	epoch, from, _ := strings.Cut(rest, "/")
	g.Agent, g.Epoch = api.AgentID(agent), epoch
	g.From, _ = strconv.ParseUint(from, 10, 64)
	return g
}

// ofSender leaves out what was made of another agent's event with the same id.
func ofSender(all []store.Evaluation, agent api.AgentID) (own []store.Evaluation) {
	for _, e := range all {
		if e.Agent == agent {
			own = append(own, e)
		}
	}
	return own
}

// oldRuns passes over those that began long ago and have not ended for that long.
func oldRuns(r store.Reader, before time.Time, after string, page int) (b batch, err error) {
	b.next = after
	for b.records == 0 {
		all, err := r.OldestRuns(api.RunID(b.next), page)
		if err != nil || len(all) == 0 {
			return b, err
		}
		for _, run := range all {
			if !run.CreatedAt.Before(before) {
				break
			}
			b.next = string(run.ID)
			if run.FinishedAt.Before(before) {
				if err := b.addRun(r, run.ID); err != nil {
					return b, err
				}
			}
		}
		if !all[len(all)-1].CreatedAt.Before(before) {
			break
		}
	}
	keys := make([]api.RunID, len(b.lines))
	for n, line := range b.lines {
		keys[n] = line.(RunRecord).Run.ID
	}
	b.drop = func(tx store.Tx) error {
		for _, id := range keys {
			if err := tx.DropRun(id); err != nil {
				return err
			}
		}
		return nil
	}
	return b, nil
}

func (b *batch) addRun(r store.Reader, id api.RunID) error {
	run, err := r.Run(id)
	if err != nil {
		return err
	}
	history, err := r.History(id)
	if err != nil {
		return err
	}
	instructions, err := r.RunInstructions(id)
	if err != nil {
		return err
	}
	b.add(string(id), RunRecord{run, history, instructions})
	return nil
}

func oldLogs(r store.Reader, before time.Time, after string, page int) (b batch, err error) {
	all, err := r.Logs(store.LogQuery{After: number(after), Limit: page + 1})
	if err != nil {
		return b, err
	}
	for n, l := range all {
		came := l.ReceivedAt
		if came.IsZero() { // of a release that did not write it down
			came = l.At
		}
		if n == len(all)-1 || n == page || !came.Before(before) { // the newest of all stays
			break
		}
		b.add(numbered(l.Cursor), l)
	}
	through := number(b.last)
	b.drop = func(tx store.Tx) error { return tx.DropLogs(through) }
	return b, nil
}

func oldAudit(r store.Reader, before time.Time, after string, page int) (b batch, err error) {
	all, err := r.Audit(number(after), page+1)
	if err != nil {
		return b, err
	}
	for n, a := range all {
		if n == len(all)-1 || n == page || !a.At.Before(before) {
			break
		}
		b.add(numbered(a.Seq), a)
		b.cut = store.Cut{Through: a.Seq, Digest: a.Digest()}
	}
	through := number(b.last)
	b.drop = func(tx store.Tx) error { return tx.DropAudit(through) }
	return b, nil
}
