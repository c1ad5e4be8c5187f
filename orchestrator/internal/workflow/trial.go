package workflow

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// Test is one test that a document brings for itself: an event, what becomes of the
// steps, and what is expected of the run.
type Test struct {
	Name   string
	Events []TestEvent          // that come in this order
	Ends   map[string]StepEnded // by step; the others complete without a result
	Expect Expectation
	Agents []Agent // the action agents that there are, for steps that run on each of several

	place strictyaml.Error // where it stands, without a message
}

// TestEvent is an event of a test, and how long after the one before it comes.
type TestEvent struct {
	Event
	After time.Duration
}

// Expectation is what a test asks for. What it does not say is not asked.
type Expectation struct {
	Runs   *bool                                 // whether the event starts a run
	Status Status                                // how the run ends; empty for any
	Order  []string                              // the steps that start, in order; outputs may be left out
	With   map[string]map[string]json.RawMessage // inputs that steps get, by step and name
}

// Trial is how a test went.
type Trial struct {
	Name     string            `json:"name"`
	Passed   bool              `json:"passed"`
	Problems strictyaml.Errors `json:"problems,omitempty"` // what is not as expected, where the test stands
	Decision Decision          `json:"decision"`
	Status   Status            `json:"status,omitempty"` // of the run, if there was one
	Order    []string          `json:"order,omitempty"`  // steps that started
	// Inputs are what those steps were given, by step and name.
	Inputs map[string]map[string]json.RawMessage `json:"inputs,omitempty"`
}

// Tests are those of the document, as written.
func (d *Definition) Tests() []Test { return slices.Clone(d.tests) }

// try runs a test against the definition: the same decision and the same machine as in
// earnest, with the ends of the steps that the test gives. Nothing is executed.
func (d *Definition) try(t Test) Trial {
	live := *d
	live.Mode = Live // a workflow that is off is tested before it is on
	decision, cause := live.decideAll(t.Events)
	out := Trial{Name: t.Name, Decision: decision}
	fail := func(format string, args ...any) {
		problem := t.place
		problem.Message = fmt.Sprintf("test %q: ", t.Name) + fmt.Sprintf(format, args...)
		out.Problems = append(out.Problems, &problem)
	}
	if out.Decision.Run {
		if err := d.rehearse(t, cause, &out); err != nil {
			fail("%v", err)
		}
	}
	switch want := t.Expect.Runs; {
	case want != nil && *want && !out.Decision.Run:
		fail("does not run: %s", out.Decision.Reason)
		return out // and so nothing else is as expected
	case want != nil && !*want && out.Decision.Run:
		fail("runs, and should not: %s", out.Decision.Reason)
	}
	if want := t.Expect.Status; want != "" && out.Status != want {
		fail("the run is %q at its end, want %q", out.Status, want)
	}
	if t.Expect.Order != nil {
		if got := d.asExpected(out.Order, t.Expect.Order); !slices.Equal(got, t.Expect.Order) {
			fail("starts [%s], want [%s]", strings.Join(got, ", "), strings.Join(t.Expect.Order, ", "))
		}
	}
	for _, step := range keysOf(t.Expect.With) {
		differences(t.Expect.With[step], out.Inputs[step], func(format string, args ...any) {
			fail("step %s: "+format, append([]any{step}, args...)...)
		})
	}
	out.Passed = len(out.Problems) == 0
	return out
}

// decideAll decides on events as they come, and on what their windows make when the time is
// over. It returns the first decision to run with the events that make one, else the last.
func (d *Definition) decideAll(events []TestEvent) (decision Decision, cause []Event) {
	now := testTime
	open, known := map[string]Window{}, map[api.EventID]Event{}
	decide := func(e Event, gathered func(Decision) Gathered) bool {
		e.Now = now
		decision, cause = d.Decide(e), []Event{e}
		if !decision.Run || d.Gather == nil {
			return decision.Run
		}
		g := gathered(decision)
		open[decision.Group] = g.Window
		cause = nil
		for _, m := range g.Fired {
			cause = append(cause, known[m.Event])
		}
		decision = decision.Gathered(g)
		return decision.Run
	}
	closes := func(until time.Time) bool {
		for _, group := range keysOf(open) {
			w := open[group]
			if len(w.Chains) == 0 || w.Closes.After(until) {
				continue
			}
			g := d.Close(w)
			delete(open, group)
			if g.Fired != nil && decide(known[g.Fired[len(g.Fired)-1].Event], func(Decision) Gathered { return g }) {
				return true
			}
		}
		return false
	}
	for _, e := range events {
		now = now.Add(e.After)
		known[e.ID] = e.Event
		if closes(now) || decide(e.Event, func(decision Decision) Gathered {
			return d.Take(open[decision.Group], e.Event, now)
		}) {
			return decision, cause
		}
	}
	if d.Gather != nil && d.Gather.ends() {
		last := decision
		if !closes(now.Add(d.Gather.Within)) {
			decision = last
		}
	}
	return decision, cause
}

