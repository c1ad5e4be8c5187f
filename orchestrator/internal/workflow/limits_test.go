package workflow

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
)

const bounded = head + `cooldown: 30m
dedupe: {key: [event.agent.id, event.data.mount], window: 10m}
limits: {runs: {count: 20, per: 1h}, expires_after: 15m, freeze: ["Fri 17:00 - Mon 08:00 Europe/Berlin"]}
actions: [{plugin: a}]`

func TestHold(t *testing.T) {
	d := parse(t, bounded)
	e := fullDisk(`{"mount": "/"}`)
	e.Type = "a.b"
	decision := d.Decide(e)
	if want := ` "web-1" "/"`; decision.Duplicate != want {
		t.Fatalf("duplicates are told by %q, want %q", decision.Duplicate, want)
	}
	now := time.Date(2026, 1, 6, 3, 0, 0, 0, time.UTC) // a Tuesday
	for _, c := range []struct {
		name   string
		past   Past
		at     time.Time
		reason string
		clause Clause
	}{
		{"nothing before", Past{}, now, "everything is met", Clause{"no duplicate", "", expr.Met}},
		{"a pause that has just ended", Past{CooldownUntil: now, DuplicateUntil: now.Add(-time.Second), Runs: 19}, now, "everything is met", Clause{"fewer than 20 runs per 1h0m0s", "19", expr.Met}},
		{"cooldown", Past{CooldownUntil: now.Add(12 * time.Minute)}, now, "cooldown, 12m0s left", Clause{"no cooldown", "12m0s left, until 2026-01-06T03:12:00Z", expr.NotMet}},
		{"duplicate", Past{DuplicateUntil: now.Add(time.Minute), CooldownUntil: now.Add(time.Hour)}, now, "a duplicate of what came before, for 1m0s more", Clause{"no duplicate", "1m0s left, until 2026-01-06T03:01:00Z", expr.NotMet}},
		{"limit", Past{Runs: 20}, now, "limit: 20 runs within 1h0m0s", Clause{"fewer than 20 runs per 1h0m0s", "20", expr.NotMet}},
		{"frozen", Past{}, time.Date(2026, 1, 4, 22, 0, 0, 0, time.UTC), "frozen: Fri 17:00 - Mon 08:00 Europe/Berlin", Clause{"not frozen: Fri 17:00 - Mon 08:00 Europe/Berlin", "Sun 23:00", expr.NotMet}},
	} {
		got := d.HoldRun(d.HoldEvent(decision, c.past, now), c.past, c.at)
		if got.Reason != c.reason || got.Run != (c.reason == "everything is met") || !hasClause(got, c.clause) {
			t.Errorf("%s: %+v, want %q and %+v", c.name, got, c.reason, c.clause)
		}
	}
	if len(decision.Clauses) != 2 {
		t.Errorf("a later decision wrote into this one: %+v", decision.Clauses)
	}
	e.Type = "other"
	if not := d.HoldRun(d.Decide(e), Past{Runs: 20}, now); !strings.HasPrefix(not.Reason, "no trigger") {
		t.Errorf("reason = %q, want the first thing that was not met", not.Reason)
	}
	e.Type, e.Data = "a.b", nil
	if not := d.Decide(e); not.Run || !strings.HasPrefix(not.Reason, "dedupe.key cannot be evaluated: event.data.mount is missing") {
		t.Errorf("without what tells duplicates: %+v", not)
	}
}

func hasClause(d Decision, want Clause) bool {
	for _, c := range d.Clauses {
		if c == want {
			return true
		}
	}
	return false
}

func TestFreeze(t *testing.T) {
	for _, c := range []struct {
		freeze string
		at     string // by the clock in Berlin
		want   bool
	}{
		{"Fri 17:00 - Mon 08:00 Europe/Berlin", "2026-01-02T16:59:59", false}, // a Friday
		{"Fri 17:00 - Mon 08:00 Europe/Berlin", "2026-01-02T17:00:00", true},
		{"Fri 17:00 - Mon 08:00 Europe/Berlin", "2026-01-04T12:00:00", true},
		{"Fri 17:00 - Mon 08:00 Europe/Berlin", "2026-01-05T07:59:59", true},
		{"Fri 17:00 - Mon 08:00 Europe/Berlin", "2026-01-05T08:00:00", false},
		{"Mon 09:00-Tue 10:00 Europe/Berlin", "2026-01-06T09:59:00", true},
		{"Mon 09:00-Tue 10:00 Europe/Berlin", "2026-01-07T09:59:00", false},
		{"22:00 - 06:00 Europe/Berlin", "2026-07-01T22:00:00", true},
		{"22:00 - 06:00 Europe/Berlin", "2026-07-01T05:59:00", true},
		{"22:00 - 06:00 Europe/Berlin", "2026-07-01T06:00:00", false},
		{"09:00 - 17:00", "2026-01-02T10:00:00", true},  // 09:00 UTC
		{"09:00 - 17:00", "2026-07-01T10:59:00", false}, // 08:59 UTC
		// The hour that does not exist, and the one that comes twice: the wall's clock counts.
		{"02:30 - 03:30 Europe/Berlin", "2026-03-29T03:10:00", true},
		{"02:30 - 03:30 Europe/Berlin", "2026-10-25T02:40:00", true},
	} {
		f, err := parseFreeze(c.freeze)
		if err != nil {
			t.Fatal(err)
		}
		berlin, err := time.LoadLocation("Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.ParseInLocation("2006-01-02T15:04:05", c.at, berlin)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.covers(at); got != c.want {
			t.Errorf("%s at %s: %v", c.freeze, c.at, got)
		}
	}
}

