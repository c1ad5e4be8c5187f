package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// outputLifetime is longer than an action's: a message is worth having when its agent
// is back.
const outputLifetime = 24 * time.Hour

// saved is what a run's record holds as its state.
type saved = workflow.Saved

// StateOf is where a run and each of its steps stand.
func StateOf(run store.Run) (workflow.State, error) {
	was, err := savedOf(run)
	return was.State, err
}

// savedOf is what a run's record says, which is not read where it was written just now.
func savedOf(run store.Run) (was saved, err error) {
	if was, known := run.Decoded.(saved); known {
		return was, nil
	}
	if err := json.Unmarshal(run.State, &was); err != nil {
		return was, fmt.Errorf("state of run %s: %w", run.ID, err)
	}
	return was, nil
}

// save has a run's record say s, and nothing of the time of one input, which JSON leaves out.
func save(run *store.Run, s saved) (err error) {
	if run.State, err = json.Marshal(s); err != nil {
		return fmt.Errorf("state of run %s: %w", run.ID, err)
	}
	s.State.Now, s.State.Event.Now = time.Time{}, time.Time{}
	s.State.Events = slices.Clone(s.State.Events)
	for n := range s.State.Events {
		s.State.Events[n].Now = time.Time{}
	}
	run.Decoded = s
	return nil
}

// start begins a run. That it cannot begin is logged, and no id is returned.
func (t *tx) start(p program, ev workflow.Event, decision workflow.Decision, all []workflow.Event) (api.RunID, error) {
	run := store.Run{
		ID: api.RunID(t.engine.ids.next(t.now)), Workflow: p.name, Version: p.version, EventID: ev.ID, Key: decision.Key,
		Lane: decision.Lane, Host: hostOf(ev),
		CreatedAt: t.now, StartedAt: t.now,
	}
	begin := workflow.Start
	switch {
	case decision.Escalate:
		begin = workflow.Escalate
	case decision.Queue:
		begin = workflow.Enqueue
	case decision.Replace:
		if err := t.replaceOldest(p, decision.Lane, run.ID); err != nil {
			return "", err
		}
	}
	ev.TraceParent = t.runDecided(ev.TraceParent, p.name, run.ID)
	known, err := t.knowing(p.Definition)
	if err != nil {
		return "", err
	}
	state, effects, err := begin(known, run.ID, ev, all...)
	if err != nil {
		t.engine.log.Error("run cannot start", "org", t.org, "workflow", p.name, "event", ev.ID, "error", err)
		return "", nil
	}
	t.count(t.engine.counts.started.Inc)
	return run.ID, t.apply(run, p.Definition, saved{State: state}, effects)
}

// advance takes a run on by an input. A run that has ended takes none.
func (t *tx) advance(id api.RunID, in workflow.Input) error {
	run, err := t.Run(id)
	if err != nil || !run.FinishedAt.IsZero() {
		return err
	}
	d, err := t.definition(run)
	if err != nil {
		return t.abandon(run, err)
	}
	was, err := savedOf(run)
	if err != nil {
		return t.abandon(run, err)
	}
	was.State.Now = t.now
	known, err := t.knowing(d)
	if err != nil {
		return err
	}
	next, effects, err := workflow.Step(known, was.State, in)
	if err != nil {
		return t.abandon(run, err)
	}
	return t.apply(run, d, saved{History: was.History, State: next}, effects)
}

// apply stores the new state with its history, then does what it decided on. That
// may end instructions and so take the run on again, from what is stored by then.
func (t *tx) apply(run store.Run, d *workflow.Definition, s saved, effects []workflow.Effect) error {
	t.runs = true
	var history []store.History
	for _, effect := range effects {
		if r, ok := effect.(workflow.Record); ok {
			s.History++
			history = append(history, store.History{Run: run.ID, Seq: s.History, At: t.now, Kind: string(r.Kind), Step: r.Step, Message: r.Message})
		}
	}
	if err := t.AddHistory(history...); err != nil {
		return err
	}
	if err := save(&run, s); err != nil {
		return err
	}
	before := run.Status
	run.Status, run.Cancelled, run.Error = string(s.State.Status), s.State.Cancelled, s.State.Error
	if s.State.Done {
		run.FinishedAt = t.now
		t.count(t.engine.counts.ended.WithLabelValues(run.Status).Inc)
	}
	if err := t.PutRun(run); err != nil {
		return err
	}
	for _, effect := range effects {
		if err := t.effect(run, d, s.State.Event, effect); err != nil {
			return err
		}
	}
	if before == string(workflow.Running) && before != run.Status {
		if err := t.admit(run); err != nil {
			return err
		}
	}
	goesOn := func(status string) bool {
		return status == "" || status == string(workflow.Running) || status == string(workflow.Queued)
	}
	if !goesOn(before) || goesOn(run.Status) {
		return nil
	}
	if d.Cooldown > 0 { // whoever is told of it may be away for long
		if err := t.coolDown(run.Workflow, run.Key, d.Cooldown); err != nil {
			return err
		}
	}
	return t.ended(s.State)
}

