//go:build unix

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// host is a plugin host with what is installed on it.
type host struct {
	*Plugins
	t    *testing.T
	rt   *Runtime
	log  *lines
	base string
}

// newHost installs Python plugins, by name: the manifest's lines, "---", the program.
// Files of config/plugins are named *.yaml, further ones of a plugin ID/NAME.
func newHost(t *testing.T, typ api.AgentType, files map[string]string, environ ...string) *host {
	t.Helper()
	if _, err := interpreter(); err != nil {
		t.Skip(err)
	}
	rt, log := testRuntime(t, typ, append(environ, "STAVILY_AGENT_ENVIRONMENT=testing")...)
	rt.openAudit()
	t.Cleanup(func() { rt.closeAudit() })
	enrolled(t, rt.Config(), pkitest.New(t, "ca"), "acme/"+string(typ)+"/web-01")
	h := &host{t: t, rt: rt, log: log, base: rt.Config().Agent.BaseDir}
	for name, text := range files {
		if strings.HasSuffix(name, ".yaml") {
			write(t, filepath.Join(h.base, "config", "plugins", name), text)
			continue
		}
		if strings.Contains(name, "/") { // a further file of a plugin
			write(t, filepath.Join(h.base, "data", "plugins", name), text)
			continue
		}
		manifest, program, _ := strings.Cut(text, "---\n")
		dir := filepath.Join(h.base, "data", "plugins", name)
		write(t, filepath.Join(dir, "plugin.yaml"), "id: "+name+"\nversion: 1.0.0\n"+manifest)
		write(t, filepath.Join(dir, "main.py"), program)
	}
	shareSDK(t, h.base)
	var err error
	if rt.identity, err = rt.loadIdentity(); err != nil {
		t.Fatal(err)
	}
	if h.Plugins, err = openPlugins(t.Context(), rt); err != nil {
		t.Fatal(err)
	}
	rt.Plugins = h.Plugins
	t.Cleanup(h.close)
	h.Plugins.await(time.Minute) // longer than an agent waits: a busy machine may take that to install
	return h
}

// dirOf is a directory with a plugin.
func dirOf(t *testing.T, manifest, program string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "plugin.yaml"), manifest)
	write(t, filepath.Join(dir, "main.py"), program)
	return dir
}

// shareSDK puts the SDK, which is unpacked once for all tests, where an agent looks for it.
func shareSDK(t *testing.T, base string) {
	t.Helper()
	python, err := interpreter()
	if err != nil {
		t.Skip(err)
	}
	src, err := unpackSDK(t.Context(), sharedCache, python)
	if err != nil {
		t.Fatal(err)
	}
	sdk := filepath.Dir(src)
	if err := os.Symlink(sdk, filepath.Join(base, "data", "cache", filepath.Base(sdk))); err != nil {
		t.Fatal(err)
	}
}

// task is one for a plugin as the host's owner set it up.
func (h *host) task(id api.PluginID) Task {
	h.t.Helper()
	p, err := h.Find(id)
	if err != nil {
		h.t.Fatalf("%v\n%s", err, h.log)
	}
	return Task{Plugin: p, Settings: h.SettingsOf(id)}
}

// order is a task for an instruction, which change may alter.
func (h *host) order(id api.PluginID, change func(*api.Instruction)) Task {
	h.t.Helper()
	t := h.task(id)
	t.Instruction = &api.Instruction{
		ID: "ins-1", PluginID: id, InstructionType: "workflow", Attempt: 2, TimeoutSeconds: 30,
		InputData: map[string]json.RawMessage{}, Variables: map[string]json.RawMessage{"region": json.RawMessage(`"north"`)},
		Context: api.InstructionContext{Workflow: "clean", RunID: "run-1", Step: "one", EventID: "evt-1"},
	}
	if change != nil {
		change(t.Instruction)
	}
	return t
}

func given(name, value string) func(*api.Instruction) {
	return func(i *api.Instruction) { i.InputData[name] = json.RawMessage(value) }
}

