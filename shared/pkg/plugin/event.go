package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

// EventSource is what the agent knows of where an event comes from.
type EventSource struct {
	Plugin  api.PluginID
	Monitor string
	Now     time.Time // taken where the plugin gives no time
}

// eventType is what an event's type may look like: dotted in new plugins, any
// single word in older ones.
var eventType = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$`)

// names lists, for each field of an event, what plugins call it, best first.
var names = struct{ typ, data, severity, time, key, tags, metadata []string }{
	typ:      []string{"type", "event_type", "trigger_name", "trigger_type", "trigger", "name", "event"},
	data:     []string{"data", "payload", "details"},
	severity: []string{"severity", "level", "priority"},
	time:     []string{"timestamp", "time", "detected_at", "triggered_at", "created_at"},
	key:      []string{"key", "dedupe_key"},
	tags:     []string{"tags"},
	metadata: []string{"metadata"},
}

// severities maps what plugins and loggers say to the four of the API.
var severities = map[string]api.Severity{
	"low": api.Low, "info": api.Low, "informational": api.Low, "debug": api.Low, "notice": api.Low,
	"medium": api.Medium, "normal": api.Medium, "warning": api.Medium, "warn": api.Medium, "moderate": api.Medium,
	"high": api.High, "error": api.High, "major": api.High,
	"critical": api.Critical, "fatal": api.Critical, "emergency": api.Critical, "alert": api.Critical,
}

// DecodeEvents reads what a sensor reported: the data of detect_triggers (null,
// one event or a list), the params of report_trigger, or a pushed event. ID and
// Seq are left to the spool. Events that can be read are returned together with an
// error for those that cannot.
func DecodeEvents(data json.RawMessage, from EventSource) ([]api.Event, error) {
	if isNull(data) {
		return nil, nil
	}
	items := []json.RawMessage{data}
	if bytes.TrimSpace(data)[0] == '[' {
		if err := json.Unmarshal(data, &items); err != nil { // each is bounded below
			return nil, fmt.Errorf("events: %w", err)
		}
	}
	if len(items) > api.MaxBatchEvents {
		return nil, fmt.Errorf("events: %d at once: at most %d", len(items), api.MaxBatchEvents)
	}
	var out []api.Event
	var errs []error
	for i, item := range items {
		if isNull(item) {
			continue
		}
		e, err := decodeEvent(item, from)
		if err != nil {
			errs = append(errs, fmt.Errorf("event %d: %w", i+1, err))
			continue
		}
		out = append(out, e)
	}
	return out, errors.Join(errs...)
}

func decodeEvent(raw json.RawMessage, from EventSource) (api.Event, error) {
	if err := checkDepth(raw); err != nil {
		return api.Event{}, err
	}
	var fields map[string]json.RawMessage
	if err := limits.UnmarshalJSON(raw, &fields); err != nil {
		return api.Event{}, fmt.Errorf("must be an object: %w", err)
	}
	e := api.Event{Source: string(from.Plugin), Monitor: from.Monitor, Metadata: map[string]json.RawMessage{}}
	var err error
	if e.Type, err = takeType(fields, from); err != nil {
		return e, err
	}
	if e.Severity, err = takeSeverity(fields); err != nil {
		return e, err
	}
	takeMetadata(fields, &e)
	takeTime(fields, from.Now, &e)
	if e.Key, err = takeKey(fields); err != nil {
		return e, err
	}
	if raw := take(fields, names.tags); raw != nil {
		if err := json.Unmarshal(raw, &e.Tags); err != nil {
			return e, errors.New("tags: must be a list of text")
		}
	}
	takeData(fields, &e)
	if len(e.Metadata) == 0 {
		e.Metadata = nil
	}
	return e, checkSize(e)
}

// take removes the first of several names that is there and returns its value;
// nil when there is none or it is null.
func take(fields map[string]json.RawMessage, candidates []string) json.RawMessage {
	for _, name := range candidates {
		if raw, ok := fields[name]; ok {
			delete(fields, name)
			if !isNull(raw) {
				return raw
			}
		}
	}
	return nil
}

// takeType finds the type; an event without one is named for its plugin.
func takeType(fields map[string]json.RawMessage, from EventSource) (string, error) {
	raw := take(fields, names.typ)
	if raw == nil {
		return string(from.Plugin), nil
	}
	s, ok := textOf(raw)
	if !ok || !eventType.MatchString(s) {
		return "", fmt.Errorf("type %s: must be a word of letters, digits and _.:/-, for example disk.space.high", clip(string(raw)))
	}
	return s, nil
}

func takeSeverity(fields map[string]json.RawMessage) (api.Severity, error) {
	raw := take(fields, names.severity)
	if raw == nil {
		return api.Medium, nil
	}
	s, _ := textOf(raw)
	severity, ok := severities[strings.ToLower(s)]
	if !ok {
		return "", fmt.Errorf("severity %s: must be low, medium, high or critical", clip(string(raw)))
	}
	return severity, nil
}

// takeTime takes the plugin's time if it is an instant: RFC 3339 or Unix seconds.
// A time without a zone may mean local time or UTC; the agent's clock counts then,
// and the text is kept.
func takeTime(fields map[string]json.RawMessage, now time.Time, e *api.Event) {
	e.Timestamp = api.At(now)
	raw := take(fields, names.time)
	if raw == nil {
		return
	}
	var seconds float64
	s, isText := textOf(raw)
	if t, err := time.Parse(time.RFC3339Nano, s); isText && err == nil {
		e.Timestamp = api.At(t)
		return
	}
	const lastSecond = 253402300799 // 9999-12-31T23:59:59Z: RFC 3339 has no later year
	if err := json.Unmarshal(raw, &seconds); err == nil && seconds > 0 && seconds <= lastSecond {
		e.Timestamp = api.At(time.UnixMilli(int64(seconds * 1000)))
		return
	}
	e.Metadata["plugin_timestamp"] = raw
}

// takeMetadata keeps the plugin's own id beside its metadata.
func takeMetadata(fields map[string]json.RawMessage, e *api.Event) {
	if raw := take(fields, names.metadata); raw != nil {
		var m map[string]json.RawMessage
		if json.Unmarshal(raw, &m) == nil {
			maps.Copy(e.Metadata, m)
		} else {
			e.Metadata["metadata"] = raw
		}
	}
	if raw := take(fields, []string{"id", "event_id", "trigger_id"}); raw != nil {
		e.Metadata["plugin_event_id"] = raw
	}
	for _, name := range []string{"source", "plugin_id"} { // the agent knows it better
		delete(fields, name)
	}
}

func takeKey(fields map[string]json.RawMessage) (string, error) {
	raw := take(fields, names.key)
	if raw == nil {
		return "", nil
	}
	const most = 512 // bytes: a path or a URL fits, a document does not
	s, ok := textOf(raw)
	if !ok || len(s) > most {
		return "", fmt.Errorf("key: must be text of at most %d bytes", most)
	}
	return s, nil
}

// takeData finds the data; without any, whatever else the plugin says is it, and
// with it that goes into the metadata.
func takeData(fields map[string]json.RawMessage, e *api.Event) {
	raw := take(fields, names.data)
	switch {
	case raw == nil:
		if len(fields) > 0 {
			e.Data = fields
		}
		return
	case !isObject(raw):
		e.Data = map[string]json.RawMessage{"value": raw}
	default:
		_ = json.Unmarshal(raw, &e.Data) // it is an object and was decoded before
	}
	for name, value := range fields {
		if _, taken := e.Metadata[name]; !taken {
			e.Metadata[name] = value
		}
	}
}

func checkSize(e api.Event) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	const envelope = 256 // the id and number that it gets later
	if len(b)+envelope > api.MaxEventBytes {
		return fmt.Errorf("%w: %d bytes, at most %d: send less data", limits.ErrTooLarge, len(b), api.MaxEventBytes)
	}
	return nil
}
