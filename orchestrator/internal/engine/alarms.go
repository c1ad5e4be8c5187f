package engine

import (
	"context"
	"errors"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// ring takes on the runs of one organisation whose alarms are due, closes the windows whose
// time is over and runs schedules, each in its own transaction, so that one that fails holds up no other.
func (e *Engine) ring(ctx context.Context, org api.OrgID) (next time.Time, err error) {
	var due []store.Alarm
	var over []store.Window
	var times []store.Schedule
	err = e.View(ctx, org, func(r store.Reader) (err error) {
		if due, err = r.DueAlarms(e.now(), reapPage); err != nil {
			return err
		}
		if over, err = r.DueWindows(e.now(), reapPage); err != nil {
			return err
		}
		if times, err = r.DueSchedules(e.now(), reapPage); err != nil || len(due)+len(over)+len(times) > 0 {
			return err
		}
		alarm, _, err := r.NextAlarm()
		if err != nil {
			return err
		}
		window, _, err := r.NextWindow()
		if err != nil {
			return err
		}
		schedule, _, err := r.NextSchedule()
		next = earlier(earlier(alarm, window), schedule)
		return err
	})
	for _, a := range due {
		err = errors.Join(err, e.update(ctx, org, func(t *tx) error {
			if err := t.DropAlarm(a); err != nil {
				return err
			}
			if a.Step == "" {
				return t.thaw(a.Run)
			}
			return t.advance(a.Run, workflow.Alarm{Step: a.Step, Try: a.Try})
		}))
	}
	for _, w := range over {
		err = errors.Join(err, e.update(ctx, org, func(t *tx) error { return t.closeDue(w) }))
	}
	for _, s := range times {
		err = errors.Join(err, e.update(ctx, org, func(t *tx) error { return t.runSchedule(s) }))
	}
	if len(due)+len(over)+len(times) > 0 {
		next = e.now() // what comes after them
	}
	return next, err
}
