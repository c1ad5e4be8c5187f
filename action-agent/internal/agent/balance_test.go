//go:build unix

package agent

import (
	"testing"

	"github.com/stavily/agents/shared/pkg/agent/agenttest"
)

// account reads a metric of the running agent: its values by label, or nil when it serves none.
func (r *run) account(metric string) map[string]float64 {
	return agenttest.Metric(r.t, r.base, metric)
}

// balances awaits that what the running agent took in is as much as what became of it.
func (r *run) balances() {
	select {
	case <-r.done:
	default:
		agenttest.AwaitBalance(r.t, r.base, patience, "instructions", "results")
	}
}

// Whatever comes of an offer, something is counted, over a kill too; an offer that is dropped
// without a word shows.
func TestOffersAreAccountedFor(t *testing.T) {
	var b balance
	b.receive(3)
	b.came("completed")
	b.over()
	b.came(offerRepeated)
	b.over()
	if a, n := b.account(); n != 0 || a["in_hand"] != 1 || a["received"] != 3 {
		t.Errorf("%v with %v unaccounted for, want one in hand of three and none", a, n)
	}
	b.over()
	if a, n := b.account(); n != 1 {
		t.Errorf("%v with %v unaccounted for, want the one that was dropped", a, n)
	}

	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick, "gated": gated}, "").start()
	o.offer(order("one", "quick"))
	o.offer(order("none", "no-such-plugin"))
	o.offer(order("held", "gated"))
	await(t, "two ended", func() bool {
		a := r.account("instructions_account")
		return a["completed"] == 1 && a["rejected"] == 1 && a["in_hand"] == 1 && a["received"] == 3
	})
	r.balances()
	r.file("ran-held")
	r.kill()
	r.start()
	await(t, "the interrupted one reported", func() bool { return r.account("results_waiting")[""] == 0 && r.account("instructions_account") != nil })
	r.balances()
}
