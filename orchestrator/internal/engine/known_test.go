package engine

import (
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/engine/packtest"
	"github.com/stavily/agents/shared/pkg/api"
)

// checks holds a text to what there is, and returns what is said of it.
func (w world) checks(text string, lenient bool) string {
	w.t.Helper()
	warnings, err := w.Check(w.t.Context(), "default", "w.yaml", []byte(text), lenient)
	said := strings.Join(warnings, "\n")
	if err != nil {
		said += err.Error()
	}
	return said
}

// What is published, and what agents have told, decides what a document may name.
func TestTextsAreHeldToWhatThereIs(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		const text = "name: w\ntriggers: [{event: queue.long}]\nwhen: event.data.lenght > 3\nactions: [{plugin: cleaner, with: {dir: /x}}]\n"
		expect := func(said string, want ...string) {
			t.Helper()
			for _, part := range want {
				if !strings.Contains(said, part) {
					t.Errorf("%q lacks %q", said, part)
				}
			}
			if len(want) == 0 && said != "" {
				t.Errorf("%q, want nothing", said)
			}
		}
		expect(w.checks(text, false), "w.yaml:4:20: plugin cleaner is not published, and no action agent has it")
		action := w.enrol(api.Action, "a1", "web")
		expect(w.checks(text, false), "and no action agent has it") // it has not told yet: a warning
		if _, err := w.Heartbeat(t.Context(), action.Identity, api.Heartbeat{Status: StatusOnline, Plugins: []api.PluginInfo{{ID: "cleaner", Version: "1.0.0", State: "refused"}}}); err != nil {
			t.Fatal(err)
		}
		expect(w.checks(text, false), "--allow-missing")
		if _, err := w.Check(t.Context(), "default", "w.yaml", []byte(text), true); err != nil {
			t.Errorf("with --allow-missing: %v", err)
		}
		w.publishes("default", packtest.Pack(t, "queue", "1.0.0", nil, "type: sensor", "events: {queue.long: {length: {type: integer}}}"), "")
		w.publishes("default", packtest.Pack(t, "cleaner", "1.0.0", nil, "parameters: {path: {type: string, required: true}}"), "")
		w.publishes("default", packtest.Pack(t, "cleaner", "0.9.0", nil, "parameters: {dir: {type: string}}"), "")
		expect(w.checks(text, false), `w.yaml:3:18: event.data has no field "lenght": did you mean "length"?`, "cleaner 1.0.0 takes no dir", "cleaner 1.0.0 needs path")
		right := strings.Replace(text, "lenght", "length", 1)
		expect(w.checks(strings.Replace(right, "dir:", "path:", 1), false))
		expect(w.checks(strings.Replace(right, "plugin: cleaner", "plugin: cleaner@<1", 1), false))
	})
}
