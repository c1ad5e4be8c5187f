package workflow

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
)

// run drives one run of a definition and keeps what it caused.
type run struct {
	t       testing.TB
	d       *Definition
	s       State
	sent    map[string]Dispatch
	cancels []string
	done    []Finished
	history []Record
}

func begin(t testing.TB, src, data string) *run {
	t.Helper()
	r := &run{t: t, d: parse(t, src), sent: map[string]Dispatch{}}
	s, effects, err := Start(r.d, "01R", fullDisk(data))
	if err != nil {
		t.Fatal(err)
	}
	r.took(s, effects)
	return r
}

func (r *run) took(s State, effects []Effect) {
	r.s = s
	for _, e := range effects {
		switch e := e.(type) {
		case Dispatch:
			r.sent[e.Step] = e
		case CancelStep:
			r.cancels = append(r.cancels, e.Step)
		case Finished:
			r.done = append(r.done, e)
		case Record:
			r.history = append(r.history, e)
		}
	}
}

func (r *run) step(in Input) {
	r.t.Helper()
	s, effects, err := Step(r.d, r.s, in)
	if err != nil {
		r.t.Fatalf("Step(%+v): %v", in, err)
	}
	r.took(s, effects)
}

func (r *run) completed(id, result string) {
	r.t.Helper()
	r.step(StepEnded{Step: id, Status: api.Completed, Result: json.RawMessage(result)})
}

// statuses is "run: step step", for comparison.
func (r *run) statuses(ids ...string) string {
	out := string(r.s.Status) + ":"
	for _, id := range ids {
		out += " " + string(r.s.Steps[id].Status)
	}
	return out
}

func (r *run) want(statuses string, ids ...string) {
	r.t.Helper()
	if got := r.statuses(ids...); got != statuses {
		r.t.Errorf("%v are %s, want %s", ids, got, statuses)
	}
}

