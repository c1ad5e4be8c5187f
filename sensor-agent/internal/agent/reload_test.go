//go:build unix

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// Monitors come and go with their files, and no other monitor notices.
func TestMonitorsFollowTheirFiles(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"steady": "mark('started-steady', os.getpid())\nserve(lambda n: event('steady'))\n", "other": "mark('started-other', os.getpid())\nserve(lambda n: event('other'))\n"}, "")
	file := func(name string) string { return filepath.Join(r.base, "config", "plugins", name) }
	starts := func(plugin string) int { return len(strings.Fields(r.file("started-" + plugin))) }
	last := func(name string, fits func(m *api.MonitorInfo) bool) {
		t.Helper()
		o.until("the state of monitor "+name, func() bool {
			if len(o.beats) == 0 {
				return false
			}
			var found *api.MonitorInfo
			for _, m := range o.lastBeat().Monitors {
				if m.Name == name {
					found = &m
				}
			}
			return fits(found)
		})
	}
	running := func(m *api.MonitorInfo) bool { return m != nil && m.State == "running" }
	r.start()
	o.await("steady")
	last("other", running)

	write(t, file("second.yaml"), "{plugin: other, interval: 100ms}")
	last("second", running)
	same(t, "starts of the other's plugin", 2, starts("other"))
	write(t, file("second.yaml"), "{plugin: other, interval: 200ms}")
	await(t, "a start with the new interval", func() bool { return starts("other") == 3 })
	last("second", running)
	write(t, file("second.yaml"), "{plugin: other, interval: 0s}")
	o.until("the refusal", func() bool {
		for _, c := range o.lastBeat().Health.Conditions {
			if c.Name == "plugin_configuration" && strings.Contains(c.Message, "second.yaml:1:27: interval") {
				return true
			}
		}
		return false
	})
	last("second", running)
	if err := os.Remove(file("second.yaml")); err != nil {
		t.Fatal(err)
	}
	last("second", func(m *api.MonitorInfo) bool { return m == nil })
	write(t, file("other.yaml"), "{plugin: other, interval: 100ms, enabled: false}")
	last("other", func(m *api.MonitorInfo) bool { return m == nil })
	write(t, file("missing.yaml"), "{plugin: later}")
	last("missing", func(m *api.MonitorInfo) bool { return m != nil && m.State == "refused" })
	write(t, filepath.Join(r.base, "data", "plugins", "later", "main.py"), strings.Replace(readFile(t, filepath.Join(r.base, "data", "plugins", "other", "main.py")), "'other'", "'later'", 1))
	write(t, filepath.Join(r.base, "data", "plugins", "later", "plugin.yaml"), strings.Replace(readFile(t, filepath.Join(r.base, "data", "plugins", "other", "plugin.yaml")), "id: other", "id: later", 1))
	last("missing", running)
	o.await("later")
	same(t, "starts of steady", 1, starts("steady"))
	same(t, "exit code", 0, r.stop())
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A version whose monitor fails in its first minute gives way to the one before, which
// the agent notes in the store and tells.
func TestAMonitorOfAVersionThatFails(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"p": "serve(lambda n: event('old'))\n"}, "")
	program := readFile(t, filepath.Join(r.base, "data", "plugins", "p", "main.py"))
	manifest := readFile(t, filepath.Join(r.base, "data", "plugins", "p", "plugin.yaml"))
	r.start()
	o.await("old")
	same(t, "exit code", 0, r.stop())
	// Its first minute is over.
	state := filepath.Join(r.base, "data", "cache", "plugins", "p", "state.json")
	link, err := os.Readlink(filepath.Join(filepath.Dir(state), "active"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, state, strings.Replace(readFile(t, state), `"versions"`, `"good": ["`+link+`"], "versions"`, 1))
	r.start()
	write(t, filepath.Join(r.base, "data", "plugins", "p", "main.py"), strings.Replace(program, "event('old')", "os._exit(3)", 1))
	write(t, filepath.Join(r.base, "data", "plugins", "p", "plugin.yaml"), strings.Replace(manifest, "1.2.0", "2.0.0", 1))
	o.until("what became of 2.0.0", func() bool {
		b := o.lastBeat()
		return len(b.Plugins) == 1 && b.Plugins[0].Version == "1.2.0" && strings.Contains(b.Plugins[0].Message, "version 2.0.0 failed in its first minute in use: monitor p")
	})
	before := len(o.types())
	o.until("events of the version before", func() bool { return len(o.taken) > before+2 })
	same(t, "exit code", 0, r.stop())
}

// SIGHUP takes the changed configuration whole or not at all: what is blocked ends, what
// is granted otherwise begins anew, and events go on.
func TestTheConfigurationIsReloaded(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"steady": "mark('started-steady', os.getpid())\nserve(lambda n: event('steady'))\n", "other": "serve(lambda n: event('other'))\n"}, "").start()
	file := filepath.Join(r.base, "config", "agent.yaml")
	original := readFile(t, file)
	reload := func(text string) {
		t.Helper()
		write(t, file, text)
		if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	state := func(name, want string) {
		t.Helper()
		o.until("monitor "+name+" to be "+want, func() bool {
			for _, m := range o.lastBeat().Monitors {
				if m.Name == name {
					return m.State == want
				}
			}
			return false
		})
	}
	complains := func(name string, does bool) {
		t.Helper()
		o.until("condition "+name, func() bool {
			held := false
			for _, c := range o.lastBeat().Health.Conditions {
				held = held || c.Name == name
			}
			return held == does
		})
	}
	o.await("steady")
	state("other", "running")
	reload(original + "\nplugins: {blocked_plugins: [other]}\n")
	state("other", "refused")
	reload(original + "\nplugins: {blocked_plugins: [other}\n")
	complains("configuration", true)
	state("other", "refused")
	same(t, "starts of steady", 1, len(strings.Fields(r.file("started-steady"))))
	reload(original + "\nsecurity: {sandbox: {max_processes: 64}}\n")
	complains("configuration", false)
	state("other", "running")
	await(t, "steady to begin anew", func() bool { return len(strings.Fields(r.file("started-steady"))) == 2 })
	reload(strings.Replace(original, "agent: {", "agent: {tags: ['role:new'], ", 1) + "\nspool: {max_bytes: 8MiB}\n")
	complains("restart_needed", true)
	o.until("the new tags", func() bool { tags := o.lastBeat().Tags; return len(tags) == 1 && tags[0] == "role:new" })
	same(t, "exit code", 0, r.stop())
}

// What is not to run any more ends though its look does not: a minute is less than plugins.timeout.
func TestALookOfWhatIsNotWantedEnds(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"stuck": `
import fcntl
def look(n):
    held = open(os.path.join(work, "held"), "w")
    fcntl.flock(held, fcntl.LOCK_EX)
    mark("looking", n)
    time.sleep(600)
serve(look)
`}, "").start()
	r.file("looking")
	if err := os.Remove(filepath.Join(r.base, "config", "plugins", "stuck.yaml")); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(filepath.Join(r.work, "held"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	await(t, "the end of the plugin", func() bool { return syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil })
}