func (t *tx) effect(run store.Run, d *workflow.Definition, ev workflow.Event, effect workflow.Effect) error {
	switch effect := effect.(type) {
	case workflow.Dispatch:
		return t.dispatch(run, ev, effect, d)
	case workflow.Ask:
		return t.ask(run, effect)
	case workflow.StopAsking:
		return t.DropApproval(run.ID, effect.Step)
	case workflow.Choose:
		agents, why, err := t.picked(run.ID, effect.Selector)
		if err != nil {
			return err
		}
		return t.advance(run.ID, workflow.Chosen{Step: effect.Step, Agents: agents, Error: why})
	case workflow.Await:
		return t.await(store.Wait{Run: run.ID, Step: effect.Step, Pattern: effect.Pattern})
	case workflow.StopWaiting:
		return t.stopWaiting(store.Wait{Run: run.ID, Step: effect.Step})
	case workflow.SetAlarm:
		at := t.now.Add(effect.After)
		t.due = earlier(t.due, at)
		return t.PutAlarm(store.Alarm{Run: run.ID, Step: effect.Step, Try: effect.Try, At: at})
	case workflow.CancelStep:
		return t.cancelStep(run.ID, effect.Step)
	}
	return nil
}

// dispatch makes the instruction of a step. An action does not start later after the run did
// than the definition lets it.
func (t *tx) dispatch(run store.Run, ev workflow.Event, d workflow.Dispatch, of *workflow.Definition) error {
	within := of.Limits.ExpiresAfter
	target, why, err := t.target(run.ID, ev, d)
	if err != nil {
		return err
	}
	if why != "" {
		return t.advance(run.ID, workflow.StepEnded{Step: d.Step, Try: d.Try, Status: api.Rejected, Error: why})
	}
	spec := instruction.Spec{
		ID: api.InstructionID(t.engine.ids.next(t.now)), RunID: run.ID, Workflow: run.Workflow, Step: d.Step, Try: d.Try, EventID: run.EventID,
		Plugin: d.Plugin, Version: d.Version, Input: d.Input, Secrets: d.Secrets, Timeout: d.Timeout, Target: target, Idempotent: d.Idempotent,
		Type: d.Type, Setup: d.Setup, Priority: of.Priority,
	}
	switch {
	case d.Output, d.Undo:
		spec.ExpiresAt = t.now.Add(outputLifetime)
	case within > 0:
		spec.ExpiresAt = since(run).Add(within)
		if !t.now.Before(spec.ExpiresAt) {
			return t.advance(run.ID, workflow.StepEnded{
				Step: d.Step, Try: d.Try, Status: api.Expired,
				Error: fmt.Sprintf("limits.expires_after: it would start more than %s after the run", within),
			})
		}
	}
	if d.Install {
		if err := t.autoInstall(spec); err != nil {
			return err
		}
	}
	spec.TraceParent = t.instructed(ev.TraceParent, spec)
	if d.Wait > 0 {
		spec.ExpiresAt = earlier(spec.ExpiresAt, t.now.Add(d.Wait))
	}
	t.count(t.engine.counts.instructions.WithLabelValues(string(api.Pending)).Inc)
	i := instruction.New(spec, t.now)
	t.waiting = append(t.waiting, workOf(spec))
	t.due = earlier(t.due, i.Due())
	return t.PutInstruction(i)
}

// target is which agents may run a step, or why none may. It never says any agent where the
// step does not.
func (t *tx) target(run api.RunID, ev workflow.Event, d workflow.Dispatch) (target instruction.Target, why string, err error) {
	target = instruction.Target{Sandbox: d.Sandbox, Installs: d.Type == api.TypeInstall, Secrets: len(d.Secrets) > 0}
	if d.Type == "" || d.Type == api.TypeExecute { // else it is the version that the agent is to get
		target.Version = d.Version
	}
	switch {
	case d.Undoes != "":
		agent, err := t.didStep(run, d.Undoes)
		if err != nil {
			return target, "", err
		}
		if agent == "" {
			why = fmt.Sprintf("no agent is known to have done step %s, which it undoes", d.Undoes)
		}
		target.Agents = []api.AgentID{agent}
	case d.Pick != nil:
		agents, too, err := t.picked(run, d.Pick)
		if err != nil {
			return target, "", err
		}
		if why = too; why == "" && len(agents) == 0 {
			why = "there is no action agent " + d.Target.Picked
		}
		for _, a := range agents {
			target.Agents = append(target.Agents, a.ID)
		}
	case d.Target.SameHost:
		if target.Host = ev.Agent.Host; target.Host == "" {
			why = fmt.Sprintf("same_host: sensor agent %s enrolled without a host name; enrol it again with one", ev.Agent.ID)
		}
	default:
		target.Agents, target.Tags = d.Target.Agents, d.Target.Tags
	}
	return target, why, nil
}

