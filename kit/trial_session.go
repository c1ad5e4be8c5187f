package kit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// closeGrace is what a sensor gets at its end, as from an agent.
const closeGrace = 5 * time.Second

// heard is what a plugin says besides its answers. Its methods are called by several
// goroutines.
type heard struct {
	mu     sync.Mutex // guards the fields below
	log    []string   // the last lines
	stray  []string   // the first
	strays int
	events map[string]int // by type
}

const (
	keptLines = 15
	keptStray = 3
)

func (h *heard) line(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = lastOf(append(h.log, text), keptLines)
}

func (h *heard) strayLine(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.strays++; len(h.stray) < keptStray {
		h.stray = append(h.stray, text)
	}
}

func (h *heard) event(e api.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.events == nil {
		h.events = map[string]int{}
	}
	h.events[e.Type]++
}

// listen lets a task be heard.
func (h *heard) listen(t agent.Task) agent.Task {
	t.Line, t.Stray = h.line, h.strayLine
	if t.Instruction == nil {
		t.Trigger = func(_ context.Context, e api.Event) (api.EventID, error) {
			h.event(e)
			return "try-event", nil
		}
	}
	return t
}

// tellStray warns of lines on standard output that are no answers.
func (h *heard) tellStray(c *Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.strays > 0 {
		c.warn("printed %s on standard output that are no part of the contract, for example %q: log to standard error", counted(h.strays, "line"), first(h.stray[0]))
	}
}

// why is an error with what the plugin logged last.
func (h *heard) why(err error) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(append([]string{err.Error()}, h.log...), "\n")
}

// emitted lists the types of the events.
func (h *heard) emitted() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(h.events)) {
		out = append(out, fmt.Sprintf("%s ×%d", name, h.events[name]))
	}
	if len(out) == 0 {
		return "no events"
	}
	return strings.Join(out, ", ")
}

// limit is the time that one answer may take, as an agent counts it.
func (t *trial) limit() time.Duration {
	if own := t.plugin.Limits.ExecutionTime; own > 0 {
		return min(own, t.timeout)
	}
	return t.timeout
}

// handshake compares what the plugin says of itself with its manifest.
func (t *trial) handshake(s *agent.Session, h *heard, began time.Time, c *Check) string {
	took := time.Since(began)
	info := s.Info()
	if info.ID != "" && info.ID != string(t.plugin.ID) {
		c.fail("get_info says id %q and the manifest %q", info.ID, t.plugin.ID)
	}
	if info.Version != "" && info.Version != t.plugin.Version {
		c.fail("get_info says version %q and the manifest %q", info.Version, t.plugin.Version)
	}
	if kind, known := plugin.KindNamed(info.Type); info.Type != "" && (!known || kind != t.plugin.Kind) {
		c.fail("get_info says type %q and the manifest %s", info.Type, t.plugin.Kind)
	}
	h.tellStray(c)
	return fmt.Sprintf("get_info, initialize, start in %s", short(took))
}

// ask is one command that has to be answered in time, with success.
func (t *trial) ask(ctx context.Context, s *agent.Session, action string) (plugin.Response, error) {
	limited, cancel := context.WithTimeout(ctx, t.limit())
	defer cancel()
	r, err := s.Call(limited, plugin.Command{Action: action})
	if err == nil && !r.Success {
		err = errors.New(r.Error)
	}
	return r, err
}

// schemaCommands are by kind.
var schemaCommands = map[plugin.Kind]string{plugin.Sensor: "get_trigger_config", plugin.Action: "get_action_config", plugin.Output: "get_output_config"}

// schema holds the schema that the plugin tells against the manifest's, which counts.
func (t *trial) schema(ctx context.Context, s *agent.Session) {
	c, end := t.card.begin("schema")
	command := schemaCommands[t.plugin.Kind]
	r, err := t.ask(ctx, s, command)
	if err != nil {
		c.warn("%s: %s", command, err)
		end("the manifest's, with %s", counted(len(t.plugin.Configuration)+len(t.plugin.Parameters), "key"))
		return
	}
	differences, byDataclass := t.plugin.Disagreements(r.Data)
	for _, d := range differences {
		c.fail("%s", d)
	}
	told := map[string]string{}
	if !byDataclass {
		told = toldSchema(r.Data)
	}
	for _, name := range slices.Sorted(maps.Keys(told)) {
		property, known := t.plugin.Configuration.Property(name)
		if !known {
			property, known = t.plugin.Parameters.Property(name)
		}
		switch {
		case !known:
			c.fail("%s tells %q, which the manifest does not have: the agent would refuse it", command, name)
		case told[name] != "" && plugin.TypeNamed(told[name]) != property.Type:
			c.fail("%s tells that %q is of type %s, and the manifest says %s", command, name, told[name], property.Type)
		}
	}
	if t.plugin.Kind == plugin.Sensor && len(told) > 0 {
		for _, p := range t.plugin.Configuration {
			if _, found := told[p.Name]; !found {
				c.fail("%s does not tell %q, which the manifest has", command, p.Name)
			}
		}
	}
	if c.Verdict == Failed {
		end("is not the manifest's")
	} else {
		end("%s, as the manifest says", counted(len(t.plugin.Configuration)+len(t.plugin.Parameters), "key"))
	}
}

// toldSchema reads name → type of what a plugin tells as its schema, in the manifest's
// form or in JSON Schema's. What is no schema is left out.
func toldSchema(data json.RawMessage) map[string]string {
	var all map[string]json.RawMessage
	if limits.UnmarshalJSON(data, &all) != nil {
		return nil
	}
	for _, wrapper := range []string{"properties", "configuration", "config_schema", "schema"} {
		if inner := toldSchema(all[wrapper]); len(inner) > 0 {
			return inner
		}
	}
	out := map[string]string{}
	for name, raw := range all {
		var property struct{ Type *string }
		if json.Unmarshal(raw, &property) == nil && property.Type != nil {
			out[name] = *property.Type
		}
	}
	return out
}

// healthStates are what get_health may say.
var healthStates = []string{"healthy", "degraded", "unhealthy", "unknown"}

// status asks the commands that every plugin has, and reports whether it still answers.
func (t *trial) status(ctx context.Context, s *agent.Session, c *Check) bool {
	r, err := t.ask(ctx, s, "get_status")
	var text string
	if err != nil {
		c.warn("get_status: %s", err)
	} else if json.Unmarshal(r.Data, &text) != nil {
		c.warn("get_status: the data is %.80s, and must be text", r.Data)
	}
	r, err = t.ask(ctx, s, "get_health")
	var health struct{ Status string }
	switch {
	case err != nil:
		c.warn("get_health: %s", err)
	case json.Unmarshal(r.Data, &health) != nil || !slices.Contains(healthStates, health.Status):
		c.fail("get_health: the status is %q, and must be one of %s", health.Status, strings.Join(healthStates, ", "))
	}
	if s.Err() == nil {
		return true
	}
	c.fail("the plugin %s", s.Err())
	return false
}
