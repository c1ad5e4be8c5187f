package workflow

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// test is an element of `tests` as it is decoded.
type test struct {
	Name   string      `yaml:"name"`
	Event  testEvent   `yaml:"event"`
	Events []testEvent `yaml:"events"`
	Agents []testAgent `yaml:"agents"`
	Steps  map[string]struct {
		Status string    `yaml:"status"`
		Result yaml.Node `yaml:"result"`
		Error  string    `yaml:"error"`
	} `yaml:"steps"`
	Expect struct {
		Runs   bool                            `yaml:"runs"`
		Status string                          `yaml:"status"`
		Order  []string                        `yaml:"order"`
		With   map[string]map[string]yaml.Node `yaml:"with"`
	} `yaml:"expect"`
}

// testEvent is an event of a test. After is the time since the one before it.
type testEvent struct {
	After     string               `yaml:"after"`
	ID        string               `yaml:"id"`
	Type      string               `yaml:"type"`
	Source    string               `yaml:"source"`
	Monitor   string               `yaml:"monitor"`
	Severity  string               `yaml:"severity"`
	Key       string               `yaml:"key"`
	Timestamp string               `yaml:"timestamp"`
	Tags      []string             `yaml:"tags"`
	Data      map[string]yaml.Node `yaml:"data"`
	Metadata  map[string]yaml.Node `yaml:"metadata"`
	Agent     testAgent            `yaml:"agent"`
}

// testAgent is the sensor that sends an event, or an action agent that there is.
type testAgent struct {
	ID   string   `yaml:"id"`
	Name string   `yaml:"name"`
	Host string   `yaml:"host"`
	Tags []string `yaml:"tags"`
}

// What an event of a test is where it does not say.
const (
	testEventID  = "01JTEST00000000000000000%02d"
	testSensor   = "test-sensor"
	testSeverity = api.Medium
)

var testTime = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func (c *checker) tests(tests []test) {
	if len(tests) > maxTests {
		c.fail([]any{"tests"}, "%d tests, at most %d", len(tests), maxTests)
		return
	}
	names := map[string]bool{}
	for i, t := range tests {
		path := []any{"tests", i}
		switch {
		case t.Name == "":
			c.fail(path, "name is missing: say what the test shows")
		case names[t.Name]:
			c.fail(at(path, "name"), "name %q is taken: give this test one of its own", t.Name)
		}
		names[t.Name] = true
		line, column := c.doc.Pos(path)
		c.def.tests = append(c.def.tests, Test{
			Name: t.Name, Events: c.testEvents(path, t), Ends: c.testEnds(at(path, "steps"), t),
			Expect: c.expectation(at(path, "expect"), t), Agents: c.testAgents(at(path, "agents"), t.Agents),
			place: strictyaml.Error{File: c.doc.File(), Line: line, Column: column},
		})
	}
}

// testEvents are the events that a test sends: one, or several in order.
func (c *checker) testEvents(path []any, t test) []TestEvent {
	one, several := at(path, "event"), at(path, "events")
	switch {
	case c.doc.Has(one) == c.doc.Has(several):
		c.fail(path, "a test has either event or events: say what it sends")
		return nil
	case c.doc.Has(one):
		return []TestEvent{c.testEvent(one, t.Event, 0)}
	case len(t.Events) == 0 || len(t.Events) > maxGathered:
		c.fail(several, "%d events: must be from 1 to %d", len(t.Events), maxGathered)
		return nil
	}
	out := make([]TestEvent, len(t.Events))
	for i, e := range t.Events {
		out[i] = c.testEvent(at(several, i), e, i)
	}
	return out
}

// own completes an event of the server's own with what the server says.
func (c *checker) own(e *Event) {
	if e.Own = slices.Contains(ownTypes, e.Type); !e.Own {
		return
	}
	if !slices.ContainsFunc(Conditions, func(c Condition) bool { return c.Type() == e.Type }) {
		e.Agent.ID = ""
	}
	if e.Source == "" {
		e.Source = c.def.Name
	}
	for _, t := range c.def.Triggers {
		switch {
		case e.Monitor != "":
		case e.Type == TypeSchedule && t.Schedule != nil:
			e.Monitor = t.Schedule.String()
		case e.Type == TypeWebhook && t.Webhook != nil && (e.Source == c.def.Name || e.Source == t.Webhook.Path):
			e.Source, e.Monitor = t.Webhook.Path, t.Webhook.String()
		}
	}
}

// testAgents are the action agents that there are in a test.
func (c *checker) testAgents(path []any, agents []testAgent) []Agent {
	out := make([]Agent, len(agents))
	for i, a := range agents {
		if out[i] = (Agent{ID: api.AgentID(a.ID), Name: a.Name, Host: a.Host, Tags: a.Tags}); a.ID == "" {
			c.fail(at(path, i), "id is missing: agents are told apart by it")
		}
	}
	return out
}

