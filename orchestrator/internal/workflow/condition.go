package workflow

import (
	"encoding/json"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Condition is something that happens to an agent and not on its host.
type Condition string

// The conditions.
const (
	Lost     Condition = "lost"     // nothing was heard of it, and it had not said that it goes
	Returned Condition = "returned" // it is heard of again
	Expiring Condition = "certificate_expiring"
	Degraded Condition = "sandbox_degraded" // it confines plugins less than it did
)

// Conditions is every condition.
var Conditions = []Condition{Lost, Returned, Expiring, Degraded}

// Type is the type of the events of a condition, which are the server's own.
func (c Condition) Type() string { return "stavily.agent." + string(c) }

// ownTypes is every type of the server's own events.
var ownTypes = func() []string {
	out := []string{TypeManual, TypeSchedule, TypeEnded, TypeWebhook}
	for _, c := range Conditions {
		out = append(out, c.Type())
	}
	return out
}()

// dataOfConditions are the fields of the data of their events, by type.
var dataOfConditions = map[Condition]map[string]string{
	Lost:     {"kind": "string", "last_seen": "string"},
	Returned: {"kind": "string", "last_seen": "string"},
	Expiring: {"kind": "string", "not_after": "string"},
	Degraded: {"kind": "string", "was": "string", "now": "string"},
}

// Happened is the event of a condition of an agent of a kind, sensor or action. values are
// the rest of its data, times among them.
func (c Condition) Happened(kind api.AgentType, values map[string]any) (api.Event, error) {
	severity := api.High
	if c == Returned {
		severity = api.Low
	}
	for name, v := range values {
		if at, is := v.(time.Time); is {
			values[name] = api.At(at)
		}
	}
	values["kind"] = kind
	data, err := objectOf(values)
	if data == nil {
		data = map[string]json.RawMessage{}
	}
	return api.Event{Type: c.Type(), Severity: severity, Data: data}, err
}
