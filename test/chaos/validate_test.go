package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stavily/agents/internal/cluster"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func at(seconds float64) moment {
	return moment(noon.Add(time.Duration(seconds * float64(time.Second))).UnixNano())
}

// kept is a history in which every promise was kept: ten events, an action for three of
// them, of which one was run again after its agent was killed.
func kept() *history {
	h := &history{Began: noon, Ended: noon.Add(10 * time.Second), Target: load{1, 0.3}, Seen: map[string]string{"run-once-0": "completed"}, Audited: map[string][]moment{}}
	for n := range 10 {
		id := fmt.Sprint("event-", n)
		h.Accepted = append(h.Accepted, accepted{id, n, at(float64(n) + 0.5)})
		h.Recorded = append(h.Recorded, recorded{ID: id, Cursor: int64(n) + 1, Agent: sensorID})
		for _, w := range workflows {
			if w.takes(n) {
				h.add(w, n, id)
			}
		}
	}
	late := h.run("soon")
	late.History = append(late.History, happens{3, "late_result", "work", "given up as lost, and reports now"})
	again := h.run("again")
	again.Steps[0].Attempt = 2
	first := effect{begin, again.Steps[0].Instruction, "killed", "event-5", at(5.5)}
	h.Effects = slices.Insert(h.Effects, 2, first)
	h.Audited[first.Instruction] = slices.Insert(h.Audited[first.Instruction], 0, first.At)
	h.Faults = []fault{{What: faultKill, Whom: actionID, From: at(5.5), To: at(5.6)}}
	h.Foreign = []recorded{{ID: "theirs", Cursor: 1, Agent: foreignID}}
	h.ForeignSaid = []accepted{{"theirs", 1, at(1)}}
	h.ForeignRuns = []run{{ID: "run-theirs", Workflow: "count", EventID: "theirs", Status: "completed"}}
	return h
}

// add has the workflow act on an event.
func (h *history) add(w rule, n int, event string) {
	created := noon.Add(time.Duration(n) * time.Second)
	r := run{ID: fmt.Sprintf("run-%s-%d", w.name, n), Workflow: w.name, Status: "completed", EventID: event, Created: created}
	if w.acts {
		id := "instruction-" + r.ID
		r.History = []happens{{1, "run_started", "", ""}, {2, "run_finished", "", "completed"}}
		s := step{Step: "work", Instruction: id, Status: "completed", Attempt: 1, Agent: actionID, CreatedAt: created, StartedAt: created.Add(time.Second), FinishedAt: created.Add(2 * time.Second)}
		s.Result = &result{Status: "completed", Result: json.RawMessage(`{"execution":"of-` + id + `"}`)}
		r.Steps = []step{s}
		h.Audited[id] = []moment{at(float64(n) + 1)}
		h.Effects = append(h.Effects, effect{begin, id, "of-" + id, event, at(float64(n) + 1)}, effect{end, id, "of-" + id, event, at(float64(n) + 1.5)})
	}
	h.Runs = append(h.Runs, r)
}

// run finds the run of a workflow that has actions.
func (h *history) run(workflow string) *run {
	i := slices.IndexFunc(h.Runs, func(r run) bool { return r.Workflow == workflow })
	return &h.Runs[i]
}

func TestAHistoryInWhichAllIsKept(t *testing.T) {
	for _, v := range validate(kept()) {
		t.Errorf("%s: %v", v.Guarantee, v.Lines)
	}
}

// noRoom has an action fail since the disk of its agent is full, and returns its instruction.
func noRoom(h *history) string {
	s := &h.run("once").Steps[0]
	s.Status, s.Result, s.Message = "failed", nil, "write the input: no space left on device"
	h.Effects = slices.DeleteFunc(h.Effects, func(e effect) bool { return e.Instruction == s.Instruction })
	h.Audited[s.Instruction] = nil
	h.Faults = append(h.Faults, fault{What: faultFull, Whom: actionID, From: moment(s.StartedAt.UnixNano()), To: moment(s.FinishedAt.UnixNano())})
	return s.Instruction
}