// ended fails unless the result has this status and says this.
func (h *host) ended(got api.Result, status api.InstructionStatus, says string) {
	h.t.Helper()
	if got.Status != status || !strings.Contains(got.ErrorMessage, says) {
		h.t.Errorf("ended as %s: %q, want %s: %q", got.Status, got.ErrorMessage, status, says)
	}
	if got.Plugin == nil || got.Plugin.Version != "1.0.0" || got.Sandbox == nil || got.StartedAt.IsZero() || got.FinishedAt.Before(got.StartedAt.Time) {
		h.t.Errorf("what ran, how it was confined and when is missing: %+v", got)
	}
	if left := names(h.t, filepath.Join(h.base, "tmp")); len(left) > 0 {
		h.t.Errorf("tmp still holds %q", left)
	}
}

// fields are members of a JSON object, as their text.
func fields(t *testing.T, object json.RawMessage, names ...string) map[string]string {
	t.Helper()
	var all map[string]json.RawMessage
	if err := json.Unmarshal(object, &all); err != nil {
		t.Fatalf("%s: %v", object, err)
	}
	out := map[string]string{}
	for _, name := range names {
		out[name] = string(all[name])
	}
	return out
}

const (
	action = "type: action\nruntime: {type: python, entry_point: main.py, contract: %s}\n"
	schema = `
parameters:
  percent: {type: integer, required: true, maximum: 100}
  mount: {type: string, default: /var}
configuration:
  greeting: {type: string, default: hello}
  loud: {type: boolean}
`
	withSDK = `
import os, sys, stavily
from stavily._agent import from_environment
@stavily.action
def act(params, ctx):
%s
if __name__ == "__main__":
    stavily.run()
`
	// asScript has what it was given at hand: arguments, environment, input.
	asScript = `
import json, os, sys, time
env = os.environ
given = json.load(open(env["STAVILY_INPUT_FILE"]))
`
)

func script(body string) string {
	return fmt.Sprintf(action, "script") + schema + "---" + asScript + body
}

func sdk(body string) string {
	return fmt.Sprintf(action, "stdio") + schema + "---" + fmt.Sprintf(withSDK, "    "+strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n    "))
}

func TestExecuteScript(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{
		"tidy": script(`
print(json.dumps({"argv": sys.argv[1:], "input": given["input_data"], "context": given["context"], "variables": given["variables"],
    "private": [oct(os.stat(env["TMPDIR"]).st_mode & 0o777), os.path.dirname(env["STAVILY_INPUT_FILE"]) == env["TMPDIR"]], "secret": env.get("STAVILY_API_BASE_URL")}))
`),
		"tidy.yaml": "plugin: tidy\nconfig: {greeting: good day}\n",
	})
	t.Setenv("STAVILY_API_BASE_URL", "https://not.for.plugins")
	got := h.Execute(t.Context(), h.order("tidy", given("percent", `"85"`)))
	h.ended(got, api.Completed, "")
	want := map[string]string{
		"argv": `["--greeting","good day"]`, "input": `{"mount":"/var","percent":85}`, "variables": `{"region":"north"}`,
		"context": `{"workflow":"clean","run_id":"run-1","step":"one","event_id":"evt-1"}`, "private": `["0o700",true]`, "secret": "null",
	}
	for name, text := range fields(t, got.Result, "argv", "input", "variables", "context", "private", "secret") {
		var a, b any
		if json.Unmarshal([]byte(text), &a) != nil || json.Unmarshal([]byte(want[name]), &b) != nil || !cmp.Equal(a, b) {
			t.Errorf("%s = %s, want %s", name, text, want[name])
		}
	}
	if *got.ExitCode != 0 || got.ResourceUsage.MaxRSSBytes == 0 {
		t.Errorf("exit code %d and %+v, want 0 and what it took", *got.ExitCode, got.ResourceUsage)
	}
}

