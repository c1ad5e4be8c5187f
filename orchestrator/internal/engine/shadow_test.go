package engine

import (
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// A report has the newest decisions, says where it leaves older ones out, and counts only those
// from its time on.
func TestShadowReportIsOfTheNewest(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("mode: shadow\ndedupe: {key: [event.data.mount], window: 10m}\n", ""))
		for n, mount := range []string{"/", "/", "/a", "/b", "/b"} {
			w.sends(s, on(uint64(n+1), mount), api.EventAccepted)
			time.Sleep(time.Minute)
		}
		w.runsAre()
		w.apply(simple("mode: live\n", ""))
		w.sends(s, on(6, "/"), api.EventAccepted)
		for _, c := range []struct {
			since              time.Duration
			most, events, runs int
			older              bool
		}{
			{time.Hour, 100, 5, 3, false}, {time.Hour, 5, 5, 3, false}, {time.Hour, 4, 4, 2, true}, {time.Hour, 0, 0, 0, true},
			{150 * time.Second, 100, 2, 1, false},
		} {
			w.read(func(r store.Reader) error {
				got, err := ShadowReport(r, "simple", time.Now().Add(-c.since), c.most)
				if got.Events != c.events || got.Runs != c.runs || got.Older != c.older || len(got.Last) != c.runs {
					t.Errorf("%+v: %+v", c, got)
				}
				return err
			})
		}
	})
}
