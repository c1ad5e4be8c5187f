//go:build linux

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// keepWarm runs the pool as the agent does.
func (h *host) keepWarm() {
	h.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.pool.Run(ctx) }()
	h.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
		if left := names(h.t, h.base+"/tmp"); len(left) > 0 {
			h.t.Errorf("tmp still holds %q", left)
		}
	})
}

// The first run is cold, what follows is forked, and no plugin can tell which it is.
func TestRunsAreForked(t *testing.T) {
	for _, level := range []api.SandboxLevel{api.SandboxFull, api.SandboxConfined} {
		t.Run(string(level), func(t *testing.T) { testRunsAreForked(t, level) })
	}
}

func testRunsAreForked(t *testing.T, level api.SandboxLevel) {
	h := newHost(t, api.Action, map[string]string{
		"tidy": strings.Replace(sdk(`
global count
count += 1
agent = from_environment()
agent.call("progress", {"percent": 50, "message": "half"})
with open(os.environ["TMPDIR"] + "/mine", "x") as f: pass
print("error: by hand")
import json
given = json.load(open(os.environ["STAVILY_INPUT_FILE"]))
return {"count": count, "percent": params.percent, "config": agent.call("get_config", {}), "input": given["input_data"],
    "id": os.environ["STAVILY_INSTRUCTION_ID"], "own": ctx.config.as_dict(), "extra": os.environ.get("EXTRA"), "cwd": os.path.exists("plugin.yaml")}
`), "@stavily.action", "count = 0\n@stavily.action", 1),
		"tidy.yaml": "plugin: tidy\nenvironment: true\nconfig: {loud: true}\n",
	}, "STAVILY_SECURITY_SANDBOX_LEVEL="+string(level), "STAVILY_SECURITY_SANDBOX_REQUIRE=none")
	if h.Posture().Level != level {
		t.Skipf("this host gives %s", h.Posture().Level)
	}
	h.keepWarm()
	run := func(id string, extra bool) string {
		var progress int
		task := h.order("tidy", func(i *api.Instruction) {
			given("percent", "85")(i)
			i.ID = api.InstructionID(id)
			if extra {
				i.PluginConfiguration.Environment = map[string]string{"EXTRA": "x"}
			}
		})
		task.Progress = func(plugin.Progress) { progress++ }
		got := h.Execute(t.Context(), task)
		if got.Status != api.Completed || got.ErrorMessage != "" || progress != 1 || got.Sandbox == nil || got.ResourceUsage.MaxRSSBytes == 0 {
			t.Fatalf("%+v, %d reports of progress\n%s", got, progress, h.log)
		}
		return string(got.Result)
	}
	want := func(id, extra string) string {
		return fmt.Sprintf(`{"count": 1, "percent": 85, "config": {"config": {"greeting": "hello", "loud": true}}, "input": {"mount": "/var", "percent": 85}, "id": %q, "own": {"greeting": "hello", "loud": true}, "extra": %s, "cwd": true}`, id, extra)
	}
	h.eventually("a run prepares the next", func() bool {
		if got := run("ins-1", true); got != want("ins-1", `"x"`) {
			t.Fatalf("cold: %s", got)
		}
		return h.pool.Zygotes() == 1
	})
	before := h.warmRuns() // the last one of the preparation may have found the process ready
	for i := range 5 {
		id := fmt.Sprint("ins-w", i)
		if got := run(id, i%2 == 0); got != want(id, map[bool]string{true: `"x"`, false: "null"}[i%2 == 0]) {
			t.Fatalf("warm: %s", got)
		}
	}
	if text := read(t, h.base+"/logs/plugins/tidy.log"); strings.Count(text, "[ins-w4] by hand") != 1 {
		t.Errorf("the log of a warm run:\n%s", text)
	}
	if n := h.warmRuns() - before; n != 5 {
		t.Errorf("%d warm runs are counted, want 5", n)
	}
	if n := h.metric("zygotes"); n != "1" {
		t.Errorf("%s zygotes are counted", n)
	}
}

