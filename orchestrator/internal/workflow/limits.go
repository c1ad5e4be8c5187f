package workflow

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the same places on every host
)

// Limits bound how often and when a definition acts. The zero value bounds nothing.
type Limits struct {
	Runs         int           // runs that may start within Per; 0 for any number
	Per          time.Duration // a sliding window
	ExpiresAfter time.Duration // no action starts later than this after the run did; 0 for the engine's own limit

	Attempts    Attempts
	Concurrency Concurrency
	Targets     Targets

	freezes []freeze
}

// Attempts bound how often a cure is tried for one [Decision.Key]. The zero value does not.
type Attempts struct {
	Count    int
	Per      time.Duration // a sliding window
	Escalate bool          // people are told, once, instead of another attempt
}

// Concurrency bounds how many runs of one [Decision.Lane] go on. The zero value does not.
type Concurrency struct {
	Max    int
	Excess Excess
}

// Excess is what becomes of a run that is one too many.
type Excess string

// The kinds of excess.
const (
	Queue   Excess = "queue"   // until another has ended
	Drop    Excess = "drop"    // it does not run
	Replace Excess = "replace" // the oldest is cancelled
)

// Targets bound on how many hosts runs go on, as a part of the action agents that have all the
// tags. The zero value does not.
type Targets struct {
	Percent int
	Tags    []string
}

// most is how many hosts of a number of agents may be worked on.
func (t Targets) most(agents int) int { return max(1, agents*t.Percent/100) }

const (
	maxRuns   = 100_000
	maxWindow = 30 * 24 * time.Hour
	maxFreeze = 20
	maxLane   = 1000

	// MaxQueued is how many runs of one lane wait at most.
	MaxQueued = 1000
)

// Past is what the runs before say about an event. The engine looks it up.
type Past struct {
	CooldownUntil  time.Time // of the decision's key; zero for none
	DuplicateUntil time.Time // of the decision's duplicate; zero for none
	ThrottledUntil time.Time // of the decision's group; zero for none
	Runs           int       // that started within Limits.Per
	Attempts       int       // for the decision's key within Limits.Attempts.Per
	Escalated      bool      // people were told within that time
	Running        int       // in the decision's lane
	Queued         int       // there
	Host           string    // that the event is from
	Hosts          []string  // on which runs go on
	Agents         int       // that Limits.Targets counts
}

// HoldEvent adds to a decision what the runs before say about the event: that it is one too
// many of its kind.
func (d *Definition) HoldEvent(decision Decision, past Past, now time.Time) Decision {
	if d.Window > 0 {
		decision.pause("no duplicate", "a duplicate of what came before, for %s more", past.DuplicateUntil, now)
	}
	if d.Throttle > 0 {
		decision.pause("throttle: the first in "+d.Throttle.String(), "throttled, for %s more", past.ThrottledUntil, now)
	}
	return decision
}

// HoldRun adds to a decision what the time and the runs before say about another run.
func (d *Definition) HoldRun(decision Decision, past Past, now time.Time) Decision {
	for _, f := range d.Limits.freezes {
		if frozen := f.covers(now); frozen || len(d.Limits.freezes) == 1 {
			decision.add("not frozen: "+f.text, now.In(f.zone).Format("Mon 15:04"), !frozen)
			if frozen {
				decision.refuse("frozen: %s", f.text)
				break
			}
		}
	}
	if d.Cooldown > 0 {
		decision.pause("no cooldown", "cooldown, %s left", past.CooldownUntil, now)
	}
	if l := d.Limits; l.Runs > 0 {
		decision.add(fmt.Sprintf("fewer than %d runs per %s", l.Runs, l.Per), strconv.Itoa(past.Runs), past.Runs < l.Runs)
		if past.Runs >= l.Runs {
			decision.refuse("limit: %d runs within %s", past.Runs, l.Per)
		}
	}
	if d.Limits.Targets.Percent > 0 {
		decision.targets(d.Limits.Targets, past)
	}
	if d.Limits.Attempts.Count > 0 {
		decision.attempts(d.Limits.Attempts, past)
	}
	if d.Limits.Concurrency.Max > 0 && !decision.Escalate {
		decision.concurrency(d.Limits.Concurrency, past)
	}
	return decision
}

func (d *Decision) targets(l Targets, past Past) {
	most := l.most(past.Agents)
	met := len(past.Hosts) < most || slices.Contains(past.Hosts, past.Host)
	value := fmt.Sprintf("%d of %d agents are worked on", len(past.Hosts), past.Agents)
	d.add(fmt.Sprintf("targets: at most %d%%", l.Percent), value, met)
	if !met {
		d.refuse("targets: %s, at most %d%%", value, l.Percent)
	}
}

