package plugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

// MaxLineBytes is the longest line of contract stdio and of the agent socket,
// either way, without its newline.
const MaxLineBytes = 1 << 20

// MaxDepth is how deep a result and an event may nest, each as a whole. With what the agent,
// the wire and the journal put around them they stay below limits.MaxDepth.
const MaxDepth = 48

// checkDepth is an error where what a plugin says nests too deep.
func checkDepth(said json.RawMessage) error {
	if depth := limits.Depth(said); depth > MaxDepth {
		return fmt.Errorf("%w: it nests %d deep, at most %d", limits.ErrTooLarge, depth, MaxDepth)
	}
	return nil
}

// Protocol is the version of contract stdio that this side announces in get_info.
// Both sides must announce it before a plugin may push lines unasked.
const Protocol = 2

// The commands of contract stdio.
const (
	GetInfo        = "get_info"
	Initialize     = "initialize"
	Start          = "start"
	Stop           = "stop"
	GetHealth      = "get_health"
	DetectTriggers = "detect_triggers"
	ExecuteAction  = "execute_action"
	SendOutput     = "send_output"
)

// Command is one line from the agent.
type Command struct {
	Action        string                     `json:"action"`
	Protocol      int                        `json:"protocol,omitempty"`
	Config        map[string]json.RawMessage `json:"config,omitzero"` // of initialize, which has one even when it is empty
	ActionRequest *ActionRequest             `json:"action_request,omitempty"`
	Output        *Message                   `json:"output,omitempty"`
}

// ActionRequest is what execute_action asks for.
type ActionRequest struct {
	ID          api.InstructionID          `json:"id"`
	Type        string                     `json:"type"`
	Parameters  map[string]json.RawMessage `json:"parameters"`
	Context     map[string]json.RawMessage `json:"context"`
	Timeout     float64                    `json:"timeout"` // seconds; 0 is without limit
	Metadata    map[string]json.RawMessage `json:"metadata"`
	RequestedAt api.Time                   `json:"requested_at"`
}

// Message is what send_output delivers.
type Message struct {
	ID          api.InstructionID          `json:"id"`
	Type        string                     `json:"type"`
	Content     json.RawMessage            `json:"content"`
	Format      string                     `json:"format"`
	Destination string                     `json:"destination"`
	Metadata    map[string]json.RawMessage `json:"metadata"`
	Timestamp   api.Time                   `json:"timestamp"`
}

// Line is one line of a plugin's standard output that means something. Exactly one
// field is set.
type Line struct {
	Response *Response
	Event    json.RawMessage // pushed by a sensor; see DecodeEvents
	Log      *LogRecord
	Progress *Progress
}

// Response answers a command.
type Response struct {
	Action  string // the command, as the plugin repeats it; may be empty
	Success bool
	Data    json.RawMessage // nil when there is none
	Error   string          // why not, for people; never empty without success
}

// LogRecord is a structured line of a plugin's log.
type LogRecord struct {
	Level     string   `json:"level"`
	Message   string   `json:"message"`
	Timestamp api.Time `json:"timestamp"`
}

// LogText makes one line of a log of what a plugin wrote: valid UTF-8 of at most
// api.MaxLogLineBytes, ending in "…" where it was longer.
func LogText(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= api.MaxLogLineBytes {
		return text
	}
	const more = "…"
	return strings.ToValidUTF8(text[:api.MaxLogLineBytes-len(more)], "") + more
}

// Progress is how far an action is.
type Progress struct {
	Percent *float64 `json:"percent"` // 0 to 100
	Message string   `json:"message"`
}

// readableDepth is how deep encoding/json reads.
const readableDepth = 10_000

// lineFile is a line as it comes: every field may have any type.
type lineFile struct {
	Action   json.RawMessage `json:"action"`
	Success  json.RawMessage `json:"success"`
	Data     json.RawMessage `json:"data"`
	Result   json.RawMessage `json:"result"` // what older plugins say for data
	Error    json.RawMessage `json:"error"`
	Event    json.RawMessage `json:"event"`
	Log      json.RawMessage `json:"log"`
	Progress json.RawMessage `json:"progress"`
}

