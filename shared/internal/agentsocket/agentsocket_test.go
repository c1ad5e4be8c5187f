//go:build unix

package agentsocket

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/stavily/agents/shared/internal/memo"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a Handler that remembers.
type recorder struct {
	mu       sync.Mutex // guards the fields below
	events   []api.Event
	logs     []api.LogEntry
	progress []plugin.Progress
	block    chan struct{} // where set, ReportTrigger waits for it or for its context
}

func (r *recorder) ReportTrigger(ctx context.Context, e api.Event) (api.EventID, error) {
	if r.block != nil {
		select {
		case <-r.block:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Type == "disk.broken" {
		return "", errors.New("the spool is full: no event is taken until the orchestrator is back")
	}
	r.events = append(r.events, e)
	return api.EventID(fmt.Sprintf("event-%d", len(r.events))), nil
}

func (r *recorder) Logs(_ context.Context, entries []api.LogEntry) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, entries...)
	return len(entries), nil
}

func (r *recorder) Progress(_ context.Context, p plugin.Progress) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = append(r.progress, p)
	return nil
}

func (r *recorder) Config(section string) (map[string]json.RawMessage, error) {
	all := map[string]json.RawMessage{"threshold": []byte("85")}
	switch section {
	case "":
		return all, nil
	case "none":
		return nil, nil
	}
	return nil, fmt.Errorf("there is no section %q", section)
}

func (r *recorder) Info() Info {
	return Info{AgentID: "web-1", Version: "1.2.3", Environment: "test", AgentType: api.Sensor, Organization: "acme"}
}

func sensor(t *testing.T, r *recorder) Options {
	return Options{Dir: t.TempDir(), Plugin: "disk", Kind: plugin.Sensor, Monitor: "root-disk", Handler: r}
}

