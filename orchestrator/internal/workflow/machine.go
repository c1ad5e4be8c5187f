package workflow

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// maxError is how many bytes of a plugin's error message a run keeps; the whole of
// it is with the instruction.
const maxError = 2000

// maxEvents is how many bytes of JSON a run keeps of the events that made one.
const maxEvents = 256 << 10

// Start begins a run of d for an event that d decided to take. all are the events that made
// one with it, it included, where there are several. The error is an event that cannot be
// read, which [Definition.Decide] refuses too.
func Start(d *Definition, run api.RunID, e Event, all ...Event) (State, []Effect, error) {
	m, err := newRun(d, run, Running, e, all)
	if err == nil {
		m.advance()
	}
	return m.s, m.effects, err
}

// Enqueue is [Start] of a run that waits for an [Admit].
func Enqueue(d *Definition, run api.RunID, e Event, all ...Event) (State, []Effect, error) {
	m, err := newRun(d, run, Queued, e, all)
	m.record(RunQueued, "", "others go on, at most %d at a time", d.Limits.Concurrency.Max)
	return m.s, m.effects, err
}

// Escalate is [Start] of a run that does nothing but tell people.
func Escalate(d *Definition, run api.RunID, e Event, all ...Event) (State, []Effect, error) {
	m, err := newRun(d, run, Escalated, e, all)
	if err != nil {
		return m.s, nil, err
	}
	m.s.Error = fmt.Sprintf("%d attempts within %s did not help", d.Limits.Attempts.Count, d.Limits.Attempts.Per)
	for _, step := range d.Actions {
		m.end(step.ID, StepState{Status: StepSkipped, Error: m.s.Error})
	}
	m.tell()
	m.advance()
	return m.s, m.effects, nil
}

func newRun(d *Definition, run api.RunID, status Status, e Event, all []Event) (*machine, error) {
	event, err := e.value()
	if err != nil {
		return &machine{}, fmt.Errorf("start run %s of workflow %s: %w", run, d.Name, err)
	}
	m := &machine{d: d, event: event, budget: d.toGoOn(), s: State{
		Format: stateFormat, Run: run, Workflow: d.Name, Digest: d.digest, Event: e, Status: status,
		Steps: make(map[string]StepState, len(d.Actions)+len(d.Outputs)),
	}}
	for _, steps := range [][]StepDefinition{d.Actions, d.Outputs} {
		for _, step := range steps {
			m.s.Steps[step.ID] = StepState{Status: StepWaiting}
		}
	}
	m.s.Depth = e.Depth()
	for _, one := range all {
		m.s.Depth = max(m.s.Depth, one.Depth())
		if one.ID != e.ID {
			m.s.By = append(m.s.By, one.people()...)
		}
	}
	m.record(RunStarted, "", "event %s (%s) from agent %s", e.ID, e.Type, e.Agent.ID)
	m.keepEvents(all)
	return m, nil
}

// keepEvents keeps the newest of the events that made one, as far as they are not too large
// together.
func (m *machine) keepEvents(all []Event) {
	size, from := 0, len(all)
	for from > 0 {
		text, err := json.Marshal(all[from-1])
		if size += len(text); err != nil || size > maxEvents {
			break
		}
		from--
	}
	if len(all) > 1 {
		m.record(EventsMet, "", "%d events made one", len(all))
		m.s.Events = all[from:]
	}
	if from > 0 {
		m.record(ResultLeftOut, "", "the first %d of them are left out: expressions read at most %d bytes", from, maxEvents)
	}
}

// Step takes an input to the next state. An input that the state already reflects
// changes nothing and has no effects, so repeats are harmless. The error is an
// input that no run of d in this state can get: a fault of the caller.
func Step(d *Definition, s State, in Input) (State, []Effect, error) {
	if err := s.fits(d); err != nil {
		return s, nil, err
	}
	m := machine{d: d, s: s, budget: d.toGoOn()}
	m.s.Steps = maps.Clone(s.Steps)
	var err error
	switch in := in.(type) {
	case StepStarted:
		err = m.started(in)
	case StepEnded:
		err = m.ended(in)
	case EventCame:
		err = m.came(in)
	case Alarm:
		err = m.rings(in)
	case Verdict:
		err = m.judged(in)
	case Chosen:
		err = m.chosen(in)
	case Admit:
		m.admit()
	case Postpone:
		m.postpone(in)
	case Cancel:
		m.cancel(in)
	default:
		err = fmt.Errorf("unknown input %T", in)
	}
	if err != nil {
		return s, nil, fmt.Errorf("run %s of workflow %s: %w", s.Run, s.Workflow, err)
	}
	return m.s, m.effects, nil
}

