package workflow

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stavily/agents/shared/pkg/api"
)

// graphs draws documents: up to seven actions with any acyclic needs, conditions of
// every kind of outcome, and outputs.
var graphs = rapid.Custom(func(t *rapid.T) string {
	var b strings.Builder
	b.WriteString(head + rapid.SampledFrom([]string{"", "on_failure: stop\n", "on_failure: undo\n"}).Draw(t, "on failure"))
	undoes := strings.HasSuffix(b.String(), "undo\n")
	b.WriteString("outputs:\n- {plugin: both}\n- {plugin: bad, on: [failed], with: {x: '${{ event.data.absent }}'}}\n- {plugin: good, on: [completed]}\n- {plugin: told, on: [approval_needed], retry: {attempts: 3}}\n")
	n := rapid.IntRange(0, 7).Draw(t, "actions")
	if undoes {
		n = max(n, 1)
	}
	if n == 0 {
		return b.String()
	}
	b.WriteString("actions:\n")
	names := rapid.Permutation([]string{"s0", "s1", "s2", "s3", "s4", "s5", "s6"}).Draw(t, "names")[:n]
	for i, name := range names {
		needs := slices.DeleteFunc(slices.Clone(names[:i]), func(string) bool { return !rapid.Bool().Draw(t, "need") })
		whens := []string{"", "", "", ", when: true", ", when: false", ", when: event.data.absent", ", with: {x: '${{ event.data.absent }}'}"}
		for _, need := range needs {
			whens = append(whens, fmt.Sprintf(", when: steps.%s.status == 'completed', with: {r: '${{ steps.%s.result }}'}", need, need))
		}
		if i > 0 { // a step that is perhaps not needed
			other := rapid.SampledFrom(names[:i]).Draw(t, "other")
			whens = append(whens, fmt.Sprintf(", when: steps.%s.status != 'completed', with: {e: '${{ steps.%s.error }}'}", other, other))
		}
		if !(undoes && i == 0) && rapid.IntRange(0, 4).Draw(t, "kind") == 0 {
			fmt.Fprintf(&b, "- {id: %s, needs: [%s], wait_for: {event: '%s', where: event.severity == 'high' && trigger.key == '/'}}\n", name, strings.Join(needs, ", "), rapid.SampledFrom([]string{"x.*", "**"}).Draw(t, "event"))
			continue
		}
		if rapid.IntRange(0, 4).Draw(t, "each") == 0 && !undoes {
			stop := rapid.SampledFrom([]string{"", ", stop_when_failed: '1'", ", stop_when_failed: 50%"}).Draw(t, "stop")
			fmt.Fprintf(&b, "- {plugin: p, id: %s, needs: [%s], agents: {each: {tags: [x], at_once: 2%s}}, with: {a: '${{ agent.id }}'}, offline: {then: skip}}\n", name, strings.Join(needs, ", "), stop)
			continue
		}
		if !undoes && rapid.IntRange(0, 6).Draw(t, "asks") == 0 {
			fmt.Fprintf(&b, "- {id: ask-%s, needs: [%s], approval: {count: %d, otherwise: %s}}\n- {plugin: p, id: %s, needs: [ask-%s]}\n", name, strings.Join(needs, ", "), rapid.IntRange(1, 2).Draw(t, "count"), rapid.SampledFrom([]string{"deny", "approve"}).Draw(t, "otherwise"), name, name)
			continue
		}
		retry := rapid.SampledFrom([]string{"", "", ", retry: {}", ", retry: {attempts: 2, on: [failed, expired]}"}).Draw(t, "retry")
		if undoes && (i == 0 || rapid.Bool().Draw(t, "undone")) {
			retry += ", undo: {plugin: u, retry: {attempts: 2}, with: {r: '${{ steps." + names[0] + ".status }}'}}"
		}
		fmt.Fprintf(&b, "- {plugin: p, id: %s, needs: [%s]%s%s}\n", name, strings.Join(needs, ", "), rapid.SampledFrom(whens).Draw(t, "when"), retry)
	}
	return b.String()
})

var ends = rapid.SampledFrom([]api.InstructionStatus{api.Completed, api.Completed, api.Completed, api.Failed, api.TimedOut, api.Cancelled, api.Interrupted, api.Expired, api.Rejected})

// walk is one run under random inputs, and what must hold of it.
type walk struct {
	t          *rapid.T
	d          *Definition
	s          State
	dispatched map[string]bool // steps and tries
	open       []string        // dispatched and not ended
	alarms     []Alarm         // that were asked for and are still of use
	awaits     []string        // steps that wait for an event
	asking     []Ask
	choosing   []string // steps that wait for their agents
	finished   int
	past       []Input
}

