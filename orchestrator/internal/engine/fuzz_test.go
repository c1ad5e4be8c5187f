package engine

import (
	"log/slog"
	"testing"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

// FuzzEvents hands in whatever decodes as a batch. It is taken or refused with an
// error for the agent, never with a fault of the store or a panic, and what was taken
// once is not taken again.
func FuzzEvents(f *testing.F) {
	e := New(onDisk(f), newAuthority(f), Options{Logger: slog.New(slog.DiscardHandler)})
	w := world{Engine: e, t: f}
	sensor := w.enrol(api.Sensor, "s", "h")
	w.apply(simple("when: event.data.x > 1\n", ""))
	f.Add([]byte(`{"stream": {"epoch": "e"}, "events": [{"seq": 1, "id": "E1", "type": "test", "severity": "low", "timestamp": "2026-01-02T15:04:05.000Z", "data": {"x": 2}}]}`))
	f.Add([]byte(`{"stream": {"epoch": "e"}, "gaps": [{"from": 2, "to": 18446744073709551615, "count": 1, "reason": "\u0000"}]}`))
	f.Add([]byte(`{"events": [{"id": "E2", "type": "test", "severity": "high", "timestamp": "0000-01-01T00:00:00Z", "key": "\ud800", "tags": ["\u0000"]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var b api.EventBatch
		if err := limits.UnmarshalJSON(body, &b); err != nil {
			t.Skip()
		}
		answer, err := e.Events(t.Context(), sensor.Identity, b)
		if err != nil {
			if api.CodeOf(err) == "" {
				t.Fatalf("a fault: %v", err)
			}
			return
		}
		again, err := e.Events(t.Context(), sensor.Identity, b)
		if err != nil {
			t.Fatalf("the same batch again: %v", err)
		}
		if again.AckedThrough < answer.AckedThrough {
			t.Errorf("acknowledged through %d and then through %d", answer.AckedThrough, again.AckedThrough)
		}
		for n, o := range again.Events {
			if o.Status == api.EventAccepted {
				t.Errorf("event %d was accepted again", n)
			}
		}
	})
}