func TestARunFromEventToOutput(t *testing.T) {
	r := begin(t, everything, `{"mount": "/"}`)
	r.want("running: dispatched waiting waiting waiting", "clean", "grow", "slack", "mail")
	clean := Dispatch{
		Step: "clean", Plugin: "disk-cleaner", Version: "^1.2", Input: map[string]json.RawMessage{"path": json.RawMessage(`"/"`)},
		Timeout: r.d.Actions[0].Timeout, Target: Target{Tags: []string{"role:web"}}, Idempotent: true,
	}
	if diff := cmp.Diff(clean, r.sent["clean"]); diff != "" {
		t.Errorf("dispatch (-want +got):\n%s", diff)
	}
	r.step(StepStarted{Step: "clean"})
	r.want("running: running waiting", "clean", "grow")
	r.completed("clean", `{"freed": 10}`)
	r.want("running: completed dispatched", "clean", "grow")
	r.completed("grow", "")
	r.want("completed: completed skipped dispatched", "grow", "slack", "mail")
	if r.s.Done || !r.sent["mail"].Output {
		t.Errorf("state %+v, mail %+v: want the run to wait for its output", r.s, r.sent["mail"])
	}
	r.step(StepEnded{Step: "mail", Status: api.TimedOut})
	r.want("completed: timeout", "mail") // an output does not change how the run ended
	if diff := cmp.Diff([]Finished{{Completed}}, r.done); diff != "" || !r.s.Done || r.s.Error != "" {
		t.Errorf("done %v, error %q (-want +got):\n%s", r.s.Done, r.s.Error, diff)
	}
	var kinds []string
	for _, h := range r.history {
		kinds = append(kinds, strings.TrimSpace(string(h.Kind)+" "+h.Step))
	}
	want := []string{"run_started", "step_dispatched clean", "step_started clean", "step_ended clean", "step_dispatched grow", "step_ended grow",
		"run_ended", "step_ended slack", "step_dispatched mail", "step_ended mail", "run_finished"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

const branches = head + `
actions:
  - {plugin: a}
  - {plugin: b, needs: [a]}
  - {plugin: c, needs: [b]}
  - {plugin: d}
  - {plugin: e, needs: [d]}
outputs:
  - {plugin: tell, on: [failed], with: {why: "${{ run.error }}", b: "${{ steps.b.status + ', ' + steps.b.error }}"}}
`

func TestAFailureStopsItsBranchOnly(t *testing.T) {
	r := begin(t, branches, "{}")
	r.step(StepEnded{Step: "a", Status: api.Interrupted, Error: "agent lost"})
	r.want("running: interrupted skipped skipped dispatched waiting", "a", "b", "c", "d", "e")
	r.completed("d", "")
	r.completed("e", "")
	r.want("failed: completed dispatched", "e", "tell")
	want := map[string]json.RawMessage{"why": json.RawMessage(`"step a: interrupted: agent lost"`), "b": json.RawMessage(`"skipped, needs a: interrupted"`)}
	if diff := cmp.Diff(want, r.sent["tell"].Input); diff != "" {
		t.Errorf("what people are told (-want +got):\n%s", diff)
	}
}

func TestTheFirstFailureIsTheRuns(t *testing.T) {
	r := begin(t, branches, "{}")
	r.step(StepEnded{Step: "d", Status: api.TimedOut})
	r.step(StepEnded{Step: "a", Status: api.Failed, Error: "later"})
	if r.s.Error != "step d: timeout" {
		t.Errorf("error = %q, want the first failure", r.s.Error)
	}
}

func TestASkippedStepSatisfies(t *testing.T) {
	r := begin(t, head+`
actions:
  - {plugin: a, when: event.data.big}
  - {plugin: b, needs: [a], when: steps.a.status == "skipped" && steps.a.result == null}
  - {plugin: c, needs: [b]}
`, `{"big": false}`)
	r.want("running: skipped dispatched waiting", "a", "b", "c")
	r.completed("b", "")
	r.completed("c", "")
	r.want("completed: completed", "c")
}

func TestAnExpressionThatFailsFailsItsStep(t *testing.T) {
	r := begin(t, head+`
actions:
  - {plugin: a, when: event.data.big}
  - {plugin: b, with: {list: [{x: "n: ${{ event.data.n + 1 }}"}]}}
  - {plugin: c, needs: [a]}
`, `{"n": "text"}`)
	r.want("failed: failed failed skipped", "a", "b", "c")
	for id, want := range map[string]string{
		"a": "when: event.data.big is missing: test for it with has(event.data.big)",
		"b": "with.list[0].x: event.data.n + 1: + does not take string and int",
	} {
		if got := r.s.Steps[id].Error; got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	if len(r.sent) != 0 || !r.s.Done {
		t.Errorf("sent %v, done %v: want nothing sent and the run done", r.sent, r.s.Done)
	}
}

func TestAnOutputThatCannotBeWrittenEnds(t *testing.T) {
	r := begin(t, head+`outputs: [{plugin: tell, with: {x: "${{ event.data.absent }}"}}]`, "{}")
	r.want("completed: failed", "tell")
	if !r.s.Done {
		t.Error("the run waits for an output that was never sent")
	}
}

func TestCancel(t *testing.T) {
	r := begin(t, branches, "{}")
	r.step(StepStarted{Step: "a"})
	r.step(Cancel{Reason: "asked by root"})
	r.want("running: running cancelled cancelled dispatched cancelled", "a", "b", "c", "d", "e")
	if diff := cmp.Diff([]string{"a", "d"}, r.cancels); diff != "" {
		t.Errorf("cancelled steps (-want +got):\n%s", diff)
	}
	r.completed("a", "") // it was faster
	r.step(StepEnded{Step: "d", Status: api.Cancelled})
	r.want("cancelled: completed cancelled skipped", "a", "d", "tell")
	if !r.s.Done || r.s.Error != "" {
		t.Errorf("done %v, error %q", r.s.Done, r.s.Error)
	}
}

func TestCancelWhileOutputsRun(t *testing.T) {
	r := begin(t, head+`outputs: [{plugin: tell}]`, "{}")
	r.step(Cancel{})
	if diff := cmp.Diff([]string{"tell"}, r.cancels); diff != "" {
		t.Errorf("cancelled (-want +got):\n%s", diff)
	}
	r.step(StepEnded{Step: "tell", Status: api.Cancelled})
	r.want("completed: cancelled", "tell")
}

func TestValuesKeepTheirTypes(t *testing.T) {
	r := begin(t, `
name: typed
version: 2.0.0
variables: {n: 7, f: 2.0, list: [a, {b: true}], day: 2026-01-02, none: null}
triggers: [{event: "**"}]
actions:
  - plugin: a
    with:
      constant: [1, 2.5, "x", {k: null, t: true, d: 2026-01-02}]
      text: "${{ variables.n }}/${{ variables.f }}/${{ event.data.flag }}/${{ variables.list }}/${{ event.timestamp }}"
      typed: {n: "${{ variables.n }}", f: "${{ variables.f }}", list: "${{ variables.list }}", none: "${{ variables.none }}", day: "${{ variables.day }}"}
      nested: [["${{ event.data.deep.x }}"]]
      escaped: "${{ '${{' }} \u0041 <&>"
      event: "${{ [event.id, event.type, event.source, event.monitor, event.severity, event.key] }}"
      more: "${{ [event.timestamp, event.tags, event.data.flag, event.metadata] }}"
      agent: "${{ [event.agent.id, event.agent.name, event.agent.host, event.agent.tags] }}"
      run: "${{ [workflow.name, workflow.version, run.id, run.status, run.error] }}"
`, `{"flag": false, "deep": {"x": [1.0, 1]}}`)
	want := map[string]string{
		"constant": `[1,2.5,"x",{"k":null,"t":true,"d":"2026-01-02"}]`,
		"text":     `"7/2.0/false/[\"a\",{\"b\":true}]/2026-01-02T03:04:05Z"`,
		"typed":    `{"n":7,"f":2.0,"list":["a",{"b":true}],"none":null,"day":"2026-01-02"}`,
		"nested":   `[[[1.0,1]]]`,
		"escaped":  `"${{ A \u003c\u0026\u003e"`,
		"event":    `["01E","disk.space.high","disk-space-monitor","root","high","/"]`,
		"more":     `["2026-01-02T03:04:05Z",["prod"],false,{}]`,
		"agent":    `["web-1","Web 1","web-1.example",["role:web"]]`,
		"run":      `["typed","2.0.0","01R","running",""]`,
	}
	got := map[string]string{}
	for k, v := range r.sent["a"].Input {
		got[k] = string(v)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("input (-want +got):\n%s", diff)
	}
}

// A run keeps a result only where an expression reads it, and only one that can be
// read.
func TestResultsThatAreKept(t *testing.T) {
	src := head + `
actions:
  - {plugin: a}
  - {plugin: b}
  - {plugin: c, needs: [a], with: {n: "${{ steps.a.result.n }}"}}
`
	big := `{"n": "` + strings.Repeat("x", api.MaxResultBytes) + `"}`
	for _, c := range []struct{ result, kept, left string }{
		{`{"n": 1}`, `{"n": 1}`, ``},
		{``, ``, ``},
		{big, ``, "its result of 262153 bytes is left out: expressions read at most 262144"},
		{`{"n": 1e999}`, ``, "its result is left out: number 1e999 is out of range"},
	} {
		r := begin(t, src, "{}")
		r.completed("a", c.result)
		r.completed("b", `{"unread": true}`)
		if got := string(r.s.Steps["a"].Result) + string(r.s.Steps["b"].Result); got != c.kept {
			t.Errorf("kept %.50q, want %q", got, c.kept)
		}
		var left string
		for _, h := range r.history {
			if h.Kind == ResultLeftOut {
				left = h.Message
			}
		}
		if left != c.left {
			t.Errorf("recorded %q, want %q", left, c.left)
		}
		if c.kept == "" {
			r.want("failed: failed", "c")
		}
	}
}

func TestInputsAreBounded(t *testing.T) {
	const s = "${{ event.data.s }}" // 60 KiB
	r := begin(t, head+"actions:\n"+
		"- {plugin: a, with: {x: ["+strings.Repeat("'"+s+"',", 5)+"]}}\n"+
		"- {plugin: b, with: {x: '"+strings.Repeat(s, 5)+"'}}\n"+
		"- {plugin: c, with: {x: ["+strings.Repeat("{k: '- "+s+"'},", 5)+"]}}\n"+
		"- {plugin: d, with: {v: '"+s+"', w: '"+s+"', x: '"+s+"', y: '"+s+"', z: '"+s+"'}}\n"+
		"- {plugin: e, with: {x: '"+s+"', y: '"+s+"'}}\n",
		fmt.Sprintf(`{"s": %q}`, strings.Repeat("y", 60<<10)))
	r.want("running: failed failed failed failed dispatched", "a", "b", "c", "d", "e")
	for id, want := range map[string]string{
		"a": "with.x[4]: the value is too large: more than 262144 bytes", "b": "with.x: the value is too large: more than 262144 bytes",
		"c": "with.x[4].k: the input is too large: more than 262144 bytes", "d": "with: the input is too large: more than 262144 bytes",
	} {
		if got := r.s.Steps[id].Error; got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}

func TestInputsThatCannotBe(t *testing.T) {
	r := begin(t, branches, "{}")
	for _, c := range []struct {
		in   Input
		want string
	}{
		{StepEnded{Step: "nope", Status: api.Completed}, `there is no step "nope"`},
		{StepStarted{Step: "b"}, `step "b" was not dispatched`},
		{StepEnded{Step: "b", Status: api.Completed}, `step "b" was not dispatched`},
		{StepEnded{Step: "a", Status: api.Executing}, `status "executing", which is not final`},
		{nil, `unknown input`},
	} {
		s, effects, err := Step(r.d, r.s, c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(effects) != 0 || cmp.Diff(r.s, s) != "" {
			t.Errorf("Step(%+v) = %v effects, %v; want no change and %q", c.in, effects, err, c.want)
		}
	}
}

func TestAStateBelongsToItsText(t *testing.T) {
	r := begin(t, branches, "{}")
	if _, _, err := Step(parse(t, branches+"\n"), r.s, Cancel{}); err == nil || !strings.Contains(err.Error(), "pinned") {
		t.Errorf("another text was taken: %v", err)
	}
	r.s.Format++
	if _, _, err := Step(r.d, r.s, Cancel{}); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Errorf("another format was taken: %v", err)
	}
	if _, _, err := Start(r.d, "r", fullDisk(`{"x": 1e999}`)); err == nil {
		t.Error("an event that cannot be read started a run")
	}
}

// What a plugin says is foreign: it is bounded, and stays the same in JSON.
func TestForeignErrorsAreBounded(t *testing.T) {
	r := begin(t, branches, "{}")
	r.step(StepEnded{Step: "a", Status: api.Failed, Error: "\xff" + strings.Repeat("é", maxError)})
	if got := r.s.Steps["a"].Error; len(got) > maxError+10 || !strings.HasPrefix(got, "\uFFFDé") {
		t.Errorf("kept %d bytes: %.20q", len(got), got)
	}
}
