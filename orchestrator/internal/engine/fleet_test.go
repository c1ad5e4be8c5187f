package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// A step goes over a fleet in waves, over a restart, and stops when too many have failed; what
// nobody takes in its time does not hold it up.
func TestWaves(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		agents := make([]agent, 6)
		for n := range agents {
			agents[n] = w.enrol(api.Action, api.AgentID(fmt.Sprint("a", n)), fmt.Sprint("h", n))
		}
		w.apply("name: simple\ntriggers: [{event: test}]\nactions:\n" +
			"  - {id: roll, plugin: actor, agents: {each: {expression: agent.id != 'a5', at_once: 2, stop_when_failed: '2'}}, with: {host: '${{ agent.host }}'}, offline: {wait: 10m, then: skip}}\n" +
			"  - {id: after, plugin: actor, needs: [roll], agents: {ids: [a5]}}\n")
		begins := func(n int) api.Instruction {
			t.Helper()
			i := w.takes(agents[n])
			if i.Context.Step != fmt.Sprintf("roll[a%d]", n) || string(i.InputData["host"]) != fmt.Sprintf("%q", fmt.Sprint("h", n)) {
				t.Errorf("step %s with %s", i.Context.Step, i.InputData)
			}
			w.claims(agents[n], i)
			return i
		}
		ends := func(n int, status api.InstructionStatus) {
			t.Helper()
			if err := w.reports(agents[n], begins(n), status); err != nil {
				t.Fatal(err)
			}
		}
		nothing := func(n int) {
			t.Helper()
			if offers, err := w.Poll(t.Context(), agents[n].Identity, 0, 16); err != nil || len(offers) != 0 {
				t.Errorf("agent %d is offered %+v, %v", n, offers, err)
			}
		}
		w.sends(s, event(1), api.EventAccepted)
		begins(0) // and is not heard of again
		nothing(2)
		ends(1, api.Failed)
		w = w.restart(time.Second)
		nothing(3)
		ends(2, api.Completed)
		time.Sleep(2 * leaseTTL) // the first is lost, and that makes two
		nothing(4)
		w.runsAre("running")
		time.Sleep(10 * time.Minute) // nobody has taken what is for the third
		nothing(4)
		nothing(5)
		runs := w.runsAre("failed")
		w.read(func(r store.Reader) error {
			h, err := r.History(runs[0].ID)
			var said []string
			for _, row := range h {
				said = append(said, row.Step+" "+row.Message)
			}
			if want := "roll failed: failed on 2 of 5 agents, and did not begin on 1; on a0: interrupted: "; !strings.Contains(strings.Join(said, "\n"), want) {
				t.Errorf("history: %s", strings.Join(said, "\n"))
			}
			return err
		})
	})
}

// Where names or an expression pick them, one of the agents that there are runs the step.
func TestPickedAgents(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a, b := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h1"), w.enrol(api.Action, "b", "h2")
		w.apply(simple("", "    agents: {any: {expression: agent.host.endsWith('2')}}\n"))
		w.sends(s, event(1), api.EventAccepted)
		if offers, err := w.Poll(t.Context(), a.Identity, 0, 16); err != nil || len(offers) != 0 {
			t.Errorf("offered to another: %+v, %v", offers, err)
		}
		w.takes(b)
		w.apply(simple("", "    agents: {any: {names: [nobody]}}\n"))
		w.sends(s, event(2), api.EventAccepted)
		w.runsAre("failed", "running")
	})
}

// An action waits for an agent as long as it says.
func TestOffline(t *testing.T) {
	for then, want := range map[string]string{"fail": "failed", "skip": "completed"} {
		inWorld(t, func(t *testing.T, w world) {
			s := w.enrol(api.Sensor, "s", "h")
			w.apply(simple("", "    offline: {wait: 10m, then: "+then+"}\n"))
			w.sends(s, event(1), api.EventAccepted)
			time.Sleep(9 * time.Minute)
			w.runsAre("running")
			time.Sleep(2 * time.Minute)
			w.runsAre(want)
		})
	}
}

// Picking among thousands of agents is served where people can read how, and where it costs too
// much the step says so: everybody else waits for it.
func TestPickingAmongManyAgents(t *testing.T) {
	const dear = "agent.tags.all(a, agent.tags.all(b, agent.tags.all(c, a + b + c != '')))"
	for name, c := range map[string]struct{ agents, status, says string }{
		"ordinary":       {"any: {expression: \"'env:prod' in agent.tags && agent.host.startsWith('h77') && agent.name != 'canary' && !agent.id.matches('^db-[0-9]+$')\"}", "running", ""},
		"ordinary, each": {"each: {expression: \"'env:prod' in agent.tags && agent.host.startsWith('h77')\", at_once: 5}", "running", "111 agents, 5 at once"},
		"dear":           {"any: {expression: \"" + dear + "\"}", "failed", "10000 agents are too many for agent.tags.all(a, agent.tags.all(b, agent.tags.all(c, a + b + c != \"\"))): the expressions of picking agents for a run cost more than 5000000 operations together"},
		"dear, each":     {"each: {expression: \"" + dear + "\"}", "failed", "10000 agents are too many for "},
		"dear, by names": {"any: {names: [n7, n8], expression: \"" + dear + "\"}", "running", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				s := w.enrol(api.Sensor, "s", "h")
				tags := []string{"env:prod"}
				for n := range 19 {
					tags = append(tags, fmt.Sprint("tag:", n))
				}
				err := w.update(t.Context(), "default", func(tx *tx) (err error) {
					for n := range 10_000 {
						a := store.Agent{ID: api.AgentID(fmt.Sprint("a", n)), Name: fmt.Sprint("n", n), Hostname: fmt.Sprint("h", n), Tags: tags, Type: api.Action}
						err = errors.Join(err, tx.PutAgent(a))
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				w.apply(simple("", "    agents: {"+c.agents+"}\n"))
				w.sends(s, event(1), api.EventAccepted)
				run := w.runsAre(c.status)[0]
				w.read(func(r store.Reader) error {
					h, err := r.History(run.ID)
					var said []string
					for _, row := range h {
						said = append(said, row.Step+" "+row.Message)
					}
					if all := strings.Join(said, "\n"); !strings.Contains(all, c.says) {
						t.Errorf("history: %s; want %s", all, c.says)
					}
					return err
				})
			})
		})
	}
}