// serve runs use beside a socket.
func serve(t *testing.T, o Options, use func(path string)) {
	t.Helper()
	var path string
	if err := Serve(t.Context(), o, func(p string) error { path = p; use(p); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// client speaks raw lines.
type client struct {
	t *testing.T
	net.Conn
	answers *bufio.Reader
}

func dial(t *testing.T, path string) *client {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) send(line string) {
	c.t.Helper()
	if _, err := c.Write([]byte(line + "\n")); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) ask(line string) string {
	c.t.Helper()
	c.send(line)
	answer, err := c.answers.ReadString('\n')
	if err != nil {
		c.t.Fatalf("after %.80s: %v", line, err)
	}
	return strings.TrimSuffix(answer, "\n")
}

func call(id, method, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":%q,"params":%s}`, id, method, params)
}

func TestMethods(t *testing.T) {
	r := &recorder{}
	serve(t, sensor(t, r), func(path string) {
		c := dial(t, path)
		for _, x := range []struct{ in, want string }{
			{`{"jsonrpc":"2.0","id":1,"method":"ping"}`, `{"jsonrpc":"2.0","id":1,"result":{}}`},
			{call(`"a"`, "ping", "null"), `{"jsonrpc":"2.0","id":"a","result":{}}`},
			{call("2", "report_trigger", `{"trigger_name":"disk.full","payload":{"percent":91},"severity":"high","key":"/"}`), `{"jsonrpc":"2.0","id":2,"result":{"accepted":true,"event_id":"event-1"}}`},
			{call("3", "get_agent_info", "{}"), `{"jsonrpc":"2.0","id":3,"result":{"agent_id":"web-1","version":"1.2.3","environment":"test","agent_type":"sensor","organization_id":"acme"}}`},
			{call("4", "get_config", "{}"), `{"jsonrpc":"2.0","id":4,"result":{"config":{"threshold":85}}}`},
			{call("5", "get_config", `{"section":"none"}`), `{"jsonrpc":"2.0","id":5,"result":{"config":{}}}`},
			{call("6", "upload_logs", `{"logs":[{"level":"WARNING","message":"hm","timestamp":"2026-01-02T03:04:05Z"},{"message":"x","timestamp":"yesterday"}],"instruction_id":"not mine"}`), `{"jsonrpc":"2.0","id":6,"result":{"accepted":2}}`},
			{"\n" + call("7", "ping", "{}"), `{"jsonrpc":"2.0","id":7,"result":{}}`},
		} {
			if got := c.ask(x.in); got != x.want {
				t.Errorf("%s\n got %s\nwant %s", x.in, got, x.want)
			}
		}
	})
	event := api.Event{Type: "disk.full", Source: "disk", Monitor: "root-disk", Severity: api.High, Key: "/", Data: map[string]json.RawMessage{"percent": []byte("91")}}
	if diff := cmp.Diff([]api.Event{event}, r.events, cmpopts.IgnoreFields(api.Event{}, "Timestamp")); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if age := time.Since(r.events[0].Timestamp.Time); age < 0 || age > time.Minute {
		t.Errorf("the event is %v old", age)
	}
	if len(r.logs) != 2 || r.logs[0].Level != "warn" || r.logs[0].InstructionID != "" || r.logs[0].Timestamp.Year() != 2026 || r.logs[1].Level != "info" || r.logs[1].Timestamp.IsZero() {
		t.Errorf("logs %+v", r.logs)
	}
}

func TestRefusals(t *testing.T) {
	serve(t, sensor(t, &recorder{}), func(path string) {
		c := dial(t, path)
		for _, x := range []struct{ in, want string }{
			{"hello", `"id":null,"error":{"code":-32700,"message":"the line is not JSON`},
			{`{"jsonrpc":"1.0","id":1,"method":"ping"}`, `"id":1,"error":{"code":-32600`},
			{`[` + call("1", "ping", "{}") + `]`, `batches are not taken`},
			{call("1", "set_fire", "{}"), `{"code":-32601,"message":"there is no method \"set_fire\": this agent has delete_state, get_agent_info, get_config`},
			{call("1", "report_trigger", `[1]`), `"code":-32602`},
			{call("1", "report_trigger", `[]`), `report_trigger: one trigger a call`},
			{call("1", "report_trigger", `{"trigger_name":"disk full"}`), `{"code":-32602,"message":"report_trigger: event 1: type`},
			{call("1", "report_trigger", `{"trigger_name":"a","payload":{"x":"`+strings.Repeat("y", 70_000)+`"}}`), `too large`},
			{call("1", "report_trigger", `{"trigger_name":"disk.broken"}`), `{"code":-32000,"message":"the spool is full: no event is taken`},
			{call("1", "upload_logs", `{"logs":5}`), `{"code":-32602,"message":"upload_logs: invalid JSON`},
			{call("1", "get_config", `{"section":"secrets"}`), `{"code":-32000,"message":"there is no section`},
			{call("1", "progress", `{"percent":5}`), `this process runs no instruction`},
		} {
			if got := c.ask(x.in); !strings.Contains(got, x.want) {
				t.Errorf("%.100s\n got %s\nwant %s", x.in, got, x.want)
			}
		}
	})
}

func TestOnlySensorsReportAndOnlyInstructionsProgress(t *testing.T) {
	r := &recorder{}
	o := sensor(t, r)
	o.Kind, o.Instruction = plugin.Action, "01J"
	serve(t, o, func(path string) {
		c := dial(t, path)
		if got := c.ask(call("1", "report_trigger", `{"trigger_name":"a"}`)); !strings.Contains(got, "disk is an action plugin: only sensors report triggers") {
			t.Error(got)
		}
		for _, params := range []string{`{"percent":101}`, `{"percent":-1}`, `{"percent":"half"}`} {
			if got := c.ask(call("1", "progress", params)); !strings.Contains(got, "-32602") {
				t.Errorf("%s: %s", params, got)
			}
		}
		for _, params := range []string{`{"percent":40,"message":"half"}`, `{"message":"only text"}`} {
			if got := c.ask(call("1", "progress", params)); !strings.Contains(got, `"result":{}`) {
				t.Errorf("%s: %s", params, got)
			}
		}
		c.ask(call("1", "upload_logs", `{"logs":[{"message":"x"}],"instruction_id":"another"}`))
	})
	if len(r.events) != 0 || len(r.progress) != 2 || *r.progress[0].Percent != 40 || r.progress[1].Percent != nil {
		t.Errorf("events %v, progress %+v", r.events, r.progress)
	}
	if r.logs[0].InstructionID != "01J" {
		t.Errorf("a log entry was believed to belong to %q", r.logs[0].InstructionID)
	}
}

func TestState(t *testing.T) {
	memos := memo.In(t.TempDir())
	o := sensor(t, &recorder{})
	o.Memo = memos.Of("disk", "root-disk")
	serve(t, o, func(path string) {
		c := dial(t, path)
		for _, x := range []struct{ in, want string }{
			{call("1", "get_state", "{}"), `"result":{"state":{}}}`},
			{call("1", "get_state", `{"key":"seen"}`), `"result":{"value":null}}`},
			{call("1", "set_state", `{"key":"seen","value":{"n":[1,2]}}`), `"result":{}}`},
			{call("1", "set_state", `{"key":"none","value":null}`), `"result":{}}`},
			{call("1", "get_state", `{"key":"seen"}`), `"result":{"value":{"n":[1,2]}}}`},
			{call("1", "delete_state", `{"key":"none"}`), `"result":{}}`},
			{call("1", "get_state", "{}"), `"result":{"state":{"seen":{"n":[1,2]}}}}`},
			{call("1", "set_state", `{"key":"","value":1}`), `{"code":-32602,"message":"set_state: not kept: a key is text`},
			{call("1", "set_state", `{"key":"a"}`), `{"code":-32602,"message":"set_state: value: is missing`},
			{call("1", "set_state", `{"value":1}`), `{"code":-32602,"message":"set_state: key: is missing`},
			{call("1", "delete_state", `{}`), `{"code":-32602,"message":"delete_state: key: is missing`},
			{call("1", "get_state", `{"key":5}`), `{"code":-32602,"message":"get_state: `},
		} {
			if got := c.ask(x.in); !strings.Contains(got, x.want) {
				t.Errorf("%s\n got %s\nwant %s", x.in, got, x.want)
			}
		}
	})
	if all, err := memos.Of("disk", "root-disk").All(); err != nil || string(all["seen"]) != `{"n":[1,2]}` {
		t.Errorf("%s, %v", all, err)
	}
	serve(t, sensor(t, &recorder{}), func(path string) {
		if got := dial(t, path).ask(call("1", "get_state", "{}")); !strings.Contains(got, "nowhere to keep its state") {
			t.Error(got)
		}
	})
}

func TestNotificationsGetNoAnswer(t *testing.T) {
	r := &recorder{}
	serve(t, sensor(t, r), func(path string) {
		c := dial(t, path)
		c.send(`{"jsonrpc":"2.0","method":"report_trigger","params":{"trigger_name":"a"}}`)
		c.send(`{"jsonrpc":"2.0","method":"no_such_method"}`)
		if got := c.ask(call("9", "ping", "{}")); !strings.Contains(got, `"id":9`) {
			t.Error(got)
		}
	})
	if len(r.events) != 1 {
		t.Errorf("%d events, want 1", len(r.events))
	}
}

func TestALineThatIsTooLongEndsTheConnection(t *testing.T) {
	serve(t, sensor(t, &recorder{}), func(path string) {
		c := dial(t, path)
		go c.Write([]byte(strings.Repeat("x", 4<<20))) // without a newline
		answer, err := c.answers.ReadString('\n')
		if err != nil || !strings.Contains(answer, "a line has at most 1048576 bytes") {
			t.Errorf("%q, %v", answer, err)
		}
		if rest, err := c.answers.ReadString('\n'); err == nil {
			t.Errorf("the connection goes on: %q", rest)
		}
		if got := dial(t, path).ask(call("1", "ping", "{}")); !strings.Contains(got, "result") {
			t.Error(got)
		}
	})
}

func TestTheSocketIsPrivate(t *testing.T) {
	private := func(path string, want os.FileMode) {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	o := sensor(t, &recorder{})
	serve(t, o, func(path string) {
		private(path, 0o600|os.ModeSocket)
		if filepath.Dir(path) != o.Dir {
			t.Errorf("%s is not in %s", path, o.Dir)
		}
	})
	o.Dir = filepath.Join(o.Dir, strings.Repeat("long", 30))
	if err := os.Mkdir(o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var own string
	serve(t, o, func(path string) {
		if len(path) > maxPath {
			t.Errorf("path of %d bytes", len(path))
		}
		own = filepath.Dir(path)
		private(path, 0o600|os.ModeSocket)
		private(own, 0o700|os.ModeDir)
		dial(t, path).ask(call("1", "ping", "{}"))
	})
	if _, err := os.Lstat(own); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of the socket is still there: %v", err)
	}
	t.Setenv("TMPDIR", o.Dir)
	if err := Serve(t.Context(), o, func(string) error { return nil }); err == nil || !strings.Contains(err.Error(), "shorter base directory") {
		t.Errorf("err = %v", err)
	}
	o.Dir = "/no/such/dir"
	if err := Serve(t.Context(), o, func(string) error { return nil }); err == nil {
		t.Error("a missing directory was used")
	}
}

// The end of the process ends its calls, whatever they wait for.
func TestServeEndsWithItsProcess(t *testing.T) {
	r := &recorder{block: make(chan struct{})}
	failure := errors.New("the plugin failed")
	began := time.Now()
	err := Serve(t.Context(), sensor(t, r), func(path string) error {
		for range 3 {
			dial(t, path).send(call("1", "report_trigger", `{"trigger_name":"a"}`))
		}
		dial(t, path) // says nothing
		return failure
	})
	if err != failure || time.Since(began) > 5*time.Second {
		t.Errorf("Serve = %v after %v", err, time.Since(began))
	}
}

func TestMoreConnectionsThanSlots(t *testing.T) {
	r := &recorder{}
	serve(t, sensor(t, r), func(path string) {
		var wg sync.WaitGroup
		for range 4 * maxConnections {
			wg.Go(func() {
				c := dial(t, path)
				defer c.Close()
				if got := c.ask(call("1", "report_trigger", `{"trigger_name":"a"}`)); !strings.Contains(got, "accepted") {
					t.Error(got)
				}
			})
		}
		wg.Wait()
	})
	if len(r.events) != 4*maxConnections {
		t.Errorf("%d events, want %d", len(r.events), 4*maxConnections)
	}
}

// A plugin without our SDK: a connection for each call, then one for several.
const withoutSDK = `
import json, os, socket
def call(method, params):
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.environ["STAVILY_AGENT_SOCKET"])
    s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")
    answer = json.loads(s.makefile().readline())
    s.close()
    return answer["result"]
assert call("ping", {}) is not None
ids = [call("report_trigger", {"trigger_name": "cpu_high", "payload": {"n": n}})["event_id"] for n in range(20)]
assert len(set(ids)) == 20, ids
s = socket.socket(socket.AF_UNIX)
s.connect(os.environ["STAVILY_AGENT_SOCKET"])
f = s.makefile("rw")
for n in range(20):
    print(json.dumps({"jsonrpc": "2.0", "id": n, "method": "report_trigger", "params": {"trigger_name": "cpu_high", "payload": {"n": n}}}), file=f, flush=True)
for n in range(20):
    answer = json.loads(f.readline())
    assert answer["id"] == n and answer["result"]["accepted"] is True, answer
print(call("get_agent_info", {})["agent_id"])
`

func TestAPluginWithoutOurSDK(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip(err)
	}
	r := &recorder{}
	serve(t, sensor(t, r), func(path string) {
		cmd := exec.Command(python, "-c", withoutSDK)
		cmd.Env = []string{"STAVILY_AGENT_SOCKET=" + path, "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "web-1\n" {
			t.Errorf("%v: %s", err, out)
		}
	})
	if len(r.events) != 40 {
		t.Errorf("%d events, want 40", len(r.events))
	}
}

// Every method is documented for those who write plugins in other languages.
func TestEveryMethodIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/plugins/contracts.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range methods {
		if !strings.Contains(string(page), "| `"+name+"` | ") {
			t.Errorf("contracts.md does not explain %s", name)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(call("1", "report_trigger", `{"trigger_name":"a","payload":{}}`)))
	f.Add([]byte(call("1", "upload_logs", `{"logs":[{"level":"x","timestamp":5}]}`)))
	f.Add([]byte(call("1", "progress", `{"percent":5}`)))
	f.Add([]byte(`[{"jsonrpc":"2.0"}]`))
	f.Add([]byte(call("1", "set_state", `{"key":"a","value":{}}`)))
	s := &server{opts: Options{Memo: memo.In(f.TempDir()).Of("p", "m"), Plugin: "p", Kind: plugin.Sensor, Instruction: "i", Handler: &recorder{}}}
	f.Fuzz(func(t *testing.T, line []byte) {
		answer := s.answer(t.Context(), line)
		if answer == nil {
			return
		}
		var r struct {
			Version string `json:"jsonrpc"`
			Result  json.RawMessage
			Error   json.RawMessage
		}
		if err := json.Unmarshal(answer, &r); err != nil || r.Version != "2.0" || (r.Result == nil) == (r.Error == nil) || strings.ContainsRune(string(answer), '\n') {
			t.Errorf("%q → %q: %v", line, answer, err)
		}
	})
}
