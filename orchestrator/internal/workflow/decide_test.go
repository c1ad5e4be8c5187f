package workflow

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// fullDisk is an event from web-1.
func fullDisk(data string) Event {
	e := Event{
		Event: api.Event{
			ID: "01E", Type: "disk.space.high", Source: "disk-space-monitor", Monitor: "root", Severity: api.High, Key: "/",
			Timestamp: api.At(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), Tags: []string{"prod"},
		},
		Agent: Agent{ID: "web-1", Name: "Web 1", Host: "web-1.example", Tags: []string{"role:web"}},
	}
	if err := json.Unmarshal([]byte(data), &e.Data); err != nil {
		panic(err)
	}
	return e
}

func TestDecide(t *testing.T) {
	const when = "name: w\nvariables: {limit: 90}\ntriggers: [{id: disk, event: disk.**}]\nactions: [{plugin: a}]\nwhen: event.data.percent >= variables.limit && event.data.mount != '/boot'\n"
	on := []Clause{{"mode is not off", "live", expr.Met}, {"trigger disk takes disk.**", "disk.space.high", expr.Met}}
	for _, c := range []struct {
		name, src, data string
		want            Decision
	}{
		{"met", when, `{"percent": 97, "mount": "/"}`, Decision{Run: true, Reason: "everything is met", Clauses: append(on[:2:2],
			Clause{"when event.data.percent >= variables.limit", "event.data.percent = 97, variables.limit = 90", expr.Met},
			Clause{`when event.data.mount != "/boot"`, `event.data.mount = "/"`, expr.Met})}},
		{"not met", when, `{"percent": 50.5, "mount": "/"}`, Decision{
			Reason: "when is not met: event.data.percent >= variables.limit (event.data.percent = 50.5, variables.limit = 90)", Clauses: append(on[:2:2],
				Clause{"when event.data.percent >= variables.limit", "event.data.percent = 50.5, variables.limit = 90", expr.NotMet},
				Clause{`when event.data.mount != "/boot"`, ``, expr.Undecided})}},
		{"missing field", when, `{"mount": "/"}`, Decision{
			Reason: "when cannot be evaluated: event.data.percent is missing: test for it with has(event.data.percent)", Clauses: append(on[:2:2],
				Clause{"when event.data.percent >= variables.limit", "", expr.Failed},
				Clause{`when event.data.mount != "/boot"`, `event.data.mount = "/"`, expr.Met})}},
		{"unreadable", when, `{"percent": 1e999}`, Decision{
			Reason: "event.data.percent: number 1e999 is out of range", Clauses: append(on[:2:2],
				Clause{"the event can be read", "event.data.percent: number 1e999 is out of range", expr.Failed})}},
		{"off", "mode: off\n" + when, `{"percent": 97, "mount": "/"}`, Decision{Reason: "the workflow is off", Clauses: []Clause{
			{"mode is not off", "off", expr.NotMet}, on[1],
			{"when event.data.percent >= variables.limit", "event.data.percent = 97, variables.limit = 90", expr.Met},
			{`when event.data.mount != "/boot"`, `event.data.mount = "/"`, expr.Met}}}},
		{"other type", "name: w\ntriggers: [{event: cpu.*}, {event: fs.*}]\nactions: [{plugin: a}]", `{}`, Decision{
			Reason:  "no trigger takes events of type disk.space.high",
			Clauses: []Clause{on[0], {"one of 2 triggers", "disk.space.high", expr.NotMet}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Key = `"web-1" "/"`
			got := parse(t, c.src).Decide(fullDisk(c.data))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKeysDoNotRunTogether(t *testing.T) {
	a, b := fullDisk("{}"), fullDisk("{}")
	a.Agent.ID, a.Key = "a", `" "b`
	b.Agent.ID, b.Key = `a" "`, `b`
	if keyOf(a) == keyOf(b) {
		t.Errorf("two different keys are both %s", keyOf(a))
	}
}

// One definition serves every event of every connection at once.
func TestConcurrentUse(t *testing.T) {
	d := parse(t, everything)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			e := fullDisk(fmt.Sprintf(`{"percent": %d, "mount": "/m%d"}`, 90+i, i))
			d.Decide(e)
			_, effects, err := Start(d, "r", e)
			if err != nil {
				t.Error(err)
			}
			for _, effect := range effects {
				if sent, ok := effect.(Dispatch); ok && string(sent.Input["path"]) != fmt.Sprintf(`"/m%d"`, i) {
					t.Errorf("the event of run %d became %s", i, sent.Input)
				}
			}
		})
	}
	wg.Wait()
}
