package e2e

import (
	"fmt"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// More is asked of an agent than its rate limit lets it do: what it has done is told before it takes more, and
// not after the lease of it is over, when a run would fail whose action has succeeded.
func TestResultsComeBeforeMoreWork(t *testing.T) {
	w := newWorldFor(t, 0, []string{"--lease", "10s"}, "STAVILY_API_RATE_LIMIT_REQUESTS_PER_SECOND=3", "STAVILY_API_RATE_LIMIT_BURST=3")
	w.apply(quickWorkflow)
	w.agent("busy-a", api.Action, []string{"slow-action"}, nil)
	w.start("busy-a")
	w.agent("busy-s", api.Sensor, []string{"counting-sensor"}, map[string]string{"count": "plugin: counting-sensor\nconfig: {pause: 0.2}\n"})
	w.start("busy-s")
	w.await("runs for longer than a lease", func() error {
		done := 0
		for _, r := range w.runs() {
			switch {
			case r.Status == "completed":
				done++
			case ended(r.Status):
				t.Fatalf("after %d runs, run %s %s: %+v", done, r.ID, r.Status, w.show(r.ID).Steps)
			}
		}
		if done < 25 { // two calls each and a share of a poll
			return fmt.Errorf("%d runs are completed", done)
		}
		return nil
	})
}
