package engine

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// BenchmarkRuns is what a run of one step costs the engine and its database, from its event to
// its result, with as many under way as share commits: in processor time, which others on the
// machine change little.
func BenchmarkRuns(b *testing.B) {
	st := onDisk(b)
	e := New(st, newAuthority(b), Options{Logger: slog.New(slog.DiscardHandler)})
	const hosts, together = 20, 16
	err := st.Org("default").Update(b.Context(), func(tx store.Tx) error {
		for n := range hosts {
			host := fmt.Sprintf("host-%d", n)
			for _, a := range []store.Agent{{ID: api.AgentID("s-" + host), Type: api.Sensor}, {ID: api.AgentID("a-" + host), Type: api.Action}} {
				a.State, a.Hostname, a.LastSeen = store.Active, host, time.Now()
				if err := tx.PutAgent(a); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	document := "name: one-step\ntriggers:\n  - event: bench.tick\nactions:\n  - id: go\n    plugin: simulated\n    with: {path: \"${{ event.data.mount }}\"}\n"
	if _, _, err := e.Apply(b.Context(), "default", "one-step.yaml", []byte(document)); err != nil {
		b.Fatal(err)
	}
	rounds := max(b.N/(hosts*together), 1)
	b.ReportAllocs()
	b.ResetTimer()
	from := processorTime()
	var group errgroup.Group
	for n := range hosts {
		group.Go(func() error { return runsOf(b, e, fmt.Sprintf("host-%d", n), rounds, together) })
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64((processorTime()-from).Microseconds())/float64(rounds*hosts*together), "cpu-µs/run")
}

// runsOf has the agents of a host work as they do.
func runsOf(b *testing.B, e *Engine, host string, rounds, together int) error {
	sensor := pki.Identity{Org: "default", Type: api.Sensor, Agent: api.AgentID("s-" + host)}
	action := pki.Identity{Org: "default", Type: api.Action, Agent: api.AgentID("a-" + host)}
	seq := uint64(0)
	for range rounds {
		batch := api.EventBatch{Stream: api.Stream{Epoch: host}}
		for range together {
			seq++
			batch.Events = append(batch.Events, api.Event{
				ID: api.EventID(fmt.Sprintf("%s.%08d", host, seq)), Seq: seq, Type: "bench.tick", Source: "simulated", Monitor: "simulated",
				Timestamp: api.At(time.Now()), Severity: api.Low,
				Data: map[string]json.RawMessage{"seq": fmt.Append(nil, seq), "value": json.RawMessage("42"), "mount": json.RawMessage(`"/var"`)},
			})
		}
		if _, err := e.Events(b.Context(), sensor, batch); err != nil {
			return err
		}
		for left := together; left > 0; {
			offers, err := e.Poll(b.Context(), action, time.Minute, left)
			if err != nil {
				return err
			}
			left -= len(offers)
			var group errgroup.Group
			for _, i := range offers {
				group.Go(func() error {
					if _, err := e.Progress(b.Context(), action, i.ID, api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: "boot"}); err != nil {
						return err
					}
					_, err := e.Result(b.Context(), action, i.ID, api.Result{
						Status: api.Completed, Result: json.RawMessage(`{"freed_bytes":1048576}`), Attempt: i.Attempt, Lease: i.Lease,
						StartedAt: api.At(time.Now()), FinishedAt: api.At(time.Now()), DurationMS: 1,
						ResourceUsage: &api.ResourceUsage{CPUSeconds: 0.01, MaxRSSBytes: 9400000}, Plugin: &api.PluginRef{ID: i.PluginID, Version: "1.0.0"},
					})
					return err
				})
			}
			if err := group.Wait(); err != nil {
				return err
			}
		}
	}
	return nil
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // never fails
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
