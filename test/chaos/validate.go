package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// guarantee is one named promise and how a history breaks it: a line for each time.
type guarantee struct {
	name   string
	broken func(*history) []string
}

// guarantees are those of section 2a of the specification, that there was anything to keep them
// under, that agents come back in time, and that a soak needs no more in the end.
var guarantees = []guarantee{
	{"LoadReached", loadReached},
	{"NoLoss", noLoss},
	{"UniqueEffect", uniqueEffect},
	{"PerStreamOrder", perStreamOrder},
	{"StartOnce", startOnce},
	{"NoStartAfterTTL", noStartAfterTTL},
	{"FirstResultWins", firstResultWins},
	{"FenceMonotonic", fenceMonotonic},
	{"NoCrossOrg", noCrossOrg},
	{"HistoryEqualsState", historyEqualsState},
	{"AuditBeforeEffect", auditBeforeEffect},
	{"Recovers", recovers},
	{"NoGrowth", noGrowth},
}

// violation is a guarantee that was not kept.
type violation struct {
	Guarantee string
	Lines     []string
}

func validate(h *history) []violation {
	var all []violation
	for _, g := range guarantees {
		if lines := g.broken(h); len(lines) > 0 {
			all = append(all, violation{g.name, lines})
		}
	}
	return all
}

func say(lines []string, format string, args ...any) []string {
	return append(lines, fmt.Sprintf(format, args...))
}

// loadReached says that a quiet harness proves nothing.
func loadReached(h *history) (out []string) {
	reached := h.reached()
	if reached.Events < h.Target.Events {
		out = say(out, "%.1f events were accepted a second, %.1f are needed", reached.Events, h.Target.Events)
	}
	if reached.Instructions < h.Target.Instructions {
		out = say(out, "%.1f actions began a second, %.1f are needed", reached.Instructions, h.Target.Instructions)
	}
	if h.Limit > 0 && len(h.Faults) < bothAgents {
		out = say(out, "%d times there was weather, each agent must have had some", len(h.Faults))
	}
	if before, done := storeHits(h.Hits); h.Hits != nil && (before == 0 || done == 0) {
		out = say(out, "%d calls of the store failed and %d that were done were said to have; there must be some of both", before, done)
	}
	return out
}

func (h *history) reached() load {
	seconds := h.Ended.Sub(h.Began).Seconds()
	during := func(at moment) bool { return at.time().After(h.Began) && !at.time().After(h.Ended) }
	said, begun := 0, 0
	for _, a := range h.Accepted {
		if during(a.At) {
			said++
		}
	}
	for _, e := range h.Effects {
		if e.What == begin && during(e.At) {
			begun++
		}
	}
	return load{float64(said) / seconds, float64(begun) / seconds}
}

// noLoss: what was accepted is recorded, decided and done, and what operators have once
// been told stays.
func noLoss(h *history) []string {
	out := slices.Concat(h.Unsettled, h.Gaps)
	known := map[string]bool{}
	for _, e := range h.Recorded {
		known[e.ID] = true
	}
	started := map[string]map[string]bool{} // by workflow, by event
	ids := map[string]bool{}
	for _, r := range h.Runs {
		ids[r.ID] = true
		if started[r.Workflow] == nil {
			started[r.Workflow] = map[string]bool{}
		}
		started[r.Workflow][r.EventID] = true
	}
	for _, a := range h.Accepted {
		if !known[a.Event] {
			out = say(out, "event %s (number %d) was accepted and is not recorded", a.Event, a.Number)
			continue
		}
		for _, w := range workflows {
			if w.takes(a.Number) && !started[w.name][a.Event] {
				out = say(out, "event %s (number %d) started no run of %s", a.Event, a.Number, w.name)
			}
		}
	}
	for id := range h.Seen {
		if !ids[id] {
			out = say(out, "run %s was shown to an operator and is gone", id)
		}
	}
	return append(out, resultsLost(h)...)
}