// rehearse drives the machine to the end of the run. Every try of a step ends in the same
// way, and pauses are over at once.
func (d *Definition) rehearse(t Test, cause []Event, out *Trial) error {
	out.Inputs = map[string]map[string]json.RawMessage{}
	state, effects, err := Start(d, "test", cause[len(cause)-1], cause...)
	for waiting := []Input{}; err == nil; {
		for _, e := range effects {
			switch e := e.(type) {
			case Dispatch:
				waiting = append(waiting, t.rehearsed(e, out))
			case Ask:
				out.Order = append(out.Order, e.Step)
				waiting = append(waiting, t.judged(e)...)
			case Choose:
				waiting = append(waiting, Chosen{Step: e.Step, Agents: slices.DeleteFunc(slices.Clone(t.Agents), func(a Agent) bool { return !e.Selector.picks(a, d.budget) })})
			case Await:
				out.Order = append(out.Order, e.Step)
				if end := t.Ends[e.Step]; end.Status == "" || end.Status == api.Completed {
					waiting = append(waiting, StepEnded{Step: e.Step, Status: api.Completed, Result: end.Result})
				}
			case SetAlarm: // the end of a wait comes before it, unless the test says that none comes
				waiting = append(waiting, Alarm{e.Step, e.Try})
			}
		}
		if len(waiting) == 0 {
			break
		}
		state, effects, err = Step(d, state, waiting[0])
		waiting = waiting[1:]
	}
	out.Status = state.Status
	return err
}

// rehearsed notes a step that starts, and says how it ends. One that runs on several agents is
// listed once; each of them can be given an end of its own.
func (t Test) rehearsed(e Dispatch, out *Trial) StepEnded {
	whole, _, part := wholeOf(e.Step)
	for _, id := range []string{whole, e.Step} {
		if part || id == e.Step {
			out.Inputs[id] = e.Input
		}
	}
	if !slices.Contains(out.Order, whole) {
		out.Order = append(out.Order, whole)
	}
	end, given := t.Ends[e.Step]
	if !given {
		end, given = t.Ends[whole]
	}
	if !given {
		end.Status = api.Completed
	}
	end.Step, end.Try = e.Step, e.Try
	return end
}

// judged is what people say to an approval: nobody denies it unless the test says so, and
// nobody says anything where its end is a timeout.
func (t Test) judged(e Ask) []Input {
	status := t.Ends[e.Step].Status
	if status == api.TimedOut {
		return nil
	}
	var out []Input
	for n := range e.Count {
		approve := status == "" || status == api.Completed
		out = append(out, Verdict{Step: e.Step, Digest: e.Asked.Digest, By: fmt.Sprint("tester-", n+1), Approve: approve, Reason: t.Ends[e.Step].Error})
	}
	return out
}

// asExpected leaves out the outputs that an expected order does not speak of.
func (d *Definition) asExpected(order, want []string) []string {
	return slices.DeleteFunc(slices.Clone(order), func(id string) bool {
		return !slices.Contains(want, id) && slices.ContainsFunc(d.Outputs, func(o StepDefinition) bool { return o.ID == id })
	})
}

// differences tells where an input is not as wanted. What is not wanted is not looked at.
func differences(want, got map[string]json.RawMessage, tell func(format string, args ...any)) {
	if got == nil {
		tell("does not start")
		return
	}
	for _, name := range keysOf(want) {
		value, there := got[name]
		if !there {
			tell("gets no %s, want %s", name, want[name])
			continue
		}
		a, errA := expr.Decode(want[name])
		b, errB := expr.Decode(value)
		if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
			tell("gets %s: %s, want %s", name, value, want[name])
		}
	}
}

// TryAll runs all tests of the document; the error is a [strictyaml.Errors] of what is not as
// expected, or that ctx has ended. What they may cost together is bounded.
func (d *Definition) TryAll(ctx context.Context) ([]Trial, error) {
	d = d.OnTrial(ctx)
	out := make([]Trial, len(d.tests))
	var problems strictyaml.Errors
	for i, t := range d.tests {
		out[i] = d.try(t)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		problems = append(problems, out[i].Problems...)
	}
	return out, problems.Err()
}

// keysOf are the keys in order, so that what is told of a map is always the same.
func keysOf[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