func (d *Decision) attempts(l Attempts, past Past) {
	met := past.Attempts < l.Count
	d.add(fmt.Sprintf("fewer than %d attempts per %s", l.Count, l.Per), strconv.Itoa(past.Attempts), met)
	switch {
	case met || !d.Run:
	case l.Escalate && !past.Escalated:
		d.Escalate, d.Reason = true, fmt.Sprintf("attempts: %d within %s did not help: people are told instead", past.Attempts, l.Per)
	case l.Escalate:
		d.refuse("attempts: %d within %s, and people were told", past.Attempts, l.Per)
	default:
		d.refuse("attempts: %d within %s", past.Attempts, l.Per)
	}
}

func (d *Decision) concurrency(l Concurrency, past Past) {
	met := past.Running < l.Max
	value := fmt.Sprintf("%d go on", past.Running)
	if l.Excess == Queue {
		value += fmt.Sprintf(", %d wait", past.Queued)
		met = met && past.Queued == 0
	}
	d.add(fmt.Sprintf("fewer than %d at a time", l.Max), value, met)
	switch {
	case met || !d.Run:
	case l.Excess == Drop:
		d.refuse("concurrency: %s, at most %d", value, l.Max)
	case l.Excess == Replace:
		d.Replace, d.Reason = true, fmt.Sprintf("concurrency: %s, at most %d: the oldest is cancelled", value, l.Max)
	case past.Queued >= MaxQueued:
		d.refuse("concurrency: %s, at most %d", value, MaxQueued)
	default:
		d.Queue, d.Reason = true, fmt.Sprintf("concurrency: %s, at most %d: it waits", value, l.Max)
	}
}

// pause adds a clause about something that ends at until.
func (d *Decision) pause(clause, refusal string, until, now time.Time) {
	if !until.After(now) {
		d.add(clause, "", true)
		return
	}
	left := until.Sub(now).Round(time.Second)
	d.add(clause, fmt.Sprintf("%s left, until %s", left, until.UTC().Format(time.RFC3339)), false)
	d.refuse(refusal, left)
}

// freeze is a time of the week, or of every day, by the clock on the wall of a place.
type freeze struct {
	text     string
	from, to int // minutes since Monday 00:00, or since midnight
	daily    bool
	zone     *time.Location
}

const (
	day  = 24 * 60 // minutes
	week = 7 * day
)

// covers reports whether t is within the freeze: from its beginning on, before its end.
func (f freeze) covers(t time.Time) bool {
	t = t.In(f.zone)
	at := t.Hour()*60 + t.Minute()
	if !f.daily {
		at += (int(t.Weekday()) + 6) % 7 * day
	}
	if f.from <= f.to {
		return f.from <= at && at < f.to
	}
	return f.from <= at || at < f.to
}

// end is when a freeze that covers t is over, by the clock on the wall: the first time where that
// minute comes twice, and somewhat later where it never does.
func (f freeze) end(t time.Time) time.Time {
	at, period := t.In(f.zone), day
	now := at.Hour()*60 + at.Minute()
	if !f.daily {
		now, period = now+(int(at.Weekday())+6)%7*day, week
	}
	left := (f.to - now + period) % period
	end := at.Truncate(time.Minute).Add(time.Duration(left) * time.Minute)
	_, before := at.Zone()
	_, after := end.Zone()
	set := end.Add(time.Duration(before-after) * time.Second) // as the clock is set meanwhile
	if _, offset := set.Zone(); offset == after {
		return set
	}
	return end
}

// Frozen says until when nothing begins, as far as is known at now, and by which freeze. by is
// empty where something may.
func (l Limits) Frozen(now time.Time) (until time.Time, by string) {
	for _, f := range l.freezes {
		if end := f.end(now); f.covers(now) && end.After(until) {
			until, by = end, f.text
		}
	}
	return until, by
}

var freezePattern = regexp.MustCompile(`^(?:(Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?([01][0-9]|2[0-3]):([0-5][0-9]) ?- ?(?:(Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?([01][0-9]|2[0-3]):([0-5][0-9])(?: ([A-Za-z0-9_+/-]+))?$`)

func parseFreeze(text string) (freeze, error) {
	m := freezePattern.FindStringSubmatch(text)
	if m == nil || (m[1] == "") != (m[4] == "") {
		return freeze{}, fmt.Errorf("%q: must be a time such as \"Fri 17:00 - Mon 08:00 Europe/Berlin\", or \"22:00 - 06:00\" for every day; without a place it is UTC", text)
	}
	f := freeze{text: text, daily: m[1] == "", from: minutes(m[1], m[2], m[3]), to: minutes(m[4], m[5], m[6]), zone: time.UTC}
	if f.from == f.to {
		return freeze{}, fmt.Errorf("%q: begins when it ends: use mode: off for always", text)
	}
	if m[7] != "" {
		var err error
		if f.zone, err = time.LoadLocation(m[7]); err != nil {
			return freeze{}, fmt.Errorf("%q: unknown time zone %s: use a name such as Europe/Berlin", text, m[7])
		}
	}
	return f, nil
}

