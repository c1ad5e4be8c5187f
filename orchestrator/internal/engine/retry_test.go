package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// TestRetry holds that a run is repeated when a person asks, that what holds repetitions of
// events back does not hold that, and that the other limits do.
func TestRetry(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		held := "cooldown: 1h\ndedupe: {key: [event.type], window: 1h}\nlimits: {attempts: {count: 1, per: 1h}}\n"
		w.apply(simple(held, ""))
		w.sends(s, event(1), api.EventAccepted)
		first := w.runsAre("running")[0]
		_, err := w.RetryRun(t.Context(), "default", first.ID, "")
		w.wantCode("a run that goes on", err, api.CodeConflict)
		i := w.takes(a)
		w.claims(a, i)
		if err := w.reports(a, i, api.Failed); err != nil {
			t.Fatal(err)
		}
		w.runsAre("failed")
		time.Sleep(time.Minute)
		again, err := w.RetryRun(t.Context(), "default", first.ID, "")
		if err != nil || again.RetryOf != first.ID || again.ID == first.ID || again.EventID != "E1" {
			t.Fatalf("the retry is %+v, %v", again, err)
		}
		i = w.takes(a)
		w.claims(a, i)
		if err := w.reports(a, i, api.Completed); err != nil {
			t.Fatal(err)
		}
		w.runsAre("completed", "failed")
		if rows := w.audit("run.retry"); len(rows) != 1 || !strings.Contains(rows[0].Detail, string(again.ID)) {
			t.Errorf("on record is %+v", rows)
		}
		for limit, says := range map[string]string{
			"mode: off\n":                            "is off",
			"when: \"false\"\n":                      "when",
			"limits: {runs: {count: 2, per: 24h}}\n": "2 runs within 24h",
			"mode: shadow\n":                         "shadow",
		} {
			w.apply(simple(limit, ""))
			_, err := w.RetryRun(t.Context(), "default", first.ID, "")
			w.wantCode(limit, err, api.CodeConflict)
			if err != nil && !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v, want that it says %q", limit, err, says)
			}
		}
		if err := w.Delete(t.Context(), "default", again.Workflow); err != nil {
			t.Fatal(err)
		}
		_, err = w.RetryRun(t.Context(), "default", first.ID, "")
		w.wantCode("a workflow that was deleted", err, api.CodeConflict)
		w.runsAre("completed", "failed")
	})
}
