//go:build unix

package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/pkg/api"
)

// following has the host follow changes until the test ends.
func (h *host) following() *host {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{h.watch, h.watchTrials} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				h.t.Error(err)
			}
		})
	}
	h.t.Cleanup(func() { cancel(); running.Wait() })
	return h
}

// edit changes a file of a plugin, or of config/plugins when it is a *.yaml there.
func (h *host) edit(name, text string) {
	h.t.Helper()
	dir := filepath.Join(h.base, "data", "plugins")
	if !strings.Contains(name, "/") {
		dir = filepath.Join(h.base, "config", "plugins")
	}
	write(h.t, filepath.Join(dir, name), text)
}

// at awaits that a version of a plugin is the one that the next run takes.
func (h *host) at(id api.PluginID, version string) {
	h.t.Helper()
	h.eventually(string(id)+" "+version, func() bool {
		p, err := h.Find(id)
		return err == nil && p.Version == version
	})
}

// complains awaits a condition that says all of this.
func (h *host) complains(name string, says ...string) api.Condition {
	h.t.Helper()
	var found api.Condition
	h.eventually(name+": "+strings.Join(says, " … "), func() bool {
		c := condition(h.rt, name)
		if c == nil {
			return false
		}
		found = *c
		for _, text := range says {
			if !strings.Contains(c.Message, text) {
				return false
			}
		}
		return true
	})
	return found
}

// well awaits that a condition does not hold.
func (h *host) well(name string) {
	h.t.Helper()
	h.eventually("the end of "+name, func() bool { return condition(h.rt, name) == nil })
}

func (h *host) manifest(id, version, more string) {
	h.t.Helper()
	h.edit(id+"/plugin.yaml", "id: "+id+"\nversion: "+version+"\ntype: action\nruntime: {type: python, entry_point: main.py, contract: "+more+"}\n")
}

func says(text string) string { return "import json, os, sys, time\nprint(json.dumps(" + text + "))\n" }

// answers is what a run of a plugin gives now.
func (h *host) answers(id api.PluginID) string {
	h.t.Helper()
	got := h.Execute(h.t.Context(), h.order(id, nil))
	if got.Status != api.Completed {
		h.t.Errorf("%s: %+v", id, got)
	}
	return string(got.Result)
}

// A changed file takes effect by itself; what runs meanwhile ends on the version that it
// began with, whose files stay until then.
func TestAChangeTakesEffect(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	h := newHost(t, api.Action, map[string]string{"p": "type: action\nruntime: {type: python, entry_point: main.py, contract: script}\n---\n" + says(`"one"`)}).following()
	if got := h.answers("p"); got != `"one"` {
		t.Fatalf("answers %s", got)
	}
	h.edit("p/other.py", "word = 'two'\n")
	h.edit("p/main.py", "import json, sys, time\nfor _ in range(600):\n    try:\n        open('"+gate+"')\n        break\n    except OSError:\n        time.sleep(0.05)\nimport other\nprint(json.dumps(other.word))\n")
	h.manifest("p", "2.0.0", "script}\npermissions: {filesystem: {read: [\""+filepath.Dir(gate)+"\"]}")
	h.at("p", "2.0.0")
	m, release, err := h.Acquire("p")
	if err != nil {
		t.Fatal(err)
	}
	running := make(chan api.Result)
	order := h.order("p", nil)
	go func() { running <- h.Execute(context.WithoutCancel(t.Context()), order) }()
	h.eventually("the run", func() bool { return len(names(t, filepath.Join(h.base, "tmp"))) > 0 })
	for _, version := range []string{"3.0.0", "4.0.0"} { // the one before is kept
		h.edit("p/other.py", "word = 'another'\n")
		h.edit("p/main.py", says(`"`+version+`"`))
		h.manifest("p", version, "script")
		h.at("p", version)
	}
	h.collect()
	if got := h.answers("p"); got != `"4.0.0"` {
		t.Errorf("the next run says %s", got)
	}
	write(t, gate, "")
	if got := <-running; string(got.Result) != `"two"` || got.Plugin.Version != "2.0.0" {
		t.Errorf("what ran meanwhile says %s (%+v)", got.Result, got.Plugin)
	}
	release()
	h.collect()
	if _, err := os.Stat(m.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the files of the old version are left: %v", err)
	}
}