// resultsLost: an execution that nobody disturbed is told as it ended.
func resultsLost(h *history) (out []string) {
	begun, ended := map[string]bool{}, map[string]bool{}
	for _, e := range h.Effects {
		begun[e.Instruction] = true
		if e.What == end {
			ended[e.Instruction] = true
		}
	}
	for _, r := range h.Runs {
		for _, s := range r.Steps {
			switch {
			case s.Status == "completed" && !ended[s.Instruction]:
				out = say(out, "instruction %s completed, as operators are told, and never ended", s.Instruction)
			case s.Status == "completed", s.Status == "expired" && !ended[s.Instruction]:
			case s.Status == "interrupted" && h.disturbed(s):
			case s.Status == "failed" && !begun[s.Instruction] && h.hadNoRoom(s):
			default:
				out = say(out, "instruction %s of run %s is %s after attempt %d, which nothing that was done to it explains: %s", s.Instruction, r.ID, s.Status, s.Attempt, s.Message)
			}
		}
	}
	return out
}

// aroundFault is by how much the clock of a record and that of the driver may be apart:
// they are one, but a record is written before or after.
const aroundFault = time.Second

// disturbed reports whether a step was kept from being told as it ended: its agent was
// ended while it had the step, or agent and server could not talk for as long as a lease.
func (h *history) disturbed(s step) bool {
	lapsed := s.FinishedAt.Sub(s.StartedAt) > leaseOf(h.Limit)-aroundFault
	return slices.ContainsFunc(h.Faults, func(f fault) bool {
		return f.meets(s) && (lapsed || f.ends() && f.Whom == s.Agent)
	})
}

// leaseOf is how long leases are where recoveries have a limit, which is 0 where they have none.
func leaseOf(limit time.Duration) time.Duration {
	if limit > 0 {
		return calmLease
	}
	return lease
}

// meets reports whether a fault lasted while a step did.
func (f fault) meets(s step) bool {
	return !f.To.time().Before(s.StartedAt.Add(-aroundFault)) && !f.From.time().After(s.FinishedAt)
}

// hadNoRoom reports whether a step could not be prepared since its agent's disk was full, and
// says so: its claim was under way when that began.
func (h *history) hadNoRoom(s step) bool {
	return strings.Contains(s.Message, "no space left on device") && slices.ContainsFunc(h.Faults, func(f fault) bool {
		return f.What == faultFull && f.Whom == s.Agent && f.meets(s)
	})
}

// uniqueEffect: an event is one record and one run of each workflow that takes it.
func uniqueEffect(h *history) (out []string) {
	seen := map[string]int{}
	for _, e := range h.Recorded {
		if seen[e.ID]++; seen[e.ID] == 2 {
			out = say(out, "event %s is recorded twice", e.ID)
		}
	}
	type pair struct{ workflow, event string }
	runs := map[pair]string{}
	for _, r := range h.Runs {
		key := pair{r.Workflow, r.EventID}
		if first, twice := runs[key]; twice {
			out = say(out, "event %s started two runs of %s: %s and %s", r.EventID, r.Workflow, first, r.ID)
		}
		runs[key] = r.ID
		if seen[r.EventID] == 0 {
			out = say(out, "run %s of %s is of event %s, which is not recorded", r.ID, r.Workflow, r.EventID)
		}
	}
	return out
}

// perStreamOrder: events are recorded in the order in which they were accepted.
func perStreamOrder(h *history) (out []string) {
	place := map[string]int64{}
	for _, e := range h.Recorded {
		place[e.ID] = e.Cursor
	}
	last, before := int64(0), ""
	for _, a := range h.Accepted {
		at, known := place[a.Event]
		if !known {
			continue
		}
		if at < last {
			out = say(out, "event %s was accepted after %s and is recorded before it", a.Event, before)
		}
		last, before = at, a.Event
	}
	return out
}

