package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// trigger starts a run of every workflow in effect that an event is for, and leaves an
// evaluation of every one that it came near: whose triggers take its type. A workflow that
// fails at this event fails alone.
func (t *tx) trigger(ev workflow.Event) error {
	programs, err := t.inEffect()
	if err != nil {
		return err
	}
	for _, p := range programs {
		if !p.Matches(ev) {
			continue
		}
		if err := t.consider(p, ev); err != nil {
			return err
		}
	}
	return nil
}

// consider lets one workflow decide on an event, alone or with those that it has gathered.
func (t *tx) consider(p program, ev workflow.Event) error {
	ev.Now = t.now
	decision := p.Decide(ev)
	if p.Gather != nil {
		if err := t.closeOverdue(p, decision); err != nil {
			return err
		}
	}
	v, err := hold(t, p.Definition, decision, ev)
	if err != nil {
		return err
	}
	if v.window != nil {
		if err := t.putWindow(*v.window); err != nil {
			return err
		}
	}
	if v.noted {
		if err := t.noteEvent(p, v.Decision); err != nil {
			return err
		}
	}
	return t.settle(p, ev, v)
}

// settle does what was decided on an event and leaves the evaluation. Those that made one
// with it then name its run as well.
func (t *tx) settle(p program, ev workflow.Event, v verdict) (err error) {
	e := store.Evaluation{Event: ev.ID, Agent: ev.Sender(), Workflow: p.name, Version: p.version, At: t.now, Shadow: v.Shadow}
	decision := v.Decision
	switch {
	case decision.Run && decision.Shadow:
		e.Foreseen = decision.Key
		decision, err = t.pretend(p, ev, decision, v.events)
	case decision.Run:
		e.Run, err = t.start(p, ev, decision, v.events)
	}
	if err == nil && decision.Run && !v.noted {
		err = t.noteEvent(p, decision)
	}
	if err == nil {
		e.Decision, err = json.Marshal(decision)
	}
	if err == nil {
		err = t.PutEvaluation(e)
	}
	for _, other := range v.events {
		if err != nil || e.Run == "" {
			break
		}
		if other.ID != ev.ID || other.Sender() != ev.Sender() {
			err = t.ledTo(other, p.name, e.Run)
		}
	}
	return err
}

// ledTo notes in the evaluation of an event which run it helped to start.
func (t *tx) ledTo(ev workflow.Event, name string, run api.RunID) error {
	all, err := t.Evaluations(ev.ID)
	for _, e := range all {
		if e.Agent == ev.Sender() && e.Workflow == name {
			e.Run = run
			err = errors.Join(err, t.PutEvaluation(e))
		}
	}
	return err
}

// pretend notes what a run would begin with, and counts its cooldown as if it had ended
// at once.
func (t *tx) pretend(p program, ev workflow.Event, decision workflow.Decision, all []workflow.Event) (workflow.Decision, error) {
	decision, err := p.Foresee(decision, ev, all...)
	if err != nil {
		t.engine.log.Error("run cannot be foreseen", "org", t.org, "workflow", p.name, "event", ev.ID, "error", err)
		return decision, nil
	}
	if p.Cooldown == 0 {
		return decision, nil
	}
	return decision, t.coolDown(p.name, decision.Key, p.Cooldown)
}

// Replay says what a text would make of an event that has come, and what a run would begin
// with. Nothing is executed and nothing is stored; cooldowns and windows count as they are
// now. [store.ErrNotFound] says that there is no such event. Expressions are evaluated between
// the looks at the store, which everybody shares.
func (e *Engine) Replay(ctx context.Context, org api.OrgID, d *workflow.Definition, agent api.AgentID, id api.EventID) (workflow.Decision, error) {
	var ev workflow.Event
	err := e.View(ctx, org, func(r store.Reader) (err error) {
		ev, err = eventOf(r, agent, id)
		return err
	})
	if err != nil {
		return workflow.Decision{}, err
	}
	ev.Now, d = e.now(), d.OnTrial(ctx)
	v := verdict{Decision: d.Decide(ev)}
	if !v.Run {
		return v.Decision, nil
	}
	err = e.View(ctx, org, func(r store.Reader) (err error) {
		v, err = hold(r, d, v.Decision, ev)
		return err
	})
	if err != nil || !v.Run {
		return v.Decision, err
	}
	decision, err := d.Foresee(v.Decision, ev, v.events...)
	return decision, errors.Join(err, ctx.Err())
}

