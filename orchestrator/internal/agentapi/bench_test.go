package agentapi_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// BenchmarkEventToOffer is the time from handing in an event until a waiting agent has
// the instruction, over mutual TLS, durable on both ways.
func BenchmarkEventToOffer(b *testing.B) {
	s := servertest.Start(b)
	sensor, action := s.Enrol(api.Sensor, "sensor-1", "host-a"), s.Enrol(api.Action, "action-1", "host-a")
	s.Apply(cleanWhenFull)
	n := uint64(0)
	for b.Loop() {
		n++
		offered := make(chan error, 1)
		go func() {
			answer, err := action.Poll(b.Context(), 30*time.Second, 1)
			if err == nil && len(answer.Offers()) != 1 {
				err = fmt.Errorf("%d offers", len(answer.Offers()))
			}
			offered <- err
		}()
		time.Sleep(2 * time.Millisecond) // lets the poll wait; taken off below
		if _, err := sensor.Events(b.Context(), full(n, api.EventID(fmt.Sprintf("E%d", n)), "95")); err != nil {
			b.Fatal(err)
		}
		if err := <-offered; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e6-2, "ms/event")
}

// BenchmarkEvents is the intake of one sensor's batches of 100 that trigger nothing.
func BenchmarkEvents(b *testing.B) {
	s := servertest.Start(b)
	s.Apply(cleanWhenFull)
	var agents atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		id := api.AgentID(fmt.Sprintf("sensor-%d", agents.Add(1)))
		sensor := s.Enrol(api.Sensor, id, "host-a")
		seq := uint64(0)
		for pb.Next() {
			batch := api.EventBatch{Stream: api.Stream{Epoch: string(id)}}
			for range 100 {
				seq++
				one := full(seq, api.EventID(fmt.Sprintf("%s.%d", id, seq)), "50").Events[0]
				batch.Events = append(batch.Events, one)
			}
			if _, err := sensor.Events(b.Context(), batch); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
