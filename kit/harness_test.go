package kit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Reenter() // this binary is also what confines the plugins of its tests
	os.Exit(m.Run())
}

// patient is how a test tries a plugin that is good, quick a plugin that is not.
func patient(runs int) *tester {
	o := &tester{runs: runs, time: time.Minute, unitTests: true}
	o.setting = setting{config: valuesFlag{}, params: valuesFlag{}, timeout: 20 * time.Second, python: python(), level: "full"}
	return o
}

// pluginDir writes files, by name, into a plugin's directory. A manifest gets what every
// one has.
func pluginDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "p")
	for name, text := range files {
		if name == "plugin.yaml" {
			text = "id: tried\nversion: 1.0.0\ndescription: is tried\nlimits: {execution_time: 20s}\n" + text
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// try makes a card of a plugin.
func try(t *testing.T, o *tester, dir string) *Card {
	t.Helper()
	var b strings.Builder
	o.out = &printer{w: &b}
	card, err := o.test(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	card.printEnd(o.out)
	if o.out.err != nil {
		t.Fatal(o.out.err)
	}
	t.Logf("\n%s", b.String())
	return card
}

// says reports whether a check ended so, with a note or a detail that holds the text.
func says(card *Card, name string, v Verdict, text string) bool {
	for _, c := range card.Checks {
		if c.Name == name && c.Verdict == v && strings.Contains(strings.Join(append(c.Notes, c.Detail), "\n"), text) {
			return true
		}
	}
	return false
}

const (
	sensorManifest = "type: sensor\nruntime: {type: python, entry_point: main.py, contract: stdio}\n"
	actionManifest = "type: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n"
)

// sensing is a plugin of the SDK that looks so.
func sensing(body string) string {
	return "import os, sys, time, subprocess, tempfile, socket\nimport stavily\nkept = []\n\n@stavily.sensor(interval=60)\ndef look(config, emit, state, log):\n    " +
		strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n    ") + "\n\nif __name__ == \"__main__\":\n    stavily.run()\n"
}

// acting is an action of the SDK that does so.
func acting(body string) string {
	return strings.Replace(strings.Replace(sensing(body), "@stavily.sensor(interval=60)", "@stavily.action", 1), "look(config, emit, state, log)", "act(params, ctx)", 1)
}

// speaking is a plugin without the SDK; its body answers what is no part of the handshake,
// and may stand before all.
func speaking(before, info, body string) string {
	return `
import json, os, signal, sys, time
def say(c, data=None): print(json.dumps({"action": c, "success": True, "data": data}), flush=True)
` + before + `
for line in sys.stdin:
    c = json.loads(line)["action"]
    if c == "get_info":
        say(c, ` + info + `)
    elif c == "get_health":
        say(c, {"status": "healthy"})
    elif c == "get_status":
        say(c, "running")
` + body + `
    else:
        say(c)
`
}
