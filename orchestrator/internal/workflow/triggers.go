package workflow

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/netresearch/go-cron"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// OwnTypes begins the types of the server's own events: no agent can send one.
const OwnTypes = "stavily."

// The types of the events that are no agent's: the server's own.
const (
	TypeManual   = "stavily.manual"   // somebody starts a run by hand
	TypeSchedule = "stavily.schedule" // the time of a schedule has come
	TypeEnded    = "stavily.workflow" // a run of another workflow has ended
)

// MaxDepth is how many workflows may start one another in a row.
const MaxDepth = 8

// Schedule is a trigger by the clock on the wall of a place.
type Schedule struct {
	Cron    string // as written
	Zone    string
	RunOnce bool // one that was missed is made up for, once; else it is left out

	cron     cron.Schedule
	location *time.Location
}

// String identifies the schedule among those of its workflow.
func (s *Schedule) String() string { return s.Cron + " " + s.Zone }

// Next is the first time after another, and zero when there is none. A minute of the wall's
// clock counts once, also when that is set back; one that is left out when it is set forward
// counts as much later as the clock is set.
func (s *Schedule) Next(after time.Time) time.Time {
	from, in := after, after.In(s.location)
	for {
		_, end := in.ZoneBounds()
		if !end.IsZero() && !end.After(in) { // package time says so of the last day of a leap year from 2040 on
			end = in.Add(24 * time.Hour)
		}
		next := s.between(from, in)
		if next.IsZero() || end.IsZero() || next.Before(end) {
			return next.UTC()
		}
		from, in = end.Add(-1), end // which is not too late itself
	}
}

// between is the first time after from by the clock as it is set at a time of the place, if
// it is not set again before.
func (s *Schedule) between(from, in time.Time) time.Time {
	_, offset := in.Zone()
	next := s.at(from, offset)
	start, _ := in.ZoneBounds()
	if start.IsZero() { // it was never set
		return next
	}
	_, before := start.Add(-1).Zone()
	set := time.Duration(offset-before) * time.Second
	if again := start.Add(-set); set < 0 && next.Before(again) { // was there before the clock was set back
		next = s.at(again.Add(-1), offset)
	}
	if early := s.at(from, before); !early.IsZero() && early.Before(start.Add(set)) && early.Before(next) { // left out
		next = early
	}
	return next
}

// at is the first time after another where the wall's clock is so many seconds ahead of UTC.
// The fields of cron are looked up in UTC, where no hour is left out or comes twice.
func (s *Schedule) at(after time.Time, offset int) time.Time {
	ahead := time.Duration(offset) * time.Second
	next := s.cron.Next(after.UTC().Add(ahead))
	if next.IsZero() {
		return next
	}
	return next.Add(-ahead)
}

// Ended is a trigger by the end of a run of another workflow.
type Ended struct {
	Workflow string
	On       []Status
}

// Input is a value that a run by hand is given.
type InputDefinition struct {
	Name     string
	Type     string // string, integer, number or boolean
	Required bool
	Default  json.RawMessage // nil: none
}

// rarest is the longest time between two days that a schedule may name, in years: a certain day
// of the week on 29 February, over a year such as 1900 that is no leap year.
const rarest = 40

// cronParser takes the five usual fields and the usual names, no seconds and no intervals.
var cronParser = cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor).WithMaxSearchYears(rarest)

