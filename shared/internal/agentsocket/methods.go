package agentsocket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/creachadair/jrpc2"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/memo"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Handler does what a plugin asks for. It is called by several goroutines at once.
// Its errors reach the plugin as they are, so they hold no secrets.
type Handler interface {
	// ReportTrigger returns once the event is safe on disk. ID and Seq of e are
	// not set yet.
	ReportTrigger(ctx context.Context, e api.Event) (api.EventID, error)
	// Logs takes entries of the plugin's log and returns how many it kept.
	Logs(ctx context.Context, entries []api.LogEntry) (int, error)
	// Progress is how far the instruction is.
	Progress(ctx context.Context, p plugin.Progress) error
	// Config is the plugin's own configuration; section is a key of it, or empty
	// for all.
	Config(section string) (map[string]json.RawMessage, error)
	// Info is what the plugin may know of the agent.
	Info() Info
}

// Info is the answer to get_agent_info.
type Info struct {
	AgentID      api.AgentID   `json:"agent_id"`
	Version      string        `json:"version"`
	Environment  string        `json:"environment"`
	AgentType    api.AgentType `json:"agent_type"`
	Organization api.OrgID     `json:"organization_id"`
}

// Options say whose socket it is.
type Options struct {
	Dir         string // where [Serve] makes the socket; see [Open]
	Plugin      api.PluginID
	Kind        plugin.Kind
	Monitor     string            // of a sensor
	Instruction api.InstructionID // of an action or output
	Handler     Handler
	Memo        *memo.Memo // what the plugin keeps; nil: it can keep nothing
}

// codeAgent is for what the agent could not do; -32000 to -32099 are the server's
// own (JSON-RPC 2.0, section 5.1).
const codeAgent jrpc2.Code = -32000

// response is one answer (JSON-RPC 2.0, section 5).
type response struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result,omitempty"`
	Error   *jrpc2.Error    `json:"error,omitempty"`
}

// tooLong is the last answer of a connection with a line over the bound.
var tooLong = fmt.Appendf(nil, `{"jsonrpc":"2.0","id":null,"error":{"code":%d,"message":"a line has at most %d bytes"}}`, jrpc2.InvalidRequest, plugin.MaxLineBytes)

// answer serves one line. It is nil for a notification, which gets no answer.
func (s *server) answer(ctx context.Context, line []byte) []byte {
	out := response{Version: jrpc2.Version, ID: json.RawMessage("null")}
	requests, err := jrpc2.ParseRequests(line)
	switch {
	case err != nil:
		out.Error = &jrpc2.Error{Code: jrpc2.ParseError, Message: "the line is not JSON: " + err.Error()}
	case len(requests) != 1 || requests[0].Batch:
		out.Error = &jrpc2.Error{Code: jrpc2.InvalidRequest, Message: "one call a line: batches are not taken"}
	default:
		r := requests[0]
		if r.ID != "" {
			out.ID = json.RawMessage(r.ID)
		}
		out.Result, out.Error = s.call(ctx, r)
		if r.ID == "" && r.Error == nil {
			return nil
		}
	}
	raw, err := json.Marshal(out)
	if err != nil {
		out.Result, out.Error = nil, &jrpc2.Error{Code: codeAgent, Message: err.Error()}
		raw, _ = json.Marshal(out) // text always marshals
	}
	return raw
}

// method serves one call; params is an object.
type method func(s *server, ctx context.Context, params json.RawMessage) (any, error)

var methods = map[string]method{
	"ping":           (*server).ping,
	"report_trigger": (*server).reportTrigger,
	"upload_logs":    (*server).uploadLogs,
	"get_agent_info": (*server).agentInfo,
	"get_config":     (*server).config,
	"progress":       (*server).progress,
	"get_state":      (*server).getState,
	"set_state":      (*server).setState,
	"delete_state":   (*server).deleteState,
}

func (s *server) call(ctx context.Context, r *jrpc2.ParsedRequest) (any, *jrpc2.Error) {
	if r.Error != nil {
		return nil, r.Error
	}
	m, ok := methods[r.Method]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		return nil, &jrpc2.Error{Code: jrpc2.MethodNotFound, Message: fmt.Sprintf("there is no method %.80q: this agent has %s", r.Method, known)}
	}
	params := r.Params
	if len(params) == 0 || string(params) == "null" {
		params = json.RawMessage("{}")
	}
	result, err := m(s, ctx, params)
	if err == nil {
		return result, nil
	}
	var refused *jrpc2.Error
	if !errors.As(err, &refused) {
		refused = &jrpc2.Error{Code: codeAgent, Message: err.Error()}
	}
	return nil, refused
}