// eventOf is an event that has come, with its sender as it is now.
func eventOf(r store.Reader, agent api.AgentID, id api.EventID) (workflow.Event, error) {
	stored, err := r.Event(agent, id)
	if err != nil {
		return workflow.Event{}, fmt.Errorf("event %s: %w", id, err)
	}
	ev := workflow.Event{Event: stored.Event, Own: agent == workflow.OwnSender}
	if ev.Own { // of what it is about, if it is about an agent
		agent = ""
		_ = json.Unmarshal(ev.Metadata["agent"], &agent)
	}
	if agent == "" {
		return ev, nil
	}
	sender, err := r.Agent(agent)
	ev.Agent = sensorOf(sender)
	return ev, err
}

// verdict is a decision with what the store knows of the past.
type verdict struct {
	workflow.Decision
	events []workflow.Event // that make one; nil: only the one
	window *store.Window    // as it is to be stored; nil: as it is
	noted  bool             // the event counts as one that came, also where nothing runs yet
}

// hold is the definition's decision on an event, now, with what the store knows of the past. Of
// expressions it evaluates only those that pick agents for triggers.
func hold(r store.Reader, def *workflow.Definition, decision workflow.Decision, ev workflow.Event) (verdict, error) {
	v, now := verdict{Decision: decision}, ev.Now
	if !v.Run {
		return v, nil
	}
	if def.Gather != nil && def.Gather.Correlates() {
		if err := v.gather(r, def, ev, now); err != nil || !v.Run {
			return v, err
		}
	}
	past, err := pastOf(r, def, v.Decision)
	if err != nil {
		return v, err
	}
	v.Decision = def.HoldEvent(v.Decision, past, now)
	if v.Run && def.Gather != nil && !def.Gather.Correlates() {
		v.noted = true
		if err := v.gather(r, def, ev, now); err != nil || !v.Run {
			return v, err
		}
	}
	return v, v.holdRun(r, def, ev, now)
}

// pastOf is what the past says about an event of its kind.
func pastOf(r store.Reader, def *workflow.Definition, d workflow.Decision) (past workflow.Past, err error) {
	if def.Window > 0 {
		past.DuplicateUntil, _, err = r.CooldownUntil(def.Name, duplicateKey(d))
	}
	if err == nil && def.Throttle > 0 {
		past.ThrottledUntil, _, err = r.CooldownUntil(def.Name, throttleKey(d))
	}
	return past, err
}

// holdRun adds what the past says about another run. A run for the key that goes on counts
// as one that has just ended.
func (v *verdict) holdRun(r store.Reader, def *workflow.Definition, ev workflow.Event, now time.Time) error {
	past := workflow.Past{Host: hostOf(ev)}
	var err error
	if def.Cooldown > 0 {
		if past.CooldownUntil, err = cooldown(r, def, v.Key, now); err != nil {
			return err
		}
	}
	if err := limitsOf(r, def, v.Decision, now, &past); err != nil {
		return err
	}
	v.Decision = def.HoldRun(v.Decision, past, now)
	return nil
}

func cooldown(r store.Reader, def *workflow.Definition, key string, now time.Time) (time.Time, error) {
	until, _, err := r.CooldownUntil(def.Name, key)
	if err != nil {
		return until, err
	}
	active, err := r.RunActive(def.Name, key)
	if active {
		until = now.Add(def.Cooldown)
	}
	return until, err
}

// duplicateKey and throttleKey are where the windows of duplicates and throttles are kept:
// beside the cooldowns, whose keys begin with a quote.
func duplicateKey(d workflow.Decision) string { return "dedupe" + d.Duplicate }

func throttleKey(d workflow.Decision) string { return "throttle" + d.Group }

// noteEvent begins the times in which others like an event do not count.
func (t *tx) noteEvent(p program, d workflow.Decision) (err error) {
	if p.Window > 0 {
		err = t.coolDown(p.name, duplicateKey(d), p.Window)
	}
	if p.Throttle > 0 {
		err = errors.Join(err, t.coolDown(p.name, throttleKey(d), p.Throttle))
	}
	return err
}

// coolDown begins a time in which a key does not count, and drops two that are over:
// so what is over never piles up, whatever keys events make.
func (t *tx) coolDown(workflow, key string, within time.Duration) error {
	return errors.Join(t.DropCooldowns(t.now, 2), t.SetCooldown(workflow, key, t.now.Add(within)))
}