// What a run has done whose process went with the one it was forked from nobody knows: it did not
// fail, and may be done again only where that does no harm.
func TestARunThatIsLostIsInterrupted(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"tidy": sdk(`
if params.percent == 99:
    with open(os.environ["HOME"] + "/runs", "x"): pass
    import time
    time.sleep(60)
return {}
`)})
	if h.Posture().Level == api.SandboxLimited {
		t.Skip("nothing is forked at level limited")
	}
	h.keepWarm()
	h.eventually("a run prepares the next", func() bool {
		if got := h.Execute(t.Context(), h.order("tidy", given("percent", "85"))); got.Status != api.Completed {
			t.Fatalf("%+v", got)
		}
		return h.pool.Zygotes() == 1
	})
	ended := make(chan api.Result)
	go func() { ended <- h.Execute(context.Background(), h.order("tidy", given("percent", "99"))) }()
	h.eventually("it runs", func() bool {
		_, err := os.Stat(filepath.Join(h.base, "data", "state", "plugins", "tidy", "runs"))
		return err == nil
	})
	for _, pid := range sandbox.Family(os.Getpid()) {
		environment, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if strings.Contains(string(environment), "STAVILY_ZYGOTE_FD") && sandbox.IsChild(pid, os.Getpid()) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
	got := <-ended
	if got.Status != api.Interrupted || string(got.ErrorDetails) != `{"started":true}` || !strings.Contains(got.ErrorMessage, "is gone") {
		t.Errorf("%+v, want it to be interrupted", got)
	}
}

// A process is started when the caller says that it may be, or where it is forked gets its
// command then, and not where that fails. The name is short: it is part of the path of a socket,
// and where that is too long nothing is forked.
func TestNoEarlyStart(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"tidy": sdk(`
with open(os.environ["HOME"] + "/ran", "a") as f: f.write("x")
return {}
`)})
	if h.Posture().Level == api.SandboxLimited {
		t.Skip("nothing is forked at level limited")
	}
	h.keepWarm()
	ran := func() int {
		text, err := os.ReadFile(filepath.Join(h.base, "data", "state", "plugins", "tidy", "ran"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return len(text)
	}
	for n, kind := range []string{"cold", "forked"} {
		task := h.order("tidy", given("percent", "85"))
		task.Ready = func() error {
			if ran() != n {
				t.Errorf("%s: it ran before it might", kind)
			}
			return errors.New("not yet")
		}
		if got := h.Execute(t.Context(), task); got.Status != api.Failed || !strings.Contains(got.ErrorMessage, "not yet") || ran() != n {
			t.Errorf("%s: %+v, ran %d times", kind, got, ran())
		}
		asked := 0
		task.Ready = func() error { // it takes time until a program that was started waits for its command
			if asked++; asked == 2 {
				return errors.New("not any more")
			}
			return nil
		}
		if n == 0 {
			if got := h.Execute(t.Context(), task); got.Status != api.Failed || !strings.Contains(got.ErrorMessage, "not any more") || ran() != 0 {
				t.Errorf("%s: %+v, ran %d times", kind, got, ran())
			}
		}
		task.Ready = func() error { return nil }
		if got := h.Execute(t.Context(), task); got.Status != api.Completed || ran() != n+1 {
			t.Errorf("%s: %+v, ran %d times", kind, got, ran())
		}
		for deadline := time.Now().Add(time.Minute); h.pool.Zygotes() == 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("there is no warm process")
			}
		}
	}
	if n := h.warmRuns(); n != 1 {
		t.Errorf("%d runs were forked, want 1\n%s", n, h.log)
	}
}

// All that the next run of a warm process needs on the disk is there before it comes: two files in
// a private directory.
func TestTheNextRunsFilesAreMadeAhead(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"tidy": sdk("return 1")})
	if h.Posture().Level == api.SandboxLimited {
		t.Skip("nothing is forked at level limited")
	}
	h.keepWarm()
	ahead := func() (found []string) {
		dirs, err := filepath.Glob(h.base + "/tmp/*/g/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			found = append(found, names(t, dir)...)
		}
		return found
	}
	h.eventually("they are there", func() bool {
		if got := h.Execute(t.Context(), h.order("tidy", given("percent", "1"))); got.Status != api.Completed {
			t.Fatalf("%+v\n%s", got, h.log)
		}
		return slices.Equal(ahead(), []string{inputFile, "s"})
	})
}