// machine is one transition in the making.
type machine struct {
	d       *Definition
	s       State
	effects []Effect
	event   map[string]any // decoded when the first expression needs it
	budget  *expr.Budget   // of the transition
}

func (m *machine) emit(e Effect) { m.effects = append(m.effects, e) }

func (m *machine) record(kind RecordKind, step, format string, args ...any) {
	m.emit(Record{kind, step, fmt.Sprintf(format, args...)})
}

// dispatched returns the state of a step that was dispatched, whatever became of it.
func (m *machine) dispatched(id string) (StepState, error) {
	step, ok := m.s.Steps[id]
	if !ok {
		return step, fmt.Errorf("there is no step %q", id)
	}
	if step.Status == StepWaiting {
		return step, fmt.Errorf("step %q was not dispatched", id)
	}
	return step, nil
}

func (m *machine) started(in StepStarted) error {
	step, err := m.dispatched(in.Step)
	if err != nil || step.Status != StepDispatched || step.Try != in.Try {
		return err
	}
	step.Status = StepRunning
	m.s.Steps[in.Step] = step
	m.record(StepClaimed, in.Step, "an agent has claimed it")
	return nil
}

func (m *machine) ended(in StepEnded) error {
	if !in.Status.Terminal() {
		return fmt.Errorf("step %q ended with status %q, which is not final", in.Step, in.Status)
	}
	step, err := m.dispatched(in.Step)
	if err != nil || step.Status.Ended() || step.Status == StepRetrying || step.Try != in.Try {
		return err
	}
	if m.again(in, step) {
		return nil
	}
	if in.Status == api.Expired && m.d.step(in.Step).Offline.Skip {
		m.end(in.Step, StepState{Status: StepSkipped, Try: step.Try, Satisfied: true, Error: clip("offline: " + in.Error)})
		m.advance()
		return nil
	}
	m.end(in.Step, StepState{
		Status: StepStatus(in.Status), Try: step.Try, Satisfied: in.Status == api.Completed, Error: clip(in.Error), Result: m.keep(in),
	})
	m.advance()
	return nil
}

// again reports whether another try of a step follows, and asks for its time.
func (m *machine) again(in StepEnded, step StepState) bool {
	retry := m.d.step(in.Step).Retry
	wait, more := retry.pause(step.Try+1, in.Status)
	if !more || m.s.Cancelled || m.outdated(in.Step) {
		return false
	}
	step.Status, step.Error = StepRetrying, clip(in.Error)
	step.Try++
	m.s.Steps[in.Step] = step
	m.record(StepAgain, in.Step, "%s: %s; try %d of %d follows in %s", in.Status, step.Error, step.Try+1, retry.Attempts, wait)
	m.emit(SetAlarm{in.Step, step.Try, wait})
	return true
}

// rings begins the try that an alarm was set for, or ends the time of a step that waits.
func (m *machine) rings(in Alarm) error {
	step, err := m.dispatched(in.Step)
	if err != nil || step.Try != in.Try {
		return err
	}
	d := m.d.step(in.Step)
	switch step.Status {
	case StepRetrying:
		m.dispatch(*d, slices.ContainsFunc(m.d.Outputs, func(o StepDefinition) bool { return o.ID == d.ID || strings.HasPrefix(d.ID, o.ID+"@") }))
	case StepAsking:
		m.undecided(*d, step)
	case StepAwaiting:
		m.end(in.Step, StepState{Status: StepStatus(api.TimedOut), Error: fmt.Sprintf("no event %s came within %s", d.Wait.Pattern, d.Wait.Within)})
	default:
		return nil
	}
	m.advance()
	return nil
}

// keep is the result, where an expression reads it and can.
func (m *machine) keep(in StepEnded) json.RawMessage {
	if !m.d.read[in.Step] || len(in.Result) == 0 {
		return nil
	}
	if n := len(in.Result); n > api.MaxResultBytes {
		m.record(ResultLeftOut, in.Step, "its result of %d bytes is left out: expressions read at most %d", n, api.MaxResultBytes)
		return nil
	}
	if _, err := expr.Decode(in.Result); err != nil {
		m.record(ResultLeftOut, in.Step, "its result is left out: %v", err)
		return nil
	}
	return in.Result
}