// wrong says what is wrong with the parameters of a method.
func wrong(method string, err error) error {
	return &jrpc2.Error{Code: jrpc2.InvalidParams, Message: fmt.Sprintf("%s: %v", method, err)}
}

// empty is a result without content.
type empty struct{}

func (s *server) ping(context.Context, json.RawMessage) (any, error) { return empty{}, nil }

func (s *server) reportTrigger(ctx context.Context, params json.RawMessage) (any, error) {
	if s.opts.Kind != plugin.Sensor {
		return nil, &jrpc2.Error{Code: jrpc2.MethodNotFound, Message: fmt.Sprintf("report_trigger: %s is an %s plugin: only sensors report triggers", s.opts.Plugin, s.opts.Kind)}
	}
	events, err := plugin.DecodeEvents(params, plugin.EventSource{Plugin: s.opts.Plugin, Monitor: s.opts.Monitor, Now: time.Now()})
	if err == nil && len(events) != 1 {
		err = errors.New("one trigger a call")
	}
	if err != nil {
		return nil, wrong("report_trigger", err)
	}
	id, err := s.opts.Handler.ReportTrigger(ctx, events[0])
	if err != nil {
		return nil, err
	}
	return struct {
		Accepted bool        `json:"accepted"`
		EventID  api.EventID `json:"event_id"`
	}{true, id}, nil
}

// levels maps what loggers say to the four of the API.
var levels = map[string]string{
	"debug": "debug", "trace": "debug", "info": "info", "notice": "info",
	"warn": "warn", "warning": "warn", "error": "error", "critical": "error", "fatal": "error",
}

// uploadLogs takes the first api.MaxLogLines entries and says how many it took.
func (s *server) uploadLogs(ctx context.Context, params json.RawMessage) (any, error) {
	var p struct {
		Logs []struct {
			Level     string          `json:"level"`
			Message   string          `json:"message"`
			Timestamp json.RawMessage `json:"timestamp"`
		} `json:"logs"`
	}
	if err := limits.UnmarshalJSON(params, &p); err != nil {
		return nil, wrong("upload_logs", err)
	}
	var entries []api.LogEntry
	for _, l := range p.Logs[:min(len(p.Logs), api.MaxLogLines)] {
		e := api.LogEntry{Timestamp: api.At(time.Now()), Level: "info", Plugin: s.opts.Plugin, InstructionID: s.opts.Instruction, Message: plugin.LogText(l.Message)}
		if level, ok := levels[strings.ToLower(l.Level)]; ok {
			e.Level = level
		}
		var at api.Time
		if json.Unmarshal(l.Timestamp, &at) == nil && !at.IsZero() { // any other form: the agent's clock counts
			e.Timestamp = api.At(at.Time)
		}
		entries = append(entries, e)
	}
	n, err := s.opts.Handler.Logs(ctx, entries)
	if err != nil {
		return nil, err
	}
	return struct {
		Accepted int `json:"accepted"`
	}{n}, nil
}

func (s *server) agentInfo(context.Context, json.RawMessage) (any, error) {
	return s.opts.Handler.Info(), nil
}

func (s *server) config(_ context.Context, params json.RawMessage) (any, error) {
	var p struct {
		Section string `json:"section"`
	}
	if err := limits.UnmarshalJSON(params, &p); err != nil {
		return nil, wrong("get_config", err)
	}
	config, err := s.opts.Handler.Config(p.Section)
	if err != nil {
		return nil, err
	}
	if config == nil {
		config = map[string]json.RawMessage{}
	}
	return struct {
		Config map[string]json.RawMessage `json:"config"`
	}{config}, nil
}

func (s *server) progress(ctx context.Context, params json.RawMessage) (any, error) {
	if s.opts.Instruction == "" {
		return nil, &jrpc2.Error{Code: jrpc2.MethodNotFound, Message: "progress: this process runs no instruction"}
	}
	var p plugin.Progress
	if err := limits.UnmarshalJSON(params, &p); err != nil {
		return nil, wrong("progress", err)
	}
	if p.Percent != nil && !(*p.Percent >= 0 && *p.Percent <= 100) {
		return nil, wrong("progress", fmt.Errorf("percent: must be from 0 to 100, is %v", *p.Percent))
	}
	p.Message = plugin.LogText(p.Message)
	return empty{}, s.opts.Handler.Progress(ctx, p)
}
