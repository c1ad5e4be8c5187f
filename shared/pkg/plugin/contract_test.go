package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

func TestDecodeLine(t *testing.T) {
	response := func(r Response) Line { return Line{Response: &r} }
	for _, c := range []struct {
		in   string
		want Line
	}{
		{`{"action": "start", "success": true}`, response(Response{Action: "start", Success: true})},
		{`  {"action": "get_status", "success": true, "data": "running"}` + "\r", response(Response{Action: "get_status", Success: true, Data: []byte(`"running"`)})},
		{`{"action": "execute_action", "success": true, "result": {"a": 1}}`, response(Response{Action: "execute_action", Success: true, Data: []byte(`{"a": 1}`)})},
		{`{"action": "execute_action", "success": true, "data": null, "result": 3}`, response(Response{Action: "execute_action", Success: true, Data: []byte(`3`)})},
		{`{"success": false, "error": "disk gone"}`, response(Response{Error: "disk gone"})},
		{`{"success": false, "error": {"code": 3, "message": "disk gone"}}`, response(Response{Error: "disk gone"})},
		{`{"success": false, "error": {"code": 3}}`, response(Response{Error: `{"code": 3}`})},
		{`{"success": false}`, response(Response{Error: "the plugin reports a failure without a reason"})},
		{`{"action": "x", "error": "no"}`, response(Response{Action: "x", Error: "no"})},
		{`{"action": "x", "error": null}`, response(Response{Action: "x", Success: true})},
		{`{"success": "True", "action": 5}`, response(Response{Success: true})},
		{`{"event": {"type": "a"}}`, Line{Event: []byte(`{"type": "a"}`)}},
		{`{"log": {"level": "warn", "message": "hm"}}`, Line{Log: &LogRecord{Level: "warn", Message: "hm"}}},
		{`{"progress": {"percent": 40, "message": "half"}}`, Line{Progress: &Progress{Percent: ptr(40.0), Message: "half"}}},
	} {
		got, ok := DecodeLine([]byte(c.in))
		if diff := cmp.Diff(c.want, got); !ok || diff != "" {
			t.Errorf("DecodeLine(%s) = %v (-want +got):\n%s", c.in, ok, diff)
		}
	}
	for _, in := range []string{
		"", "INFO starting", "[1]", `"text"`, "{", "{}", `{"level": "info", "msg": "structured log"}`, `{"event": "login"}`,
		`{"action": "x", "success": true} trailing`, "\xff\xfe{}", `{"log": {"timestamp": "yesterday"}}`, `{"action": ` + strings.Repeat("[", 200),
	} {
		if got, ok := DecodeLine([]byte(in)); ok {
			t.Errorf("DecodeLine(%.60q) = %+v; want a line of log", in, got)
		}
	}
}

func TestCommandsOnTheWire(t *testing.T) {
	for _, c := range []struct {
		in   Command
		want string
	}{
		{Command{Action: GetInfo, Protocol: Protocol}, `{"action":"get_info","protocol":2}`},
		{Command{Action: Initialize, Config: map[string]json.RawMessage{}}, `{"action":"initialize","config":{}}`},
		{Command{Action: ExecuteAction, ActionRequest: &ActionRequest{ID: "1", Type: "a", Timeout: 2.5}},
			`{"action":"execute_action","action_request":{"id":"1","type":"a","parameters":null,"context":null,"timeout":2.5,"metadata":null,"requested_at":null}}`},
	} {
		if got, err := json.Marshal(c.in); err != nil || string(got) != c.want {
			t.Errorf("%s, %v; want %s", got, err, c.want)
		}
	}
}

func TestLogText(t *testing.T) {
	for _, in := range []string{
		"short", "\xff", strings.Repeat("x", api.MaxLogLineBytes), strings.Repeat("x", api.MaxLogLineBytes+1),
		strings.Repeat("é", api.MaxLogLineBytes), strings.Repeat("a\xff", api.MaxLogLineBytes/2),
	} {
		got := LogText(in)
		whole := len(strings.ToValidUTF8(in, "\uFFFD")) <= api.MaxLogLineBytes
		if len(got) > api.MaxLogLineBytes || !utf8.ValidString(got) || strings.HasSuffix(got, "…") == whole {
			t.Errorf("LogText of %d bytes = %d bytes ending in %q", len(in), len(got), got[max(0, len(got)-5):])
		}
	}
}