// advance does all that the state allows: actions in the order of their needs, so
// one pass is enough, then the end of the run, then the end of its outputs and of all that
// tells of its approvals.
func (m *machine) advance() {
	if m.s.Status == Queued {
		return
	}
	for _, step := range m.d.Actions {
		switch m.s.Steps[step.ID].Status {
		case StepWaiting:
			m.consider(step)
		case StepRunning:
			if step.Each != nil {
				m.wave(step)
			}
		}
	}
	if m.s.Status == Running && m.allEnded(m.d.Actions) && m.undone() {
		m.decide()
	}
	if m.s.Status != Running && m.over() {
		m.s.Done = true
		m.record(RunFinished, "", "%s", m.s.Status)
		m.emit(Finished{m.s.Status})
	}
}

// consider takes a waiting action as far as it can go.
func (m *machine) consider(step StepDefinition) {
	if m.s.Cancelled {
		m.end(step.ID, StepState{Status: StepStatus(api.Cancelled), Error: "the run was cancelled before it began"})
		return
	}
	if why := m.stopped(); why != "" {
		m.end(step.ID, StepState{Status: StepSkipped, Error: why})
		return
	}
	for _, need := range step.Needs {
		if s := m.s.Steps[need]; s.Status.Ended() && !s.Satisfied {
			m.end(step.ID, StepState{Status: StepSkipped, Error: fmt.Sprintf("needs %s: %s", need, s.Status)})
			return
		}
	}
	open := func(id string) bool { return !m.s.Steps[id].Status.Ended() }
	if slices.ContainsFunc(step.Needs, open) || slices.ContainsFunc(step.After, open) {
		return
	}
	holds, err := m.holds(step)
	if err == nil && holds {
		err = m.unapproved(step)
	}
	switch {
	case err != nil:
		m.end(step.ID, StepState{Status: StepStatus(api.Failed), Error: clip(err.Error())})
	case !holds:
		m.end(step.ID, StepState{Status: StepSkipped, Satisfied: true, Error: "its when is not met"})
	case step.Wait != nil:
		m.await(step)
	case step.Approval != nil:
		m.ask(step)
	case step.Each != nil:
		m.s.Steps[step.ID] = StepState{Status: StepChoosing}
		m.emit(Choose{step.ID, &step.Each.Selector})
	default:
		m.dispatch(step, false)
	}
}

func (m *machine) holds(step StepDefinition) (bool, error) {
	if step.when == nil {
		return true, nil
	}
	values, err := m.values()
	if err != nil {
		return false, err
	}
	holds, err := step.when.Holds(values)
	return holds, located("when", err)
}

func (m *machine) dispatch(step StepDefinition, output bool) {
	try := m.s.Steps[step.ID].Try
	input, secrets, err := m.input(step)
	if err != nil {
		m.end(step.ID, StepState{Status: StepStatus(api.Failed), Try: try, Error: clip(err.Error())})
		return
	}
	m.s.Steps[step.ID] = StepState{Status: StepDispatched, Try: try}
	m.record(StepSent, step.ID, "plugin %s", step.Plugin)
	m.emit(Dispatch{
		Step: step.ID, Try: try, Plugin: step.Plugin, Version: step.Version, Input: input, Secrets: secrets, Timeout: step.Timeout,
		Target: step.Target, Sandbox: step.Sandbox, Idempotent: step.Idempotent, Output: output, Undo: strings.HasPrefix(step.ID, undoing),
		Undoes: step.Undoes, Wait: step.Offline.Wait, Pick: step.Pick,
		Type: step.Type, Setup: step.Setup, Install: step.Install,
	})
}

