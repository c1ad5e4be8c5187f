package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// dear is an expression that costs most of what one may, for the event of dearEvent.
const dear = "event.data.l.all(a, event.data.l.all(b, a + b >= 0))"

func dearEvent() Event {
	list, _ := json.Marshal(make([]int, 80))
	return Event{Event: api.Event{ID: "E", Type: "a", Data: map[string]json.RawMessage{"l": list}}, Agent: Agent{ID: "s", Host: "h"}}
}

// dearSteps are steps with three such expressions each.
func dearSteps(n int) string {
	var b strings.Builder
	b.WriteString("name: w\ntriggers: [{event: a}]\nactions:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {id: s%d, plugin: p, with: {a: %[2]q, b: %[2]q, c: %[2]q}}\n", i, "${{ "+dear+" }}")
	}
	return b.String()
}

func TestADecisionCostsSoMuchTogether(t *testing.T) {
	keys := strings.TrimSuffix(strings.Repeat(fmt.Sprintf("%q, ", dear), 30), ", ")
	d := parse(t, "name: w\ntriggers: [{event: a}]\ndedupe: {window: 1m, key: ["+keys+"]}\nactions: [{plugin: p}]\n")
	got := d.Decide(dearEvent())
	want := "dedupe.key cannot be evaluated: the expressions of a decision cost more than 1000000 operations together: compute it in a plugin, or split the workflow"
	if got.Run || got.Reason != want {
		t.Errorf("it runs: %v, %q, want %q", got.Run, got.Reason, want)
	}
	few := parse(t, "name: w\ntriggers: [{event: a}]\ndedupe: {window: 1m, key: ["+fmt.Sprintf("%[1]q, %[1]q", dear)+"]}\nactions: [{plugin: p}]\n")
	if got := few.Decide(dearEvent()); !got.Run {
		t.Errorf("two of them: %s", got.Reason)
	}
}

func TestTheStartOfARunCostsSoMuchTogether(t *testing.T) {
	d := parse(t, dearSteps(20))
	state, effects, err := Start(d, "r", dearEvent())
	if err != nil {
		t.Fatal(err)
	}
	begun := 0
	for _, e := range effects {
		if _, is := e.(Dispatch); is {
			begun++
		}
	}
	last := state.Steps["s19"]
	if begun == 0 || begun > 9 || !strings.Contains(last.Error, "the expressions of one moment of a run cost more than 1000000 operations together") {
		t.Errorf("%d of 20 steps begin, and the last one is %+v", begun, last)
	}
}

func TestTestsCostSoMuchTogether(t *testing.T) {
	src := dearSteps(10) + "when: event.type == \"a\"\ntests:\n"
	list := strings.TrimSuffix(strings.Repeat("0,", 80), ",")
	for i := range 25 {
		src += fmt.Sprintf("  - {name: t%d, event: {type: a, data: {l: [%s]}}, expect: {runs: true}}\n", i, list)
	}
	d := parse(t, src)
	trials, err := d.TryAll(t.Context())
	want := "does not run: when cannot be evaluated: the expressions of a trial cost more than 10000000 operations together"
	if err == nil || !strings.Contains(err.Error(), want) || !trials[0].Passed || trials[24].Passed {
		t.Errorf("%d trials, %.300v, want %s", len(trials), err, want)
	}
}

func TestATrialEndsWithWhoAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := parse(t, dearSteps(1)+"when: event.type == \"a\"\ntests: [{name: t, event: {type: a}, expect: {runs: true}}]\n")
	if _, err := d.TryAll(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want that nobody waits", err)
	}
	if got := d.OnTrial(ctx).Decide(dearEvent()); got.Run || got.Reason != "when cannot be evaluated: context canceled" {
		t.Errorf("it runs: %v, %s", got.Run, got.Reason)
	}
}
