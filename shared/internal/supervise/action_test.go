//go:build unix

package supervise

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// act runs an action and gives its result without what varies.
func act(t *testing.T, ctx context.Context, a Action) (ActionResult, *Transcript) {
	t.Helper()
	log := &Transcript{}
	a.Log = log
	if a.Command.Action == "" {
		a.Command = plugin.Command{Action: plugin.ExecuteAction, ActionRequest: &plugin.ActionRequest{
			ID: "01J", Parameters: map[string]json.RawMessage{"path": []byte(`"/tmp"`)},
		}}
	}
	r, err := RunAction(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return r, log
}

func TestActionsOfEveryContract(t *testing.T) {
	const script = "import json, sys\nprint('working', file=sys.stderr)\nprint(json.dumps({'args': sys.argv[1:]}, indent=1))\n"
	for name, c := range map[string]struct {
		program  string
		contract plugin.Contract
		want     string
		spoken   plugin.Contract
	}{
		"stdio":            {"older.py", plugin.Stdio, `{"path": "/tmp"}`, plugin.Stdio},
		"stdio, detected":  {"older.py", plugin.Detect, `{"path": "/tmp"}`, plugin.Stdio},
		"script":           {script, plugin.Script, `{"args": ["--level", "3"]}`, plugin.Script},
		"script, detected": {script, plugin.Detect, `{"args": ["--level", "3"]}`, plugin.Script},
		"text":             {"print('freed 3 files')\nprint('done')\n", plugin.Script, `"freed 3 files\ndone"`, plugin.Script},
		"text, detected":   {"print('freed 3 files')\nprint('done')\n", plugin.Detect, `"freed 3 files\ndone"`, plugin.Script},
		"nothing":          {"pass\n", plugin.Script, ``, plugin.Script},
		"reads its input":  {"import sys\nprint(len(sys.stdin.read()) >= 0)\n", plugin.Script, `"True"`, plugin.Script},
		"looks like an answer": {"import json, sys\nsys.stdin.readline()\nprint(json.dumps({'success': True, 'freed': 3}))\n", plugin.Detect,
			`{"success": true, "freed": 3}`, plugin.Script},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := act(t, t.Context(), Action{Options: Options{Spec: spec(t, c.program)}, Contract: c.contract, Flags: []string{"--level", "3"}})
			if r.Status != api.Completed || r.Error != "" || r.Contract != c.spoken || r.Exit.CPU <= 0 {
				t.Errorf("%+v; want completed by %s", r, c.spoken)
			}
			if got := strings.Join(strings.Fields(string(r.Data)), " "); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(c.want, " ", "") {
				t.Errorf("data %s, want %s", r.Data, c.want)
			}
		})
	}
}

// A result that nests too deep is the plugin's fault at once, under any contract.
func TestADeepResultFails(t *testing.T) {
	const script = "print('[' * 64 + ']' * 64)\n"
	const stdio = `import json, sys
for line in sys.stdin:
    action = json.loads(line)["action"]
    deep = 20_000 if action == "execute_action" else 1
    print('{"action": "%s", "success": true, "data": %s}' % (action, '[' * deep + ']' * deep), flush=True)
`
	for _, c := range []struct {
		program  string
		contract plugin.Contract
		want     string
	}{
		{script, plugin.Script, "the plugin's result is too large: it nests 64 deep, at most 48"},
		{script, plugin.Detect, "the plugin's result is too large: it nests 64 deep, at most 48"},
		{stdio, plugin.Stdio, "the answer nests 20001 deep; a result or event may nest 48 deep"},
		{strings.ReplaceAll(stdio, "20_000", "64"), plugin.Stdio, "the plugin's result is too large: it nests 64 deep, at most 48"},
	} {
		r, _ := act(t, t.Context(), Action{Options: Options{Spec: spec(t, c.program)}, Contract: c.contract})
		if r.Status != api.Failed || r.Error != c.want || r.Data != nil || r.Exit.Reason == sandbox.TimeLimit {
			t.Errorf("%s: %s: %s: %.20s; want %s", c.contract, r.Status, r.Error, r.Data, c.want)
		}
	}
}