// executions lists the beginnings and ends of each instruction, in the order of the ledger.
func (h *history) executions() map[string][]effect {
	of := map[string][]effect{}
	for _, e := range h.Effects {
		of[e.Instruction] = append(of[e.Instruction], e)
	}
	return of
}

// startOnce: an attempt begins at most once, and one that is over does nothing more.
func startOnce(h *history) (out []string) {
	of := h.executions()
	for _, r := range h.Runs {
		for _, s := range r.Steps {
			if n := begins(of[s.Instruction]); n > s.Attempt || n > 1 && !again(r.Workflow) {
				out = say(out, "instruction %s of %s began %d times in %d attempts", s.Instruction, r.Workflow, n, s.Attempt)
			}
			out = append(out, livesOn(of[s.Instruction])...)
			delete(of, s.Instruction)
		}
	}
	for id := range of {
		out = say(out, "instruction %s was executed and is in no run", id)
	}
	return out
}

func begins(of []effect) int {
	n := 0
	for _, e := range of {
		if e.What == begin {
			n++
		}
	}
	return n
}

// livesOn finds an execution that still did something when the next had begun.
func livesOn(of []effect) (out []string) {
	newest := ""
	for _, e := range of {
		switch {
		case e.What == begin:
			newest = e.Execution
		case e.Execution != newest:
			out = say(out, "execution %s of instruction %s went on when execution %s had begun", e.Execution, e.Instruction, newest)
		}
	}
	return out
}

// noStartAfterTTL: nothing is claimed when its time is over, nor begins long after.
func noStartAfterTTL(h *history) (out []string) {
	of := h.executions()
	for _, r := range h.Runs {
		within := workflowOf(r.Workflow).within
		if within == 0 {
			continue
		}
		until := r.Created.Add(within)
		for _, s := range r.Steps {
			if s.StartedAt.After(until) { // the millisecond that both are told as may have been before and after
				out = say(out, "instruction %s was claimed at %s and had expired at %s", s.Instruction, s.StartedAt, until)
			}
			for _, e := range of[s.Instruction] {
				if e.What == begin && e.At.time().After(until.Add(startTakes)) && !h.stoodStill(s.StartedAt, e.At.time()) {
					out = say(out, "instruction %s began at %s and had expired at %s", s.Instruction, e.At.time(), until)
				}
			}
		}
	}
	return out
}

// startTakes is how long the way from a claim to the first statement of a plugin takes at
// most, on a machine that is busy.
const startTakes = 5 * time.Second

// stoodStill reports whether a process was paused between two moments.
func (h *history) stoodStill(from, to time.Time) bool {
	return slices.ContainsFunc(h.Faults, func(f fault) bool {
		return f.What == faultPause && f.From.time().Before(to) && f.To.time().After(from)
	})
}

// firstResultWins: what was once final stays as it is.
func firstResultWins(h *history) (out []string) {
	for _, r := range h.Runs {
		if was, seen := h.Seen[r.ID]; seen && was != r.Status {
			out = say(out, "run %s was %s and is %s", r.ID, was, r.Status)
		}
		for _, s := range r.Steps {
			if s.Result != nil && s.Result.Status != s.Status {
				out = say(out, "instruction %s is %s, and its result says %s", s.Instruction, s.Status, s.Result.Status)
			}
		}
	}
	return out
}

// fenceMonotonic: a further attempt follows only where that is allowed, and the result
// that counts is that of the last execution that was begun.
func fenceMonotonic(h *history) (out []string) {
	of := h.executions()
	for _, r := range h.Runs {
		for _, s := range r.Steps {
			if s.Attempt > 1 && begins(of[s.Instruction]) > 0 && !again(r.Workflow) && !h.notStarted(s, of[s.Instruction]) {
				out = say(out, "instruction %s of %s is at attempt %d after one that had begun", s.Instruction, r.Workflow, s.Attempt)
			}
			if told := s.execution(); told != "" && !slices.ContainsFunc(of[s.Instruction], func(e effect) bool { return e.Execution == told }) {
				out = say(out, "instruction %s has the result of execution %s, which never was", s.Instruction, told)
			}
			if told, last := s.execution(), newest(of[s.Instruction]); told != "" && last != "" && told != last {
				out = say(out, "instruction %s has the result of execution %s, and %s began after that", s.Instruction, told, last)
			}
		}
	}
	return out
}

