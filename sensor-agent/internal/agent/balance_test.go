//go:build unix

package agent

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
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
	for _, of := range []string{"events"} {
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