// didStep is the agent that completed a step, on its last try; empty where there is none.
func (t *tx) didStep(run api.RunID, step string) (agent api.AgentID, err error) {
	instructions, err := t.RunInstructions(run)
	for _, i := range instructions { // by id, so in the order of the tries
		if i.Step == step && i.Status == api.Completed {
			agent = i.Agent
		}
	}
	return agent, err
}

// since is what the time of a run's actions counts from.
func since(run store.Run) time.Time { return cmp.Or(run.Since, run.CreatedAt) }

// picked are the action agents that a selector picks for a run, by id, or why that cannot be
// told. All that a run picks in one transaction has one budget: everybody waits for it.
func (t *tx) picked(run api.RunID, s *workflow.Selector) (picked []workflow.Agent, why string, err error) {
	agents, err := t.Agents()
	if err != nil {
		return nil, "", err
	}
	var known []workflow.Agent
	for _, a := range agents {
		if a.Type == api.Action && a.State != store.Revoked {
			known = append(known, sensorOf(a))
		}
	}
	if t.selections == nil {
		t.selections = map[api.RunID]*workflow.Selection{}
	}
	if t.selections[run] == nil {
		t.selections[run] = workflow.NewSelection()
	}
	picked, over := t.selections[run].Of(s, known)
	if over != nil {
		why = over.Error()
	}
	return picked, why, nil
}

func (t *tx) cancelStep(run api.RunID, step string) error {
	instructions, err := t.RunInstructions(run)
	if err != nil {
		return err
	}
	for _, i := range instructions {
		if i.Step != step || i.Status.Terminal() { // an earlier try
			continue
		}
		if _, err := t.step(i, instruction.Cancel{Now: t.now}); err != nil {
			return err
		}
	}
	return nil
}

// kindAbandoned is the last history row of a run that could not go on.
const kindAbandoned = string(workflow.RunAbandoned)

// abandon ends a run that this program cannot take on, because it reads the workflow
// or the state no more: it would stay "running" for ever, and the agent would send
// its result for ever.
func (t *tx) abandon(run store.Run, cause error) error {
	return errors.Join(t.endAbandoned(run, cause), t.admit(run))
}

// endAbandoned is abandon without letting another run begin.
func (t *tx) endAbandoned(run store.Run, cause error) error {
	t.engine.log.Error("run abandoned", "org", t.org, "run", run.ID, "error", cause)
	history, err := t.History(run.ID)
	if err != nil {
		return err
	}
	t.runs = true
	run.Status, run.FinishedAt = string(workflow.Failed), t.now
	h := store.History{Run: run.ID, Seq: len(history) + 1, At: t.now, Kind: kindAbandoned, Message: cause.Error()}
	if err := errors.Join(t.PutRun(run), t.AddHistory(h)); err != nil {
		return err
	}
	instructions, err := t.RunInstructions(run.ID)
	for _, i := range instructions {
		_, failure := t.step(i, instruction.Cancel{Now: t.now})
		err = errors.Join(err, failure)
	}
	return errors.Join(err, t.forget(run.ID))
}

// forget drops what waits for a run that will not go on. Its alarms go when they are due.
func (t *tx) forget(run api.RunID) error {
	waits, err := t.Waits()
	for _, w := range waits {
		if w.Run == run {
			err = errors.Join(err, t.stopWaiting(w))
		}
	}
	approvals, failure := t.Approvals()
	err = errors.Join(err, failure)
	for _, a := range approvals {
		if a.Run == run {
			err = errors.Join(err, t.DropApproval(run, a.Step))
		}
	}
	return err
}

// kindLateResult is a history row of an agent that was given up as lost and told how
// its attempt ended after the run had gone on.
const kindLateResult = "late_result"

// late puts on record what comes too late to change the run.
func (t *tx) late(i instruction.Instruction) error {
	run, err := t.Run(i.RunID)
	if err != nil {
		return err
	}
	s, err := savedOf(run)
	if err != nil {
		return err
	}
	s.History++
	if err := save(&run, s); err != nil {
		return err
	}
	t.runs = true
	message := fmt.Sprintf("agent %s was given up as lost and reports now: %s", i.Agent, i.Result.Status)
	h := store.History{Run: run.ID, Seq: s.History, At: t.now, Kind: kindLateResult, Step: i.Step, Message: message}
	return errors.Join(t.PutRun(run), t.AddHistory(h))
}

// CancelRun asks a run to end: what has not started never will, and agents are told
// with their next report. [store.ErrNotFound] says that there is no such run.
func (e *Engine) CancelRun(ctx context.Context, org api.OrgID, id api.RunID) (run store.Run, err error) {
	err = e.update(ctx, org, func(t *tx) error {
		run, err = t.Run(id)
		if err != nil {
			return err
		}
		if !run.FinishedAt.IsZero() {
			return api.Errorf(api.CodeConflict, "Run %s has ended already: %s.", id, run.Status)
		}
		if err := t.advance(id, workflow.Cancel{Reason: "asked for by " + t.actor}); err != nil {
			return err
		}
		if run, err = t.Run(id); err != nil {
			return err
		}
		return t.audit(t.actor, "run.cancel", string(id), run.Workflow)
	})
	return run, err
}
