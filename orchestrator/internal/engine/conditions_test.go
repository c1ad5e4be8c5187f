package engine

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// told lists what was said of agents, the oldest first.
func (w world) told() string {
	w.t.Helper()
	var out []string
	w.read(func(r store.Reader) error {
		events, err := r.Events(store.EventQuery{})
		for _, e := range events {
			var agent api.AgentID
			if rest, of := strings.CutPrefix(e.Type, "stavily.agent."); of && e.Agent == workflow.OwnSender {
				_ = json.Unmarshal(e.Metadata["agent"], &agent)
				out = append(out, rest+" "+string(agent))
			}
		}
		return err
	})
	return strings.Join(out, ", ")
}

// lives lets agents live for a time.
func (w world) lives(lasting time.Duration, agents ...agent) {
	w.t.Helper()
	for end := w.now().Add(lasting); w.now().Before(end); time.Sleep(30 * time.Second) {
		for _, a := range agents {
			if _, err := w.Heartbeat(w.t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

const onConditions = `
name: tell
triggers: [{agent: lost, agents: {ids: [a1, s1]}}, {agent: returned}, {agent: certificate_expiring}, {agent: sandbox_degraded}]
actions: [{plugin: actor, agents: {ids: [a1]}}]
`

// An agent that falls silent is told of once, also over a restart, which nobody falls silent
// by; and once more when it is back. One that has said that it goes is not lost.
func TestLostAndReturned(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s1, a1, a2 := w.enrol(api.Sensor, "s1", "h1"), w.enrol(api.Action, "a1", "h1"), w.enrol(api.Action, "a2", "h2")
		w.lives(10*time.Minute, s1, a1)
		if got := w.told(); got != "" {
			t.Errorf("nobody asks, and told was %q", got)
		}
		if _, err := w.Heartbeat(t.Context(), a2.Identity, api.Heartbeat{Status: StatusOffline}); err != nil {
			t.Fatal(err)
		}
		w.apply(onConditions)
		w.lives(10*time.Minute, a1)
		w = w.restart(time.Hour)
		w.lives(20*time.Minute, a1)
		if got, want := w.told(), "lost s1"; got != want {
			t.Errorf("told was %q, want %q", got, want)
		}
		if runs := w.runsAre("failed"); runs[0].Host != "h1" {
			t.Errorf("the run is of host %q", runs[0].Host)
		}
		w.lives(5*time.Minute, a1, s1)
		if got, want := w.told(), "lost s1, returned s1"; got != want {
			t.Errorf("told was %q, want %q", got, want)
		}
	})
}

// A certificate that nobody renews is told of once, and a sandbox that gets weaker each time.
func TestExpiringAndDegraded(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		a1 := w.enrol(api.Action, "a1", "h1", &api.Posture{Level: api.SandboxFull})
		w.apply(onConditions)
		posture := func(level api.SandboxLevel) {
			if _, err := w.Heartbeat(t.Context(), a1.Identity, api.Heartbeat{Status: StatusOnline, Sandbox: &api.Posture{Level: level}}); err != nil {
				t.Fatal(err)
			}
		}
		posture(api.SandboxLimited)
		posture(api.SandboxFull)
		posture(api.SandboxFull)
		if got, want := w.told(), "sandbox_degraded a1"; got != want {
			t.Errorf("told was %q, want %q", got, want)
		}
		err := w.update(t.Context(), "default", func(tx *tx) error {
			a, err := tx.Agent("a1")
			if err != nil {
				return err
			}
			a.NotAfter = tx.now.Add(w.ca.Lifetime() / 6)
			return tx.PutAgent(a)
		})
		if err != nil {
			t.Fatal(err)
		}
		w.lives(5*time.Minute, a1)
		if got, want := w.told(), "sandbox_degraded a1, sandbox_degraded a1, certificate_expiring a1"; got != want {
			t.Errorf("told was %q, want %q", got, want)
		}
	})
}

// A step can wait for an event of the server's own by its name, and no agent can send one.
func TestWaitingForTheServersOwn(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, x := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "x", "h2")
		w.apply("name: other\ntriggers: [{agent: lost}, {agent: returned}]\nactions: [{plugin: actor, when: false}]\n")
		for name, pattern := range map[string]string{"named": "stavily.agent.returned", "any": "'**'"} {
			w.apply("name: " + name + "\ntriggers: [{event: test}]\nactions: [{id: back, wait_for: {event: " + pattern + ", where: event.id != trigger.id, within: 1h}}]\n")
		}
		w.lives(2*time.Minute, s, x)
		w.lives(6*time.Minute, s) // x is silent
		w.sends(s, event(1), api.EventAccepted)
		w.sends(s, typed(2, "stavily.agent.returned"), api.EventRejected)
		status := func(workflow string) (out string) {
			w.read(func(r store.Reader) error {
				runs, err := r.Runs(store.RunQuery{Workflow: workflow})
				for _, run := range runs {
					out = run.Status
				}
				return err
			})
			return out
		}
		if named, any := status("named"), status("any"); named != "running" || any != "running" {
			t.Errorf("before it is back: %s, %s", named, any)
		}
		w.lives(2*time.Minute, s, x)
		if named, any := status("named"), status("any"); named != "completed" || any != "running" {
			t.Errorf("since it is back: %s, and what waits for anything of agents' %s", named, any)
		}
	})
}
