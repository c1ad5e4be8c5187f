package sqlstore

import (
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
)

var (
	workflowByName = prepare(`SELECT doc FROM workflows WHERE org = ?1 AND name = ?2 AND deleted = 0
		AND version = (SELECT MAX(version) FROM workflows WHERE org = ?1 AND name = ?2)`)
	workflowByVersion = prepare(`SELECT doc FROM workflows WHERE org = ?1 AND name = ?2 AND version = ?3`)
	currentWorkflows  = prepare(`SELECT doc FROM workflows AS w WHERE org = ?1 AND deleted = 0
		AND version = (SELECT MAX(version) FROM workflows WHERE org = ?1 AND name = w.name) ORDER BY name`)
	versionsOfWorkflow = prepare(`SELECT doc FROM workflows WHERE org = ?1 AND name = ?2 ORDER BY version DESC LIMIT ?3`)

	lastVersion    = prepare(`SELECT COALESCE(MAX(version), 0) FROM workflows WHERE org = ?1 AND name = ?2`)
	addWorkflow    = prepare(`INSERT INTO workflows (org, name, version, doc) VALUES (?1, ?2, ?3, ?4)`)
	deleteWorkflow = prepare(`UPDATE workflows SET deleted = 1 WHERE org = ?1 AND name = ?2 AND deleted = 0
		AND version = (SELECT MAX(version) FROM workflows WHERE org = ?1 AND name = ?2)`)

	cooldownByKey = prepare(`SELECT until FROM cooldowns WHERE org = ?1 AND workflow = ?2 AND key = ?3`)
	setCooldown   = prepare(`INSERT INTO cooldowns (org, workflow, key, until) VALUES (?1, ?2, ?3, ?4)
		ON CONFLICT (org, workflow, key) DO UPDATE SET until = excluded.until`)
	dropCooldowns = prepare(`DELETE FROM cooldowns WHERE (org, workflow, key) IN
		(SELECT org, workflow, key FROM cooldowns WHERE org = ?1 AND until <= ?2 ORDER BY until LIMIT ?3)`)
)

func (r reader) Workflow(name string) (store.Workflow, error) {
	return one[store.Workflow](r, workflowByName, name)
}

func (r reader) WorkflowVersion(name string, version int) (store.Workflow, error) {
	return one[store.Workflow](r, workflowByVersion, name, version)
}

func (r reader) Workflows() ([]store.Workflow, error) {
	return all[store.Workflow](r, currentWorkflows)
}

func (r reader) WorkflowVersions(name string, limit int) ([]store.Workflow, error) {
	return all[store.Workflow](r, versionsOfWorkflow, name, store.PageSize(limit))
}

func (t *tx) AddWorkflow(w store.Workflow) (int, error) {
	if _, err := value(t.session, lastVersion, &w.Version, t.org, w.Name); err != nil {
		return 0, err
	}
	w.Version++
	return w.Version, t.put(addWorkflow, w, w.Name, w.Version)
}

func (t *tx) DeleteWorkflow(name string) error {
	n, err := t.session.Change(deleteWorkflow, t.org, name)
	if err == nil && n == 0 {
		return store.ErrNotFound
	}
	return err
}

func (r reader) CooldownUntil(workflow, key string) (time.Time, bool, error) {
	var until int64
	found, err := value(r.session, cooldownByKey, &until, r.org, workflow, key)
	if err != nil || !found {
		return time.Time{}, false, err
	}
	return time.Unix(0, until).UTC(), true, nil
}

func (t *tx) SetCooldown(workflow, key string, until time.Time) error {
	return t.write(setCooldown, workflow, key, until.UnixNano())
}

func (t *tx) DropCooldowns(by time.Time, limit int) error {
	return t.write(dropCooldowns, by.UnixNano(), limit)
}