// A script that waits for the end of its input would wait for ever on a handshake.
func TestADetectedScriptThatReadsItsInputToTheEnd(t *testing.T) {
	r, _ := act(t, t.Context(), Action{
		Options:  Options{Spec: spec(t, "import sys\nsys.stdin.read()\nprint('read')\n"), Answer: 200 * time.Millisecond},
		Contract: plugin.Detect,
	})
	if r.Status != api.Completed || string(r.Data) != `"read"` || r.Contract != plugin.Script {
		t.Errorf("%+v", r)
	}
}

// What a script does must not be done twice because it was asked a question first.
func TestADetectedScriptRunsOnce(t *testing.T) {
	s := spec(t, "open('runs', 'a').write('x')\n")
	act(t, t.Context(), Action{Options: Options{Spec: s}, Contract: plugin.Detect})
	if b, err := os.ReadFile(filepath.Join(s.Dir, "runs")); err != nil || string(b) != "x" {
		t.Errorf("ran %d times, %v", len(b), err)
	}
}

func TestActionsThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		program  string
		contract plugin.Contract
		limits   sandbox.Limits
		status   api.InstructionStatus
		text     string
	}{
		"script, exit code":  {"import sys\nprint('half')\nsys.exit('no space left')\n", plugin.Script, sandbox.Limits{}, api.Failed, "the plugin ended with exit code 1: no space left"},
		"detected, exit":     {"import sys\nsys.exit('no space left')\n", plugin.Detect, sandbox.Limits{}, api.Failed, "the plugin ended with exit code 1: no space left"},
		"script, time limit": {"import time\ntime.sleep(100)\n", plugin.Script, sandbox.Limits{Time: 300 * time.Millisecond}, api.TimedOut, "the plugin was ended: it ran into its time limit"},
		"detected, time":     {"import time\ntime.sleep(100)\n", plugin.Detect, sandbox.Limits{Time: 300 * time.Millisecond}, api.TimedOut, "time limit"},
		"script, memory":     {"import time\nx = bytearray(200 << 20)\ntime.sleep(100)\n", plugin.Script, sandbox.Limits{Memory: 64 << 20}, api.Failed, "more memory than its limit"},
		"stdio, dies":        {"rogue.py die", plugin.Stdio, sandbox.Limits{}, api.Failed, "the plugin ended with exit code 1: the disk is on fire"},
		"stdio, hangs":       {"rogue.py hang", plugin.Stdio, sandbox.Limits{Time: 300 * time.Millisecond}, api.TimedOut, "time limit"},
		"stdio, rubbish":     {"rogue.py rubbish", plugin.Stdio, sandbox.Limits{}, api.Failed, "the plugin printed 1000 lines"},
		"stdio, no answer":   {"print('hello')\n", plugin.Stdio, sandbox.Limits{}, api.Failed, "the plugin ended with exit code 0"},
	} {
		t.Run(name, func(t *testing.T) {
			program := strings.SplitN(c.program, " ", 2)
			var s sandbox.Spec
			if strings.HasSuffix(c.program, "\n") {
				s = spec(t, c.program)
			} else {
				s = spec(t, program[0], program[1])
			}
			s.Limits = c.limits
			r, _ := act(t, t.Context(), Action{Options: Options{Spec: s}, Contract: c.contract, Command: plugin.Command{Action: plugin.DetectTriggers}})
			if r.Status != c.status || !strings.Contains(r.Error, c.text) {
				t.Errorf("%s, %q; want %s, %q", r.Status, r.Error, c.status, c.text)
			}
		})
	}
	missing := spec(t, "pass\n")
	missing.Path = "/no/such/python"
	for _, contract := range []plugin.Contract{plugin.Stdio, plugin.Script, plugin.Detect} {
		if _, err := RunAction(t.Context(), Action{Options: Options{Spec: missing, Log: &Transcript{}}, Contract: contract}); err == nil {
			t.Errorf("%s: a missing interpreter is no error", contract)
		}
	}
}