// triggered checks one trigger: what it is by must be said once.
func (c *checker) triggered(i int, t trigger) Trigger {
	path := []any{"triggers", i}
	var said []string
	for _, kind := range kinds {
		if c.doc.Has(at(path, kind)) {
			said = append(said, kind)
		}
	}
	for key, of := range map[string][]string{"agents": {"event", "agent"}, "monitor": {"event"}, "timezone": {"schedule"}, "missed": {"schedule"}, "on": {"workflow"}} {
		if c.doc.Has(at(path, key)) && len(said) == 1 && !slices.Contains(of, said[0]) {
			c.fail(at(path, key), "%s is for a trigger by %s: leave it out", key, strings.Join(of, " or "))
		}
	}
	out := Trigger{ID: t.ID}
	if len(said) > 1 {
		c.fail(path, "a trigger is by one of %s, and this one by %s: write several", strings.Join(kinds, ", "), strings.Join(said, " and "))
		return out
	}
	kind := "event" // and what is missing is told of it
	if len(said) == 1 {
		kind = said[0]
	}
	switch kind {
	case "event":
		var err error
		if out.pattern, err = compilePattern(t.Event); err != nil {
			c.fail(at(path, "event"), "event %v", err)
		}
		out.Pattern = t.Event
		out.Monitor = c.monitor(path, i+1, t)
		out.Agents = c.selector(at(path, "agents"), t.Agents, c.doc.Has(at(path, "agents")))
	case "schedule":
		out.Schedule = c.schedule(path, t)
	case "manual":
		out.Manual = true
	case "workflow":
		out.Ended = c.ended(path, t)
	case "agent":
		if out.Agent = Condition(t.Agent); !slices.Contains(Conditions, out.Agent) {
			c.fail(at(path, "agent"), "agent %q: must be lost, returned, certificate_expiring or sandbox_degraded", t.Agent)
		}
		out.Agents = c.selector(at(path, "agents"), t.Agents, c.doc.Has(at(path, "agents")))
	case "webhook":
		out.Webhook = c.webhook(path, t)
	}
	return out
}

// kinds are what a trigger can be by.
var kinds = []string{"event", "agent", "schedule", "manual", "workflow", "webhook"}

func (c *checker) schedule(path []any, t trigger) *Schedule {
	s := &Schedule{Cron: strings.Join(strings.Fields(t.Schedule), " "), Zone: t.Timezone, RunOnce: t.Missed == "run_once", location: time.UTC}
	var err error
	if s.cron, err = cronParser.Parse(s.Cron); err != nil || strings.Contains(s.Cron, "=") || strings.HasPrefix(s.Cron, "@every") {
		c.fail(at(path, "schedule"), "schedule %q: must be minute, hour, day of the month, month and day of the week, for example \"0 3 * * *\"; the place is in timezone", t.Schedule)
	} else if s.cron.Next(time.Unix(0, 0).UTC()).IsZero() {
		c.fail(at(path, "schedule"), "schedule %q: never comes: in none of its months is such a day: name one that there is", t.Schedule)
	}
	if s.Zone == "" {
		s.Zone = "UTC"
	} else if s.location, err = time.LoadLocation(s.Zone); err != nil || s.Zone == "Local" {
		c.fail(at(path, "timezone"), "timezone %q: is not known: use a name such as Europe/Berlin", s.Zone)
	}
	if c.doc.Has(at(path, "missed")) && !slices.Contains([]string{"run_once", "skip"}, t.Missed) {
		c.fail(at(path, "missed"), "missed %q: must be run_once or skip", t.Missed)
	}
	return s
}

func (c *checker) ended(path []any, t trigger) *Ended {
	if t.Workflow == c.def.Name || !dnsLabel.MatchString(t.Workflow) {
		c.fail(at(path, "workflow"), "workflow %q: must be the name of another workflow", t.Workflow)
	}
	e := &Ended{Workflow: t.Workflow}
	for i, name := range t.On {
		if !slices.Contains([]Status{Completed, Failed, Cancelled, Escalated}, Status(name)) {
			c.fail(at(path, "on", i), "%q: must be completed, failed, cancelled or escalated", name)
		}
		e.On = append(e.On, Status(name))
	}
	if !c.doc.Has(at(path, "on")) {
		e.On = []Status{Completed, Failed}
	}
	return e
}