// notStarted reports whether the one execution there was belongs to the last attempt.
func (h *history) notStarted(s step, of []effect) bool {
	return begins(of) == 1 && of[0].At.time().After(s.StartedAt.Add(-aroundFault))
}

func newest(of []effect) string {
	last := ""
	for _, e := range of {
		if e.What == begin {
			last = e.Execution
		}
	}
	return last
}

// noCrossOrg: two organisations on one server see nothing of each other.
func noCrossOrg(h *history) (out []string) {
	ours := map[string]bool{}
	for _, e := range h.Recorded {
		ours[e.ID] = true
		if e.Agent != sensorID && e.Type != "stavily.manual" {
			out = say(out, "event %s of agent %s is in organisation %s", e.ID, e.Agent, ourOrg)
		}
	}
	theirs := map[string]bool{}
	for _, e := range h.Foreign {
		theirs[e.ID] = true
		if e.Agent != foreignID || ours[e.ID] {
			out = say(out, "event %s of agent %s is in organisation %s", e.ID, e.Agent, foreignOrg)
		}
	}
	for _, a := range h.ForeignSaid {
		if !theirs[a.Event] {
			out = say(out, "event %s was accepted in organisation %s and is not there", a.Event, foreignOrg)
		}
	}
	for _, r := range h.ForeignRuns {
		if !theirs[r.EventID] {
			out = say(out, "run %s in organisation %s is of event %s, which is not there", r.ID, foreignOrg, r.EventID)
		}
	}
	return out
}

// historyEqualsState: a run is what its history says, and what fsck reads agrees.
func historyEqualsState(h *history) []string {
	out := slices.Clone(h.Broken)
	for _, r := range h.Runs {
		if r.History == nil {
			continue // a run without actions is only counted
		}
		for n, line := range r.History {
			if line.Seq != n+1 {
				out = say(out, "run %s: its history has %d where %d is due", r.ID, line.Seq, n+1)
			}
		}
		last := happens{}
		for _, line := range r.History {
			if line.Kind != "late_result" { // of an agent that was given up: it changes nothing any more
				last = line
			}
		}
		if last.Kind != "run_finished" || last.Message != r.Status {
			out = say(out, "run %s is %s, and its history ends with %s %q", r.ID, r.Status, last.Kind, last.Message)
		}
	}
	return out
}

// recovers: an agent over which the weather is clear again delivers soon.
func recovers(h *history) (out []string) {
	for _, f := range h.Faults {
		if f.Recovery > h.Limit {
			out = say(out, "%s delivered %v after the weather was clear again, at %s", f.Whom, f.Recovery.Round(time.Millisecond), f.To.time())
		}
	}
	return out
}

// auditBeforeEffect: the agent had written down durably what it was about to do.
func auditBeforeEffect(h *history) []string {
	out := slices.Clone(h.AuditFaults)
	used := map[string]int{}
	effects := slices.Clone(h.Effects)
	slices.SortStableFunc(effects, func(a, b effect) int { return cmp.Compare(a.At, b.At) })
	for _, e := range effects {
		if e.What != begin {
			continue
		}
		told := h.Audited[e.Instruction]
		n := used[e.Instruction]
		used[e.Instruction]++
		if n >= len(told) || told[n] > e.At+moment(time.Millisecond) { // records have milliseconds
			out = say(out, "execution %s of instruction %s began before the agent's audit log said so", e.Execution, e.Instruction)
		}
	}
	return out
}