// input renders what a step is given. What a step gets that needs an approval is of the
// versions of secrets that were approved.
func (m *machine) input(step StepDefinition) (map[string]json.RawMessage, []instruction.SecretText, error) {
	values, err := m.values()
	if err != nil {
		return nil, nil, err
	}
	if Telling(step.ID) {
		values[expr.Run].(map[string]any)["status"] = string(ApprovalNeeded)
	}
	if whole, id, part := wholeOf(step.ID); part {
		fleet := m.s.Steps[whole].Fleet
		values[expr.Agent] = fleet[slices.IndexFunc(fleet, func(a Agent) bool { return a.ID == id })].value()
	}
	input, err := render(step.with, values)
	if err != nil {
		return nil, nil, err
	}
	approved := slices.ContainsFunc(step.Needs, func(need string) bool { return m.s.Steps[need].Digest != "" })
	secrets, err := m.d.secretTexts(step.secrets, values, approved)
	return input, secrets, err
}

// end makes a step's state final. The first action that fails gives the run its
// error.
func (m *machine) end(id string, final StepState) {
	switch m.s.Steps[id].Status {
	case StepAwaiting:
		m.emit(StopWaiting{id})
	case StepAsking:
		m.emit(StopAsking{id})
	}
	m.s.Steps[id] = final
	message := string(final.Status)
	if final.Error != "" {
		message += ": " + final.Error
	}
	m.record(StepOver, id, "%s", message)
	_, _, part := wholeOf(id) // whose failure is the whole's to judge
	failed := !final.Satisfied && final.Status != StepSkipped && !part && !Telling(id)
	if failed && m.s.Status == Running && m.s.Error == "" && !m.s.Cancelled {
		m.s.Error = fmt.Sprintf("step %s: %s", id, message)
	}
}

// decide makes the run's status final and sends the outputs that are for it.
func (m *machine) decide() {
	satisfied := func(step StepDefinition) bool { return m.s.Steps[step.ID].Satisfied }
	switch {
	case m.s.Cancelled:
		m.s.Status = Cancelled
	case !slices.ContainsFunc(m.d.Actions, func(step StepDefinition) bool { return !satisfied(step) }):
		m.s.Status = Completed
	default:
		m.s.Status = Failed
	}
	m.tell()
}

// tell sends the outputs for the status of a run.
func (m *machine) tell() {
	m.record(RunEnded, "", "%s", m.s.Status)
	for _, step := range m.d.Outputs {
		if slices.Contains(step.On, m.s.Status) {
			m.dispatch(step, true)
		} else {
			m.end(step.ID, StepState{Status: StepSkipped, Error: fmt.Sprintf("it is not for runs that are %s", m.s.Status)})
		}
	}
}

func (m *machine) allEnded(steps []StepDefinition) bool {
	return !slices.ContainsFunc(steps, func(step StepDefinition) bool { return !m.s.Steps[step.ID].Status.Ended() })
}

// over reports whether every step has ended, those that are not in the document too.
func (m *machine) over() bool {
	for _, step := range m.s.Steps {
		if !step.Status.Ended() {
			return false
		}
	}
	return true
}

// values is what the expressions of the run read now.
func (m *machine) values() (expr.Values, error) {
	if m.event == nil {
		event, err := m.s.Event.value()
		if err != nil {
			return nil, err
		}
		m.event = event
	}
	v := m.d.values(m.event, cmp.Or(m.s.Now, m.s.Event.at())).Within(m.budget)
	if len(m.s.Events) > 0 {
		v[expr.Events] = func() any { return eventValues(m.s.Events) }
	}
	v[expr.Run] = map[string]any{"id": string(m.s.Run), "status": string(m.s.Status), "error": m.s.Error}
	v[expr.Steps] = func() any { return m.stepValues() }
	return v, nil
}

// eventValues is each event as expressions read it; what cannot be read was refused before.
func eventValues(events []Event) []any {
	out := make([]any, 0, len(events))
	for _, e := range events {
		if v, err := e.value(); err == nil {
			out = append(out, v)
		}
	}
	return out
}

// stepValues is every action as expressions read it.
func (m *machine) stepValues() map[string]any {
	out := make(map[string]any, len(m.d.Actions))
	for _, step := range m.d.Actions {
		s := m.s.Steps[step.ID]
		var result any
		if len(s.Result) > 0 {
			result, _ = expr.Decode(s.Result) // keep has decoded it before
		}
		out[step.ID] = map[string]any{"status": string(s.Status), "result": result, "error": s.Error}
	}
	return out
}

// clip bounds a foreign message and makes it what JSON can hold, so that a state
// is the same after a round trip.
func clip(s string) string {
	if len(s) > maxError {
		s = s[:maxError] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
