//go:build unix

package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/shared/internal/grant"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// A plugin's own file stands in for security.sandbox, key by key, also to allow nothing.
func TestPolicyOfPlugin(t *testing.T) {
	rt, _ := testRuntime(t, api.Action, "STAVILY_SECURITY_SANDBOX_READ=/srv,/etc", "STAVILY_SECURITY_SANDBOX_WRITE=/srv", "STAVILY_SECURITY_SANDBOX_NETWORK=declared")
	for _, c := range []struct {
		file config.PluginFile
		want grant.Policy
	}{
		{config.PluginFile{}, grant.Policy{Read: []string{"/srv", "/etc"}, Write: []string{"/srv"}, Reach: grant.Declared}},
		{config.PluginFile{Read: []string{}, Network: config.Reach{Word: "all"}}, grant.Policy{Read: []string{}, Write: []string{"/srv"}, Reach: grant.Everything}},
		{config.PluginFile{Write: []string{"/"}, Network: config.Reach{Word: "none"}}, grant.Policy{Read: []string{"/srv", "/etc"}, Write: []string{"/"}, Reach: grant.Nothing}},
		{config.PluginFile{Network: config.Reach{Destinations: []string{"a:1", "2"}}},
			grant.Policy{Read: []string{"/srv", "/etc"}, Write: []string{"/srv"}, Reach: grant.Declared, Only: []destination.Destination{{Host: "a", Port: 1}, {Port: 2}}}},
		{config.PluginFile{Network: config.Reach{Destinations: []string{}}},
			grant.Policy{Read: []string{"/srv", "/etc"}, Write: []string{"/srv"}, Reach: grant.Declared, Only: []destination.Destination{}}},
	} {
		got := rt.policy(c.file)
		got.Protected, got.Sealed = nil, nil
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.file, diff)
		}
	}
}

// Whatever the owner moves out of the base directory stays out of reach.
func TestProtectedPlaces(t *testing.T) {
	rt, _ := testRuntime(t, api.Action, "STAVILY_API_AUTH_KEY_FILE=/keys/k", "STAVILY_LOGGING_FILE=/logs/l", "STAVILY_PLUGINS_DIR=/plugins", "STAVILY_SECURITY_SANDBOX_CHROOT=/jail")
	rt.file = "/somewhere/agent.yaml"
	got := rt.protected()
	for _, want := range []string{rt.Config().Agent.BaseDir, "/keys/k", "/logs/l", "/plugins", "/jail", "/somewhere/agent.yaml", "/var/lib/stavily"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not among %q", want, got)
		}
	}
	if program, err := os.Executable(); err != nil || !slices.Contains(rt.policy(config.PluginFile{}).Sealed, program) {
		t.Errorf("the agent's program may be written: %q", rt.policy(config.PluginFile{}).Sealed)
	}
}