// A plugin that takes long to load holds up no other.
func TestASlowPluginHoldsUpNoOther(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{
		"slow":  "type: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n---\n" + sdkSays("one"),
		"quick": "type: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n---\n" + sdkSays("one"),
	}).following()
	h.edit("slow/main.py", "import time\ntime.sleep(20)\n"+sdkSays("two"))
	h.manifest("slow", "2.0.0", "stdio")
	h.eventually("the slow one is looked at", func() bool { return h.slotOf("slow").loading })
	begin := time.Now()
	h.edit("quick/main.py", sdkSays("two"))
	h.manifest("quick", "2.0.0", "stdio")
	h.at("quick", "2.0.0")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the quick one took %v", took)
	}
	if got := h.answers("slow"); got != `"one"` {
		t.Errorf("meanwhile the slow one answers %s", got)
	}
}

// What cannot be used is refused with its place, and what was there before stays. Then
// it is corrected.
func TestABadChangeIsRefused(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"p": "type: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n---\n" + sdkSays("one")}).following()
	for name, c := range map[string]struct {
		change func()
		says   []string
	}{
		"a manifest that is none": {func() { h.edit("p/plugin.yaml", "id: p\nversion: [\n") }, []string{filepath.Join("p", "plugin.yaml") + ":"}},
		"a slip in the manifest":  {func() { h.manifest("p", "two", "stdio") }, []string{"plugin.yaml:2:10: version"}},
		"no program":              {func() { os.Remove(filepath.Join(h.base, "data/plugins/p/main.py")); h.manifest("p", "2.0.0", "stdio") }, []string{"entry_point", "main.py"}},
		"a program that dies":     {func() { h.edit("p/main.py", "raise Exception('no luck')\n"); h.manifest("p", "2.0.0", "stdio") }, []string{"version 2.0.0 does not load", "no luck"}},
		"an unhealthy one":        {func() { h.edit("p/main.py", unhealthy); h.manifest("p", "2.1.0", "stdio") }, []string{"says that it is unhealthy: no database"}},
		"another agent's": {func() {
			h.edit("p/plugin.yaml", "id: p\nversion: 3.0.0\ntype: sensor\nruntime: {type: python, entry_point: main.py}\n")
		}, []string{"this agent is of type action"}},
	} {
		c.change() // a program before its manifest, or the new version would be in use with the old program where a look comes between
		got := h.complains("plugin_p", append(c.says, "version 1.0.0 goes on")...)
		if got.Since.IsZero() || got.Remedy == "" || strings.Contains(got.Remedy, "restart") {
			t.Errorf("%s: since %v, remedy %q", name, got.Since, got.Remedy)
		}
		if answer := h.answers("p"); answer != `"one"` {
			t.Errorf("%s: then it answers %s", name, answer)
		}
		h.manifest("p", "1.0.0", "stdio")
		h.edit("p/main.py", sdkSays("one"))
		h.well("plugin_p")
	}
	h.eventually("nothing left in the cache of what was looked at", func() bool {
		return len(names(t, filepath.Join(h.base, "data", "cache", "plugins"))) == 1
	})
}

func sdkSays(text string) string {
	return "import stavily\n@stavily.action\ndef act(params, ctx):\n    return '" + text + "'\nif __name__ == '__main__':\n    stavily.run()\n"
}

const unhealthy = `
import json, sys
for line in sys.stdin:
    action = json.loads(line)["action"]
    data = {"status": "unhealthy", "message": "no database"} if action == "get_health" else {}
    print(json.dumps({"action": action, "success": True, "data": data}), flush=True)
`

// A version that breaks in its first minute gives way to the last good one, over a start
// of the agent too, and it comes back once it is another.
func TestAVersionThatFailsInItsFirstMinute(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"p": "type: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n---\n" + sdkSays("one")})
	h.trial = 50 * time.Millisecond
	h.following()
	h.eventually("the proof of the first", func() bool { return h.mirror.Entry("p").Proven })
	h.mu.Lock()
	h.trial = time.Minute
	h.mu.Unlock()
	h.edit("p/main.py", "import os, stavily\n@stavily.action\ndef act(params, ctx):\n    os._exit(3)\nif __name__ == '__main__':\n    stavily.run()\n")
	h.manifest("p", "2.0.0", "stdio")
	h.at("p", "2.0.0")
	if got := h.Execute(t.Context(), h.order("p", nil)); got.Status != api.Failed {
		t.Errorf("it ended as %s", got.Status)
	}
	h.at("p", "1.0.0")
	h.complains("plugin_p", "version 2.0.0 failed in its first minute in use", "version 1.0.0 goes on")
	if got := h.answers("p"); got != `"one"` {
		t.Errorf("then it answers %s", got)
	}
	if info := h.Infos()[0]; info.Version != "1.0.0" || info.State != "ready" || !strings.Contains(info.Message, "2.0.0 failed") {
		t.Errorf("heartbeats tell %+v", info)
	}
	h.edit("p/main.py", sdkSays("three"))
	h.manifest("p", "3.0.0", "stdio")
	h.at("p", "3.0.0")
	h.well("plugin_p")
}