func TestExecuteStdio(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"tidy": sdk(`
agent = from_environment()
print("error: by hand")
agent.call("progress", {"percent": 50, "message": "half"})
agent.call("upload_logs", {"logs": [{"level": "warning", "message": "by call", "timestamp": "2026-01-02T03:04:05Z"}]})
def refused(method, params):
    try:
        return agent.call(method, params)
    except stavily.AgentError as e:
        return str(e)
return {"params": [params.percent, params.mount], "info": agent.call("get_agent_info", {}), "all": agent.call("get_config", {}),
    "one": agent.call("get_config", {"section": "greeting"}), "none": refused("get_config", {"section": "x"}),
    "trigger": refused("report_trigger", {"trigger_name": "x", "payload": {}})}
`)})
	var progress []float64
	task := h.order("tidy", given("percent", "85"))
	task.Progress = func(p plugin.Progress) { progress = append(progress, *p.Percent) }
	got := h.Execute(t.Context(), task)
	h.ended(got, api.Completed, "")
	want := map[string]string{
		"params": `[85,"/var"]`, "all": `{"config":{"greeting":"hello"}}`, "one": `{"config":{"greeting":"hello"}}`,
		"info": `{"agent_id":"web-01","version":"` + api.Version + `","environment":"testing","agent_type":"action","organization_id":"acme"}`,
	}
	for name, text := range fields(t, got.Result, "params", "all", "one", "info") {
		var a, b any
		if json.Unmarshal([]byte(text), &a) != nil || json.Unmarshal([]byte(want[name]), &b) != nil || !cmp.Equal(a, b) {
			t.Errorf("%s = %s, want %s", name, text, want[name])
		}
	}
	for name, says := range map[string]string{"none": "no section", "trigger": "only sensors report triggers"} {
		if text := fields(t, got.Result, name)[name]; !strings.Contains(text, says) {
			t.Errorf("%s = %s, want %q", name, text, says)
		}
	}
	if !cmp.Equal(progress, []float64{50}) {
		t.Errorf("progress %v, want 50", progress)
	}
	text := read(t, filepath.Join(h.base, "logs", "plugins", "tidy.log"))
	for _, line := range []string{"Z error [ins-1] by hand\n", "2026-01-02T03:04:05.000Z warn  [ins-1] by call\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("the plugin's log lacks %q:\n%s", line, text)
		}
	}
	if n := len(h.rt.logs.queue); n != 2 {
		t.Errorf("%d entries wait for upload, want 2", n)
	}
}

// What the host's owner did not allow, or the schema refuses, does not run.
func TestWhatIsNotExecuted(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "ran")
	h := newHost(t, api.Action, map[string]string{"tidy": script(`open("` + mark + `", "w")`)})
	ok := given("percent", "1")
	for says, change := range map[string]func(*api.Instruction){
		"percent":               nil,
		"must be at most 100":   given("percent", "101"),
		"`arguments: true`":     func(i *api.Instruction) { ok(i); i.PluginConfiguration.Arguments = []string{"-x"} },
		"`environment: true`":   func(i *api.Instruction) { ok(i); i.PluginConfiguration.Environment = map[string]string{"A": "1"} },
		`entry point "evil.py"`: func(i *api.Instruction) { ok(i); i.PluginConfiguration.EntryPoint = "evil.py" },
	} {
		h.ended(h.Execute(t.Context(), h.order("tidy", change)), api.Failed, says)
	}
	wrong := h.order("tidy", ok)
	wrong.Settings.Config = map[string]any{"greeting": []any{1}}
	h.ended(h.Execute(t.Context(), wrong), api.Failed, "configuration of tidy")
	if _, err := os.Stat(mark); err == nil {
		t.Error("the plugin ran")
	}
}

func TestWhatTheOwnerAllows(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{
		"tidy":      script(`print(json.dumps([sys.argv[1:2], sys.argv[3:], env.get("A")]))`),
		"tidy.yaml": "plugin: tidy\nenvironment: true\narguments: true\n",
	})
	allowed := func(i *api.Instruction) {
		given("percent", "1")(i)
		i.PluginConfiguration = api.PluginConfiguration{Arguments: []string{"-x"}, Environment: map[string]string{"A": "1"}, EntryPoint: "main.py"}
	}
	got := h.Execute(t.Context(), h.order("tidy", allowed))
	h.ended(got, api.Completed, "")
	if string(got.Result) != `[["--input"], ["-x"], "1"]` {
		t.Errorf("the plugin saw %s, want the arguments and the environment", got.Result)
	}
	h.ended(h.Execute(t.Context(), h.order("tidy", func(i *api.Instruction) {
		allowed(i)
		i.PluginConfiguration.Environment["LD_PRELOAD"] = "/evil.so"
	})), api.Failed, "LD_PRELOAD")
}

