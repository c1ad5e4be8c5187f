package workflow

import (
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Now is the time at which something is decided, and not that of the event.
func TestNow(t *testing.T) {
	d := parse(t, `
name: w
triggers: [{event: a}]
when: now - event.timestamp < duration("10m")
actions:
  - {id: one, plugin: p, with: {at: "${{ now }}"}}
  - {id: two, needs: [one], plugin: p, with: {at: "${{ now }}"}}
`)
	happened := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	e := Event{Event: api.Event{ID: "1", Type: "a", Timestamp: api.At(happened)}, Now: happened.Add(10 * time.Minute)}
	if decision := d.Decide(e); decision.Run {
		t.Errorf("it runs for an old event: %+v", decision)
	}
	e.Now = happened.Add(9 * time.Minute)
	if decision := d.Decide(e); !decision.Run {
		t.Errorf("it does not run: %+v", decision)
	}
	s, effects, err := Start(d, "r", e)
	if err != nil {
		t.Fatal(err)
	}
	s.Now = happened.Add(time.Hour)
	_, more, err := Step(d, s, StepEnded{Step: "one", Status: api.Completed})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, effect := range append(effects, more...) {
		if s, ok := effect.(Dispatch); ok {
			got = append(got, string(s.Input["at"]))
		}
	}
	if want := `"2026-05-06T07:17:09Z" "2026-05-06T08:08:09Z"`; strings.Join(got, " ") != want {
		t.Errorf("steps were given %s, want %s", got, want)
	}
}

// What people approve is not what a clock says.
func TestNowIsNotApproved(t *testing.T) {
	_, err := Parse("f", []byte("name: w\ntriggers: [{event: a}]\nactions: [{id: ok, approval: {}}, {plugin: p, needs: [ok], with: {at: '${{ now }}'}}]\n"))
	if want := "f:3:66: with reads now, which is another time when approval ok is given"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}