func minutes(weekday, hour, minute string) int {
	h, _ := strconv.Atoi(hour)   // the pattern has only digits
	m, _ := strconv.Atoi(minute) // there
	out := h*60 + m
	if weekday != "" {
		out += strings.Index("MonTueWedThuFriSatSun", weekday) / 3 * day
	}
	return out
}

func (c *checker) limits(l limitations) {
	runs := []any{"limits", "runs"}
	if c.doc.Has(runs) {
		c.def.Limits.Runs = l.Runs.Count
		if l.Runs.Count < 1 || l.Runs.Count > maxRuns {
			c.fail(at(runs, "count"), "count %d: must be from 1 to %d", l.Runs.Count, maxRuns)
		}
		if c.def.Limits.Per = c.duration(at(runs, "per"), l.Runs.Per, 0, time.Second, maxWindow); !c.doc.Has(at(runs, "per")) {
			c.fail(runs, "runs.per is missing: say within which time, for example 1h")
		}
	}
	c.attempts([]any{"limits", "attempts"}, l)
	c.concurrency([]any{"limits", "concurrency"}, l)
	c.targets([]any{"limits", "targets"}, l)
	c.def.Limits.ExpiresAfter = c.duration([]any{"limits", "expires_after"}, l.ExpiresAfter, 0, time.Second, maxTimeout)
	path := []any{"limits", "freeze"}
	if len(l.Freeze) > maxFreeze {
		c.fail(path, "%d times, at most %d", len(l.Freeze), maxFreeze)
		return
	}
	for i, text := range l.Freeze {
		f, err := parseFreeze(text)
		if err != nil {
			c.fail(at(path, i), "%v", err)
		}
		c.def.Limits.freezes = append(c.def.Limits.freezes, f)
	}
}

func (c *checker) attempts(path []any, l limitations) {
	if !c.doc.Has(path) {
		return
	}
	a := Attempts{Count: l.Attempts.Count, Escalate: l.Attempts.Then == "escalate"}
	if a.Count < 1 || a.Count > maxRuns {
		c.fail(at(path, "count"), "count %d: must be from 1 to %d", a.Count, maxRuns)
	}
	if a.Per = c.duration(at(path, "per"), l.Attempts.Per, 0, time.Second, maxWindow); !c.doc.Has(at(path, "per")) {
		c.fail(path, "attempts.per is missing: say within which time, for example 24h")
	}
	if c.doc.Has(at(path, "then")) && !a.Escalate {
		c.fail(at(path, "then"), "then %q: must be escalate, or left out", l.Attempts.Then)
	}
	c.def.Limits.Attempts = a
}

func (c *checker) concurrency(path []any, l limitations) {
	if !c.doc.Has(path) {
		return
	}
	said := Concurrency{Max: l.Concurrency.Max, Excess: Excess(l.Concurrency.Excess)}
	if said.Max < 1 || said.Max > maxLane {
		c.fail(at(path, "max"), "max %d: must be from 1 to %d", said.Max, maxLane)
	}
	if !c.doc.Has(at(path, "excess")) {
		said.Excess = Queue
	} else if !slices.Contains([]Excess{Queue, Drop, Replace}, said.Excess) {
		c.fail(at(path, "excess"), "excess %q: must be queue, drop or replace", said.Excess)
	}
	if where := at(path, "key"); c.doc.Has(where) {
		c.def.lane = c.key(where, l.Concurrency.Key)
	}
	c.def.Limits.Concurrency = said
}

var percentPattern = regexp.MustCompile(`^([0-9]{1,3})%$`)

func (c *checker) targets(path []any, l limitations) {
	if !c.doc.Has(path) {
		return
	}
	m := percentPattern.FindStringSubmatch(l.Targets.Max)
	if m == nil {
		c.fail(at(path, "max"), "max %q: must be a part of the agents, from 1%% to 100%%", l.Targets.Max)
		return
	}
	percent, _ := strconv.Atoi(m[1]) // the pattern has only digits there
	if percent < 1 || percent > 100 {
		c.fail(at(path, "max"), "max %q: must be a part of the agents, from 1%% to 100%%", l.Targets.Max)
	}
	c.def.Limits.Targets = Targets{Percent: percent, Tags: l.Targets.Of.Tags}
}

func (c *checker) duplicates(d dedupe) {
	path := []any{"dedupe"}
	if !c.doc.Has(path) {
		return
	}
	if c.def.Window = c.duration(at(path, "window"), d.Window, 0, time.Second, maxWindow); !c.doc.Has(at(path, "window")) {
		c.fail(path, "dedupe.window is missing: say within which time events with the same key are one, for example 10m")
	}
	if len(d.Key) == 0 {
		c.fail(path, "dedupe.key is missing: list what tells events apart, for example [event.agent.id, event.data.mount]")
	}
	c.def.duplicate = c.keys(at(path, "key"), d.Key)
}
