package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// What actions say and give back may be more than goes with one call, and longer as JSON for HTML: the
// orchestrator takes what the agent makes of it, and no run fails that has done its work.
func TestLoudActionsComplete(t *testing.T) {
	w := newWorldFor(t, 0, []string{"--lease", "10s"})
	for name, action := range map[string]string{
		"works-on": "plugin: loud-action, with: {lines: 300, seconds: 4}",
		"is-quick": "plugin: loud-action, with: {lines: 600}",
		"has-html": "plugin: html-action",
	} {
		w.apply("name: " + name + "\ntriggers:\n  - event: count.tick\nwhen: event.data.n == 1\nactions:\n  - {id: work, " + action + "}\n")
	}
	w.agent("loud-a", api.Action, []string{"loud-action", "html-action"}, nil)
	w.start("loud-a")
	w.agent("loud-s", api.Sensor, []string{"counting-sensor"}, map[string]string{"count": "plugin: counting-sensor\nconfig: {pause: 5}\n"})
	w.start("loud-s")
	w.awaitEnds(3)
	for _, r := range w.runs() {
		if r.Status != "completed" {
			t.Errorf("a run is %s: %+v", r.Status, w.show(r.ID).Steps)
		}
	}
}

// A result that nests deeper than the contract allows fails its step at once and says so.
func TestADeepResultFails(t *testing.T) {
	w := newWorldFor(t, 0, []string{"--lease", "10s"})
	w.apply("name: deep\ntriggers:\n  - event: count.tick\nwhen: event.data.n == 1\nactions:\n  - {id: deep, plugin: deep-action}\n")
	w.agent("deep-a", api.Action, []string{"deep-action"}, nil)
	w.start("deep-a")
	w.agent("deep-s", api.Sensor, []string{"counting-sensor"}, map[string]string{"count": "plugin: counting-sensor\nconfig: {pause: 5}\n"})
	w.start("deep-s")
	w.awaitEnds(1)
	step := w.show(w.runs()[0].ID).Steps[0]
	if want := "the plugin's result is too large: it nests 64 deep, at most 48"; step.Status != "failed" || !strings.Contains(step.Message, want) {
		t.Errorf("%s is %s: %q, want %q", step.Step, step.Status, step.Message, want)
	}
}

// awaitEnds waits until so many runs have ended.
func (w *world) awaitEnds(runs int) {
	w.t.Helper()
	w.await("the ends of the runs", func() error {
		n := 0
		for _, r := range w.runs() {
			if ended(r.Status) {
				n++
			}
		}
		if n < runs {
			return fmt.Errorf("%d have ended", n)
		}
		return nil
	})
}
