package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
)

// hostileAgents are those that TestHostileOrchestrator attacks: sensors ask less often, since
// they pause for seconds when events are not taken, so there are more of them.
var hostileAgents = map[api.AgentType][]api.AgentID{
	api.Sensor: {"hostile-s1", "hostile-s2", "hostile-s3", "hostile-s4", "hostile-s5", "hostile-s6", "hostile-s7", "hostile-s8"},
	api.Action: {"hostile-a1", "hostile-a2"},
}

// hostility is how many hostile replies the agents of each kind get, and what they are drawn
// from: STAVILY_HOSTILE and STAVILY_HOSTILE_SEED.
func hostility(t *testing.T) (count, seed uint64) {
	t.Helper()
	for name, value := range map[string]struct {
		to *uint64
		or uint64
	}{"STAVILY_HOSTILE": {&count, 150}, "STAVILY_HOSTILE_SEED": {&seed, 1}} {
		*value.to = value.or
		if text, set := os.LookupEnv(name); set {
			n, err := strconv.ParseUint(text, 10, 32)
			if err != nil {
				t.Fatalf("%s=%q: must be a number", name, text)
			}
			*value.to = n
		}
	}
	return count, seed
}

// Whoever holds the orchestrator's place, with a certificate that agents trust, and answers
// whatever it likes: agents live through it within their memory, begin no action that it has
// not given them every right to, and work on when the orchestrator is back.
func TestHostileOrchestrator(t *testing.T) {
	t.Parallel()
	count, seed := hostility(t)
	w := newWorldFor(t, time.Duration(count)*200*time.Millisecond, nil,
		"STAVILY_AGENT_HEARTBEAT_INTERVAL=1s", "STAVILY_API_TIMEOUT=1s", "STAVILY_API_POLL_WAIT=1s", "STAVILY_PLUGINS_UPDATE_INTERVAL=10s",
		"STAVILY_API_RETRY_INITIAL_INTERVAL=1ms", "STAVILY_API_RETRY_MAX_INTERVAL=20ms",
		"STAVILY_API_RATE_LIMIT_REQUESTS_PER_SECOND=1000", "STAVILY_API_RATE_LIMIT_BURST=1000")
	for _, id := range hostileAgents[api.Action] {
		w.agent(id, api.Action, []string{"slow-action"}, nil)
		w.apply(fmt.Sprintf("name: on-%[1]s\ntriggers: [{event: test.go}]\nactions: [{id: work, plugin: slow-action, agents: {ids: [%[1]s]}, with: {seconds: 0}}]\n", id))
	}
	for _, id := range hostileAgents[api.Sensor] {
		w.agent(id, api.Sensor, []string{"counting-sensor"}, map[string]string{"count": "plugin: counting-sensor\nconfig: {pause: 0.2, say: told}\n"})
	}
	const bystander = "bystander-s" // is not started, so that nobody talks it into another certificate
	w.agent(bystander, api.Sensor, nil, nil)
	w.must(w.Process(cluster.ServerName).Stop())
	w.Kill(cluster.ServerName)

	h := newHostile(w, seed)
	pids := map[api.AgentID]int{}
	for _, ids := range hostileAgents {
		w.start(ids...)
		for _, id := range ids {
			pids[id] = w.Process(string(id)).Pid()
		}
	}
	w.await(fmt.Sprintf("%d hostile replies to each kind of agent, seed %d", count, seed), func() error {
		for kind := range hostileAgents {
			if n := h.told(kind); n < count {
				return fmt.Errorf("%d to %s agents", n, kind)
			}
		}
		return nil
	})
	h.close()
	t.Logf("seed %d: %s", seed, h)
	for _, id := range hostileAgents[api.Action] {
		if got := effects(t, w.home(id, "slow-action", "effects")); len(got) > 0 {
			t.Errorf("%s began actions that nobody gave it a right to: %v (seed %d)", id, got, seed)
		}
	}
	if t.Failed() {
		return
	}

	w.must(w.StartServer(w.ctx))
	if status, body := w.client(w.Agent(bystander)).call(w.ctx, "POST", bystander+"/events", oneEvent); status != 200 {
		t.Fatalf("event = %d %s", status, body)
	}
	w.await("an event of each sensor agent, and an action of each action agent, seed "+fmt.Sprint(seed), func() error { return works(w) })
	for _, ids := range hostileAgents {
		for _, id := range ids {
			if p := w.Process(string(id)); p.Pid() != pids[id] || gone(p) {
				t.Errorf("%s did not live through it: %v (seed %d)", id, p.Ended(), seed)
				continue
			}
			mb := w.peakMemory(string(id))
			t.Logf("%s: %d replies, at most %d MB", id, h.count(id), mb)
			if mb > mostMemory {
				t.Errorf("%s took %d MB, want at most %d (seed %d)", id, mb, mostMemory, seed)
			}
		}
	}
}

func gone(p *cluster.Process) bool {
	select {
	case <-p.Done:
		return true
	default:
		return false
	}
}

// works looks for an event that the server has of each sensor agent's plugin, and for what the
// action left behind on each action agent.
func works(w *world) error {
	has := map[api.AgentID]bool{}
	for _, e := range w.events() {
		has[e.Agent] = has[e.Agent] || e.Type == "count.tick"
	}
	for _, id := range hostileAgents[api.Sensor] {
		if !has[id] {
			return fmt.Errorf("no event of %s", id)
		}
	}
	for _, id := range hostileAgents[api.Action] {
		if got := strings.Join(effects(w.t, w.home(id, "slow-action", "effects")), " "); got != "begin end" {
			return fmt.Errorf("the action of %s left %q", id, got)
		}
	}
	return nil
}
