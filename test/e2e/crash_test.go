package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
)

func (w *world) write(path, text string) {
	w.t.Helper()
	w.must(os.MkdirAll(filepath.Dir(path), 0o700))
	w.must(os.WriteFile(path, []byte(text), 0o600))
}

// Whatever dies and whenever: every event that a plugin was told is accepted is
// recorded exactly once and started its workflow exactly once.
func TestKillsLoseAndDoubleNoEvent(t *testing.T) {
	for _, victim := range []string{"sensor", "server"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.apply("name: count\ntriggers:\n  - event: count.tick\nactions:\n  - {id: none, plugin: nobody-has-it}\n")
			w.agent("count-s", api.Sensor, []string{"counting-sensor"}, map[string]string{
				"count": "plugin: counting-sensor\nconfig: {pause: 0.02}\n",
			})
			out := w.home("count-s", "counting-sensor", "accepted")
			w.start("count-s")
			for range kills(t) {
				had := len(effects(t, out))
				w.await("some more events", func() error {
					if len(effects(t, out)) < had+5 {
						return fmt.Errorf("%d accepted", len(effects(t, out)))
					}
					return nil
				})
				time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond) // hit different moments
				if victim == "server" {
					w.Kill(cluster.ServerName)
					w.must(w.StartServer(w.ctx))
				} else {
					w.Kill("count-s")
					w.start("count-s")
				}
			}
			w.must(w.Process("count-s").Stop())
			w.Kill("count-s")
			w.must(os.RemoveAll(filepath.Join(w.Agent("count-s").Base, "config", "plugins"))) // no new events
			w.start("count-s")
			accepted := effects(t, out)
			w.await("every accepted event recorded", func() error { return recordedOnce(w, accepted) })
		})
	}
}

// recordedOnce checks that each id is one event and one run.
func recordedOnce(w *world, accepted []string) error {
	seen, started := map[string]int{}, map[string]int{}
	for _, e := range w.events() {
		seen[string(e.ID)]++
	}
	for _, r := range w.runs() {
		started[r.EventID]++
	}
	for _, id := range accepted {
		if seen[id] != 1 || started[id] != 1 {
			return fmt.Errorf("event %s of %d: recorded %d times, started %d runs", id, len(accepted), seen[id], started[id])
		}
	}
	return nil
}

const slowWorkflow = `name: slow
triggers:
  - event: test.go
actions:
  - id: work
    plugin: slow-action
    with: {seconds: 2}
    idempotent: %t
`

// An action agent that dies while its plugin runs: what is not idempotent is never
// run again and is reported as interrupted; what is, is run to its end.
func TestKilledActionAgent(t *testing.T) {
	for _, c := range []struct {
		idempotent bool
		status     string
		attempt    int
		effects    string
	}{
		{false, "failed", 1, "begin"},
		{true, "completed", 2, "begin begin end"},
	} {
		t.Run(fmt.Sprintf("idempotent=%t", c.idempotent), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.apply(fmt.Sprintf(slowWorkflow, c.idempotent))
			sensor := w.client(w.agent("kill-s", api.Sensor, nil, nil))
			w.agent("kill-a", api.Action, []string{"slow-action"}, nil)
			out := w.home("kill-a", "slow-action", "effects")
			w.start("kill-a")
			if status, body := sensor.call(w.ctx, "POST", "kill-s/events", oneEvent); status != 200 {
				t.Fatalf("event = %d %s", status, body)
			}
			w.await("the action begun", func() error {
				if len(effects(t, out)) == 0 {
					return fmt.Errorf("not begun")
				}
				return nil
			})
			w.Kill("kill-a")
			w.start("kill-a")
			r := w.awaitRun()
			if r.Status != c.status || r.Steps[0].Attempt != c.attempt {
				t.Errorf("run is %s after attempt %d, want %s after %d: %+v", r.Status, r.Steps[0].Attempt, c.status, c.attempt, r.Steps)
			}
			if got := strings.Join(effects(t, out), " "); got != c.effects {
				t.Errorf("effects %q, want %q: the killed plugin must be gone, and run again only where that is allowed", got, c.effects)
			}
		})
	}
}

// The server dies while an action runs: the result waits on the agent and arrives.
func TestKilledServerWhileActionRuns(t *testing.T) {
	w := newWorld(t)
	w.apply(fmt.Sprintf(slowWorkflow, false))
	sensor := w.client(w.agent("hold-s", api.Sensor, nil, nil))
	w.agent("hold-a", api.Action, []string{"slow-action"}, nil)
	out := w.home("hold-a", "slow-action", "effects")
	w.start("hold-a")
	if status, body := sensor.call(w.ctx, "POST", "hold-s/events", oneEvent); status != 200 {
		t.Fatalf("event = %d %s", status, body)
	}
	w.await("the action begun", func() error {
		if len(effects(t, out)) == 0 {
			return fmt.Errorf("not begun")
		}
		return nil
	})
	w.Kill(cluster.ServerName)
	w.await("the action ended while the server is away", func() error {
		if got := effects(t, out); len(got) != 2 {
			return fmt.Errorf("effects %v", got)
		}
		return nil
	})
	w.must(w.StartServer(w.ctx))
	if r := w.awaitRun(); r.Status != "completed" || r.Steps[0].Attempt != 1 {
		t.Errorf("run = %+v, want completed at the first attempt", r)
	}
}
