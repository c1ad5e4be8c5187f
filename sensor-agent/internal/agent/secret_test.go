//go:build unix

package agent

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// talkative tells its password in every way that a plugin has, but for its events.
const talkative = `
class Broken(Exception): pass
password = None
def look(n):
    print("debug: connecting with " + password, file=sys.stderr, flush=True)
    print("not a line of the contract: " + password, flush=True)
    print(json.dumps({"log": {"level": "error", "message": "login:" + json.dumps({"p": password})}}), flush=True)
    mark("looked-" + name, n)
    if n == 1: return event("seen", length=len(password), monitor=name)
    if n == 2: raise Broken("cannot log in with " + password)
    return [{"type": "bad type " + password}]
for line in sys.stdin:
    command = json.loads(line)
    answer = {"action": command["action"], "success": True, "data": {}}
    if command["action"] == "initialize":
        password, name = command["config"]["password"], command["config"]["name"]
    try:
        if command["action"] == "detect_triggers":
            look.n = getattr(look, "n", 0) + 1
            answer["data"] = look(look.n)
    except Broken as e:
        answer = {"action": command["action"], "success": False, "error": str(e)}
    print(json.dumps(answer), flush=True)
    if getattr(look, "n", 0) > 5:
        sys.exit(password)
`

// Two monitors of one plugin have a configuration each, checked and filled in by the
// manifest's schema; what that calls secret stands in no log, heartbeat or condition.
func TestSecretsOfMonitorsAreNotTold(t *testing.T) {
	t.Parallel()
	const secret, other = `h"ush&money 7`, "second-hush-money"
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"talkative": talkative}, "")
	manifest := filepath.Join(r.base, "data", "plugins", "talkative", "plugin.yaml")
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	write(t, manifest, strings.TrimSuffix(strings.TrimSpace(string(text)), "}")+
		", configuration: {password: {type: string, required: true, secret: true}, name: {type: string, default: first}, port: {type: integer, default: 80}}}")
	settings := func(name, more string) {
		write(t, filepath.Join(r.base, "config", "plugins", name+".yaml"), "{plugin: talkative, interval: 100ms, config: {"+more+"}}")
	}
	settings("talkative", fmt.Sprintf("password: '%s', port: '8080'", secret))
	settings("again", fmt.Sprintf("password: %s, name: second", other))
	settings("wrong", fmt.Sprintf("password: [%s], port: 80.5", other))
	r.start()
	lengths := map[string]string{}
	o.until("events of both", func() bool {
		for _, e := range o.taken {
			lengths[e.Monitor] = string(e.Data["length"]) + string(e.Data["monitor"])
		}
		return len(lengths) == 2
	})
	same(t, "configurations", map[string]string{"talkative": `13"first"`, "again": `17"second"`}, lengths)
	for _, name := range []string{"talkative", "again"} {
		o.monitor(name, func(m api.MonitorInfo) bool { return strings.Contains(m.Message, "[redacted]") })
		o.monitor(name, func(m api.MonitorInfo) bool { return m.State == "backoff" })
	}
	refused := o.monitor("wrong", func(m api.MonitorInfo) bool { return m.State == "refused" })
	if !strings.Contains(refused.Message, "password: ") || !strings.Contains(refused.Message, "port: ") {
		t.Errorf("the mistakes are %q", refused.Message)
	}
	o.until("logs", func() bool { return strings.Contains(strings.Join(o.logs, ""), "cannot log in") || len(o.logs) > 3 })
	r.stop()
	beats, err := json.Marshal(o.beats)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{"the agent's log": r.log.String(), "heartbeats": string(beats), "the logs that were sent": strings.Join(o.logs, "\n")}
	err = filepath.WalkDir(filepath.Join(r.base, "logs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		said[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range said {
		for _, hidden := range []string{secret, other, `ush&money`, `ush\u0026money`} {
			if strings.Contains(text, hidden) {
				t.Errorf("%s holds %q", where, hidden)
			}
		}
	}
	if log := said[filepath.Join(r.base, "logs", "plugins", "talkative.log")]; !strings.Contains(log, "connecting with [redacted]") {
		t.Errorf("the plugin's log does not hold its lines: %.500s", log)
	}
}