// The smallest of all time limits counts, and what it ends is told as a timeout.
func TestTimeLimit(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"slow": script(`time.sleep(60)`)})
	got := h.Execute(t.Context(), h.order("slow", func(i *api.Instruction) {
		given("percent", "1")(i)
		i.PluginConfiguration.TimeoutSeconds = 1
	}))
	h.ended(got, api.TimedOut, "")
	if string(got.ErrorDetails) != `{"reason":"time_limit"}` || got.DurationMS > 20_000 {
		t.Errorf("details %s after %d ms", got.ErrorDetails, got.DurationMS)
	}
}

func TestCancelled(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"slow": script("print('ready', file=sys.stderr, flush=True)\ntime.sleep(60)\n")})
	ctx, cancel := context.WithCancel(t.Context())
	task := h.order("slow", given("percent", "1"))
	var said []string
	task.Line = func(text string) { said = append(said, text); cancel() }
	h.ended(h.Execute(ctx, task), api.Cancelled, "")
	if len(said) == 0 || said[0] != "info: ready" {
		t.Errorf("lines %q, want info: ready", said)
	}
	if n := len(h.rt.logs.queue); n != 0 {
		t.Errorf("%d lines are copied besides", n)
	}
}

// A result over the limit of the wire is kept whole, and its place is told.
func TestLargeResult(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"big": script(`print(json.dumps("x" * 300_000))`)})
	task := h.order("big", given("percent", "1"))
	got := h.Execute(t.Context(), task)
	h.ended(got, api.Completed, "")
	file := filepath.Join(h.base, "data", "cache", "result-ins-1.json")
	if diff := cmp.Diff(map[string]string{"truncated": "true", "bytes": "300002", "file": `"` + file + `"`}, fields(t, got.Result, "truncated", "bytes", "file")); diff != "" {
		t.Error(diff)
	}
	if text := read(t, file); len(text) != 300_002 {
		t.Errorf("the file has %d bytes, want 300002", len(text))
	}
	// Where it cannot be kept, what was done is done all the same.
	if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
		t.Fatal(err)
	}
	got = h.Execute(t.Context(), task)
	h.ended(got, api.Completed, "")
	if f := fields(t, got.Result, "truncated", "file", "error"); f["truncated"] != "true" || f["file"] != "" || f["error"] == "" {
		t.Errorf("result %s, want a mark and why it is not kept", got.Result)
	}
}

// What counts is the size of a result as it is sent: not escaped for HTML, and without secrets, which
// may make it longer.
func TestAResultIsMeasuredAsItIsSent(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{
		"text":   script(`print("<" * 200_000)`),
		"html":   script(`print(json.dumps({"page": "<" * 200_000}))`),
		"spaced": script(`print("[1" + ", 1" * 100_000 + "]")`),
		"secret": script(`print(json.dumps(["<p>secret", *["<"] * 50_000]))`),
		"longer": script(`print(json.dumps(["secret"] * 22_000))`),
	})
	h.rt.hide("secret")
	for name, cut := range map[string]bool{"text": false, "html": false, "spaced": false, "secret": false, "longer": true} {
		got := h.Execute(t.Context(), h.order(api.PluginID(name), given("percent", "1")))
		h.ended(got, api.Completed, "")
		sent, err := api.Marshal(got.Result)
		if is := strings.HasPrefix(string(sent), `{"bytes":`); is != cut || err != nil || len(sent) > api.MaxResultBytes {
			t.Errorf("%s: cut: %v, want %v: %d bytes, %v: %.100s", name, is, cut, len(sent), err, sent)
		}
	}
}

func (h *host) eventually(what string, true func() bool) {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); !true(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("not within a minute: %s\n%s", what, h.log)
		}
	}
}
