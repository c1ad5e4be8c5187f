package fsck_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/delivery"
	"github.com/stavily/agents/orchestrator/internal/fsck"
	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// records are what a store holds when a run waits for everything that one can wait for.
type records struct {
	stream       delivery.Stream
	event        store.Event
	gap          store.Gap
	run          store.Run
	saved        workflow.Saved
	history      []store.History
	instructions []instruction.Instruction
	waits        []store.Wait
	approvals    []store.Approval
	alarms       []store.Alarm
	evaluation   store.Evaluation
	agent        store.Agent
}

func healthy() records {
	const run, event = api.RunID("01RUN"), api.EventID("01EVENT")
	line := func(seq int) store.History { return store.History{Run: run, Seq: seq, At: noon, Kind: "run_started"} }
	r := records{
		stream: delivery.Stream{Epoch: "e", Through: 2, Tally: delivery.Tally{Stored: 1, Lost: 1}},
		event:  store.Event{Event: api.Event{ID: event, Type: "t", Seq: 1}, Agent: "s", Epoch: "e", ReceivedAt: noon},
		gap:    store.Gap{Gap: api.Gap{From: 2, To: 2, Count: 1, Reason: "spool_full"}, Agent: "s", Epoch: "e", ReceivedAt: noon},
		run:    store.Run{ID: run, Workflow: "w", Version: 1, Status: string(workflow.Running), EventID: event, CreatedAt: noon, StartedAt: noon},
		saved: workflow.Saved{History: 2, State: workflow.State{Format: 1, Run: run, Workflow: "w", Status: workflow.Running, Steps: map[string]workflow.StepState{
			"sent": {Status: workflow.StepDispatched}, "claimed": {Status: workflow.StepRunning, Try: 1}, "over": {Status: "completed"},
			"event": {Status: workflow.StepAwaiting}, "people": {Status: workflow.StepAsking}, "again": {Status: workflow.StepRetrying, Try: 2},
		}}},
		history:    []store.History{line(1), line(2)},
		waits:      []store.Wait{{Run: run, Step: "event", Pattern: "t"}},
		approvals:  []store.Approval{{Run: run, Step: "people", Workflow: "w", Version: 1, EventID: event, Count: 1}},
		alarms:     []store.Alarm{{Run: run, Step: "again", Try: 2, At: noon}},
		evaluation: store.Evaluation{Event: event, Agent: "s", Workflow: "w", Version: 1, At: noon, Run: run},
		agent:      store.Agent{ID: "s", Type: api.Sensor, State: store.Active},
	}
	of := func(id, step string, try int) instruction.Instruction {
		return instruction.New(instruction.Spec{ID: api.InstructionID(id), RunID: run, Step: step, Try: try, Plugin: "p"}, noon)
	}
	pending, executing, ended := of("i1", "sent", 0), of("i2", "claimed", 1), of("i3", "over", 0)
	executing.Status, executing.Agent, executing.Lease, executing.LeaseUntil = api.Executing, "a", "l", noon
	ended.Status, ended.FinishedAt = api.Completed, noon
	r.instructions = []instruction.Instruction{pending, executing, ended}
	return r
}

