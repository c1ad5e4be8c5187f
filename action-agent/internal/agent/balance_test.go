//go:build unix

package agent

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// account reads a metric of the running agent: its values by label, or nil when it serves none.
func (r *run) account(metric string) map[string]float64 {
	addr, err := os.ReadFile(filepath.Join(r.base, "data", "state", "metrics.addr"))
	if err != nil {
		return nil
	}
	resp, err := http.Get("http://" + strings.TrimSpace(string(addr)) + "/metrics")
	if err != nil {
		return nil // a former process said so
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		r.t.Error(err)
	}
	found := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, labels, _ := strings.Cut(name, "{")
		n, err := strconv.ParseFloat(value, 64)
		if name != "stavily_agent_"+metric || err != nil {
			continue
		}
		_, label, _ := strings.Cut(strings.TrimSuffix(labels, `"}`), `"`)
		found[label] = n
	}
	return found
}

// balances awaits that what the running agent took in is as much as what became of it.
func (r *run) balances() {
	select {
	case <-r.done:
		return
	default:
	}
	for _, of := range []string{"instructions", "results"} {
		limit := time.Now().Add(patience)
		for n := r.account(of + "_unaccounted")[""]; n != 0; n = r.account(of + "_unaccounted")[""] {
			if time.Now().After(limit) {
				r.t.Errorf("%v %s are unaccounted for: %v", n, of, r.account(of+"_account"))
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
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