func TestAnyInterleaving(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := graphs.Draw(t, "document")
		d, err := Parse("f", []byte(src))
		if err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		w := &walk{t: t, d: d, dispatched: map[string]bool{}}
		s, effects, err := Start(d, "r", fullDisk("{}"))
		if err != nil {
			t.Fatal(err)
		}
		w.took(s, effects)
		for range rapid.IntRange(0, 20).Draw(t, "inputs") {
			w.apply(w.draw())
		}
		for len(w.open)+len(w.alarms)+len(w.choosing) > 0 { // every dispatched step ends some day, and every time comes
			if len(w.choosing) > 0 {
				w.apply(w.choose())
			} else if len(w.open) > 0 {
				w.apply(w.end())
			} else {
				w.apply(w.alarms[0])
			}
		}
		w.atTheEnd()
	})
}

func (w *walk) draw() Input {
	kinds := []string{"cancel", "repeat"}
	for range 4 { // more often than the others
		if len(w.open) > 0 {
			kinds = append(kinds, "start", "end", "end")
		}
		if len(w.alarms) > 0 {
			kinds = append(kinds, "alarm")
		}
		if len(w.asking) > 0 {
			kinds = append(kinds, "judge", "judge")
		}
		if len(w.awaits) > 0 {
			kinds = append(kinds, "event")
		}
	}
	if len(w.choosing) > 0 {
		kinds = []string{"choose", "cancel"}
	}
	switch rapid.SampledFrom(kinds).Draw(w.t, "kind") {
	case "judge":
		ask := rapid.SampledFrom(w.asking).Draw(w.t, "asked")
		return Verdict{ask.Step, rapid.SampledFrom([]string{ask.Asked.Digest, "another"}).Draw(w.t, "digest"), rapid.SampledFrom([]string{"a", "b"}).Draw(w.t, "by"), nil, rapid.IntRange(0, 3).Draw(w.t, "approve") > 0, "x\xff"}
	case "choose":
		return w.choose()
	case "start":
		step := rapid.SampledFrom(w.open).Draw(w.t, "step")
		return StepStarted{step, w.s.Steps[step].Try}
	case "event":
		e := fullDisk("{}")
		e.Type = rapid.SampledFrom([]string{"x.y", "y.x"}).Draw(w.t, "type")
		e.Severity = rapid.SampledFrom([]api.Severity{api.High, api.Low}).Draw(w.t, "severity")
		return EventCame{rapid.SampledFrom(w.awaits).Draw(w.t, "step"), e}
	case "alarm":
		return rapid.SampledFrom(w.alarms).Draw(w.t, "alarm")
	case "end":
		return w.end()
	case "repeat":
		if len(w.past) > 0 {
			return rapid.SampledFrom(w.past).Draw(w.t, "past")
		}
	}
	return Cancel{}
}

func (w *walk) choose() Input {
	var agents []Agent
	for n := range rapid.IntRange(0, 3).Draw(w.t, "agents") {
		agents = append(agents, Agent{ID: api.AgentID(fmt.Sprint("a", n))})
	}
	return Chosen{Step: w.choosing[0], Agents: agents}
}

func (w *walk) end() Input {
	in := StepEnded{Step: rapid.SampledFrom(w.open).Draw(w.t, "step"), Status: ends.Draw(w.t, "status")}
	in.Try = w.s.Steps[in.Step].Try
	if in.Status == api.Completed {
		in.Result = json.RawMessage(`{"n": 1, "text": "<é>"}`)
	} else {
		in.Error = "it broke\xff"
	}
	return in
}

// apply takes one input through every way that must not matter.
func (w *walk) apply(in Input) {
	before := encode(w.t, w.s)
	s, effects, err := Step(w.d, w.s, in)
	if err != nil {
		w.t.Fatalf("Step(%+v): %v", in, err)
	}
	if encode(w.t, w.s) != before {
		w.t.Fatalf("Step(%+v) changed the state that it was given", in)
	}
	var stored State
	if err := json.Unmarshal([]byte(before), &stored); err != nil {
		w.t.Fatal(err)
	}
	s2, effects2, err := Step(w.d, stored, in)
	if err != nil || encode(w.t, s2) != encode(w.t, s) || shown(effects2) != shown(effects) {
		w.t.Fatalf("after a round trip, Step(%+v) is another: %v\n%s\n%s", in, err, shown(effects), shown(effects2))
	}
	if again, repeated, err := Step(w.d, s, in); err != nil || len(repeated) != 0 || encode(w.t, again) != encode(w.t, s) {
		w.t.Fatalf("Step(%+v) a second time: %v, %s", in, err, shown(repeated))
	}
	w.past = append(w.past, in)
	w.took(s, effects)
}

