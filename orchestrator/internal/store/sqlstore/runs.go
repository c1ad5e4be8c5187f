package sqlstore

import (
	"slices"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

var (
	runByID = prepare(`SELECT doc FROM runs WHERE org = ?1 AND id = ?2`)
	// Two texts, so that each can use its index.
	runsOfAll      = prepare(`SELECT doc FROM runs WHERE org = ?1 AND (?2 = '' OR status = ?2) AND id < ?3 ORDER BY id DESC LIMIT ?4`)
	runsOfWorkflow = prepare(`SELECT doc FROM runs WHERE org = ?1 AND workflow = ?5 AND (?2 = '' OR status = ?2) AND id < ?3 ORDER BY id DESC LIMIT ?4`)
	// Ends that are rare have an index; what is under way has the one of its lanes. What is
	// compared as a term, || '', is so that no index of all runs is taken for it.
	runsEnded     = prepare(`SELECT doc FROM runs WHERE org = ?1 AND status IN ('failed', 'cancelled', 'escalated') AND status = ?2 AND id < ?3 AND (?5 = '' OR workflow || '' = ?5) ORDER BY id DESC LIMIT ?4`)
	runsUnderWay  = prepare(`SELECT doc FROM runs WHERE org = ?1 AND status IN ('running', 'queued') AND workflow >= '' AND status = ?2 AND id || '' < ?3 AND (?5 = '' OR workflow || '' = ?5) ORDER BY id || '' DESC LIMIT ?4`)
	marksOfRuns   = prepare(`SELECT id, workflow, status FROM runs WHERE org = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3`)
	marksOfThese  = prepare(`SELECT id, workflow, status FROM runs WHERE org = ?1 AND workflow = ?4 AND id < ?2 ORDER BY id DESC LIMIT ?3`)
	runsFrom      = prepare(`SELECT COUNT(*) FROM (SELECT 1 FROM runs WHERE org = ?1 AND workflow = ?2 AND id >= ?3 LIMIT ?4) AS found`)
	runsOfKeyFrom = prepare(`SELECT status, COUNT(*) FROM (SELECT status FROM runs WHERE org = ?1 AND workflow = ?2 AND key = ?3 AND id >= ?4 ORDER BY id DESC LIMIT ?5) AS found GROUP BY status`)
	// The index is of these two states only; few are queued, and have one of their own.
	queuedOfLane  = prepare(`SELECT id FROM runs WHERE org = ?1 AND workflow = ?2 AND lane = ?3 AND status = 'queued' ORDER BY id LIMIT ?4`)
	runsOfLane    = prepare(`SELECT id FROM runs WHERE org = ?1 AND workflow = ?2 AND lane = ?3 AND status IN ('running', 'queued') AND status = ?4 ORDER BY id LIMIT ?5`)
	hostsWorkedOn = prepare(`SELECT DISTINCT host FROM runs WHERE org = ?1 AND workflow = ?2 AND status IN ('running', 'queued') AND status = 'running' ORDER BY host`)
	activeRun     = prepare(`SELECT 1 FROM runs WHERE org = ?1 AND workflow = ?2 AND key = ?3 AND active = 1 AND status IN ('running', 'queued') LIMIT 1`)
	// What a run is of never changes: no index of that is touched.
	putRun = prepare(`INSERT INTO runs (org, id, workflow, key, lane, host, status, active, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
		ON CONFLICT (org, id) DO UPDATE SET status = excluded.status, active = excluded.active, doc = excluded.doc`)
	// The same for one that is known to be there, and for one that is known to be found as before.
	updateRun   = prepare(`UPDATE runs SET status = ?3, active = ?4, doc = ?5 WHERE org = ?1 AND id = ?2`)
	updateState = prepare(`UPDATE runs SET doc = ?3 WHERE org = ?1 AND id = ?2`)

	waits    = prepare(`SELECT doc FROM waits WHERE org = ?1 ORDER BY run, step`)
	putWait  = prepare(`INSERT INTO waits (org, run, step, doc) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (org, run, step) DO UPDATE SET doc = excluded.doc`)
	dropWait = prepare(`DELETE FROM waits WHERE org = ?1 AND run = ?2 AND step = ?3`)

	approvals    = prepare(`SELECT doc FROM approvals WHERE org = ?1 ORDER BY run, step`)
	putApproval  = prepare(`INSERT INTO approvals (org, run, step, doc) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (org, run, step) DO UPDATE SET doc = excluded.doc`)
	dropApproval = prepare(`DELETE FROM approvals WHERE org = ?1 AND run = ?2 AND step = ?3`)

	windowByKey = prepare(`SELECT doc FROM windows WHERE org = ?1 AND workflow = ?2 AND key = ?3`)
	windowsOpen = prepare(`SELECT COUNT(*) FROM (SELECT 1 FROM windows WHERE org = ?1 AND workflow = ?2 LIMIT ?3) AS found`)
	dueWindows  = prepare(`SELECT doc FROM windows WHERE org = ?1 AND closes <= ?2 ORDER BY closes, workflow, key LIMIT ?3`)
	nextWindow  = prepare(`SELECT closes FROM windows WHERE org = ?1 ORDER BY closes LIMIT 1`)
	putWindow   = prepare(`INSERT INTO windows (org, workflow, key, closes, doc) VALUES (?1, ?2, ?3, ?4, ?5)
		ON CONFLICT (org, workflow, key) DO UPDATE SET closes = excluded.closes, doc = excluded.doc`)
	dropWindow = prepare(`DELETE FROM windows WHERE org = ?1 AND workflow = ?2 AND key = ?3`)

	dueAlarms = prepare(`SELECT doc FROM alarms WHERE org = ?1 AND at <= ?2 ORDER BY at, run, step, try LIMIT ?3`)
	nextAlarm = prepare(`SELECT at FROM alarms WHERE org = ?1 ORDER BY at LIMIT 1`)
	putAlarm  = prepare(`INSERT INTO alarms (org, run, step, try, at, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
		ON CONFLICT (org, run, step, try) DO UPDATE SET at = excluded.at, doc = excluded.doc`)
	dropAlarm = prepare(`DELETE FROM alarms WHERE org = ?1 AND run = ?2 AND step = ?3 AND try = ?4`)

	historyOfRun = prepare(`SELECT doc FROM history WHERE org = ?1 AND run = ?2 ORDER BY seq`)
	addHistory   = [...]Statement{ // one row, two and three
		prepare(`INSERT INTO history (org, run, seq, doc) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING`),
		prepare(`INSERT INTO history (org, run, seq, doc) VALUES (?1, ?2, ?3, ?4), (?1, ?2, ?5, ?6) ON CONFLICT DO NOTHING`),
		prepare(`INSERT INTO history (org, run, seq, doc) VALUES (?1, ?2, ?3, ?4), (?1, ?2, ?5, ?6), (?1, ?2, ?7, ?8) ON CONFLICT DO NOTHING`),
	}

	logsOfAll         = prepare(`SELECT doc FROM logs WHERE org = ?1 AND n > ?2 ORDER BY n LIMIT ?3`)
	logsOfRun         = prepare(`SELECT doc FROM logs WHERE org = ?1 AND n > ?2 AND run = ?4 AND run <> '' ORDER BY n LIMIT ?3`)
	lastLogsOfRun     = prepare(`SELECT doc FROM logs WHERE org = ?1 AND n > ?2 AND run = ?4 AND run <> '' ORDER BY n DESC LIMIT ?3`)
	logsOfInstruction = prepare(`SELECT doc FROM logs WHERE org = ?1 AND n > ?2 AND instruction = ?4 AND instruction <> '' AND (?5 = '' OR run = ?5) ORDER BY n LIMIT ?3`)
	lastLog           = prepare(`SELECT COALESCE(MAX(n), 0) FROM logs WHERE org = ?1`)
	addLog            = prepare(`INSERT INTO logs (org, n, run, instruction, doc) VALUES (?1, ?2, ?3, ?4, ?5)`)
)

func (r reader) Run(id api.RunID) (store.Run, error) { return one[store.Run](r, runByID, id) }

// afterAllIDs sorts after every character that an id may have.
const afterAllIDs = "~"

func (r reader) Runs(q store.RunQuery) ([]store.Run, error) {
	if q.Before == "" {
		q.Before = afterAllIDs
	}
	switch q.Status {
	case "failed", "cancelled", "escalated":
		return all[store.Run](r, runsEnded, q.Status, q.Before, store.PageSize(q.Limit), q.Workflow)
	case "running", "queued":
		return all[store.Run](r, runsUnderWay, q.Status, q.Before, store.PageSize(q.Limit), q.Workflow)
	}
	if q.Workflow == "" {
		return all[store.Run](r, runsOfAll, q.Status, q.Before, store.PageSize(q.Limit))
	}
	return all[store.Run](r, runsOfWorkflow, q.Status, q.Before, store.PageSize(q.Limit), q.Workflow)
}

func (r reader) RunMarks(workflow string, limit int) (out []store.RunMark, err error) {
	st, args := marksOfRuns, []any{r.org, afterAllIDs, store.PageSize(limit)}
	if workflow != "" {
		st, args = marksOfThese, append(args, workflow)
	}
	err = r.session.Query(st, func(scan Scanner) error {
		var m store.RunMark
		err := scan(&m.ID, &m.Workflow, &m.Status)
		out = append(out, m)
		return err
	}, args...)
	return out, err
}

func (r reader) RunsFrom(workflow string, from api.RunID, limit int) (n int, err error) {
	_, err = value(r.session, runsFrom, &n, r.org, workflow, from, limit)
	return n, err
}

func (r reader) RunsOfKeyFrom(workflow, key string, from api.RunID, limit int) (map[string]int, error) {
	out := map[string]int{}
	err := r.session.Query(runsOfKeyFrom, func(scan Scanner) error {
		var status string
		var n int
		err := scan(&status, &n)
		out[status] = n
		return err
	}, r.org, workflow, key, from, limit)
	return out, err
}

func (r reader) RunsOfLane(workflow, lane, status string, limit int) ([]api.RunID, error) {
	if status == "queued" {
		return column[api.RunID](r, queuedOfLane, workflow, lane, limit)
	}
	return column[api.RunID](r, runsOfLane, workflow, lane, status, limit)
}

func (r reader) HostsWorkedOn(workflow string) ([]string, error) {
	return column[string](r, hostsWorkedOn, workflow)
}

// column reads the only column of a query.
func column[T any](r reader, st Statement, args ...any) (out []T, err error) {
	err = r.session.Query(st, func(scan Scanner) error {
		var value T
		err := scan(&value)
		out = append(out, value)
		return err
	}, append([]any{r.org}, args...)...)
	return out, err
}

func (r reader) RunActive(workflow, key string) (bool, error) {
	var one int
	return value(r.session, activeRun, &one, r.org, workflow, key)
}

func (t *tx) PutRun(r store.Run) error {
	was, known := t.recent.runs.known(t.org, r.ID)
	t.recent.runs.note(t.org, r.ID, r, runLives(r))
	active := 0
	if runLives(r) {
		active = 1
	}
	state := r.State
	r.State = nil
	switch {
	case known && was.Status == r.Status && runLives(was) == runLives(r):
		return t.putWith("State", state, updateState, r, r.ID)
	case known:
		return t.putWith("State", state, updateRun, r, r.ID, r.Status, active)
	}
	return t.putWith("State", state, putRun, r, r.ID, r.Workflow, r.Key, r.Lane, r.Host, r.Status, active)
}

func (r reader) Waits() ([]store.Wait, error) { return all[store.Wait](r, waits) }

func (t *tx) PutWait(w store.Wait) error { return t.put(putWait, w, w.Run, w.Step) }

func (t *tx) DropWait(w store.Wait) error { return t.write(dropWait, w.Run, w.Step) }

func (r reader) DueAlarms(now time.Time, limit int) ([]store.Alarm, error) {
	return all[store.Alarm](r, dueAlarms, now.UnixNano(), store.PageSize(limit))
}

func (r reader) NextAlarm() (time.Time, bool, error) { return r.next(nextAlarm) }

// next is the time that a query finds, if it finds one.
func (r reader) next(st Statement) (time.Time, bool, error) {
	var at int64
	found, err := value(r.session, st, &at, r.org)
	if err != nil || !found {
		return time.Time{}, false, err
	}
	return time.Unix(0, at).UTC(), true, nil
}

func (r reader) Approvals() ([]store.Approval, error) { return all[store.Approval](r, approvals) }

func (t *tx) PutApproval(a store.Approval) error { return t.put(putApproval, a, a.Run, a.Step) }

func (t *tx) DropApproval(run api.RunID, step string) error { return t.write(dropApproval, run, step) }

func (r reader) Window(workflow, key string) (store.Window, error) {
	return one[store.Window](r, windowByKey, workflow, key)
}

func (r reader) WindowsOpen(workflow string, limit int) (n int, err error) {
	_, err = value(r.session, windowsOpen, &n, r.org, workflow, limit)
	return n, err
}

func (r reader) DueWindows(now time.Time, limit int) ([]store.Window, error) {
	return all[store.Window](r, dueWindows, now.UnixNano(), store.PageSize(limit))
}

func (r reader) NextWindow() (time.Time, bool, error) { return r.next(nextWindow) }

func (t *tx) PutWindow(w store.Window) error {
	return t.put(putWindow, w, w.Workflow, w.Key, w.Closes.UnixNano())
}

func (t *tx) DropWindow(w store.Window) error { return t.write(dropWindow, w.Workflow, w.Key) }

func (t *tx) PutAlarm(a store.Alarm) error {
	return t.put(putAlarm, a, a.Run, a.Step, a.Try, a.At.UnixNano())
}

func (t *tx) DropAlarm(a store.Alarm) error {
	return t.write(dropAlarm, a.Run, a.Step, a.Try)
}

func (r reader) History(run api.RunID) ([]store.History, error) {
	return all[store.History](r, historyOfRun, run)
}

// AddHistory takes as many rows at a time as there is a statement for: a run has two or three
// in most of its transitions, and each statement costs as much as what it writes.
func (t *tx) AddHistory(rows ...store.History) error {
	for some := range slices.Chunk(rows, len(addHistory)) {
		args := []any{t.org, some[0].Run}
		for _, h := range some {
			doc, err := encode(h)
			if err != nil {
				return err
			}
			args = append(args, h.Seq, doc)
		}
		if err := t.addOrg(); err != nil {
			return err
		}
		n, err := t.session.Change(addHistory[len(some)-1], args...)
		if err != nil {
			return err
		}
		if int(n) < len(some) {
			return store.ErrExists
		}
	}
	return nil
}

func (r reader) Logs(q store.LogQuery) ([]store.Log, error) {
	limit := store.PageSize(q.Limit)
	switch {
	case q.Instruction != "":
		return all[store.Log](r, logsOfInstruction, q.After, limit, q.Instruction, q.Run)
	case q.Run != "" && q.Newest:
		lines, err := all[store.Log](r, lastLogsOfRun, q.After, limit, q.Run)
		slices.Reverse(lines)
		return lines, err
	case q.Run != "":
		return all[store.Log](r, logsOfRun, q.After, limit, q.Run)
	}
	return all[store.Log](r, logsOfAll, q.After, limit)
}

func (t *tx) AddLogs(lines []store.Log) error {
	for _, l := range lines {
		n, err := t.number(lastLog)
		if err != nil {
			return err
		}
		l.Cursor = n
		if err := t.put(addLog, l, n, l.Run, l.Instruction); err != nil {
			return err
		}
	}
	return nil
}