func TestMistakesInLimits(t *testing.T) {
	_, err := Parse("w.yaml", []byte(head+`dedupe: {window: 0s}
limits:
  runs: {count: 0}
  expires_after: soon
  freeze: ["Fri - Mon", "Fri 17:00 - 08:00", "10:00 - 10:00", "25:00 - 26:00", "Mon 01:00 - Tue 01:00 Mars/Olympus"]
actions: [{plugin: a}]
`))
	example := `: must be a time such as "Fri 17:00 - Mon 08:00 Europe/Berlin", or "22:00 - 06:00" for every day; without a place it is UTC`
	want := strings.Join([]string{
		`w.yaml:3:9: dedupe.key is missing: list what tells events apart, for example [event.agent.id, event.data.mount]`,
		`w.yaml:3:18: window 0s: must be from 1s to 720h0m0s`,
		`w.yaml:5:9: runs.per is missing: say within which time, for example 1h`,
		`w.yaml:5:17: count 0: must be from 1 to 100000`,
		`w.yaml:6:18: expires_after "soon": must be a duration such as 30s, 5m or 2h`,
		`w.yaml:7:12: "Fri - Mon"` + example,
		`w.yaml:7:25: "Fri 17:00 - 08:00"` + example,
		`w.yaml:7:46: "10:00 - 10:00": begins when it ends: use mode: off for always`,
		`w.yaml:7:63: "25:00 - 26:00"` + example,
		`w.yaml:7:80: "Mon 01:00 - Tue 01:00 Mars/Olympus": unknown time zone Mars/Olympus: use a name such as Europe/Berlin`,
	}, "\n")
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}

func TestMistakesInLimitsOfRuns(t *testing.T) {
	for _, c := range []struct{ say, want string }{
		{"{attempts: {count: 0, per: 1h}}", "f:4:28: count 0: must be from 1 to 100000"},
		{"{attempts: {count: 1}}", "f:4:20: attempts.per is missing"},
		{"{attempts: {count: 1, per: 1h, then: stop}}", `f:4:46: then "stop": must be escalate, or left out`},
		{"{attempts: {count: 1, per: 1h, then: escalate}}", "f:4:46: then: escalate tells nobody: add an output with on: [escalated]"},
		{"{concurrency: {max: 0}}", "f:4:29: max 0: must be from 1 to 1000"},
		{"{concurrency: {max: 1, excess: kill}}", `f:4:40: excess "kill": must be queue, drop or replace`},
		{"{concurrency: {max: 1, key: event.nothing}}", `event has no field "nothing"`},
		{"{targets: {max: 0%}}", `f:4:25: max "0%": must be a part of the agents, from 1% to 100%`},
		{"{targets: {max: many}}", `f:4:25: max "many": must be`},
	} {
		_, err := Parse("f", []byte(head+"actions: [{plugin: p}]\nlimits: "+c.say))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want only %s", c.say, err, c.want)
		}
	}
}

func TestTheEndOfAFreeze(t *testing.T) {
	for _, c := range []struct{ freezes, at, until, by string }{
		{"'Fri 17:00 - Mon 08:00 Europe/Berlin'", "2026-01-02T15:59:59Z", "", ""},
		{"'Fri 17:00 - Mon 08:00 Europe/Berlin'", "2026-01-02T16:00:30Z", "2026-01-05T07:00:00Z", "Fri 17:00 - Mon 08:00 Europe/Berlin"},
		{"'Fri 17:00 - Mon 08:00 Europe/Berlin'", "2026-03-27T16:00:00Z", "2026-03-30T06:00:00Z", "Fri 17:00 - Mon 08:00 Europe/Berlin"}, // the clock is set meanwhile
		{"'22:00 - 06:00'", "2026-12-31T23:00:00Z", "2027-01-01T06:00:00Z", "22:00 - 06:00"},
		{"'22:00 - 06:00', '05:00 - 07:00'", "2026-07-01T05:30:00Z", "2026-07-01T07:00:00Z", "05:00 - 07:00"},
		{"'01:00 - 02:30 Europe/Berlin'", "2026-10-25T01:10:00Z", "2026-10-25T01:30:00Z", "01:00 - 02:30 Europe/Berlin"},       // 02:10 for the second time
		{"'01:00 - 02:30 Europe/Berlin'", "2026-10-25T00:10:40Z", "2026-10-25T00:30:00Z", "01:00 - 02:30 Europe/Berlin"},       // and for the first
		{"'01:00 - 01:30 America/New_York'", "2026-11-01T06:10:00Z", "2026-11-01T06:30:00Z", "01:00 - 01:30 America/New_York"}, // the same there
		{"'01:00 - 01:30 America/New_York'", "2026-11-01T05:10:00Z", "2026-11-01T05:30:00Z", "01:00 - 01:30 America/New_York"},
		{"'00:00 - 04:00 Europe/Berlin'", "2026-10-24T22:10:00Z", "2026-10-25T03:00:00Z", "00:00 - 04:00 Europe/Berlin"}, // it is set back meanwhile
		{"'01:00 - 02:30 Europe/Berlin'", "2026-03-29T00:10:00Z", "2026-03-29T01:30:00Z", "01:00 - 02:30 Europe/Berlin"}, // there is no 02:30 that day
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		until, by := parse(t, head+"limits: {freeze: ["+c.freezes+"]}\nactions: [{plugin: p}]\n").Limits.Frozen(at)
		if got := until.UTC().Format(time.RFC3339); by != c.by || by != "" && got != c.until {
			t.Errorf("%s at %s: %s, %s, want %s", c.freezes, c.at, got, by, c.until)
		}
	}
}