// An agent that starts while a directory is broken goes on with the copy that it used.
func TestAStartWithABrokenDirectory(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"dir-of-p": ""})
	dir := filepath.Join("dir-of-p", "plugin.yaml")
	h.edit(dir, "id: p\nversion: 1.0.0\ntype: action\nruntime: {type: python, entry_point: main.py, contract: script}\n")
	h.edit("dir-of-p/main.py", says(`"one"`))
	h.start()
	if got := h.answers("p"); got != `"one"` {
		t.Errorf("answers %s", got)
	}
	h.edit(dir, "id: [\n")
	h.start()
	if got := h.answers("p"); got != `"one"` {
		t.Errorf("after a start it answers %s", got)
	}
	h.complains("plugin_p", "dir-of-p/plugin.yaml:", "version 1.0.0 goes on")
	if err := os.RemoveAll(filepath.Join(h.base, "data", "plugins", "dir-of-p")); err != nil {
		t.Fatal(err)
	}
	h.start()
	if len(h.Infos()) > 0 || len(h.mirror.Entries()) > 0 {
		t.Errorf("without the directory there is %+v, and %+v in the cache", h.Infos(), h.mirror.Entries())
	}
}

// A file system that tells of no changes is looked at now and then, and so is what may go
// better by itself.
func TestChangesThatNobodyTells(t *testing.T) {
	base := filepath.Join(t.TempDir(), "ready")
	h := newHost(t, api.Action, map[string]string{"p": "type: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\npermissions: {filesystem: {read: [" + filepath.Dir(base) + "]}}\n---\n" + sdkSays("one")})
	h.looks = 200 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.poll(ctx, nil, nil, nil) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	h.edit("p/main.py", "import os\nif not os.path.exists('"+base+"'): raise SystemExit('no database')\n"+sdkSays("two"))
	c := h.complains("plugin_p", "does not load", "no database")
	time.Sleep(3 * h.looks)
	if again := h.complains("plugin_p", "no database"); again.Since != c.Since {
		t.Errorf("since %v, and then since %v", c.Since, again.Since)
	}
	if n := h.log.count("plugin refused", "no database"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
	write(t, base, "")
	h.well("plugin_p")
	if got := h.answers("p"); got != `"two"` {
		t.Errorf("then it answers %s", got)
	}
}

// start opens the host's plugins as the next process would.
func (h *host) start() {
	h.t.Helper()
	h.Plugins.close()
	identity := h.rt.identity
	var err error
	if h.rt, err = newRuntime(h.rt.Config(), h.rt.Role, h.rt.Log); err != nil {
		h.t.Fatal(err)
	}
	h.rt.identity = identity
	if h.Plugins, err = openPlugins(h.t.Context(), h.rt); err != nil {
		h.t.Fatal(err)
	}
	h.rt.Plugins = h.Plugins
}

// Files of the configuration directory take effect, one by one, or keep what they said.
func TestSettingsChange(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{
		"p":      "type: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\nconfiguration: {word: {type: string, default: none}, n: {type: integer, maximum: 3}}\n---\nimport stavily\n@stavily.action\ndef act(params, ctx):\n    return ctx.config.word\nif __name__ == '__main__':\n    stavily.run()\n",
		"p.yaml": "plugin: p\nconfig: {word: one}\n",
	}).following()
	await := func(word string) {
		t.Helper()
		h.eventually(word, func() bool { return h.SettingsOf("p").Config["word"] == word })
		if got := h.answers("p"); got != `"`+word+`"` {
			t.Errorf("answers %s, want %s", got, word)
		}
	}
	h.edit("p.yaml", "plugin: p\nconfig: {word: two}\n")
	await("two")
	for text, says := range map[string]string{
		"plugin: p\nconfig: {word: three\n":        "p.yaml:",
		"plugin: p\nconfg: {}\n":                   `p.yaml:2:1: `,
		"plugin: p\nconfig: {word: x, n: 4}\n":     "n: ",
		"plugin: p\nconfig: {word: x, other: 1}\n": "other: is not known",
	} {
		h.edit("p.yaml", text)
		c := h.complains("plugin_configuration", says)
		if strings.Contains(c.Remedy, "restart") || c.Since.IsZero() {
			t.Errorf("since %v, remedy %q", c.Since, c.Remedy)
		}
		await("two")
	}
	h.edit("p.yaml", "plugin: p\nconfig: {word: four}\n")
	await("four")
	h.well("plugin_configuration")
	if err := os.Remove(filepath.Join(h.base, "config", "plugins", "p.yaml")); err != nil {
		t.Fatal(err)
	}
	h.eventually("the defaults", func() bool { return h.SettingsOf("p").File == "" })
	if got := h.answers("p"); got != `"none"` {
		t.Errorf("without a file it answers %s", got)
	}
}