func (c *checker) testEvent(path []any, from testEvent, n int) TestEvent {
	if from.Type == "" {
		c.fail(path, "event.type is missing: say which event the test sends")
	}
	out := TestEvent{After: c.duration(at(path, "after"), from.After, 0, 0, maxWindow)}
	severity := api.Severity(from.Severity)
	switch {
	case !c.doc.Has(at(path, "severity")):
		severity = testSeverity
	case !slices.Contains([]api.Severity{api.Low, api.Medium, api.High, api.Critical}, severity):
		c.fail(at(path, "severity"), "severity %q: must be low, medium, high or critical", from.Severity)
	}
	when := testTime
	if c.doc.Has(at(path, "timestamp")) {
		var err error
		if when, err = time.Parse(time.RFC3339, from.Timestamp); err != nil {
			c.fail(at(path, "timestamp"), "timestamp %q: must be as in RFC 3339, for example 2026-01-02T15:04:05Z", from.Timestamp)
		}
	}
	e := Event{
		Event: api.Event{
			ID: api.EventID(fmt.Sprintf(testEventID, n)), Type: from.Type, Source: from.Source, Monitor: from.Monitor, Timestamp: api.At(when),
			Severity: severity, Tags: from.Tags, Key: from.Key, Data: c.objectAt(at(path, "data")), Metadata: c.objectAt(at(path, "metadata")),
		},
		Agent: Agent{ID: testSensor, Name: from.Agent.Name, Host: from.Agent.Host, Tags: from.Agent.Tags},
	}
	if from.ID != "" {
		e.ID = api.EventID(from.ID)
	}
	c.own(&e)
	if from.Agent.ID != "" {
		e.Agent.ID = api.AgentID(from.Agent.ID)
	}
	out.Event = e
	return out
}

// testEnds are the ends of steps that a test gives.
func (c *checker) testEnds(path []any, t test) map[string]StepEnded {
	out := make(map[string]StepEnded, len(t.Steps))
	for _, id := range keysOf(t.Steps) {
		where, said := at(path, id), t.Steps[id]
		c.knownStep(where, id)
		end := StepEnded{Step: id, Status: api.InstructionStatus(said.Status), Error: said.Error}
		if !c.doc.Has(at(where, "status")) {
			end.Status = api.Completed
		} else if !end.Status.Terminal() {
			c.fail(at(where, "status"), "status %q: must be completed, failed, timeout, cancelled, interrupted, expired or rejected", said.Status)
		}
		if n := c.doc.Node(at(where, "result")); n != nil {
			end.Result = c.jsonOf(n)
		}
		out[id] = end
	}
	return out
}

func (c *checker) expectation(path []any, t test) Expectation {
	from := t.Expect
	if !c.doc.Has(path) {
		c.fail(path[:len(path)-1], "expect is missing: say what the event should lead to, for example expect: {runs: true}")
	}
	var out Expectation
	if c.doc.Has(at(path, "runs")) {
		out.Runs = &from.Runs
	}
	if out.Status = Status(from.Status); c.doc.Has(at(path, "status")) && out.Status != Completed && out.Status != Failed {
		c.fail(at(path, "status"), "status %q: must be completed or failed", from.Status)
	}
	if c.doc.Has(at(path, "order")) {
		out.Order = append([]string{}, from.Order...)
	}
	for i, id := range from.Order {
		c.knownStep(at(path, "order", i), id)
	}
	for _, id := range keysOf(from.With) {
		c.knownStep(at(path, "with", id), id)
		if out.With == nil {
			out.With = map[string]map[string]json.RawMessage{}
		}
		out.With[id] = c.objectAt(at(path, "with", id))
	}
	return out
}

// knownStep refuses the name of a step that the document has not.
func (c *checker) knownStep(path []any, said string) {
	ids := c.def.steps()
	id, _, _ := wholeOf(said)
	id, _, _ = strings.Cut(id, "@")
	if slices.Contains(ids, id) {
		return
	}
	message := "there is no step %q"
	if near := strictyaml.Nearest(id, ids); near != "" {
		message += ": did you mean " + near + "?"
	}
	c.fail(path, message, id)
}

// objectAt is the mapping at path as JSON, field by field; nil where there is none.
func (c *checker) objectAt(path []any) map[string]json.RawMessage {
	n := c.doc.Node(path)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	out := make(map[string]json.RawMessage, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		if c.isText(n.Content[i]) {
			out[n.Content[i].Value] = c.jsonOf(n.Content[i+1])
		}
	}
	return out
}

// jsonOf is what a node holds, as JSON.
func (c *checker) jsonOf(n *yaml.Node) json.RawMessage {
	b, err := json.Marshal(c.value(n))
	if err == nil {
		_, err = expr.Decode(b)
	}
	if err != nil {
		c.failNode(n, "%v", err)
		return json.RawMessage("null")
	}
	return b
}