// took checks one transition against the one before.
func (w *walk) took(s State, effects []Effect) {
	for id, old := range w.s.Steps {
		if old.Status.Ended() && encode(w.t, old) != encode(w.t, s.Steps[id]) {
			w.t.Fatalf("step %s changed after it had ended: %+v, %+v", id, old, s.Steps[id])
		}
	}
	if w.s.Status != "" && w.s.Status != Running && s.Status != w.s.Status {
		w.t.Fatalf("status %s became %s", w.s.Status, s.Status)
	}
	if w.finished > 0 && len(effects) > 0 {
		w.t.Fatalf("after the end: %s", shown(effects))
	}
	for _, e := range effects {
		switch e := e.(type) {
		case Dispatch:
			w.mayDispatch(e, s)
		case SetAlarm:
			if step := s.Steps[e.Step]; step.Status != StepRetrying && step.Status != StepAwaiting && step.Status != StepAsking || step.Try != e.Try || s.Cancelled || e.After <= 0 {
				w.t.Fatalf("%+v for %+v", e, step)
			}
			w.alarms = append(w.alarms, Alarm{e.Step, e.Try})
		case Ask:
			w.asking = append(w.asking, e)
		case StopAsking:
			w.asking = slices.DeleteFunc(w.asking, func(a Ask) bool { return a.Step == e.Step })
		case Choose:
			w.choosing = append(w.choosing, e.Step)
		case Await:
			if w.dispatched[e.Step] || s.Steps[e.Step].Status != StepAwaiting {
				w.t.Fatalf("%+v for %+v", e, s.Steps[e.Step])
			}
			w.dispatched[e.Step] = true
			w.awaits = append(w.awaits, e.Step)
		case StopWaiting:
			if !slices.Contains(w.awaits, e.Step) {
				w.t.Fatalf("%s does not wait", e.Step)
			}
			w.awaits = slices.DeleteFunc(w.awaits, func(id string) bool { return id == e.Step })
		case CancelStep:
			if !slices.Contains(w.open, e.Step) || s.Steps[e.Step].Status.Ended() {
				w.t.Fatalf("%+v, which is %s", e, s.Steps[e.Step].Status)
			}
		case Finished:
			w.finished++
			for id, step := range s.Steps {
				if !step.Status.Ended() {
					w.t.Fatalf("the run has finished over step %s, which is %s", id, step.Status)
				}
			}
			if e.Status != s.Status || !s.Done {
				w.t.Fatalf("%+v in state %s, done %v", e, s.Status, s.Done)
			}
		}
	}
	w.s = s
	w.open = slices.DeleteFunc(w.open, func(id string) bool { return s.Steps[id].Status.Ended() || s.Steps[id].Status == StepRetrying })
	w.choosing = slices.DeleteFunc(w.choosing, func(id string) bool { return s.Steps[id].Status != StepChoosing })
	w.alarms = slices.DeleteFunc(w.alarms, func(a Alarm) bool {
		status := s.Steps[a.Step].Status
		return status != StepRetrying && status != StepAwaiting && status != StepAsking || s.Steps[a.Step].Try != a.Try
	})
}

func (w *walk) mayDispatch(e Dispatch, s State) {
	try := fmt.Sprint(e.Step, e.Try)
	if w.dispatched[try] || e.Try > 2 {
		w.t.Fatalf("try %d of step %s was dispatched twice, or never should have been", e.Try, e.Step)
	}
	telling := Telling(e.Step)
	if s.Cancelled && (!e.Output || telling) {
		w.t.Fatalf("step %s was dispatched after the cancel", e.Step)
	}
	if _, approval, _ := strings.Cut(e.Step, "@"); telling && s.Steps[approval].Status != StepAsking {
		w.t.Fatalf("step %s was dispatched when its approval was %s", e.Step, s.Steps[approval].Status)
	}
	if e.Output == (s.Status == Running) && !telling {
		w.t.Fatalf("step %s (output %v) was dispatched in status %s", e.Step, e.Output, s.Status)
	}
	for _, a := range w.d.Actions {
		for _, need := range a.Needs {
			if n := s.Steps[need]; a.ID == e.Step && (!n.Status.Ended() || !n.Satisfied) {
				w.t.Fatalf("step %s was dispatched before its need %s: %+v", e.Step, need, n)
			}
		}
		for _, id := range a.After {
			if n := s.Steps[id]; a.ID == e.Step && !n.Status.Ended() {
				w.t.Fatalf("step %s was dispatched before %s had ended: %+v", e.Step, id, n)
			}
		}
	}
	if w.d.OnFailure != Continue && !e.Undo && s.Error != "" && !e.Output && e.Try == 0 && w.s.Error != "" {
		w.t.Fatalf("step %s was dispatched after the failure %s", e.Step, s.Error)
	}
	if whole, _, part := wholeOf(e.Step); part {
		working := 0
		for id, step := range s.Steps {
			if of, _, is := wholeOf(id); is && of == whole && !step.Status.Ended() {
				working++
			}
		}
		if each := w.d.step(whole).Each; working > each.AtOnce {
			w.t.Fatalf("step %s works on %d agents at once", whole, working)
		}
	}
	if e.Undo {
		w.mayUndo(e, s)
	}
	w.dispatched[try] = true
	w.open = append(w.open, e.Step)
}