// DecodeLine reads one line of standard output. It reports false for everything
// that is not part of the contract, also for JSON objects: a plugin may print
// structured logs by accident. The caller has bounded the line. One that nests deeper
// than it can be read is an answer without success, as who waits for one hears of it then.
func DecodeLine(line []byte) (Line, bool) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' {
		return Line{}, false
	}
	var f lineFile
	if err := json.Unmarshal(line, &f); err != nil { // what is in it is bounded by who takes it
		if depth := limits.Depth(line); depth > readableDepth {
			return Line{Response: &Response{Error: fmt.Sprintf("the answer nests %d deep; a result or event may nest %d deep", depth, MaxDepth)}}, true
		}
		return Line{}, false
	}
	action, hasAction := textOf(f.Action)
	switch {
	case f.Success != nil || hasAction:
		return Line{Response: f.response(action)}, true
	case isObject(f.Event):
		return Line{Event: f.Event}, true
	case isObject(f.Log):
		var record LogRecord
		return Line{Log: &record}, json.Unmarshal(f.Log, &record) == nil
	case isObject(f.Progress):
		var p Progress
		return Line{Progress: &p}, json.Unmarshal(f.Progress, &p) == nil
	}
	return Line{}, false
}

func (f *lineFile) response(action string) *Response {
	r := &Response{Action: action, Data: f.Data, Error: errorText(f.Error)}
	if isNull(r.Data) {
		r.Data = f.Result
	}
	if isNull(r.Data) {
		r.Data = nil
	}
	if f.Success == nil {
		r.Success = r.Error == "" // some older plugins only say what went wrong
	} else {
		r.Success = truth(f.Success)
	}
	if !r.Success && r.Error == "" {
		r.Error = "the plugin reports a failure without a reason"
	}
	return r
}

func isObject(raw json.RawMessage) bool {
	t := bytes.TrimSpace(raw)
	return len(t) > 0 && t[0] == '{'
}