// An action that hears TERM may still say how far it came.
const polite = `
import json, signal, sys, time
def stop(*args):
    global stopping
    stopping = True
stopping = False
signal.signal(signal.SIGTERM, stop)
for line in sys.stdin:
    action = json.loads(line)["action"]
    answer = {"action": action, "success": True}
    if action == "execute_action":
        print("working", file=sys.stderr, flush=True)
        while not stopping: time.sleep(0.01)
        answer["data"] = {"id": "1", "status": "cancelled", "data": {"done": 3}}
    print(json.dumps(answer), flush=True)
`

// cancelOnLine ends a context when the plugin logs.
type cancelOnLine struct{ cancel func() }

func (c cancelOnLine) Line(string, string) { c.cancel() }

func TestCancellation(t *testing.T) {
	for name, c := range map[string]struct {
		program  string
		contract plugin.Contract
		data     string
	}{
		"stdio, answers":  {polite, plugin.Stdio, `{"done": 3}`},
		"stdio, does not": {"rogue.py", plugin.Stdio, ``},
		"script":          {"import sys, time\nprint('working', file=sys.stderr, flush=True)\ntime.sleep(100)\n", plugin.Script, ``},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		s := spec(t, c.program, "hang")
		a := Action{Options: Options{Spec: s, Log: cancelOnLine{cancel}}, Contract: c.contract, Command: plugin.Command{Action: plugin.ExecuteAction}}
		if c.program == "rogue.py" {
			a.Command.Action = plugin.DetectTriggers
			time.AfterFunc(200*time.Millisecond, cancel)
		}
		r, err := RunAction(ctx, a)
		cancel()
		if err != nil || r.Status != api.Cancelled || string(r.Data) != c.data {
			t.Errorf("%s: %s %s (%s), %v; want cancelled with %s", name, r.Status, r.Data, r.Error, err, c.data)
		}
	}
}

func TestAScriptThatFloods(t *testing.T) {
	r, _ := act(t, t.Context(), Action{
		Options:  Options{Spec: spec(t, "import os\nfor _ in range(1 << 10): os.write(1, b'x' * (1 << 20))\n")},
		Contract: plugin.Script,
	})
	if r.Status != api.Completed || !r.Truncated || len(r.Data) != maxOutput+len(`""`) {
		t.Errorf("%s, truncated %v, %d bytes kept of a gigabyte", r.Status, r.Truncated, len(r.Data))
	}
	r, _ = act(t, t.Context(), Action{
		Options:  Options{Spec: spec(t, "import os\nfor _ in range(1 << 7): os.write(1, b'x' * (1 << 20))\n")},
		Contract: plugin.Detect,
	})
	if r.Status != api.Completed || !r.Truncated || r.Contract != plugin.Script {
		t.Errorf("detected: %+.300v", r)
	}
}

func TestAMonitorStreamsItsOutput(t *testing.T) {
	lines := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan ScriptResult)
	go func() {
		r, err := RunScript(ctx, ScriptOptions{
			Spec: spec(t, "import time\nprint('{\"a\": 1}')\nprint('second')\ntime.sleep(100)\n"), Log: sinkTo(lines), Stream: true,
		})
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	if got := []string{<-lines, <-lines}; !cmp.Equal(got, []string{`{"a": 1}`, "second"}) {
		t.Errorf("lines %q", got)
	}
	cancel()
	if r := <-done; r.Exit.Reason != sandbox.Stopped || r.Data != nil {
		t.Errorf("%+v", r)
	}
}

type sinkTo chan string

func (s sinkTo) Line(_, text string) { s <- text }
