package engine

import (
	"context"
	"errors"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// ringAlarms takes on the runs of one organisation whose alarms are due, each in its own
// transaction, so that one that fails holds up no other.
func (e *Engine) ringAlarms(ctx context.Context, org api.OrgID) (next time.Time, err error) {
	var due []store.Alarm
	err = e.View(ctx, org, func(r store.Reader) (err error) {
		if due, err = r.DueAlarms(e.now(), reapPage); err == nil && len(due) == 0 {
			next, _, err = r.NextAlarm()
		}
		return err
	})
	for _, a := range due {
		err = errors.Join(err, e.update(ctx, org, func(t *tx) error {
			if err := t.DropAlarm(a); err != nil {
				return err
			}
			return t.advance(a.Run, workflow.Alarm{Step: a.Step, Try: a.Try})
		}))
	}
	if len(due) > 0 {
		next = e.now() // what comes after them
	}
	return next, err
}
