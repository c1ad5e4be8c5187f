//go:build unix

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// events takes what a sensor reports.
type events struct {
	mu   sync.Mutex
	all  []api.Event
	came chan struct{} // one for each
}

func newEvents() *events { return &events{came: make(chan struct{}, 100)} }

func (e *events) take(_ context.Context, event api.Event) (api.EventID, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer func() { e.came <- struct{}{} }()
	if event.Type == "refuse.me" {
		return "", errors.New("the spool is full")
	}
	e.all = append(e.all, event)
	return api.EventID("evt-" + event.Type), nil
}

func (e *events) types() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []string
	for _, event := range e.all {
		out = append(out, event.Type)
	}
	return out
}

// A candidate that reports and keeps when it starts is well meanwhile; nothing of it counts.
func TestACandidateThatReportsAtItsStart(t *testing.T) {
	const began = `
import stavily
@stavily.sensor(push=True)
def begin(emit, state):
    state["n"] = state.get("n", 0) + 1
    state.save()
    print("kept", flush=True)
    emit("began")
    print("taken", flush=True)
if __name__ == "__main__":
    stavily.run()
`
	h := newHost(t, api.Sensor, map[string]string{"begin": sensor + began, "begin.yaml": "plugin: begin\n"})
	task := h.task("begin")
	log := make(chan string, 100)
	trial := candidate(task.Plugin, task.Settings)
	trial.Line = func(text string) { log <- text }
	err := h.Sense(t.Context(), trial, time.Second, func(s *Session) error {
		if got := <-log; got != "info: kept" {
			t.Errorf("it logged %q", got)
		}
		select {
		case got := <-log:
			t.Errorf("it did not wait for its event, it logged %q", got)
		case <-s.Done():
			t.Errorf("it ended: %v", s.Err())
		case <-time.After(300 * time.Millisecond):
		}
		_, err := s.Call(t.Context(), plugin.Command{Action: plugin.GetHealth})
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if all, err := h.memo(task).All(); err != nil || len(all) != 0 {
		t.Errorf("it keeps %v, %v", all, err)
	}
}

const (
	sensor = "type: sensor\nruntime: {type: python, entry_point: main.py, contract: stdio}\nconfiguration:\n  at: {type: integer, default: 7}\n---\n"

	// plain speaks contract stdio without the SDK.
	plain = `
import json, sys, time
def say(o): print(json.dumps(o), flush=True)
for line in sys.stdin:
    c = json.loads(line)["action"]
    if c == "get_info":
        say({"action": c, "success": True, "data": {"protocol": 2}})
    elif c != "detect_triggers":
        say({"action": c, "success": True})
    else:
        detect(c)
`
)

func TestSense(t *testing.T) {
	h := newHost(t, api.Sensor, map[string]string{"watch": sensor + `
import stavily
from stavily._agent import from_environment
@stavily.sensor(interval=30)
def watch(config, emit, state, log):
    log.warning("looked")
    emit("disk.full", data={"at": config.at}, severity="high")
    try:
        from_environment().call("report_trigger", {"trigger_name": "refuse.me", "payload": {}})
    except stavily.AgentError as e:
        emit("told", data={"why": str(e)})
if __name__ == "__main__":
    stavily.run()
`, "mine.yaml": "plugin: watch\nname: var\n"})
	task, got := h.task("watch"), newEvents()
	task.Forever, task.Trigger = true, got.take
	var found []api.Event
	err := h.Sense(t.Context(), task, 10*time.Second, func(s *Session) (err error) {
		if info := s.Info(); info.Interval != 30*time.Second {
			t.Errorf("the sensor says %+v, want an interval of 30 s", info)
		}
		found, err = s.Detect(t.Context())
		return err
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, h.log)
	}
	found = append(found, got.all...) // whichever way the SDK reports
	var types []string
	for _, e := range found {
		types = append(types, e.Type)
		if e.Source != "watch" || e.Monitor != "var" {
			t.Errorf("event of %s/%s, want watch/var", e.Source, e.Monitor)
		}
	}
	if !slices.Equal(types, []string{"disk.full", "told"}) || !strings.Contains(string(found[1].Data["why"]), "the spool is full") {
		t.Errorf("events %q, want disk.full, and the refusal told", types)
	}
	if text := read(t, filepath.Join(h.base, "logs", "plugins", "watch.log")); !strings.Contains(text, "warn  [var] looked\n") {
		t.Errorf("log:\n%s", text)
	}
	if left := names(t, filepath.Join(h.base, "tmp")); len(left) > 0 {
		t.Errorf("tmp still holds %q", left)
	}
}

// Of what is pushed, each event that cannot be taken costs only itself.
func TestPushedEvents(t *testing.T) {
	h := newHost(t, api.Sensor, map[string]string{"push": sensor + `
def detect(c):
    for name in "first", "refuse.me", "last":
        say({"event": {"type": name, "data": {}}})
    say({"event": {"type": 7, "data": "x" * 70000}})
    say({"action": c, "success": True, "data": None})
` + plain})
	task, got := h.task("push"), newEvents()
	task.Forever, task.Trigger = true, got.take
	err := h.Sense(t.Context(), task, 10*time.Second, func(s *Session) error {
		_, err := s.Detect(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.pushed(t.Context(), task, plugin.EventSource{Plugin: "push"}, json.RawMessage(`[{"type": 7}, {"type": "refuse.me"}, {"type": "beside"}]`))
	if got := got.types(); !slices.Equal(got, []string{"first", "last", "beside"}) {
		t.Errorf("events %q, want first, last and beside", got)
	}
	if strings.Count(h.log.String(), "spool is full") != 2 || h.log.count("pushed event refused") != 3 {
		t.Errorf("the log does not tell of three refusals:\n%s", h.log)
	}
}

func TestASensorAtFault(t *testing.T) {
	h := newHost(t, api.Sensor, map[string]string{
		"no":     sensor + "def detect(c): say({'action': c, 'success': False, 'error': 'no such disk'})\n" + plain,
		"silent": sensor + "def detect(c): time.sleep(60)\n" + plain,
		"dead":   sensor + "raise SystemExit('cannot')\n",
	})
	detect := func(ctx context.Context, id api.PluginID) error {
		task := h.task(id)
		task.Trigger = newEvents().take
		return h.Sense(t.Context(), task, time.Second, func(s *Session) error {
			_, err := s.Detect(ctx)
			return err
		})
	}
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for id, c := range map[api.PluginID]struct {
		ctx  context.Context
		want string
	}{
		"no": {t.Context(), "plugin no: no such disk"}, "silent": {soon, "plugin silent"}, "dead": {t.Context(), "plugin dead"},
	} {
		if err := detect(c.ctx, id); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", id, err, c.want)
		}
	}
	wrong := h.task("no")
	wrong.Settings.Config = map[string]any{"at": "noon"}
	if err := h.Sense(t.Context(), wrong, 0, nil); err == nil || !strings.Contains(err.Error(), "configuration of no") {
		t.Errorf("wrong configuration: %v", err)
	}
}

// A monitor of contract script lives on, reports over the socket, and ends with ctx.
func TestStream(t *testing.T) {
	const monitor = "type: sensor\nruntime: {type: python, entry_point: main.py, contract: script}\nlimits: {execution_time: 1s}\n---\nimport sys, time\n"
	h := newHost(t, api.Sensor, map[string]string{
		"watch": monitor + `
from stavily._agent import from_environment
from_environment().call("report_trigger", {"trigger_name": "seen", "payload": {"argv": sys.argv[1:]}})
time.sleep(60)
`,
		"dead":       monitor + "sys.exit('the disk is gone')\n",
		"watch.yaml": "plugin: watch\nconfig: {mount: /var}\n",
	})
	task, got := h.task("watch"), newEvents()
	task.Forever, task.Trigger = true, got.take
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.Stream(ctx, task) }()
	select {
	case <-got.came:
	case err := <-ended:
		t.Fatalf("%v\n%s", err, read(t, filepath.Join(h.base, "logs", "plugins", "watch.log")))
	}
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "plugin watch") {
		t.Errorf("Stream = %v, want how it ended", err)
	}
	if e := got.all[0]; e.Type != "seen" || !strings.Contains(string(e.Data["argv"]), "--mount") {
		t.Errorf("event %s %s, want the configuration as arguments", e.Type, e.Data)
	}
	task = h.task("dead")
	task.Forever = true
	if err := h.Stream(t.Context(), task); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("Stream = %v, want the plugin's last words", err)
	}
}

// What cannot be used is told once and in /health, and hides nothing that can.
func TestWhatIsInstalled(t *testing.T) {
	h := newHost(t, api.Sensor, map[string]string{
		"good": sensor, "mover": strings.Replace(sensor, "sensor", "action", 1), "bad": "type: robot\n---\n",
		"good.yaml": "plugin: good\n", "off.yaml": "plugin: good\nname: off\nenabled: false\n", "wrong.yaml": "plugin: [\n",
	})
	states := map[string]string{}
	for _, i := range h.Infos() {
		states[string(i.ID)] = i.State
	}
	if states["good"] != "ready" || states["mover"] != "refused" || states["bad"] != "refused" || len(states) != 3 {
		t.Errorf("states %v", states)
	}
	for _, name := range []string{"plugin_bad", "plugin_mover", "plugin_configuration"} {
		if c := condition(h.rt, name); c == nil || c.Remedy == "" {
			t.Errorf("condition %s: %+v", name, c)
		}
	}
	if s := h.Settings(); len(s) != 1 || s[0].Name != "good" {
		t.Errorf("settings %+v, want those of good alone", s)
	}
	if ready, why := h.rt.Health.Ready(); !ready {
		t.Errorf("not ready for %+v", why)
	}
}

// A log that cannot be written is told until it can.
func TestThePluginLogThatCannotBeWritten(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"tidy": script("")})
	log := h.logOf(h.order("tidy", nil))
	file := log.file
	log.file = brokenWriter{}
	log.Line("stderr", "x")
	if c := condition(h.rt, "plugin_log_tidy"); c == nil || !strings.Contains(c.Message, "disk full") {
		t.Errorf("condition %+v, want the disk full", c)
	}
	log.file = file
	for text, stream := range map[string]string{"debug: d": "stderr", "warn:w": "stdout", "12 lines left out": "agent", "warning: no level": "stderr"} {
		log.Line(stream, text)
	}
	if c := condition(h.rt, "plugin_log_tidy"); c != nil {
		t.Errorf("condition %+v though it was written", c)
	}
	text := read(t, filepath.Join(h.base, "logs", "plugins", "tidy.log"))
	for _, line := range []string{"debug [ins-1] d\n", "warn  [ins-1] w\n", "warn  [ins-1] 12 lines left out\n", "info  [ins-1] warning: no level\n"} {
		if !strings.Contains(text, line) {
			t.Errorf("the log lacks %q:\n%s", line, text)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "log", Err: errors.New("disk full")}
}
