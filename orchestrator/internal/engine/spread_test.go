package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// asks lets an agent poll for as long as it takes and tells who got what.
func (w world) asks(a agent, got chan<- agentWork) {
	go func() {
		offers, err := w.Poll(w.t.Context(), a.Identity, time.Minute, 1)
		if err != nil && w.t.Context().Err() == nil || len(offers) > 1 {
			w.t.Errorf("poll of %s: %v, %v", a.Agent, offers, err)
		}
		for _, o := range offers {
			got <- agentWork{a, o}
		}
	}()
	synctest.Wait()
}

type agentWork struct {
	agent
	api.Instruction
}

// Work that several agents could do goes to one with the least in hand, whoever asked last,
// and to another when that one does not come for it.
func TestTheLeastLoadedAgentGetsIt(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a, b, c := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h"), w.enrol(api.Action, "b", "i"), w.enrol(api.Action, "c", "j")
		w.apply("name: simple\ntriggers: [{event: test}]\nactions: [{plugin: actor, agents: {any: {expression: 'agent.id != \"c\"'}}}]\n")
		got := make(chan agentWork, 10)
		w.asks(c, got)
		send := func(seq uint64) agentWork {
			w.sends(s, event(seq), api.EventAccepted)
			synctest.Wait()
			return <-got
		}
		w.asks(a, got)
		first := send(1)
		w.claims(first.agent, first.Instruction)
		w.asks(a, got) // with one in hand
		time.Sleep(time.Second)
		w.asks(b, got) // later, with none
		second := send(2)
		if first.Agent != "a" || second.Agent != "b" {
			t.Errorf("the work went to %s and %s", first.Agent, second.Agent)
		}
	})
}

// Where nobody can be handed work at once, an agent that is chosen and does not come keeps it
// from nobody.
func TestWhoIsGoneKeepsNoWork(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a, b := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h"), w.enrol(api.Action, "b", "i")
		w.apply("name: simple\ntriggers: [{event: test}]\nactions: [{plugin: actor, agents: {any: {expression: 'true'}}}]\n")
		looking := func(a agent, since time.Time) *poll { // and not handed anything while it does
			return &poll{agent: workflow.Agent{ID: a.Agent}, woken: make(chan struct{}, 1), since: since}
		}
		gone, other := looking(a, w.now()), looking(b, w.now().Add(time.Second))
		defer w.polls.enter(place{org: "default"}, gone)()
		defer w.polls.enter(place{org: "default"}, other)()
		began := time.Now()
		w.sends(s, event(1), api.EventAccepted)
		<-gone.woken
		if <-other.woken; time.Since(began) != spreadGrace {
			t.Errorf("the other one is woken after %s", time.Since(began))
		}
	})
}
