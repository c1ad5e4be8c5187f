package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
)

// packageFile packs files of a plugin, signed, and returns where the package is.
func packageFile(t *testing.T, key *bundle.Signer, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "p")
	for name, text := range files {
		if text == "@wheel" {
			text = wheel(t)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "plugin.tar.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := bundle.Pack(f, dir, key); err != nil {
		t.Fatal(err)
	}
	return path
}

func signer(t *testing.T) *bundle.Signer {
	t.Helper()
	key, err := bundle.NewKey("release")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

type listedAgent struct {
	ID      api.AgentID      `json:"id"`
	Plugins []api.PluginInfo `json:"plugins"`
}

// has waits until an agent reports a version of a plugin as ready, or as gone when the
// version is empty.
func (w *world) has(agent api.AgentID, plugin api.PluginID, version string) {
	w.t.Helper()
	w.await(fmt.Sprintf("agent %s with %s %q", agent, plugin, version), func() error {
		a := cli[listedAgent](w, "agents", "show", string(agent))
		found := ""
		for _, p := range a.Plugins {
			if p.ID == plugin && p.State == "ready" {
				found = p.Version
			}
		}
		if found != version {
			return fmt.Errorf("it reports %+v", a.Plugins)
		}
		return nil
	})
}

// rolledOut waits until the version of a roll-out has been kept by everybody for long
// enough.
func (w *world) rolledOut(plugin string) {
	w.t.Helper()
	w.await("the roll-out is complete", func() error {
		if out := w.stavily("plugins", "rollout", "show", plugin); !strings.Contains(out, "idle") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}

func (w *world) stavily(args ...string) string {
	w.t.Helper()
	out, err := w.CLI(w.ctx, args...)
	w.must(err)
	return string(out)
}

// Both kinds of agent get signed packages from the orchestrator, run them, take a higher
// version, wait where it asks for more, and remove what is not assigned any more.
func TestAssignedPackages(t *testing.T) {
	t.Parallel()
	key := signer(t)
	w := newWorld(t)
	trusted := "plugins:\n  trusted_keys: [\"" + key.Key().Line() + "\"]\n"
	w.configure(w.agent("pkg-s", api.Sensor, nil, map[string]string{"ticking": "plugin: ticker\n"}), trusted)
	w.configure(w.agent("pkg-a", api.Action, nil, nil), trusted)
	w.apply("name: packaged\ntriggers:\n  - event: tick\nactions:\n  - {plugin: needy, agents: {ids: [pkg-a]}}\n")
	w.start("pkg-s", "pkg-a")

	needy := func(version, extra string) map[string]string {
		return map[string]string{
			"plugin.yaml":                           "id: needy\nversion: " + version + "\ntype: action\nruntime: {type: python, entry_point: main.py, requirements: requirements.txt, contract: script}\n" + extra,
			"requirements.txt":                      "tinything==1.5\n",
			"main.py":                               "import json, tinything\nprint(json.dumps({\"tinything\": tinything.version}))\n",
			"wheels/tinything-1.5-py3-none-any.whl": "@wheel",
		}
	}
	w.stavily("plugins", "publish", packageFile(t, key, needy("1.0.0", "")))
	begin := time.Now()
	w.stavily("plugins", "assign", "needy@^1", "--agent", "pkg-a", "--at-once", "--settle", "1s")
	w.has("pkg-a", "needy", "1.0.0")
	t.Logf("a package with a requirement was assigned, fetched, checked, installed and reported within %v", time.Since(begin).Round(time.Millisecond))

	w.stavily("plugins", "publish", packageFile(t, key, map[string]string{
		"plugin.yaml": "id: ticker\nversion: 1.0.0\ntype: monitor\nruntime: {type: python, entry_point: main.py}\n",
		"main.py": `import json, os, socket, time
s = socket.socket(socket.AF_UNIX)
s.connect(os.environ["STAVILY_AGENT_SOCKET"])
s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "report_trigger", "params": {"trigger_name": "tick", "payload": {}}}).encode() + b"\n")
s.recv(4096)
time.sleep(3600)
`,
	}))
	w.stavily("plugins", "assign", "ticker@^1", "--agent", "pkg-s", "--at-once", "--settle", "1s")
	r := w.awaitRun()
	if r.Status != "completed" || !strings.Contains(compact(t, r.Steps[0].Result.Result), `{"tinything":"1.5"}`) {
		t.Errorf("the run of what was installed: %+v", r)
	}

	w.stavily("plugins", "publish", packageFile(t, key, needy("1.1.0", "")))
	w.has("pkg-a", "needy", "1.1.0")
	w.rolledOut("needy")
	w.stavily("plugins", "publish", packageFile(t, key, needy("1.2.0", "permissions: {filesystem: {read: [/srv]}}\n")))
	w.await("the version that asks for more waits", func() error {
		if out := w.stavily("plugins", "show", "needy"); !strings.Contains(out, "read /srv") {
			return fmt.Errorf("show says %s", out)
		}
		return nil
	})
	w.has("pkg-a", "needy", "1.1.0")
	w.stavily("plugins", "approve", "needy@1.2.0")
	w.has("pkg-a", "needy", "1.2.0")

	w.stavily("plugins", "unassign", "needy", "--agent", "pkg-a")
	w.has("pkg-a", "needy", "")
}

// A package that an agent's owner does not trust is refused there, and the roll-out stops.
func TestAPackageThatIsNotTrusted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	trusted := "plugins:\n  trusted_keys: [\"" + signer(t).Key().Line() + "\"]\n"
	w.configure(w.agent("wary-a", api.Action, nil, nil), trusted)
	w.start("wary-a")
	w.stavily("plugins", "publish", packageFile(t, signer(t), map[string]string{
		"plugin.yaml": "id: foreign\nversion: 1.0.0\ntype: action\nruntime: {type: python, entry_point: main.py, contract: script}\n",
		"main.py":     "print('{}')\n",
	}))
	w.stavily("plugins", "assign", "foreign", "--all", "--settle", "1s")
	w.await("the roll-out stopped, with the agent's reason", func() error {
		out := w.stavily("plugins", "rollout", "show", "foreign")
		if !strings.Contains(out, "stopped") || !strings.Contains(out, "a key that is not trusted here") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	w.has("wary-a", "foreign", "")
}
