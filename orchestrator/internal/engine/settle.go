package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// Settle ends everything that was under way in a store that was restored from a backup: its
// runs have gone on since, and another agent than then, a retry, a window or a schedule that
// was due would do the same again. People say what is done anew. It returns how many runs it
// ended; done twice, it ends none.
func (e *Engine) Settle(ctx context.Context, org api.OrgID, made time.Time) (ended int, err error) {
	why := fmt.Errorf("the database was restored from a backup of %s: what has become of the run since is unknown; retry it if it is to be done (again)", clock(made))
	for _, status := range []workflow.Status{workflow.Queued, workflow.Running} {
		for more := true; more; {
			err := e.update(ctx, org, func(t *tx) error {
				all, err := t.Runs(store.RunQuery{Status: string(status), Limit: reapPage})
				for _, run := range all {
					err = errors.Join(err, t.giveUp(run.ID, why))
				}
				ended, more = ended+len(all), len(all) > 0
				return err
			})
			if err != nil {
				return ended, err
			}
		}
	}
	err = e.update(ctx, org, func(t *tx) error {
		return errors.Join(t.dropWindows(), t.passSchedules(), t.audit(t.actor, "server.restore", "database", fmt.Sprintf("from a backup of %s; %d runs that were under way ended as failed", clock(made), ended)))
	})
	return ended, err
}

func clock(t time.Time) string { return t.UTC().Format(api.TimeLayout) }

func (t *tx) giveUp(id api.RunID, why error) error {
	run, err := t.Run(id) // with its state
	if err != nil {
		return err
	}
	return t.endAbandoned(run, why) // and those that wait for its end do not begin
}

// dropWindows forgets what was gathered: it has made its events, or they are old.
func (t *tx) dropWindows() error {
	const ever = 200 * 365 * 24 * time.Hour // within what the columns of times hold
	for {
		all, err := t.DueWindows(t.now.Add(ever), reapPage)
		if err != nil || len(all) == 0 {
			return err
		}
		for _, w := range all {
			if err := t.DropWindow(w); err != nil {
				return err
			}
		}
	}
}

// passSchedules sets those whose time has come to their next one, also where they would
// make up for it.
func (t *tx) passSchedules() error {
	for {
		all, err := t.DueSchedules(t.now, reapPage)
		if err != nil || len(all) == 0 {
			return err
		}
		for _, s := range all {
			if err := t.passSchedule(s); err != nil {
				return err
			}
		}
	}
}

func (t *tx) passSchedule(s store.Schedule) error {
	_, schedule, err := t.scheduled(s)
	if err != nil || schedule == nil {
		return err
	}
	s.Due = schedule.Next(t.now)
	return t.putSchedule(s)
}
