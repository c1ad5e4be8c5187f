//go:build unix

package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stavily/agents/shared/pkg/agent/agenttest"
	"github.com/stavily/agents/shared/pkg/api"
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
		agenttest.AwaitBalance(r.t, r.base, patience, "events")
	}
}

// Over a kill, damage on disk, an event that is never taken, and another restart, what
// plugins were told is accepted is as much as what was delivered, and dropped for a reason.
func TestEventsAreAccountedFor(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	o.refuse = func(int, api.EventBatch) error { return api.Errorf(api.CodeUnavailable, "busy") }
	r := install(t, o, map[string]string{"counting": counting}, "").start()
	await(t, "the events on disk", func() bool { return r.spooled("count.10") })
	await(t, "all counted", func() bool { return r.account("events_account")["waiting"] >= 12 })
	r.kill()
	segments, err := filepath.Glob(filepath.Join(r.base, "data", "spool", "log", "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("segments %v: %v", segments, err)
	}
	text, err := os.ReadFile(segments[0])
	at := bytes.Index(text, []byte("count.5"))
	if err != nil || at < 0 {
		t.Fatalf("count.5 at %d: %v", at, err)
	}
	text[at] ^= 1
	write(t, segments[0], string(text))
	o.change(func() {
		o.refuse = func(_ int, b api.EventBatch) error {
			if slices.ContainsFunc(b.Events, func(e api.Event) bool { return e.Seq == 2 }) {
				return api.Errorf(api.CodeMalformed, "no")
			}
			return nil
		}
	})
	for range 2 {
		r.start()
		o.await("count.10")
		var a map[string]float64
		await(t, "all but two delivered", func() bool {
			a = r.account("events_account")
			return a["emitted"] >= 12 && a["waiting"] == 0 && a["delivered"] == a["emitted"]-2
		})
		r.balances()
		if a["corrupt"] != 1 || a["refused"] != 1 || a["unseen"] != 0 || a["rejected"] != 0 {
			t.Errorf("the accounts say %v, want one corrupt and one refused", a)
		}
		same(t, "exit code", 0, r.stop())
	}
}