func TestDecodeInfo(t *testing.T) {
	got := DecodeInfo([]byte(`{"id": "a", "name": 5, "version": "1", "type": "trigger", "protocol": 2, "interval": 0.5, "push": true, "more": []}`))
	if want := (Info{ID: "a", Version: "1", Type: "trigger", Protocol: 2, Interval: 500 * time.Millisecond, Push: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, in := range []string{"", "null", "3", `{"interval": -1, "protocol": "two", "push": 1}`, `{"interval": 1e300}`} {
		if got := DecodeInfo([]byte(in)); got != (Info{}) {
			t.Errorf("DecodeInfo(%s) = %+v", in, got)
		}
	}
}

func TestDecodeActionResult(t *testing.T) {
	for _, c := range []struct {
		success bool
		data    string
		want    ActionResult
	}{
		{true, `{"id": "1", "status": "completed", "data": {"freed": 3}, "error": ""}`, ActionResult{Status: api.Completed, Data: []byte(`{"freed": 3}`)}},
		{true, `{"freed": 3}`, ActionResult{Status: api.Completed, Data: []byte(`{"freed": 3}`)}},
		{true, `{"status": "ok", "freed": 3}`, ActionResult{Status: api.Completed, Data: []byte(`{"status": "ok", "freed": 3}`)}},
		{true, ``, ActionResult{Status: api.Completed}},
		{true, `{"id": "1", "status": "failed", "data": null, "error": "no"}`, ActionResult{Status: api.Failed, Error: "no"}},
		{true, `{"id": "1", "status": "canceled"}`, ActionResult{Status: api.Cancelled, Error: "the plugin reports cancelled without a reason"}},
		{true, `{"id": "1", "status": "running"}`, ActionResult{Status: api.Failed, Error: `the plugin answered with status "running", which is not an end`}},
		{false, `{"id": "1", "status": "completed", "data": 1}`, ActionResult{Status: api.Failed, Data: []byte("1"), Error: "top"}},
		{false, `{"id": "1", "status": "timeout", "data": 1, "error": "inner"}`, ActionResult{Status: api.TimedOut, Data: []byte("1"), Error: "inner"}},
		{false, ``, ActionResult{Status: api.Failed, Error: "top"}},
	} {
		r := Response{Success: c.success}
		if c.data != "" {
			r.Data = []byte(c.data)
		}
		if !c.success {
			r.Error = "top"
		}
		if diff := cmp.Diff(c.want, DecodeActionResult(r), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%v %s (-want +got):\n%s", c.success, c.data, diff)
		}
	}
}

var (
	now    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	source = EventSource{Plugin: "disk", Monitor: "root-disk", Now: now}
)

func TestDecodeEvents(t *testing.T) {
	type m = map[string]json.RawMessage
	event := func(change func(*api.Event)) api.Event {
		e := api.Event{Type: "disk", Source: "disk", Monitor: "root-disk", Timestamp: api.At(now), Severity: api.Medium}
		change(&e)
		return e
	}
	for _, c := range []struct {
		in   string
		want []api.Event
	}{
		{`null`, nil}, {``, nil}, {`[]`, nil}, {`[null]`, nil},
		{`{}`, []api.Event{event(func(*api.Event) {})}},
		{`{"type": "disk.high", "severity": "critical", "data": {"percent": 91}, "metadata": {"a": 1}, "tags": ["x"], "key": "/", "timestamp": "2025-12-31T23:00:00+01:00"}`,
			[]api.Event{event(func(e *api.Event) {
				e.Type, e.Severity, e.Key, e.Tags = "disk.high", api.Critical, "/", []string{"x"}
				e.Data, e.Metadata = m{"percent": []byte("91")}, m{"a": []byte("1")}
				e.Timestamp = api.At(time.Date(2025, 12, 31, 22, 0, 0, 0, time.UTC))
			})}},
		{`{"trigger_name": "cpu_high", "payload": {"load": 9}, "severity": "WARNING"}`,
			[]api.Event{event(func(e *api.Event) { e.Type, e.Data = "cpu_high", m{"load": []byte("9")} })}},
		{`[{"event_type": "a", "data": 5}, {"type": "b", "level": "error"}]`, []api.Event{
			event(func(e *api.Event) { e.Type, e.Data = "a", m{"value": []byte("5")} }),
			event(func(e *api.Event) { e.Type, e.Severity = "b", api.High })}},
		{`{"id": "evt-1", "source": "me", "type": "a", "message": "full", "value": 3}`,
			[]api.Event{event(func(e *api.Event) {
				e.Type, e.Data, e.Metadata = "a", m{"message": []byte(`"full"`), "value": []byte("3")}, m{"plugin_event_id": []byte(`"evt-1"`)}
			})}},
		{`{"type": "a", "data": {"x": 1}, "message": "full"}`,
			[]api.Event{event(func(e *api.Event) {
				e.Type, e.Data, e.Metadata = "a", m{"x": []byte("1")}, m{"message": []byte(`"full"`)}
			})}},
		{`{"type": "a", "timestamp": 1767225600.5}`,
			[]api.Event{event(func(e *api.Event) { e.Type, e.Timestamp = "a", api.At(time.UnixMilli(1767225600500)) })}},
		{`{"type": "a", "timestamp": "2026-01-02T03:04:05.123456"}`,
			[]api.Event{event(func(e *api.Event) {
				e.Type, e.Metadata = "a", m{"plugin_timestamp": []byte(`"2026-01-02T03:04:05.123456"`)}
			})}},
	} {
		got, err := DecodeEvents([]byte(c.in), source)
		if err != nil {
			t.Errorf("DecodeEvents(%s): %v", c.in, err)
		}
		if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b api.Time) bool { return a.Equal(b.Time) })); diff != "" {
			t.Errorf("DecodeEvents(%s) (-want +got):\n%s", c.in, diff)
		}
	}
}