// put writes them as the engine would, had it come to that.
func (r records) put(t *testing.T, s store.Store) {
	t.Helper()
	state, err := json.Marshal(r.saved)
	if err != nil {
		t.Fatal(err)
	}
	r.run.State = state
	err = s.Org("o").Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.AddWorkflow(store.Workflow{Name: "w", Text: "x", AppliedAt: noon})
		err = errors.Join(err, tx.PutAgent(r.agent), tx.PutStream("s", r.stream), tx.AddEvent(r.event), tx.PutGap(r.gap), tx.PutRun(r.run), tx.PutEvaluation(r.evaluation), tx.AddAudit(store.Audit{At: noon, Action: "x"}))
		for _, h := range r.history {
			err = errors.Join(err, tx.AddHistory(h))
		}
		for _, i := range r.instructions {
			err = errors.Join(err, tx.PutInstruction(i))
		}
		for _, w := range r.waits {
			err = errors.Join(err, tx.PutWait(w))
		}
		for _, a := range r.approvals {
			err = errors.Join(err, tx.PutApproval(a))
		}
		for _, a := range r.alarms {
			err = errors.Join(err, tx.PutAlarm(a))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, r records) fsck.Report {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "stavily.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r.put(t, s)
	report, err := fsck.Check(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestNothingIsWrong(t *testing.T) {
	got := check(t, healthy())
	if len(got.Findings) > 0 {
		t.Errorf("found %v", got.Findings)
	}
	if got.Orgs != 1 || got.Agents != 1 || got.Events != 1 || got.Runs != 1 || got.Instructions != 3 || got.Audit != 1 {
		t.Errorf("looked at %+v, and there is more", got)
	}
}

// A run that finished before runs waited for what tells of their approvals is as it should be,
// whether or not that has come to its end since.
func TestARunThatFinishedOverItsTelling(t *testing.T) {
	r := healthy()
	r.run.Status, r.saved.State.Status = string(workflow.Completed), workflow.Completed
	r.run.FinishedAt, r.saved.State.Done = noon, true
	r.waits, r.approvals, r.alarms = nil, nil, nil
	r.instructions = r.instructions[:1]
	r.instructions[0].Step = "ask@people"
	r.saved.State.Steps = map[string]workflow.StepState{
		"people": {Status: "completed"}, "ask@people": {Status: workflow.StepDispatched}, "also@people": {Status: workflow.StepRetrying, Try: 1}, "then@people": {Status: workflow.StepRunning},
	}
	if got := check(t, r).Findings; len(got) > 0 {
		t.Errorf("found %v", got)
	}
	r.run.FinishedAt, r.saved.State.Done = time.Time{}, false
	if got := check(t, r).Findings; len(got) != 2 {
		t.Errorf("of a run that goes on, found %v, want what is wrong with two steps", got)
	}
}

// Whatever of a store is lost or doubled, it is found and named.
func TestWhatCannotBeIsFound(t *testing.T) {
	step := func(r *records, id string, s workflow.StepState) { r.saved.State.Steps[id] = s }
	for want, breaks := range map[string]func(*records){
		"it is failed, and its state says running":                                 func(r *records) { r.run.Status = "failed" },
		"its state says done: false, and its record finished: true":                func(r *records) { r.run.FinishedAt = noon },
		"its state is of run 01OTHER":                                              func(r *records) { r.saved.State.Run = "01OTHER" },
		"it has finished, and its step sent is dispatched":                         func(r *records) { r.run.FinishedAt, r.saved.State.Done = noon, true },
		"step sent is dispatched, and no instruction of it goes on":                func(r *records) { r.instructions = r.instructions[1:] },
		"step claimed is running, and no instruction of it goes on":                func(r *records) { step(r, "claimed", workflow.StepState{Status: workflow.StepRunning, Try: 2}) },
		"step event waits for an event, and nothing would tell it":                 func(r *records) { r.waits = nil },
		"step people asks people, and nobody would be asked":                       func(r *records) { r.approvals = nil },
		"step again waits for its next try, and nothing would begin it":            func(r *records) { r.alarms = nil },
		"step sent chooses its agents":                                             func(r *records) { step(r, "sent", workflow.StepState{Status: workflow.StepChoosing}) },
		"instruction i2: it is executing without an agent or a lease":              func(r *records) { r.instructions[1].Lease = "" },
		"instruction i3: it is completed, and nothing says since when":             func(r *records) { r.instructions[2].FinishedAt = time.Time{} },
		"instruction i1: its status is \"lost\"":                                   func(r *records) { r.instructions[0].Status = "lost" },
		"instruction i1: its attempt is 0":                                         func(r *records) { r.instructions[0].Attempt = 0 },
		"instruction i1: run 01RUN has no step sent":                               func(r *records) { delete(r.saved.State.Steps, "sent") },
		"instruction i1: it is pending, and its step sent is completed":            func(r *records) { step(r, "sent", workflow.StepState{Status: "completed"}) },
		"its history has 1 lines, and its state says 2":                            func(r *records) { r.history = r.history[:1] },
		"its history has line 3 where 2 is due":                                    func(r *records) { r.history[1].Seq = 3 },
		"it is of version 2 of workflow w, which is not there":                     func(r *records) { r.run.Version = 2 },
		"it is of event 01NONE, which is not there":                                func(r *records) { r.run.EventID = "01NONE" },
		"event 01EVENT started run 01FIRST of workflow w, so this one is a second": func(r *records) { r.evaluation.Run = "01FIRST" },
		"it is number 1 of its stream, which has not settled that":                 func(r *records) { r.stream.Through, r.stream.Tally = 0, delivery.Tally{} },
		"it has settled 2 numbers, of which its counts have 1 too few":             func(r *records) { r.stream.Tally.Lost = 0 },
		"it says that 2 events were stored, and 1 are there":                       func(r *records) { r.stream.Tally = delivery.Tally{Stored: 2} },
		"it has 1 events and 2 known to be lost, and has settled 2 numbers":        func(r *records) { r.gap.Count = 2 },
		"there is a wait for an event of step event, and the run does not go on":   func(r *records) { r.waits = append(r.waits, store.Wait{Run: "01NONE", Step: "event", Pattern: "t"}) },
		"there is an approval of step people, and the run does not go on":          func(r *records) { r.approvals = append(r.approvals, store.Approval{Run: "01NONE", Step: "people"}) },
		"its state is \"gone\"":                                                    func(r *records) { r.agent.State = "gone" },
		"it is revoked, and nothing says since when":                               func(r *records) { r.agent.State = store.Revoked },
		"it is in quarantine, and nothing says since when":                         func(r *records) { r.agent.State = store.Quarantined },
	} {
		r := healthy()
		breaks(&r)
		var lines []string
		for _, f := range check(t, r).Findings {
			lines = append(lines, f.String())
		}
		if all := strings.Join(lines, "\n"); !strings.Contains(all, want) {
			t.Errorf("found %q, want %q", all, want)
		}
	}
}
