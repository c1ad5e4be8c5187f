package engine

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// limitsOf looks up what the limits of a definition count.
func limitsOf(r store.Reader, def *workflow.Definition, d workflow.Decision, now time.Time, past *workflow.Past) (err error) {
	l := def.Limits
	if l.Runs > 0 {
		past.Runs, err = r.RunsFrom(def.Name, FirstID(now.Add(-l.Per)), l.Runs)
	}
	if a := l.Attempts; a.Count > 0 && err == nil {
		err = attemptsOf(r, def, d.Key, now, past)
	}
	if d.Shadow && err == nil {
		err = foreseen(r, def, d.Key, now, past)
	}
	if c := l.Concurrency; c.Max > 0 && err == nil {
		var running, queued []api.RunID
		running, err = r.RunsOfLane(def.Name, d.Lane, string(workflow.Running), c.Max)
		if c.Excess == workflow.Queue && err == nil {
			queued, err = r.RunsOfLane(def.Name, d.Lane, string(workflow.Queued), workflow.MaxQueued)
		}
		past.Running, past.Queued = len(running), len(queued)
	}
	if l.Targets.Percent > 0 && err == nil {
		err = targetsOf(r, def, past)
	}
	return err
}

func attemptsOf(r store.Reader, def *workflow.Definition, key string, now time.Time, past *workflow.Past) error {
	a := def.Limits.Attempts
	by, err := r.RunsOfKeyFrom(def.Name, key, FirstID(now.Add(-a.Per)), 2*a.Count)
	for status, n := range by {
		if status == string(workflow.Escalated) {
			past.Escalated = true
		} else {
			past.Attempts += n
		}
	}
	return err
}

// hostOf is where an event is from.
func hostOf(ev workflow.Event) string { return cmp.Or(ev.Agent.Host, string(ev.Agent.ID)) }

// targetsOf counts the agents that limits.targets is a part of, and where runs go on.
func targetsOf(r store.Reader, def *workflow.Definition, past *workflow.Past) (err error) {
	count := countAgents
	if t, is := r.(*tx); is {
		count = t.engine.fleets.count
	}
	if past.Agents, err = count(r, def.Limits.Targets.Tags); err != nil {
		return err
	}
	past.Hosts, err = r.HostsWorkedOn(def.Name)
	return err
}

// maxLaneSeen is how many runs of a lane are looked at to replace some: as many as may go on,
// and those before them that were cancelled and have not ended.
const maxLaneSeen = 2000

// replaceOldest cancels as many of the runs in a lane as are too many for another one.
func (t *tx) replaceOldest(p program, lane string, by api.RunID) error {
	ids, err := t.RunsOfLane(p.name, lane, string(workflow.Running), maxLaneSeen)
	if err != nil {
		return err
	}
	var live []api.RunID
	for _, id := range ids {
		run, err := t.Run(id)
		if err != nil {
			return err
		}
		if !run.Cancelled {
			live = append(live, id)
		}
	}
	for _, id := range live[:max(0, len(live)+1-p.Limits.Concurrency.Max)] {
		if err := t.advance(id, workflow.Cancel{Reason: fmt.Sprintf("limits.concurrency: run %s takes its place", by)}); err != nil {
			return err
		}
	}
	return nil
}

// thaw lets runs begin that waited for the end of a freeze, in the lane of the one that was the
// oldest then. It may have been cancelled since.
func (t *tx) thaw(id api.RunID) error {
	run, err := t.Run(id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return t.admit(run)
}

// admit lets runs begin that wait for the end of another in their lane, the oldest first, each by
// the limit of its own version: that of the one that has ended may be another, or none. In a
// freeze of that version none begins.
func (t *tx) admit(ended store.Run) error {
	for {
		queued, err := t.RunsOfLane(ended.Workflow, ended.Lane, string(workflow.Queued), 1)
		if err != nil || len(queued) == 0 {
			return err
		}
		next, err := t.Run(queued[0])
		if err != nil {
			return err
		}
		if d, err := t.definition(next); err == nil { // else it is given up below
			limit := d.Limits.Concurrency.Max
			running, err := t.RunsOfLane(ended.Workflow, ended.Lane, string(workflow.Running), limit)
			if err != nil || len(running) >= limit {
				return err
			}
			if until, by := d.Limits.Frozen(t.now); by != "" {
				return t.advance(next.ID, workflow.Postpone{Until: until, By: by})
			}
		}
		if err := t.advance(next.ID, workflow.Admit{}); err != nil {
			return err
		}
	}
}
