package engine

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// BenchmarkShadow measures what a report of 20,000 events costs, and of the newest 500 of them,
// as the dashboard asks for; and what a workflow's limits in mode shadow cost each event.
func BenchmarkShadow(b *testing.B) {
	const events = 20_000
	st := onDisk(b)
	d, err := workflow.Parse("test.yaml", []byte(simple("mode: shadow\nwhen: event.data.percent >= 90\nlimits: {runs: {count: 100000, per: 24h}, attempts: {count: 100, per: 24h}}\n", "    with: {path: /var/log}\n")))
	if err != nil {
		b.Fatal(err)
	}
	begin := time.Now().Add(-events * time.Second)
	err = st.Org("default").Update(b.Context(), func(tx store.Tx) error {
		for n := range events {
			ev := workflow.Event{Event: api.Event{ID: api.EventID(fmt.Sprint("E", n)), Type: "test", Data: map[string]json.RawMessage{"percent": json.RawMessage(fmt.Sprint(80 + n%20))}}}
			ev.Agent.ID = api.AgentID(fmt.Sprint("sensor-", n%100))
			decision := d.Decide(ev)
			e := store.Evaluation{Event: ev.ID, Agent: ev.Agent.ID, Workflow: d.Name, Version: 1, At: begin.Add(time.Duration(n) * time.Second), Shadow: true}
			if decision.Run {
				e.Foreseen = decision.Key
				if decision, err = d.Foresee(decision, ev); err != nil {
					return err
				}
			}
			if e.Decision, err = json.Marshal(decision); err != nil {
				return err
			}
			if err := tx.PutEvaluation(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	view := func(f func(store.Reader) error) {
		if err := st.Org("default").View(b.Context(), f); err != nil {
			b.Fatal(err)
		}
	}
	for _, most := range []int{events, 500} {
		b.Run(fmt.Sprintf("report/%d", most), func(b *testing.B) {
			for b.Loop() {
				view(func(r store.Reader) error {
					report, err := ShadowReport(r, d.Name, begin, most)
					if report.Events != most || report.Runs != most/2 {
						b.Fatalf("%d events and %d runs", report.Events, report.Runs)
					}
					return err
				})
			}
		})
	}
	b.Run("limits", func(b *testing.B) {
		decision := d.Decide(workflow.Event{Event: api.Event{Type: "test", Data: map[string]json.RawMessage{"percent": json.RawMessage("99")}}, Agent: workflow.Agent{ID: "sensor-10"}})
		for b.Loop() {
			view(func(r store.Reader) error {
				var past workflow.Past
				err := limitsOf(r, d, decision, time.Now(), &past)
				if past.Runs != events/2 || past.Attempts == 0 {
					b.Fatalf("%+v", past)
				}
				return err
			})
		}
	})
}