// mayUndo holds that what was done last is taken back first, and only what was done.
func (w *walk) mayUndo(e Dispatch, s State) {
	for _, a := range slices.Backward(w.d.Actions) {
		switch undo := undoing + a.ID; {
		case undo == e.Step && s.Steps[a.ID].Status == StepStatus(api.Completed):
			return
		case a.Undo != nil && s.Steps[a.ID].Status == StepStatus(api.Completed) && !s.Steps[undo].Status.Ended():
			w.t.Fatalf("%s was dispatched before %s had ended", e.Step, undo)
		case !s.Steps[a.ID].Status.Ended():
			w.t.Fatalf("%s was dispatched while %s goes on", e.Step, a.ID)
		}
	}
	w.t.Fatalf("%s was dispatched, and there is nothing to undo", e.Step)
}

// atTheEnd checks what became of the run, knowing how its steps ended.
func (w *walk) atTheEnd() {
	if len(w.asking) > 0 {
		w.t.Fatalf("at the end %+v are still asked for", w.asking)
	}
	if len(w.awaits) > 0 {
		w.t.Fatalf("at the end %v are still waited for", w.awaits)
	}
	if !w.s.Done || w.finished != 1 {
		w.t.Fatalf("nothing is open, done is %v and the run finished %d times: %s", w.s.Done, w.finished, encode(w.t, w.s))
	}
	want := Completed
	for _, a := range w.d.Actions {
		s := w.s.Steps[a.ID]
		if !s.Status.Ended() {
			w.t.Fatalf("step %s never ended: %+v", a.ID, s)
		}
		blocked := slices.ContainsFunc(a.Needs, func(n string) bool { return !w.s.Steps[n].Satisfied })
		stopped := w.d.OnFailure != Continue && w.s.Error != ""
		if skipped := s.Status == StepSkipped && !s.Satisfied; !w.s.Cancelled && blocked != skipped && !(stopped && skipped) {
			w.t.Fatalf("step %s is %+v, blocked by its needs: %v", a.ID, s, blocked)
		}
		if !s.Satisfied {
			want = Failed
		}
		if undo, done := undoing+a.ID, s.Status == StepStatus(api.Completed); a.Undo != nil && done && w.s.Error != "" && !w.s.Cancelled && !w.s.Steps[undo].Status.Ended() {
			w.t.Fatalf("step %s was not undone: %s", a.ID, encode(w.t, w.s))
		}
	}
	if w.s.Status != want && w.s.Status != Cancelled || w.s.Status == Cancelled && !w.s.Cancelled {
		w.t.Fatalf("status %s, want %s", w.s.Status, want)
	}
	if w.s.Status == Failed && w.s.Error == "" || w.s.Status == Completed && w.s.Error != "" {
		w.t.Fatalf("status %s with the error %q", w.s.Status, w.s.Error)
	}
}

func encode(t *rapid.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func shown(effects []Effect) string { return fmt.Sprintf("%+v", effects) }

// runAll runs a definition to its end with every step completed.
func runAll(t testing.TB, d *Definition) {
	t.Helper()
	d.Decide(fullDisk("{}"))
	s, effects, err := Start(d, "r", fullDisk("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(effects); i++ {
		dispatch, ok := effects[i].(Dispatch)
		if !ok {
			continue
		}
		next, more, err := Step(d, s, StepEnded{Step: dispatch.Step, Status: api.Completed, Result: json.RawMessage(`{"n": 1}`)})
		if err != nil {
			t.Fatal(err)
		}
		s, effects = next, append(effects, more...)
	}
	if !s.Done {
		t.Errorf("every step has ended and the run is not done: %+v", s)
	}
}
