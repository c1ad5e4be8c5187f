package workflow

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
)

// Schedules go by the clock on the wall: each of its minutes counts once when the clock is set
// back, and one that it leaves out is made up for.
func TestSchedules(t *testing.T) {
	for _, c := range []struct {
		cron, zone, after string
		want              []string
	}{
		{"0 3 * * *", "UTC", "2026-01-01T12:00:00Z", []string{"2026-01-02T03:00:00Z", "2026-01-03T03:00:00Z"}},
		{"0 3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"}},
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"}},   // 02:30 is not there: 03:30
		{"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},   // 02:30 is there twice
		{"0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", []string{"2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"}},    // 02:00 once, then 03:00
		{"*/30 * * * *", "Europe/Berlin", "2026-10-25T00:10:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"}}, // nothing again in the hour that comes twice
		{"*/30 * * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", []string{"2026-10-25T02:00:00Z", "2026-10-25T02:30:00Z"}}, // nor when asked in it
		{"*/20 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z", "2026-03-29T01:40:00Z", "2026-03-30T00:00:00Z"}},
		{"*/30 2-3 * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:00:00Z"}}, // 02:00 and 03:00 are one
		{"0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", []string{"2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"}},                               // 00:00 is not there: 01:00
		{"30 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", []string{"2026-04-23T22:30:00Z", "2026-04-24T21:30:00Z"}},
		{"0 0 24 4 *", "Africa/Cairo", "2026-04-23T12:00:00Z", []string{"2026-04-23T22:00:00Z", "2027-04-23T22:00:00Z"}},
		{"0 0 * * FRI", "Africa/Cairo", "2026-04-23T12:00:00Z", []string{"2026-04-23T22:00:00Z", "2026-04-30T21:00:00Z"}},
		{"0 0 * * *", "Africa/Cairo", "2026-10-28T22:00:00Z", []string{"2026-10-29T22:00:00Z", "2026-10-30T22:00:00Z"}}, // 23:00 to 24:00 is there twice
		{"30 23 * * *", "Africa/Cairo", "2026-10-29T12:00:00Z", []string{"2026-10-29T20:30:00Z", "2026-10-30T21:30:00Z"}},
		{"0 3 * * *", "Etc/GMT-5", "2026-01-01T12:00:00Z", []string{"2026-01-01T22:00:00Z", "2026-01-02T22:00:00Z"}}, // whose clock was never set
		{"@daily", "Asia/Beirut", "2026-03-28T12:00:00Z", []string{"2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z"}},
		{"0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", []string{"2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"}},
		{"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"2026-10-03T15:45:00Z", "2026-10-04T15:15:00Z"}},                            // half an hour is left out: 02:45
		{"10,35 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"2026-10-03T15:35:00Z", "2026-10-03T15:40:00Z", "2026-10-04T15:10:00Z"}}, // 02:35 is there, 02:10 is 02:40
		{"45 1 * * *", "Australia/Lord_Howe", "2026-04-03T18:00:00Z", []string{"2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"}},                            // half an hour is there twice
		{"0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
		{"0 0 29 2 *", "UTC", "2097-01-01T00:00:00Z", []string{"2104-02-29T00:00:00Z"}},
		{"0 0 29 2 MON", "Europe/Berlin", "2026-01-01T00:00:00Z", []string{"2044-02-28T23:00:00Z", "2072-02-28T23:00:00Z", "2112-02-28T23:00:00Z"}}, // both must be
		{"0 3 * * *", "Europe/Berlin", "2040-12-30T12:00:00Z", []string{"2040-12-31T02:00:00Z", "2041-01-01T02:00:00Z"}},                            // the end of a leap year
		{"0 9 * * MON-FRI", "America/New_York", "2026-01-02T15:00:00Z", []string{"2026-01-05T14:00:00Z", "2026-01-06T14:00:00Z"}},
		{"@daily", "UTC", "2026-01-01T00:00:00Z", []string{"2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"}},
	} {
		d := parse(t, fmt.Sprintf("name: w\ntriggers: [{schedule: %q, timezone: %s}]\noutputs: [{plugin: p}]", c.cron, c.zone))
		at, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for range c.want {
			at = d.Triggers[0].Schedule.Next(at)
			got = append(got, at.Format(time.RFC3339))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s in %s after %s (-want +got):\n%s", c.cron, c.zone, c.after, diff)
		}
	}
}

const byHand = `name: w
triggers: [{manual: {inputs: {mount: {required: true}, days: {type: integer, default: 7}, part: {type: number}, hard: {type: boolean}}}}, {event: a}]
when: event.type == 'a' || inputs.days > 0
actions: [{plugin: p, agents: {any: {tags: [x]}}, with: {m: "${{ inputs.mount }}", d: "${{ inputs.days }}"}}]
`

func TestInputs(t *testing.T) {
	d := parse(t, byHand)
	for _, c := range []struct {
		given map[string]string
		want  string // JSON of the data, or the mistake
	}{
		{map[string]string{"mount": "/"}, `{"days":7,"mount":"/"}`},
		{map[string]string{"mount": "true", "days": "12", "part": "0.5", "hard": "true"}, `{"days":12,"hard":true,"mount":"true","part":0.5}`},
		{nil, "input mount is missing: --input mount=…"},
		{map[string]string{"mount": "/", "days": "many"}, `input days "many": must be of type integer`},
		{map[string]string{"mount": "/", "hard": "1"}, `input hard "1": must be of type boolean`},
		{map[string]string{"mount": "/", "part": "NaN"}, `input part "NaN": must be of type number`},
		{map[string]string{"mount": "/", "dais": "1"}, `there is no input "dais": did you mean days?`},
	} {
		e, err := d.ManualEvent(c.given, "ann")
		text, _ := json.Marshal(e.Data)
		if got := string(text); err != nil && err.Error() != c.want || err == nil && got != c.want {
			t.Errorf("%v: %s, %v, want %s", c.given, got, err, c.want)
		}
	}
	e, err := d.ManualEvent(map[string]string{"mount": "/x"}, "ann")
	if err != nil {
		t.Fatal(err)
	}
	own := Event{Event: e, Own: true}
	_, effects, err := Start(d, "r", own)
	if err != nil || !d.Decide(own).Run {
		t.Fatal(err, d.Decide(own))
	}
	if shown := shown(effects); !strings.Contains(shown, "m:[34 47 120 34]") {
		t.Errorf("effects: %s", shown)
	}
	forged := own
	forged.Own, forged.Agent.ID = false, "s"
	if d.Matches(forged) || d.Decide(forged).Run {
		t.Error("an agent starts a run by hand")
	}
	if _, err := parse(t, head+"actions: [{plugin: p}]").ManualEvent(nil, "ann"); err == nil || !strings.Contains(err.Error(), "has no trigger manual") {
		t.Errorf("without the trigger: %v", err)
	}
}

// A workflow begins when another ends as it says, and a chain of them comes to an end.
func TestWorkflowsThatStartOneAnother(t *testing.T) {
	d := parse(t, "name: w\ntriggers: [{workflow: other, on: [failed]}]\nactions: [{plugin: p}]")
	s := State{Run: "R", Workflow: "other", Status: Failed, Event: Event{Event: api.Event{ID: "E", Severity: api.High}, Agent: Agent{ID: "s", Host: "h"}}}
	ended := func() Event {
		t.Helper()
		e, err := EndedEvent(s)
		if err != nil {
			t.Fatal(err)
		}
		return Event{Event: e, Agent: s.Event.Agent, Own: true}
	}
	if got := d.Decide(ended()); !got.Run || !d.Matches(ended()) {
		t.Errorf("%+v", got)
	}
	forged := ended()
	forged.Own = false
	if d.Matches(forged) || d.Decide(forged).Run {
		t.Error("an agent says that a workflow has ended")
	}
	s.Status = Completed
	if got := d.Decide(ended()); got.Run || !d.Matches(ended()) {
		t.Errorf("another end: %+v", got)
	}
	s.Status = Failed
	for n := range MaxDepth + 1 {
		e := ended()
		got := d.Decide(e)
		if want := n < MaxDepth; got.Run != want || !want && got.Reason != "loop: 9 workflows have started one another" {
			t.Errorf("after %d: %+v", n, got)
		}
		s.Event = e
	}
}

func TestMistakesInTriggers(t *testing.T) {
	for _, c := range []struct{ say, want string }{
		{"{schedule: '* * * *'}", `f:2:23: schedule "* * * *": must be minute, hour, day of the month, month and day of the week`},
		{"{schedule: 'TZ=UTC 0 3 * * *'}", "the place is in timezone"},
		{"{schedule: 'TZ=0'}", "must be minute, hour"},
		{"{schedule: '@every 1s'}", "must be minute, hour"},
		{"{schedule: '0 0 30 2 *'}", `f:2:23: schedule "0 0 30 2 *": never comes: in none of its months is such a day`},
		{"{schedule: '0 0 31 2,4,6,9,11 MON'}", "never comes"},
		{"{schedule: '0 3 * * *', timezone: Mars/Olympus}", `timezone "Mars/Olympus": is not known`},
		{"{schedule: '0 3 * * *', missed: all}", `missed "all": must be run_once or skip`},
		{"{schedule: '0 3 * * *', on: [failed]}", "on is for a trigger by workflow"},
		{"{event: a, schedule: '0 3 * * *'}", "f:2:12: a trigger is by one of event, agent, schedule, manual, workflow, webhook, and this one by event and schedule"},
		{"{workflow: w}", `workflow "w": must be the name of another workflow`},
		{"{workflow: o, on: [done]}", `"done": must be completed, failed, cancelled or escalated`},
		{"{manual: {inputs: {a-b: {}}}}", `input "a-b": must be`},
		{"{manual: {inputs: {a: {type: date}}}}", `type "date": must be string, integer, number or boolean`},
		{"{manual: {inputs: {a: {type: integer, default: x}}}}", `default "x": must be of type integer`},
		{"{agent: gone}", `agent "gone": must be lost, returned, certificate_expiring or sandbox_degraded`},
		{"{}", "is empty: name an event type"},
	} {
		_, err := Parse("f", []byte("name: w\ntriggers: ["+c.say+"]\noutputs: [{plugin: p}]"))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want only %s", c.say, err, c.want)
		}
	}
	for src, want := range map[string]string{
		"name: w\ntriggers: [{manual: {}}]\nactions: [{plugin: p}]":                                                          "f:3:11: runs on the host of the sensor, and a run by hand has none",
		"name: w\ntriggers: [{manual: {inputs: {mount: {}}}}]\nwhen: inputs.mout == ''\noutputs: [{plugin: p}]":              `f:3:14: unknown input "mout": did you mean "mount"?`,
		"name: w\ntriggers: [{manual: {inputs: {days: {type: integer}}}}]\nwhen: inputs.days == 'x'\noutputs: [{plugin: p}]": "== does not take (int, string)",
	} {
		if _, err := Parse("f", []byte(src)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
	}
}

// Tests of a document send the server's own events.
func TestTryingOwnEvents(t *testing.T) {
	const document = `
name: w
triggers: [{schedule: "0 3 * * *", timezone: Europe/Berlin}, {manual: {inputs: {n: {type: integer, default: 1}}}}, {workflow: other}]
actions: [{id: p, plugin: p, agents: {any: {tags: [x]}}}]
tests:
  - {name: by the clock, event: {type: stavily.schedule}, expect: {runs: true}}
  - {name: by hand, event: {type: stavily.manual, data: {n: 2}}, expect: {runs: true}}
  - {name: after another, event: {type: stavily.workflow, source: other, data: {status: failed}}, expect: {runs: true}}
  - {name: after another's cancel, event: {type: stavily.workflow, source: other, data: {status: cancelled}}, expect: {runs: false}}
  - {name: anything else, event: {type: disk}, expect: {runs: false}}
`
	if _, err := parse(t, document).TryAll(t.Context()); err != nil {
		t.Error(err)
	}
}