func textOf(raw json.RawMessage) (string, bool) {
	var s string
	if raw == nil || isNull(raw) {
		return "", false
	}
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// truth takes what programs print for true.
func truth(raw json.RawMessage) bool {
	switch strings.ToLower(strings.Trim(string(raw), `" `)) {
	case "true", "1", "yes", "ok":
		return true
	}
	return false
}

// errorText is an error for people, whatever it is: text, an object with a
// message, or anything else as JSON. Null, false and "" are none.
func errorText(raw json.RawMessage) string {
	if isNull(raw) || string(raw) == "false" {
		return ""
	}
	if s, ok := textOf(raw); ok {
		return s
	}
	var o struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal(raw, &o); err == nil && o.Message != "" {
		return o.Message
	}
	return string(raw)
}

// Info is what a plugin says of itself in get_info. The manifest counts; this is
// for comparison and for the protocol.
type Info struct {
	ID, Name, Version, Type string
	Protocol                int           // 0 when it does not say
	Interval                time.Duration // that a sensor wishes; 0 when it does not say
	Push                    bool          // a sensor that waits for its events by itself
}

// DecodeInfo reads the data of get_info; what it cannot read it leaves empty.
func DecodeInfo(data json.RawMessage) Info {
	var f map[string]json.RawMessage
	if err := limits.UnmarshalJSON(data, &f); err != nil {
		return Info{}
	}
	text := func(key string) string { s, _ := textOf(f[key]); return s }
	info := Info{ID: text("id"), Name: text("name"), Version: text("version"), Type: text("type")}
	var seconds float64
	if json.Unmarshal(f["interval"], &seconds) == nil && seconds > 0 && seconds < maxInterval.Seconds() {
		info.Interval = time.Duration(seconds * float64(time.Second))
	}
	if json.Unmarshal(f["protocol"], &info.Protocol) != nil {
		info.Protocol = 0
	}
	if json.Unmarshal(f["push"], &info.Push) != nil {
		info.Push = false
	}
	return info
}

// Health is what a plugin says of itself in get_health.
type Health struct {
	Status  string `json:"status"` // healthy | degraded | unhealthy | unknown
	Message string `json:"message"`
}

// Unhealthy is the Status of a plugin that cannot do its work.
const Unhealthy = "unhealthy"

// DecodeHealth reads an answer to get_health; one that cannot be read says nothing.
func DecodeHealth(r Response) Health {
	var h Health
	if !r.Success || limits.UnmarshalJSON(r.Data, &h) != nil {
		return Health{}
	}
	return h
}

// maxInterval is far beyond any use and far from overflowing a Duration.
const maxInterval = 366 * 24 * time.Hour

// ActionResult is how one run of an action or output ended, by its own account.
type ActionResult struct {
	Status api.InstructionStatus // completed, failed, timeout or cancelled
	Data   json.RawMessage       // nil when there is none
	Error  string                // empty when completed
}

// statuses maps what plugins say to how an instruction ended.
var statuses = map[string]api.InstructionStatus{
	"completed": api.Completed, "complete": api.Completed, "success": api.Completed, "succeeded": api.Completed, "ok": api.Completed, "done": api.Completed,
	"failed": api.Failed, "failure": api.Failed, "error": api.Failed,
	"timeout": api.TimedOut, "timed_out": api.TimedOut,
	"cancelled": api.Cancelled, "canceled": api.Cancelled,
}

// DecodeActionResult reads the answer to execute_action or send_output. An answer
// that is not in the contract's form is, as a whole, the result.
func DecodeActionResult(r Response) ActionResult {
	out := decodeActionResult(r)
	out.Bound()
	return out
}

// Bound drops data that nest deeper than MaxDepth: a run that completed has failed by them.
func (r *ActionResult) Bound() {
	err := checkDepth(r.Data)
	switch {
	case err == nil:
		return
	case r.Status == api.Completed:
		r.Status, r.Error = api.Failed, "the plugin's result is "+err.Error()
	default:
		r.Error += "; its result is " + err.Error()
	}
	r.Data = nil
}

func decodeActionResult(r Response) ActionResult {
	out := ActionResult{Status: api.Completed, Data: r.Data, Error: r.Error}
	if !r.Success {
		out.Status = api.Failed
	}
	var f struct {
		ID        json.RawMessage `json:"id"`
		Status    string          `json:"status"`
		Data      json.RawMessage `json:"data"`
		Result    json.RawMessage `json:"result"`
		Error     json.RawMessage `json:"error"`
		StartedAt json.RawMessage `json:"started_at"`
		EndedAt   json.RawMessage `json:"completed_at"`
	}
	// A status alone may be the action's own: {"status": "ok", "freed": 3}.
	if r.Data == nil || json.Unmarshal(r.Data, &f) != nil || f.Status == "" || f.Data == nil && f.Result == nil && f.ID == nil && f.StartedAt == nil && f.EndedAt == nil {
		return out
	}
	switch {
	case !isNull(f.Data):
		out.Data = f.Data
	case !isNull(f.Result):
		out.Data = f.Result
	default:
		out.Data = nil
	}
	if text := errorText(f.Error); text != "" {
		out.Error = text
	}
	status, known := statuses[strings.ToLower(f.Status)]
	switch {
	case !known:
		out.Status, out.Error = api.Failed, fmt.Sprintf("the plugin answered with status %q, which is not an end", clip(f.Status))
	case r.Success || status != api.Completed:
		out.Status = status
	}
	if out.Status == api.Completed {
		out.Error = ""
	} else if out.Error == "" {
		out.Error = "the plugin reports " + string(out.Status) + " without a reason"
	}
	return out
}

// clip bounds what an error repeats of a foreign value.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
