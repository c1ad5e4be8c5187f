package sqlstore

import (
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
)

var (
	scheduleBySpec = prepare(`SELECT doc FROM schedules WHERE org = ?1 AND workflow = ?2 AND spec = ?3`)
	schedulesOf    = prepare(`SELECT doc FROM schedules WHERE org = ?1 AND workflow = ?2 ORDER BY spec`)
	dueSchedules   = prepare(`SELECT doc FROM schedules WHERE org = ?1 AND due <= ?2 ORDER BY due, workflow, spec LIMIT ?3`)
	nextSchedule   = prepare(`SELECT due FROM schedules WHERE org = ?1 ORDER BY due LIMIT 1`)
	putSchedule    = prepare(`INSERT INTO schedules (org, workflow, spec, due, doc) VALUES (?1, ?2, ?3, ?4, ?5)
		ON CONFLICT (org, workflow, spec) DO UPDATE SET due = excluded.due, doc = excluded.doc`)
	dropSchedule = prepare(`DELETE FROM schedules WHERE org = ?1 AND workflow = ?2 AND spec = ?3`)
)

func (r reader) Schedule(workflow, spec string) (store.Schedule, error) {
	return one[store.Schedule](r, scheduleBySpec, workflow, spec)
}

func (r reader) Schedules(workflow string) ([]store.Schedule, error) {
	return all[store.Schedule](r, schedulesOf, workflow)
}

func (r reader) DueSchedules(now time.Time, limit int) ([]store.Schedule, error) {
	return all[store.Schedule](r, dueSchedules, now.UnixNano(), store.PageSize(limit))
}

func (r reader) NextSchedule() (time.Time, bool, error) { return r.next(nextSchedule) }

func (t *tx) PutSchedule(s store.Schedule) error {
	return t.put(putSchedule, s, s.Workflow, s.Spec, s.Due.UnixNano())
}

func (t *tx) DropSchedule(s store.Schedule) error { return t.write(dropSchedule, s.Workflow, s.Spec) }
