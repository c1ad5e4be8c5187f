package engine

import (
	"fmt"
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

// What would have been started counts for the limits of a workflow in mode shadow as a run that
// has ended at once, and for those of a live one not at all.
func TestLimitsInShadow(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		const output = "    agents: {ids: [a]}\noutputs: [{plugin: slack, on: [escalated]}]\n"
		text := func(mode, limits string) string { return simple("mode: "+mode+"\nlimits: {"+limits+"}\n", output) }
		seq, want := uint64(0), map[api.EventID]string{}
		sends := func(reasons ...string) {
			for _, reason := range reasons {
				seq++
				w.sends(s, event(seq), api.EventAccepted)
				want[api.EventID(fmt.Sprint("E", seq))] = reason
				time.Sleep(time.Minute)
			}
		}
		const met = "everything is met"
		const runs = "runs: {count: 3, per: 30m}"
		w.apply(text("live", runs))
		sends(met)
		w.apply(text("shadow", runs)) // with the run that was there
		sends(met, met, "limit: 3 runs within 30m0s")
		w.apply(text("live", runs))
		sends(met)
		w.apply(text("shadow", "attempts: {count: 2, per: 10m, then: escalate}")) // of the key, whose runs are out of its time
		time.Sleep(15 * time.Minute)
		sends(met, met, "attempts: 2 within 10m0s did not help: people are told instead", "attempts: 2 within 10m0s, and people were told")
		w.apply(text("shadow", "concurrency: {max: 1, excess: drop}"))
		sends("concurrency: 1 go on, at most 1") // the real ones
		w.reasons(want)
		if got := w.evaluation("E8"); len(got.Begins) != 1 || got.Begins[0].Plugin != "slack" {
			t.Errorf("the attempt too many would have begun with %+v, want the output alone", got.Begins)
		}
	})
}