// A process that stands by and dies costs the next run nothing: it is forked once more.
func TestAProcessThatStoodByAndDied(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"tidy": sdk("return os.getpid()")})
	if h.Posture().Level == api.SandboxLimited {
		t.Skip("nothing is forked at level limited")
	}
	h.keepWarm()
	run := func() {
		t.Helper()
		if got := h.Execute(t.Context(), h.order("tidy", given("percent", "1"))); got.Status != api.Completed {
			t.Fatalf("%+v\n%s", got, h.log)
		}
	}
	before := 0
	h.eventually("one is forked", func() bool { run(); before = h.warmRuns(); return before > 0 })
	h.eventually("three after such a death are forked", func() bool { // one that comes before the death is known is not
		h.eventually("one that stands by is killed", func() bool {
			standing := h.Executions()
			for _, pid := range standing {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			return len(standing) > 0
		})
		h.eventually("it is gone", func() bool { return len(h.Executions()) == 0 })
		run()
		return h.warmRuns() >= before+3
	})
}

// What one run of an action keeps the next one finds, cold or warm, and no other plugin.
func TestRunsShareTheirState(t *testing.T) {
	counting := strings.Replace(sdk("state['runs'] = state.get('runs', 0) + 1\nreturn state['runs']"), "act(params, ctx)", "act(state)", 1)
	h := newHost(t, api.Action, map[string]string{"counting": counting, "other": counting})
	h.keepWarm()
	run := func(id api.PluginID) string {
		got := h.Execute(t.Context(), h.order(id, given("percent", "1")))
		if got.Status != api.Completed {
			t.Fatalf("%+v\n%s", got, h.log)
		}
		return string(got.Result)
	}
	n := 0
	h.eventually("a run prepares the next", func() bool {
		n++
		if got := run("counting"); got != strconv.Itoa(n) {
			t.Fatalf("run %d counts %s", n, got)
		}
		return h.pool.Zygotes() == 1
	})
	if got := run("counting"); got != strconv.Itoa(n+1) {
		t.Errorf("a warm run counts %s after %d", got, n)
	}
	if got := run("other"); got != "1" {
		t.Errorf("another plugin counts %s", got)
	}
}

func TestRunsThatStayCold(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{
		"never":   strings.Replace(sdk("return 1"), "contract: stdio", "contract: stdio, warm: false", 1),
		"threads": strings.Replace(sdk("return 1"), "@stavily.action", "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n@stavily.action", 1),
		"script":  script("print(1)"),
	})
	h.keepWarm()
	why := func() string {
		for _, i := range h.Infos() {
			if i.ID == "threads" {
				return i.Message
			}
		}
		return ""
	}
	h.eventually("the refusal is told", func() bool {
		for _, id := range []api.PluginID{"never", "threads", "script"} {
			if got := h.Execute(t.Context(), h.order(id, given("percent", "1"))); got.Status != api.Completed {
				t.Fatalf("%s: %+v", id, got)
			}
		}
		return why() != ""
	})
	if want := "each run starts anew: it starts threads while it is imported, and a fork leaves them behind"; why() != want {
		t.Errorf("told %q, want %q", why(), want)
	}
	if n := h.log.count("runs of a plugin start cold", "plugin=threads"); n != 1 {
		t.Errorf("the reason is logged %d times\n%s", n, h.log)
	}
	if h.pool.Zygotes() != 0 || h.log.count("cold", "plugin=never") > 0 {
		t.Errorf("%d zygotes\n%s", h.pool.Zygotes(), h.log)
	}
}

