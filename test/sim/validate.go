package sim

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/simulated"
	"github.com/stavily/agents/shared/pkg/api"
)

// lifetime of an instruction that nobody starts.
const lifetime = 10 * time.Minute

// workflows are what events start. Concurrency and rate are no limit here: each event is to
// start each of its workflows.
var workflows = []string{`
name: chain
triggers: [{event: alpha}]
limits: {expires_after: 10m}
actions:
  - {id: first, plugin: p, idempotent: true}
  - {id: second, plugin: p, needs: [first]}
  - {id: beside, plugin: p}
outputs: [{id: tell, plugin: p, "on": [completed, failed]}]
`, `
name: single
triggers: [{event: beta}]
limits: {expires_after: 10m}
actions: [{id: only, plugin: p}]
`, `
name: again
triggers: [{event: beta}]
limits: {expires_after: 10m}
actions: [{id: only, plugin: p, idempotent: true}]
`}

// starts are the workflows of each kind of event.
var starts = map[string][]string{"alpha": {"chain"}, "beta": {"single", "again"}}

// settled reports whether nothing is left to do: every event is recorded and its sensor knows,
// every run has ended, and every result that an agent keeps is there, which may be long after
// its agent was given up.
func (w *world) settled(s simulated.State) bool {
	if !w.delivered() {
		return false
	}
	recorded := map[api.EventID]bool{}
	for _, e := range s.Events {
		recorded[e.ID] = true
	}
	w.history.mu.Lock()
	defer w.history.mu.Unlock()
	for _, a := range w.history.accepted {
		if !recorded[a.id] {
			return false
		}
	}
	for _, r := range s.Runs {
		if r.FinishedAt.IsZero() {
			return false
		}
	}
	for _, i := range s.Instructions {
		if w.history.kept[attempt{i.ID, i.Attempt}] && i.Result == nil {
			return false
		}
	}
	return true
}

// judge holds the promises against the end of everything.
func (w *world) judge(s simulated.State) {
	w.observe(s)
	w.noLoss(s)
	w.perStreamOrder(s)
	w.attempts(s)
	if !w.history.harmed && !w.history.lockedOut {
		w.undisturbed(s)
	}
}

// noLoss: what was accepted is recorded once and started each of its workflows once.
func (w *world) noLoss(s simulated.State) {
	recorded := map[api.EventID]int{}
	for _, e := range s.Events {
		if recorded[e.ID]++; recorded[e.ID] == 2 {
			w.broken("UniqueEffect", fmt.Sprintf("event %s is recorded twice", e.ID))
		}
	}
	runs := map[string]int{}
	for _, r := range s.Runs {
		if runs[r.Workflow+string(r.EventID)]++; runs[r.Workflow+string(r.EventID)] == 2 {
			w.broken("UniqueEffect", fmt.Sprintf("event %s started two runs of %s", r.EventID, r.Workflow))
		}
		if recorded[r.EventID] == 0 {
			w.broken("UniqueEffect", fmt.Sprintf("run %s is of event %s, which is not recorded", r.ID, r.EventID))
		}
		if r.FinishedAt.IsZero() {
			w.broken("NoLoss", fmt.Sprintf("run %s of %s is still %s", r.ID, r.Workflow, r.Status))
		}
	}
	for _, a := range w.history.accepted {
		if recorded[a.id] == 0 {
			w.broken("NoLoss", fmt.Sprintf("event %d of %s was accepted and is not recorded", a.n, a.by))
		}
		for _, name := range starts[a.kind] {
			if recorded[a.id] > 0 && runs[name+string(a.id)] == 0 {
				w.broken("NoLoss", fmt.Sprintf("event %d of %s started no run of %s", a.n, a.by, name))
			}
		}
	}
	for _, g := range s.Gaps {
		if g.Count > 0 {
			w.broken("NoLoss", fmt.Sprintf("numbers %d to %d of %s are said to be lost: %s", g.From, g.To, g.Agent, g.Reason))
		}
	}
}

// perStreamOrder: events of a sensor are recorded in the order in which they were accepted.
func (w *world) perStreamOrder(s simulated.State) {
	place := map[api.EventID]int64{}
	for _, e := range s.Events {
		place[e.ID] = e.Cursor
	}
	last := map[api.AgentID]int64{}
	for _, a := range w.history.accepted {
		at := place[a.id]
		if at > 0 && at < last[a.by] {
			w.broken("PerStreamOrder", fmt.Sprintf("event %d of %s is recorded before one that was accepted before it", a.n, a.by))
		}
		last[a.by] = max(at, last[a.by])
	}
}

// attempts holds what operators are told of instructions against what plugins did.
func (w *world) attempts(s simulated.State) {
	h := &w.history
	known := map[api.InstructionID]bool{}
	for _, i := range s.Instructions {
		known[i.ID] = true
		begins := 0
		for n := 1; n <= i.Attempt; n++ {
			begins += h.begun[attempt{i.ID, n}]
		}
		newest := attempt{i.ID, i.Attempt}
		name := fmt.Sprintf("instruction %s (%s, attempt %d)", w.label(string(i.ID)), i.Status, i.Attempt)
		if begins > 1 && !i.Idempotent {
			w.broken("FenceMonotonic", fmt.Sprintf("%s began %d times and is not idempotent", name, begins))
		}
		if !i.Status.Terminal() {
			w.broken("NoLoss", name+" has not ended")
		}
		if told := i.Status; (told == api.Completed || told == api.Failed) && h.ended[newest] != told {
			w.broken("FirstResultWins", fmt.Sprintf("%s, and its plugin ended as %q", name, h.ended[newest]))
		}
		if h.kept[newest] && i.Status != h.ended[newest] && i.Status != api.Cancelled {
			w.broken("NoLoss", fmt.Sprintf("the result of %s was kept as %s", name, h.ended[newest]))
		}
		if neverRan(i.Result) && h.begun[newest] > 0 && i.Status == api.Interrupted {
			w.broken("NoLoss", name+" is said not to have begun, and had")
		}
	}
	for a := range h.begun {
		if !known[a.id] {
			w.broken("StartOnce", fmt.Sprintf("instruction %s was executed and is in no run", a.id))
		}
	}
}

// neverRan reads from a result that the attempt had not begun.
func neverRan(r *api.Result) bool {
	var details struct {
		Started *bool `json:"started"`
	}
	return r != nil && json.Unmarshal(r.ErrorDetails, &details) == nil && details.Started != nil && !*details.Started
}

// undisturbed: where nothing was harmed but clocks, everything goes as it should.
func (w *world) undisturbed(s simulated.State) {
	for _, i := range s.Instructions {
		switch {
		case i.Status == api.Interrupted, i.Status == api.Expired, i.Attempt > 1:
			w.broken("ClocksDoNoHarm", fmt.Sprintf("instruction %s is %s at attempt %d: %s", w.label(string(i.ID)), i.Status, i.Attempt, i.Message))
		}
	}
	for _, r := range s.Runs { // a step that came too late has no instruction
		if strings.Contains(r.Error, "limits.expires_after") {
			w.broken("ClocksDoNoHarm", fmt.Sprintf("run %s of %s: %s", w.label(string(r.ID)), r.Workflow, r.Error))
		}
	}
}
