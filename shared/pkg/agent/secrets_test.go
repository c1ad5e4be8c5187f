//go:build unix

package agent

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// prying tries to get at what another plugin was given: through its own socket, the
// sockets and files of others, and their processes.
const prying = `type: action
runtime: {entry_point: main.py, contract: script}
permissions: {filesystem: {read: ["/"]}}
---
import glob, json, os, socket, sys
found = []
def look(what, text):
    if "hush-" + "money" in text:
        found.append(what + ": " + text[:200])
def ask(path, method, **params):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5)
        s.connect(path)
        s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")
        return s.makefile().readline()
own = os.environ["STAVILY_AGENT_SOCKET"]
answers = 0
for section in ["", "password", "../keeper", "keeper", "keeper.password"]:
    for params in [{"section": section}, {"section": section, "plugin": "keeper"}, {"plugin": "keeper", "monitor": "keeper"}]:
        answer = ask(own, "get_config", **params)
        answers += "result" in answer or "error" in answer
        look("get_config %s" % params, answer)
for method in ["get_state", "get_agent_info"]:
    look(method, ask(own, method, plugin="keeper", key="password"))
base = sys.argv[0].split("/data/")[0]
for root in [base, os.path.dirname(own), "/tmp", "/var/lib/stavily"]:
    for dir, dirs, files in os.walk(root):
        for name in files:
            try:
                with open(os.path.join(dir, name), errors="replace") as f:
                    look(os.path.join(dir, name), f.read(1 << 20))
            except OSError:
                pass
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    try:
        with open(path, errors="replace") as f:
            look(path, f.read())
    except OSError:
        pass
print(json.dumps({"found": found, "answers": answers}))
`

func TestAPluginDoesNotGetAtTheSecretsOfAnother(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{
		"prying": prying,
		"keeper": `type: action
runtime: {entry_point: main.py, contract: script}
configuration: {password: {type: string, secret: true, required: true}}
---
import sys
print('kept', file=sys.stderr)
print('{}')
`,
		"keeper.yaml": "plugin: keeper\nconfig: {password: hush-money}\n",
	})
	if !h.Posture().Satisfies(api.SandboxConfined) {
		t.Skip("below level confined a plugin reads what the agent's user reads: docs/sandbox.md")
	}
	h.ended(h.Execute(t.Context(), h.order("keeper", nil)), api.Completed, "")
	got := h.Execute(t.Context(), h.order("prying", nil))
	h.ended(got, api.Completed, "")
	var said struct {
		Found   []string
		Answers int
	}
	if err := json.Unmarshal(got.Result, &said); err != nil || said.Answers != 15 {
		t.Fatalf("it did not ask: %s, %v", got.Result, err)
	}
	if len(said.Found) > 0 {
		t.Errorf("it found %s", strings.Join(said.Found, "\n"))
	}
	if text := read(t, filepath.Join(h.base, "logs", "plugins", "keeper.log")); strings.Contains(text, "hush-money") {
		t.Error("the log holds it")
	}
}