// inputs checks what a run by hand is given. It comes before what reads them.
func (c *checker) inputs(triggers []trigger) map[string]any {
	samples := map[string]any{}
	manual := false
	for i, t := range triggers {
		path := []any{"triggers", i, "manual"}
		if !c.doc.Has(path) {
			continue
		}
		if manual {
			c.fail(path, "a workflow is started by hand in one way: write manual once")
		}
		manual = true
		for _, name := range keysOf(t.Manual.Inputs) {
			where, said := at(path, "inputs", name), t.Manual.Inputs[name]
			d := InputDefinition{Name: name, Type: said.Type, Required: said.Required}
			if !c.doc.Has(at(where, "type")) {
				d.Type = "string"
			}
			sample, known := map[string]any{"string": "", "integer": int64(0), "number": 0.0, "boolean": false}[d.Type]
			switch {
			case !identifier.MatchString(name):
				c.fail(where, "input %q: must be 1 to 63 characters of A-Z, a-z, 0-9 and '_', not beginning with a digit", name)
			case !known:
				c.fail(at(where, "type"), "type %q: must be string, integer, number or boolean", said.Type)
			}
			if n := c.doc.Node(at(where, "default")); n != nil && known {
				var err error
				if d.Default, err = d.value(n.Value); err != nil {
					c.fail(at(where, "default"), "default %v", err)
				}
			}
			samples[name] = sample
			c.def.Inputs = append(c.def.Inputs, d)
		}
	}
	return samples
}

// value makes the value of an input from its text.
func (d InputDefinition) value(text string) (json.RawMessage, error) {
	var v any = text
	var err error
	switch d.Type {
	case "integer":
		v, err = strconv.ParseInt(text, 10, 64)
	case "number":
		var f float64
		if f, err = strconv.ParseFloat(text, 64); math.IsInf(f, 0) || math.IsNaN(f) {
			err = strconv.ErrRange
		}
		v = f
	case "boolean":
		if v, err = strconv.ParseBool(text); text != "true" && text != "false" {
			err = strconv.ErrSyntax
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%q: must be of type %s", text, d.Type)
	}
	return json.Marshal(v)
}

// ManualEvent is the event of a run that somebody starts by hand with these inputs, as text.
func (d *Definition) ManualEvent(given map[string]string, by string) (api.Event, error) {
	if !slices.ContainsFunc(d.Triggers, func(t Trigger) bool { return t.Manual }) {
		return api.Event{}, fmt.Errorf("workflow %s is not started by hand: it has no trigger manual", d.Name)
	}
	data := map[string]json.RawMessage{}
	var names []string
	for _, in := range d.Inputs {
		names = append(names, in.Name)
		text, is := given[in.Name]
		switch {
		case is:
			v, err := in.value(text)
			if err != nil {
				return api.Event{}, fmt.Errorf("input %s %w", in.Name, err)
			}
			data[in.Name] = v
		case in.Default != nil:
			data[in.Name] = in.Default
		case in.Required:
			return api.Event{}, fmt.Errorf("input %s is missing: --input %s=…", in.Name, in.Name)
		}
	}
	for _, name := range keysOf(given) {
		if slices.Contains(names, name) {
			continue
		}
		said := fmt.Errorf("there is no input %q", name)
		if near := strictyaml.Nearest(name, names); near != "" {
			said = fmt.Errorf("%w: did you mean %s?", said, near)
		}
		return api.Event{}, said
	}
	name, err := json.Marshal(by)
	return api.Event{Type: TypeManual, Source: d.Name, Severity: api.Low, Data: data, Metadata: map[string]json.RawMessage{"by": name}}, err
}

// ScheduledEvent is the event of a time that a schedule has named.
func (d *Definition) ScheduledEvent(s *Schedule, due time.Time) api.Event {
	text, _ := json.Marshal(due.In(s.location).Format(time.RFC3339)) // a text
	return api.Event{Type: TypeSchedule, Source: d.Name, Monitor: s.String(), Severity: api.Low, Data: map[string]json.RawMessage{"scheduled": text}}
}

// EndedEvent is the event of a run that has ended. Its depth is one more than the largest of what
// started it: a sensor's event that came last breaks no chain. Who started that by hand is named in
// it, as they have then started what follows.
func EndedEvent(s State) (api.Event, error) {
	out := api.Event{Type: TypeEnded, Source: s.Workflow, Severity: s.Event.Severity, Key: s.Event.Key}
	var err error
	out.Data, err = objectOf(map[string]any{"workflow": s.Workflow, "run": s.Run, "status": s.Status, "error": s.Error, "event": s.Event.ID})
	if err == nil {
		metadata := map[string]any{"depth": max(s.Depth, s.Event.Depth()) + 1}
		if by := s.people(); len(by) > 0 {
			metadata["by"] = slices.Compact(slices.Sorted(slices.Values(by)))
		}
		out.Metadata, err = objectOf(metadata)
	}
	return out, err
}

func objectOf(values map[string]any) (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage, len(values))
	for name, value := range values {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = text
	}
	return out, nil
}

