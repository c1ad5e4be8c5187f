package sqlstore

import (
	"errors"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

var (
	oldestRuns = prepare(`SELECT doc FROM runs WHERE org = ?1 AND id > ?2 AND active = 0 ORDER BY id LIMIT ?3`)

	// In the order of the key, so that a sweep reads the table once and needs no index.
	oldGaps = prepare(`SELECT doc FROM gaps WHERE org = ?1 AND (agent, epoch, first) > (?2, ?3, ?4) AND received < ?5 ORDER BY agent, epoch, first LIMIT ?6`)
	dropGap = prepare(`DELETE FROM gaps WHERE org = ?1 AND agent = ?2 AND epoch = ?3 AND first = ?4`)

	// Numbers are given on from the highest there is, so that it has to stay.
	dropEvent       = prepare(`DELETE FROM events WHERE org = ?1 AND n = ?2 AND n < (SELECT MAX(n) FROM events WHERE org = ?1)`)
	dropEvaluations = prepare(`DELETE FROM evaluations WHERE org = ?1 AND event = ?2 AND agent = ?3`)
	dropLogs        = prepare(`DELETE FROM logs WHERE org = ?1 AND n <= ?2 AND n < (SELECT MAX(n) FROM logs WHERE org = ?1)`)
	dropAudit       = prepare(`DELETE FROM audit WHERE org = ?1 AND n <= ?2 AND n < (SELECT MAX(n) FROM audit WHERE org = ?1)`)

	dropRun = prepare(`DELETE FROM runs WHERE org = ?1 AND id = ?2 AND active = 0`)
	dropOf  = []Statement{
		prepare(`DELETE FROM history WHERE org = ?1 AND run = ?2`),
		prepare(`DELETE FROM instructions WHERE org = ?1 AND run = ?2`),
		prepare(`DELETE FROM alarms WHERE org = ?1 AND run = ?2`),
		prepare(`DELETE FROM waits WHERE org = ?1 AND run = ?2`),
		prepare(`DELETE FROM approvals WHERE org = ?1 AND run = ?2`),
	}
)

func (r reader) OldestRuns(after api.RunID, limit int) ([]store.Run, error) {
	return all[store.Run](r, oldestRuns, after, store.PageSize(limit))
}

func (r reader) OldGaps(received time.Time, after store.Gap, limit int) ([]store.Gap, error) {
	return all[store.Gap](r, oldGaps, after.Agent, after.Epoch, int64(after.From), received.UnixNano(), store.PageSize(limit))
}

func (t *tx) DropGap(g store.Gap) error { return t.write(dropGap, g.Agent, g.Epoch, int64(g.From)) }

func (t *tx) DropEvent(e store.Event) error {
	n, err := t.session.Change(dropEvent, t.org, e.Cursor)
	if err != nil || n == 0 { // the newest one keeps what was made of it
		return err
	}
	return t.write(dropEvaluations, e.ID, e.Agent)
}

func (t *tx) DropRun(id api.RunID) error {
	n, err := t.session.Change(dropRun, t.org, id)
	if err != nil || n == 0 {
		return err
	}
	for _, st := range dropOf {
		err = errors.Join(err, t.write(st, id))
	}
	return err
}

func (t *tx) DropLogs(through int64) error { return t.write(dropLogs, through) }

func (t *tx) DropAudit(through int64) error { return t.write(dropAudit, through) }