// aside makes the tree of a plugin that is to be installed.
func (h *host) aside(manifest, program string) string {
	h.t.Helper()
	dir, err := h.store.Aside()
	if err != nil {
		h.t.Fatal(err)
	}
	write(h.t, filepath.Join(dir, "plugin.yaml"), manifest)
	write(h.t, filepath.Join(dir, "main.py"), program)
	return dir
}

func TestInstall(t *testing.T) {
	const form = "id: q\nversion: %\ntype: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n"
	manifest := func(version, more string) string { return strings.Replace(form, "%", version, 1) + more }
	h := newHost(t, api.Action, map[string]string{"edited": "type: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n---\n" + sdkSays("x")},
		"STAVILY_PLUGINS_BLOCKED_PLUGINS=evil", "STAVILY_PLUGINS_PINS=pinned=sha256:"+strings.Repeat("0", 64))
	from := catalog.Origin{Kind: catalog.FromPackage, From: "/tmp/q.tar.gz"}
	refused := func(dir string, says ...string) {
		t.Helper()
		_, err := h.Install(t.Context(), dir, from, nil)
		for _, text := range says {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("error %v, want %q", err, text)
			}
		}
		os.RemoveAll(dir)
	}
	refused(h.aside(manifest("1.0.0", ""), "raise Exception('no luck')"), "version 1.0.0 does not load", "no luck")
	if _, err := h.Find("q"); err == nil || len(h.store.Entries()) > 0 {
		t.Errorf("what does not load is there: %v, %v", err, h.store.Entries())
	}
	var steps []string
	got, err := h.Install(t.Context(), h.aside(manifest("1.0.0", ""), sdkSays("one")), from, func(s string) { steps = append(steps, s) })
	if err != nil || got.Before != "" || got.Plugin.Version != "1.0.0" || h.answers("q") != `"one"` || len(steps) < 3 {
		t.Errorf("installed: %+v, %v, steps %q", got, err, steps)
	}
	if got, err := h.Install(t.Context(), h.aside(manifest("1.0.0", ""), sdkSays("one")), from, nil); err != nil || !got.Unchanged {
		t.Errorf("once more: %+v, %v", got, err)
	}
	more := manifest("1.1.0", "permissions: {network: [\"a.example:443\"], filesystem: {write: [/srv]}}\n")
	var grown *GrownError
	wanting := h.aside(more, sdkSays("more"))
	if _, err := h.Install(t.Context(), wanting, from, nil); !errors.As(err, &grown) || len(grown.Asks) != 2 {
		t.Errorf("a version that asks for more: %v", err)
	}
	os.RemoveAll(wanting)
	approved := from
	approved.Approved = "the owner"
	if got, err := h.Install(t.Context(), h.aside(more, sdkSays("more")), approved, nil); err != nil || got.Before != "1.0.0" || h.answers("q") != `"more"` {
		t.Errorf("once that is approved: %+v, %v", got, err)
	}
	refused(h.aside(manifest("1.2.0", "confg: {}\n")+"x: [", sdkSays("x")), "/tmp/q.tar.gz/plugin.yaml:")
	refused(h.aside(strings.ReplaceAll(manifest("1.0.0", ""), "id: q", "id: evil"), sdkSays("x")), "plugins.blocked_plugins")
	refused(h.aside(strings.ReplaceAll(manifest("1.0.0", ""), "id: q", "id: pinned"), sdkSays("x")), "plugins.pins", "is version 1.0.0, sha256:")
	refused(h.aside(strings.ReplaceAll(manifest("1.0.0", ""), "id: q", "id: edited"), sdkSays("x")), "which its owner edits")
	refused(h.aside(strings.ReplaceAll(manifest("1.0.0", ""), "id: q", "id: ../q"), sdkSays("x")), "plugin id")
	if got := names(t, filepath.Join(h.base, "data", "plugins")); strings.Join(got, " ") != "edited q" {
		t.Errorf("data/plugins holds %q", got)
	}
	h.start()
	if got := h.answers("q"); got != `"more"` {
		t.Errorf("after a start it answers %s", got)
	}
}

var originOfTest = catalog.Origin{Kind: catalog.FromPackage, From: "/tmp/q.tar.gz"}