// Depth is how many workflows have led to an event of the server's own, one after another.
func (e Event) Depth() int {
	var n int
	if e.Own {
		_ = json.Unmarshal(e.Metadata["depth"], &n) // 0, where there is none
	}
	return n
}

// takes reports whether an event, of this agent, is for the trigger of a workflow.
func (t Trigger) takes(d *Definition, e Event, budget *expr.Budget) bool {
	switch {
	case t.Schedule != nil:
		return e.Own && e.Type == TypeSchedule && e.Source == d.Name && e.Monitor == t.Schedule.String()
	case t.Manual:
		return e.Own && e.Type == TypeManual && e.Source == d.Name
	case t.Webhook != nil:
		return e.Own && e.Type == TypeWebhook && e.Source == t.Webhook.Path && e.Monitor == t.Webhook.String()
	case t.Ended != nil:
		var status Status
		_ = json.Unmarshal(e.Data["status"], &status) // none, where it is no text
		return e.Own && e.Type == TypeEnded && e.Source == t.Ended.Workflow && slices.Contains(t.Ended.On, status)
	}
	return t.near(d, e) && t.Agents.picks(e.Agent, budget)
}

// near reports whether the event may be for the trigger: only its agent, or the status, can
// be another.
func (t Trigger) near(d *Definition, e Event) bool {
	if t.Pattern != "" {
		return !e.Own && t.pattern.match(e.Type)
	}
	if t.Ended != nil {
		return e.Own && e.Type == TypeEnded && e.Source == t.Ended.Workflow
	}
	if t.Agent != "" {
		return e.Own && e.Type == t.Agent.Type()
	}
	return t.takes(d, e, nil) // which evaluates nothing then
}

// String is the trigger in words.
func (t Trigger) String() string {
	said := strings.TrimSpace("trigger " + t.ID)
	switch {
	case t.Schedule != nil:
		return said + " at " + t.Schedule.String()
	case t.Manual:
		return said + " by hand"
	case t.Webhook != nil:
		return said + " by webhook " + t.Webhook.Path
	case t.Ended != nil:
		return said + " when " + t.Ended.Workflow + " has " + endsOf(t.Ended.On)
	}
	takes := t.Pattern
	if t.Agent != "" {
		takes = t.Agent.Type()
	}
	if agents := t.Agents.String(); agents != "" {
		return said + " takes " + takes + " of agents " + agents
	}
	return said + " takes " + takes
}

// hostless holds that what has no sensor runs on no sensor's host.
func (c *checker) hostless() {
	for _, t := range c.def.Triggers {
		if !t.Manual && t.Schedule == nil && t.Webhook == nil {
			continue
		}
		for i, s := range c.def.Actions {
			if s.Plugin != "" && s.Target.SameHost && s.Each == nil {
				c.fail([]any{"actions", i}, "runs on the host of the sensor, and a run %s has none: give it agents: ids, any or each", t.title())
			}
		}
		return
	}
}