func TestDecodeEventsRefuses(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`"event"`, "event 1: must be an object"},
		{`{"type": "disk space"}`, `type "disk space": must be a word`},
		{`{"type": 5}`, "type 5: must be a word"},
		{`{"type": "a", "severity": "purple"}`, `severity "purple": must be low`},
		{`{"type": "a", "key": 5}`, "key: must be text"},
		{`{"type": "a", "tags": "x"}`, "tags: must be a list"},
		{`{"type": "a", "data": {"x": "` + strings.Repeat("y", api.MaxEventBytes) + `"}}`, "too large"},
		{`[` + strings.Repeat(`{},`, api.MaxBatchEvents) + `{}]`, "501 at once: at most 500"},
		{`{`, "middle of a document"},
	} {
		if got, err := DecodeEvents([]byte(c.in), source); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("DecodeEvents(%.60s) = %v, %v; want %s", c.in, got, err, c.want)
		}
	}
	// One that cannot be read does not take the others with it.
	got, err := DecodeEvents([]byte(`[{"type": "a"}, 5, {"type": "b"}]`), source)
	if len(got) != 2 || err == nil || !strings.Contains(err.Error(), "event 2") {
		t.Errorf("got %v, %v; want two events and an error for the second", got, err)
	}
	if _, err := DecodeEvents([]byte(`{"type": "a", "data": {"x": "`+strings.Repeat("y", api.MaxEventBytes)+`"}}`), source); !errors.Is(err, limits.ErrTooLarge) {
		t.Errorf("err = %v, want ErrTooLarge", err)
	}
}

func nested(depth int) json.RawMessage {
	return json.RawMessage(strings.Repeat("[", depth) + strings.Repeat("]", depth))
}

