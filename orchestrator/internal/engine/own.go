package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// raise stores an event of the server's own, about an agent where one is given, and shows it to
// steps that wait for it.
func (t *tx) raise(e api.Event, about workflow.Agent) (workflow.Event, error) {
	e.ID, e.Timestamp = api.EventID(t.engine.ids.next(t.now)), api.At(t.now)
	if about.ID != "" {
		id, err := json.Marshal(about.ID)
		if err != nil {
			return workflow.Event{}, err
		}
		if e.Metadata == nil {
			e.Metadata = map[string]json.RawMessage{}
		}
		e.Metadata["agent"] = id
	}
	t.events = true
	came := workflow.Event{Event: e, Agent: about, Own: true}
	if err := t.AddEvent(store.Event{Event: e, Agent: workflow.OwnSender, ReceivedAt: t.now}); err != nil {
		return came, err
	}
	return came, t.offer(came)
}

// program finds a workflow in effect.
func (t *tx) program(name string) (program, error) {
	programs, err := t.inEffect()
	if err != nil {
		return program{}, err
	}
	if n := slices.IndexFunc(programs, func(p program) bool { return p.name == name }); n >= 0 {
		return programs[n], nil
	}
	return program{}, store.ErrNotFound
}

// Start starts a run by hand: what decides on events decides on this one too, and the
// evaluation says what came of it. [store.ErrNotFound] says that there is no such workflow.
func (e *Engine) Start(ctx context.Context, org api.OrgID, name string, inputs map[string]string, by string) (out store.Evaluation, err error) {
	if !personPattern.MatchString(by) {
		return out, api.Errorf(api.CodeInvalid, "%.80q is not a name; say who starts it in at most 100 letters, digits and . _ @ + -.", by)
	}
	err = e.update(ctx, org, func(t *tx) error {
		p, err := t.program(name)
		if err != nil {
			return err
		}
		made, err := p.ManualEvent(inputs, by)
		if err != nil {
			return api.Errorf(api.CodeInvalid, "%v.", err)
		}
		if n := eventSize(made); n > api.MaxEventBytes {
			return api.Errorf(api.CodeTooLarge, "The inputs have %d bytes and may have %d.", n, api.MaxEventBytes)
		}
		ev, err := t.raise(made, workflow.Agent{})
		if err != nil {
			return err
		}
		if err := errors.Join(t.consider(p, ev), t.audit(t.actor, "workflow.run", name, "by "+by+", event "+string(ev.ID))); err != nil {
			return err
		}
		all, err := t.Evaluations(ev.ID)
		if err == nil && len(all) != 1 {
			err = fmt.Errorf("event %s has %d evaluations", ev.ID, len(all))
		}
		if err == nil {
			out = all[0]
		}
		return err
	})
	return out, err
}

// ended tells the workflows that begin when this one has ended. Only what somebody waits for
// becomes an event.
func (t *tx) ended(s workflow.State) error {
	programs, err := t.inEffect()
	if err != nil {
		return err
	}
	waits := func(p program) bool {
		return slices.ContainsFunc(p.Triggers, func(tr workflow.Trigger) bool { return tr.Ended != nil && tr.Ended.Workflow == s.Workflow })
	}
	if !slices.ContainsFunc(programs, waits) {
		return nil
	}
	made, err := workflow.EndedEvent(s)
	if err != nil {
		return err
	}
	ev, err := t.raise(made, s.Event.Agent)
	if err != nil {
		return err
	}
	return t.trigger(ev)
}

// schedules keeps the stored schedules of a workflow with its text: those that it has no more
// are dropped, new ones count from now, the others go on.
func (t *tx) schedules(d *workflow.Definition, deleted bool) error {
	stored, err := t.Schedules(d.Name)
	if err != nil {
		return err
	}
	var known []string
	for _, s := range stored {
		if scheduleOf(d, s.Spec) == nil || deleted || d.Mode == workflow.Off {
			err = errors.Join(err, t.DropSchedule(s))
			continue
		}
		known = append(known, s.Spec)
	}
	for _, tr := range d.Triggers {
		if tr.Schedule == nil || deleted || d.Mode == workflow.Off || slices.Contains(known, tr.Schedule.String()) {
			continue
		}
		err = errors.Join(err, t.putSchedule(store.Schedule{Workflow: d.Name, Spec: tr.Schedule.String(), Due: tr.Schedule.Next(t.now)}))
	}
	return err
}

func (t *tx) putSchedule(s store.Schedule) error {
	if s.Due.IsZero() {
		return t.DropSchedule(s)
	}
	t.due = earlier(t.due, s.Due)
	return t.PutSchedule(s)
}

func scheduleOf(d *workflow.Definition, spec string) *workflow.Schedule {
	for _, tr := range d.Triggers {
		if tr.Schedule != nil && tr.Schedule.String() == spec {
			return tr.Schedule
		}
	}
	return nil
}

// scheduled is the program that a schedule is of, and the schedule as that has it. One that no
// program has any more is dropped, and is nil.
func (t *tx) scheduled(s store.Schedule) (p program, schedule *workflow.Schedule, err error) {
	p, err = t.program(s.Workflow)
	if errors.Is(err, store.ErrNotFound) {
		return p, nil, t.DropSchedule(s)
	}
	if err != nil {
		return p, nil, err
	}
	if schedule = scheduleOf(p.Definition, s.Spec); schedule == nil {
		return p, nil, t.DropSchedule(s)
	}
	return p, schedule, nil
}

// missedAfter is when a schedule counts as missed: a start of the server takes a part of it.
const missedAfter = 2 * time.Minute

// runSchedule raises the event of a schedule whose time has come, once, and sets the next. One
// whose time was missed is made up for where it says so.
func (t *tx) runSchedule(found store.Schedule) error {
	s, err := t.Schedule(found.Workflow, found.Spec)
	if errors.Is(err, store.ErrNotFound) || err == nil && s.Due.After(t.now) {
		return nil // another look was first
	}
	if err != nil {
		return err
	}
	p, schedule, err := t.scheduled(s)
	if err != nil || schedule == nil {
		return err
	}
	due := s.Due
	s.Due = schedule.Next(due)
	missed := t.now.Sub(due) > missedAfter
	if missed || !s.Due.After(t.now) {
		s.Due = schedule.Next(t.now)
	}
	if err := t.putSchedule(s); err != nil || missed && !schedule.RunOnce {
		return err
	}
	ev, err := t.raise(p.ScheduledEvent(schedule, due), workflow.Agent{})
	if err != nil {
		return err
	}
	return t.consider(p, ev)
}