// What forked runs do on the network is told of each, and of both where two that go on
// at the same time cannot be told apart.
func TestTrafficOfForkedRuns(t *testing.T) {
	port := greeter(t)
	h := newHost(t, api.Action, map[string]string{
		"p": strings.Replace(sdk(fmt.Sprintf(`
import socket
for _ in range(params.percent):
    socket.create_connection(("127.0.0.1", %d)) # and nothing is read: the process ends
for _ in range(2 * params.percent if params.mount == "/wait" else 0): # until the other run has begun and ended
    import time
    time.sleep(0.1)
return 1
`, port)), "---", "  to: {type: array, items: {type: string}}\npermissions: {network: [\"${config.to}\"]}\n---", 1),
		"p.yaml": fmt.Sprintf("plugin: p\nconfig: {to: [\"127.0.0.1:%d\"]}\n", port),
	})
	h.needFull()
	h.keepWarm()
	run := func(id string, connections int, mount string) []api.Traffic {
		r := h.Execute(t.Context(), h.order("p", func(i *api.Instruction) {
			i.ID = api.InstructionID(id)
			given("percent", fmt.Sprint(connections))(i)
			given("mount", mount)(i)
		}))
		if r.Status != api.Completed {
			t.Errorf("%s: %+v\n%s", id, r, h.log)
		}
		return r.Network
	}
	of := func(n []api.Traffic) (connections, shared int64) {
		if len(n) == 0 {
			return 0, 0
		}
		return n[0].Connections, n[0].Shared
	}
	h.eventually("a run prepares the next", func() bool {
		if n, shared := of(run("cold", 3, `"/var"`)); n != 3 || shared != 0 {
			t.Fatalf("cold: %d connections, %d shared\n%s", n, shared, h.log)
		}
		return h.pool.Zygotes() == 1
	})
	before := h.warmRuns() // the last that prepared the next may have been one
	for i, want := range []int64{2, 0, 30} {
		if n, shared := of(run(fmt.Sprint("warm-", i), int(want), `"/var"`)); n != want || shared != 0 {
			t.Errorf("warm: %d connections, %d shared, want %d\n%s", n, shared, want, h.log)
		}
	}
	first := make(chan []api.Traffic, 1)
	go func() { first <- run("long", 7, `"/wait"`) }()
	h.eventually("the long run connects", func() bool { return h.log.count(`"plugin connection"`, "instruction=long ") == 7 })
	if n, shared := of(run("short", 4, `"/var"`)); n != 4 || shared != 4 {
		t.Errorf("the short run: %d connections, %d shared\n%s", n, shared, h.log)
	}
	if n, shared := of(<-first); n != 11 || shared != 4 {
		t.Errorf("the long run: %d connections, %d shared\n%s", n, shared, h.log)
	}
	if n := h.log.count(`"plugin connection"`, "instruction=long,short "); n != 4 {
		t.Errorf("%d connections are recorded as of either\n%s", n, h.log)
	}
	if n := h.warmRuns() - before; n != 5 {
		t.Errorf("%d of 5 runs were warm", n)
	}
}

// warmRuns is how many runs were forked.
func (h *host) warmRuns() int {
	h.t.Helper()
	n, err := strconv.Atoi(cmp.Or(h.metric(`plugin_runs_total{start="warm"}`), "0"))
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// metric is the value of a counter of the agent.
func (h *host) metric(sample string) string {
	h.t.Helper()
	w := httptest.NewRecorder()
	h.rt.metricsHandler().ServeHTTP(w, httptest.NewRequest("GET", h.rt.Config().Metrics.Path, nil))
	for line := range strings.Lines(w.Body.String()) {
		if _, value, found := strings.Cut(line, sample+" "); found && line[0] != '#' {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Nothing warm is left of a version that is not in use any more.
func TestAChangeEndsWarmProcesses(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"p": "type: action\nruntime: {type: python, entry_point: main.py, contract: stdio}\n---\n" + sdkSays("one")}).following()
	h.keepWarm()
	warm := func(n int) {
		t.Helper()
		h.eventually("the warm processes", func() bool { return h.pool.Zygotes() == n && len(h.pool.InUse()) == n })
	}
	h.answers("p")
	warm(1)
	h.manifest("p", "2.0.0", "stdio")
	h.at("p", "2.0.0")
	warm(0)
	h.answers("p")
	warm(1)
	if err := h.SetEnabled("p", false); err != nil {
		t.Fatal(err)
	}
	warm(0)
}

// At level limited nothing could end a run that was forked, and without Landlock's scope for
// signals each could end the others: none is.
func TestRunsAreNotForkedWhereTheyAreNotHeld(t *testing.T) {
	for _, c := range []struct {
		level api.SandboxLevel
		abi   int
		want  bool
	}{
		{api.SandboxFull, 6, true}, {api.SandboxFull, 5, false}, {api.SandboxConfined, 6, true}, {api.SandboxConfined, 5, false},
		{api.SandboxLimited, 0, false}, {api.SandboxNone, 0, true},
	} {
		rt := &Runtime{}
		rt.config.Store(&config.Config{Plugins: config.Plugins{Warm: config.Warm{Max: 1}}})
		p := &Plugins{rt: rt, posture: api.Posture{Level: c.level, LandlockABI: c.abi}}
		m := &plugin.Plugin{Manifest: plugin.Manifest{Kind: plugin.Action, Runtime: plugin.Runtime{Type: plugin.Python}}}
		if got := p.mayBeWarm(m); got != c.want {
			t.Errorf("at %s with Landlock ABI %d runs are forked: %v", c.level, c.abi, got)
		}
	}
}
