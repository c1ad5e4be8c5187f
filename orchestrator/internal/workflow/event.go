package workflow

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// Event is an event and the agent that sent it, by its certificate.
type Event struct {
	api.Event
	Agent Agent `json:"agent"`
	Own   bool  `json:"own,omitempty"` // it is the server's own: no agent can send it

	RetriedBy string `json:"retried_by,omitempty"` // the person who had it run again

	Now time.Time `json:"-"` // when it is decided on; zero: when it happened
}

// at is what expressions read as now where a workflow decides on the event.
func (e Event) at() time.Time {
	if e.Now.IsZero() {
		return e.Timestamp.Time
	}
	return e.Now
}

// OwnSender stands for the sender of events that are the server's own; no agent has this id.
const OwnSender api.AgentID = "@stavily"

// Sender is who sent the event.
func (e Event) Sender() api.AgentID {
	if e.Own {
		return OwnSender
	}
	return e.Agent.ID
}

// Agent is what expressions know of a sensor agent.
type Agent struct {
	ID   api.AgentID `json:"id"`
	Name string      `json:"name,omitempty"`
	Host string      `json:"host,omitempty"`
	Tags []string    `json:"tags,omitempty"`
}

// value is the event as expressions read it, with every field of its type.
func (e Event) value() (map[string]any, error) {
	data, err := payload(e.Data)
	if err != nil {
		return nil, fmt.Errorf("event.data.%w", err)
	}
	metadata, err := payload(e.Metadata)
	if err != nil {
		return nil, fmt.Errorf("event.metadata.%w", err)
	}
	return map[string]any{
		"id": string(e.ID), "type": e.Type, "source": e.Source, "monitor": e.Monitor, "severity": string(e.Severity),
		"timestamp": e.Timestamp.Time, "key": e.Key, "tags": e.Tags, "data": data, "metadata": metadata,
		"agent": map[string]any{"id": string(e.Agent.ID), "name": e.Agent.Name, "host": e.Agent.Host, "tags": e.Agent.Tags},
	}, nil
}

func payload(fields map[string]json.RawMessage) (map[string]any, error) {
	out := make(map[string]any, len(fields))
	for name, raw := range fields {
		v, err := expr.Decode(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = v
	}
	return out, nil
}

// values is what the expressions of d read of an event. Each evaluation of a set
// of expressions needs its own: reading it fills in what is computed once.
func (d *Definition) values(event map[string]any, now time.Time) expr.Values {
	inputs := map[string]any{}
	if agent, _ := event["agent"].(map[string]any); agent["id"] == "" && event["type"] == TypeManual && event["source"] == d.Name {
		inputs, _ = event["data"].(map[string]any)
	}
	return expr.Values{
		expr.Inputs:    inputs,
		expr.Now:       now,
		expr.Event:     event,
		expr.Trigger:   event,
		expr.Events:    []any{event},
		expr.Variables: d.variables,
		expr.Workflow:  map[string]any{"name": d.Name, "version": d.Version},
	}
}