// What nests as deep as it may passes the wire; what nests deeper is told at once, with how deep.
func TestWhatPluginsSayNestsSoDeep(t *testing.T) {
	answer := func(depth int) Line {
		line, ok := DecodeLine(fmt.Appendf(nil, `{"action":"execute_action","success":true,"data":{"id":"1","status":"completed","data":%s}}`, nested(depth)))
		if !ok || line.Response == nil {
			t.Fatalf("an answer that nests %d deep is none", depth)
		}
		return line
	}
	for _, depth := range []int{MaxDepth, MaxDepth + 1, 70, 20_000} {
		got := DecodeActionResult(*answer(depth).Response)
		fits := depth <= MaxDepth
		if (got.Status == api.Completed) != fits || (got.Data != nil) != fits || strings.Contains(got.Error, "deep") == fits {
			t.Errorf("a result %d deep: %s, %q, %.40s", depth, got.Status, got.Error, got.Data)
		}
		wire, err := json.Marshal(api.Result{Result: got.Data})
		if err != nil || limits.UnmarshalJSON(wire, new(api.Result)) != nil {
			t.Errorf("a result %d deep does not pass the wire", depth)
		}

		events, err := DecodeEvents(fmt.Appendf(nil, `[{"type":"a","data":%s},{"type":"b"}]`, nested(depth-1)), EventSource{Plugin: "p", Now: time.Now()})
		if want := map[bool]int{true: 2, false: 1}[fits]; depth < readableDepth && len(events) != want || (err == nil) != fits {
			t.Errorf("events %d deep: %d are taken, %v", depth, len(events), err)
		}
		wire, err = json.Marshal(api.EventBatch{Events: events})
		if err != nil || limits.UnmarshalJSON(wire, new(api.EventBatch)) != nil {
			t.Errorf("events %d deep do not pass the wire", depth)
		}
	}
	failed := DecodeActionResult(Response{Error: "no", Data: nested(MaxDepth + 1)})
	if failed.Status != api.Failed || !strings.HasPrefix(failed.Error, "no; its result is too large: it nests 49 deep") {
		t.Errorf("a failure with a deep result: %+v", failed)
	}
}

func FuzzDecodeLine(f *testing.F) {
	f.Add([]byte(`{"action": "get_info", "success": true, "data": {"id": "a", "protocol": 2, "interval": 5}}`))
	f.Add([]byte(`{"success": false, "error": {"message": 3}, "result": {"id": 1, "status": "ok", "data": 2}}`))
	f.Add([]byte(`{"event": {}, "log": {}, "progress": {}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		line, ok := DecodeLine(b)
		if !ok {
			return
		}
		if line.Response == nil && line.Event == nil && line.Log == nil && line.Progress == nil {
			t.Fatalf("DecodeLine(%q) is a line of nothing", b)
		}
		if r := line.Response; r != nil {
			if !r.Success && r.Error == "" {
				t.Errorf("a failure without a reason: %+v", r)
			}
			DecodeInfo(r.Data)
			if a := DecodeActionResult(*r); !a.Status.Terminal() || (a.Status != api.Completed) != (a.Error != "") && !r.Success {
				t.Errorf("%q → %+v", b, a)
			}
		}
	})
}

func FuzzDecodeEvents(f *testing.F) {
	f.Add([]byte(`[{"type": "a", "data": {"b": 1}, "timestamp": 5}, null, {"trigger_name": "x", "payload": [], "level": "warn"}]`))
	f.Add([]byte(`{"metadata": 5, "id": {}, "time": -1e308}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		events, _ := DecodeEvents(b, source)
		for _, e := range events {
			encoded, err := json.Marshal(e)
			if err != nil || len(encoded) > api.MaxEventBytes || e.Type == "" || e.Severity == "" {
				t.Errorf("%q → %+v: %v", b, e, err)
			}
		}
	})
}

func ExampleSchema_Apply() {
	m, _, err := ParseManifest("plugin.yaml", []byte(`
id: disk-space
version: 1.0.0
type: sensor
runtime: {entry_point: main.py}
configuration:
  threshold: {type: number, default: 85, maximum: 100}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	config, err := m.Configuration.Apply(nil)
	fmt.Printf("%s %v\n", config["threshold"], err)
	_, err = m.Configuration.Apply(map[string]json.RawMessage{"treshold": []byte("90")})
	fmt.Println(err)
	// Output:
	// 85 <nil>
	// treshold: is not known: did you mean "threshold"?
}