func TestHostPlacesOfAContainer(t *testing.T) {
	t.Setenv("HOST_PROC", "/host/proc/")
	t.Setenv("HOST_SYS", "/sys")
	t.Setenv("HOST_ETC", "")
	t.Setenv("HOST_VAR", "relative")
	if diff := cmp.Diff(map[string]string{"/proc": "/host/proc"}, hostPlaces()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The order for the sandbox has what the manifest asks for and the owner grants, and what
// was not granted is logged once.
func TestGrantsReachTheOrder(t *testing.T) {
	granted, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, api.Action, map[string]string{
		"p": "type: action\nruntime: {type: python, entry_point: main.py, contract: script}\n" +
			"configuration: {roots: {type: array, items: {type: string}}, url: {type: string}}\n" +
			"permissions: {network: [\"${config.url}\"], filesystem: {read: [/nothing/there], write: [\"${config.roots}\"]}}\n---\n",
		"p.yaml": "plugin: p\nconfig: {roots: [" + granted + ", BASE], url: 'https://example.com/x'}\n",
	})
	h.settings[0].Config["roots"].([]any)[1] = h.base
	for range 2 {
		var o outfit
		if err := h.allow(h.task("p"), &o); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(o.spec.Write, []string{granted}) || len(o.spec.Read) > 0 {
			t.Errorf("the order is %+v", o.spec)
		}
	}
	for _, says := range []string{"is not there, so it is left out", "belongs to the agent"} {
		if n := h.log.count("permission not granted as asked", says); n != 1 {
			t.Errorf("%q is logged %d times, want once:\n%s", says, n, h.log)
		}
	}
}

// What the runs of a plugin may reach is found anew when anything changes that it follows
// from, and after a moment in any case.
func TestWhatIsFoundHoldsForAMoment(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"tidy": sdk("return {}")})
	examine := func(change func(*Task)) *found {
		t.Helper()
		task := h.order("tidy", given("percent", "85"))
		change(&task)
		got, err := h.Examine(task)
		if err != nil {
			t.Fatal(err)
		}
		return got.found
	}
	same := func(*Task) {}
	first := examine(same)
	if examine(same) != first {
		t.Error("it was looked for again at once")
	}
	narrower := func(t *Task) { t.Settings.Read = []string{"/srv"} }
	if second := examine(narrower); second == first || examine(narrower) != second {
		t.Error("other settings of the owner are not heeded, or every time")
	}
	now := examine(same)
	changed := *h.rt.Config()
	h.rt.config.Store(&changed)
	if examine(same) == now {
		t.Error("another configuration is not heeded")
	}
	now = examine(same)
	now.at = now.at.Add(-foundLasts)
	if examine(same) == now {
		t.Error("it holds for ever")
	}
	if examine(func(t *Task) { other := *t.Plugin; t.Plugin = &other }) == examine(same) {
		t.Error("another version is not heeded")
	}
}

// What a workflow says of a monitor that it brings reaches the plugin, and widens nothing: its
// permissions are those that the owner's file and the manifest's defaults lead to.
func TestAWorkflowWidensNothing(t *testing.T) {
	owners, servers := t.TempDir(), t.TempDir()
	h := newHost(t, api.Sensor, map[string]string{
		"p": "type: sensor\nruntime: {type: python, entry_point: main.py, contract: stdio}\n" +
			"configuration: {root: {type: string}, url: {type: string, default: 'https://default.test/'}, level: {type: integer}}\n" +
			"permissions: {network: [\"${config.url}\"], filesystem: {read: [\"${config.root}\"]}}\n---\n",
		"p.yaml": "plugin: p\nmemory: 64MB\nconfig: {root: " + owners + "}\n",
	})
	h.desired = api.Monitors{Version: "v", Monitors: []api.DesiredMonitor{{
		Name: "w.1", Plugin: "p", Interval: 5, Workflow: "w",
		Config: map[string]json.RawMessage{"root": json.RawMessage(`"` + servers + `"`), "url": json.RawMessage(`"https://evil.test/"`), "level": json.RawMessage("3")},
	}}}
	all := h.Settings()
	if len(all) != 2 || all[1].Name != "w.1" || all[1].Memory != all[0].Memory || all[1].Interval.Duration() != 5*time.Second {
		t.Fatalf("settings: %+v", all)
	}
	if of := h.SettingsOf("p"); of.Wanted != nil {
		t.Errorf("the owner's word is %+v", of)
	}
	task := h.task("p")
	task.Settings = all[1]
	_, whole, err := configuration(task.Plugin, task.Settings)
	if err != nil || string(whole["level"]) != "3" || string(whole["url"]) != `"https://evil.test/"` {
		t.Errorf("the plugin gets %s, %v", whole, err)
	}
	g, err := h.grants(task)
	if err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(owners)
	if err != nil || !slices.Equal(g.Read, []string{real}) || len(g.Network.Destinations) != 1 || g.Network.Destinations[0].Host != "default.test" {
		t.Errorf("granted: read %q, network %+v, %v", g.Read, g.Network, err)
	}
	h.settings[0].Enabled = false
	task.Settings = h.Settings()[0]
	if err := h.CanRun(task); err == nil || !strings.Contains(err.Error(), "enabled: false") {
		t.Errorf("the owner has switched it off: %v", err)
	}
}