func TestAFullDiskMayKeepAnActionFromBeginning(t *testing.T) {
	h := kept()
	noRoom(h)
	for _, v := range validate(h) {
		t.Errorf("%s: %v", v.Guarantee, v.Lines)
	}
}

// Each guarantee finds each way in which it can be broken. What breaks one may break others
// with it.
func TestWhatIsBrokenIsFound(t *testing.T) {
	of := func(workflow string) string { return "instruction-run-" + workflow }
	for _, c := range []struct {
		guarantee, what string
		breaks          func(*history)
	}{
		{"LoadReached", "too few events", func(h *history) { h.Target.Events = 2 }},
		{"LoadReached", "too few actions", func(h *history) { h.Target.Instructions = 1 }},
		{"LoadReached", "no call of the store failed", func(h *history) { h.Hits = map[string]int{} }},
		{"LoadReached", "no call of the store was done and said to have failed", func(h *history) { h.Hits = map[string]int{"commit.before": 2} }},
		{"LoadReached", "an agent had no weather", func(h *history) { h.Limit = time.Second }},
		{"NoLoss", "an event is not recorded", func(h *history) { h.Recorded = slices.Delete(h.Recorded, 3, 4) }},
		{"NoLoss", "a gap", func(h *history) { h.Gaps = []string{"a gap of 1 events from 3: spool_full"} }},
		{"NoLoss", "something has not come to its end", func(h *history) { h.Unsettled = []string{"run x is running"} }},
		{"NoLoss", "an event started nothing", func(h *history) {
			h.Runs = slices.DeleteFunc(h.Runs, func(r run) bool { return r.ID == "run-once-0" })
		}},
		{"NoLoss", "what was shown is gone", func(h *history) { h.Seen["another"] = "completed" }},
		{"NoLoss", "a result was lost", func(h *history) { h.run("once").Steps[0].Status = "interrupted" }},
		{"NoLoss", "a result was made up", func(h *history) {
			h.Effects = slices.DeleteFunc(h.Effects, func(e effect) bool { return e.What == end && e.Instruction == of("once-0") })
		}},
		{"NoLoss", "an action failed for want of space that there was", func(h *history) { noRoom(h); h.Faults = h.Faults[:1] }},
		{"NoLoss", "an action failed for want of space after it had begun", func(h *history) {
			h.Effects = append(h.Effects, effect{begin, noRoom(h), "late", "", at(6)})
		}},
		{"NoLoss", "an action failed", func(h *history) { h.run("once").Steps[0].Status = "failed" }},
		{"UniqueEffect", "an event is recorded twice", func(h *history) { h.Recorded = append(h.Recorded, h.Recorded[4]) }},
		{"UniqueEffect", "an event started two runs", func(h *history) {
			h.Runs = append(h.Runs, run{ID: "second", Workflow: "count", EventID: "event-3"})
		}},
		{"UniqueEffect", "a run of no event", func(h *history) { h.Runs = append(h.Runs, run{ID: "stray", Workflow: "count", EventID: "never"}) }},
		{"PerStreamOrder", "two events are recorded the other way round", func(h *history) {
			h.Recorded[3].Cursor, h.Recorded[4].Cursor = h.Recorded[4].Cursor, h.Recorded[3].Cursor
		}},
		{"StartOnce", "an attempt began twice", func(h *history) {
			h.Effects = append(h.Effects, effect{begin, of("once-0"), "second", "event-0", at(3)})
		}},
		{"StartOnce", "what was killed lives on", func(h *history) {
			h.Effects = append(h.Effects, effect{end, of("again-5"), "killed", "event-5", at(9)})
		}},
		{"StartOnce", "nobody asked for an execution", func(h *history) { h.Effects = append(h.Effects, effect{begin, "never", "x", "event-0", at(3)}) }},
		{"NoStartAfterTTL", "it was claimed too late", func(h *history) {
			h.run("soon").Steps[0].StartedAt = h.run("soon").Created.Add(workflowOf("soon").within + time.Millisecond)
		}},
		{"NoStartAfterTTL", "it began too late", func(h *history) {
			for i := range h.Effects {
				if h.Effects[i].Instruction == of("soon-2") {
					h.Effects[i].At = at(2 + (workflowOf("soon").within + startTakes).Seconds() + 0.1)
				}
			}
		}},
		{"FirstResultWins", "a run changed its end", func(h *history) { h.Seen["run-once-0"] = "failed" }},
		{"FirstResultWins", "a result replaced another", func(h *history) { h.run("once").Steps[0].Result.Status = "failed" }},
		{"FenceMonotonic", "another attempt at what may not run again", func(h *history) {
			h.run("once").Steps[0].Attempt = 2
			h.run("once").Steps[0].StartedAt = noon.Add(5 * time.Second)
		}},
		{"FenceMonotonic", "the result of an attempt that was over", func(h *history) {
			h.run("again").Steps[0].Result.Result = json.RawMessage(`{"execution":"killed"}`)
		}},
		{"NoCrossOrg", "an event of the others is ours", func(h *history) { h.Recorded = append(h.Recorded, h.Foreign[0]) }},
		{"NoCrossOrg", "an event of ours is theirs", func(h *history) { h.Foreign = append(h.Foreign, h.Recorded[0]) }},
		{"NoCrossOrg", "a run of theirs is of an event of ours", func(h *history) { h.ForeignRuns[0].EventID = "event-1" }},
		{"HistoryEqualsState", "a line of history is missing", func(h *history) { h.run("once").History = h.run("once").History[1:] }},
		{"HistoryEqualsState", "the history says something else", func(h *history) { h.run("once").History[1].Message = "failed" }},
		{"HistoryEqualsState", "fsck found something", func(h *history) { h.Broken = []string{"fsck after kill"} }},
		{"AuditBeforeEffect", "the record came later", func(h *history) { h.Audited[of("once-0")][0] += moment(time.Second) }},
		{"AuditBeforeEffect", "there is no record", func(h *history) { delete(h.Audited, of("once-0")) }},
		{"AuditBeforeEffect", "the log was changed", func(h *history) { h.AuditFaults = []string{"line 7"} }},
		{"Recovers", "an agent came back late", func(h *history) { h.Limit = time.Second; h.Faults[0].Recovery = h.Limit + 1 }},
		{"NoGrowth", "memory", func(h *history) { h.lasts(map[int]float64{0: 3}) }},
		{"NoGrowth", "a goroutine a minute", func(h *history) { h.lasts(map[int]float64{1: 60}) }},
		{"NoGrowth", "descriptors", func(h *history) { h.lasts(map[int]float64{2: 4}) }},
		{"NoGrowth", "too few samples", func(h *history) { h.lasts(nil); h.Samples = h.Samples[:len(h.Samples)/2] }},
	} {
		h := kept()
		c.breaks(h)
		if !slices.ContainsFunc(validate(h), func(v violation) bool { return v.Guarantee == c.guarantee }) {
			t.Errorf("%s: %s, and it was not found", c.guarantee, c.what)
		}
	}
	for _, g := range guarantees {
		if g.broken == nil {
			t.Errorf("%s checks nothing", g.name)
		}
	}
}

// lasts makes of a history a soak of an hour in which things go up and down, and the server's grow
// by so much besides.
func (h *history) lasts(grow map[int]float64) {
	h.Ended = h.Began.Add(time.Hour)
	for n := range 1800 {
		hours := float64(n) / 1800
		for _, process := range []string{cluster.ServerName, sensorID, actionID} {
			s := sample{At: at(hours * 3600), Process: process, Values: [...]float64{30 + float64(n*7919%100)/50, 40 + float64(n*31%3), 20 + float64(n*17%2)}}
			for i, by := range grow {
				if process == cluster.ServerName {
					s.Values[i] += by * hours
				}
			}
			h.Samples = append(h.Samples, s)
		}
	}
}

func TestASoakThatDoesNotGrow(t *testing.T) {
	h := kept()
	h.lasts(map[int]float64{0: 0.5})
	if lines := noGrowth(h); len(lines) > 0 {
		t.Error(lines)
	}
}
