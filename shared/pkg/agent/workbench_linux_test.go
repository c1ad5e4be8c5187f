package agent

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// onWorkbench opens a workbench and loads a plugin that stands anywhere on the host.
func onWorkbench(t *testing.T, typ api.AgentType, text, observer string) (*Workbench, *plugin.Plugin) {
	t.Helper()
	if _, err := interpreter(); err != nil {
		t.Skip(err)
	}
	dir := filepath.Join(t.TempDir(), "tried")
	manifest, program, _ := strings.Cut(text, "---\n")
	write(t, filepath.Join(dir, "plugin.yaml"), "id: tried\nversion: 1.0.0\n"+manifest)
	write(t, filepath.Join(dir, "main.py"), program)
	p, _, err := plugin.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	w, err := OpenWorkbench(t.Context(), WorkbenchOptions{
		Dir: filepath.Join(t.TempDir(), "w"), Agent: typ, Log: slog.New(slog.NewTextHandler(log, nil)), Python: os.Getenv("PYTHON"), Observer: observer,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w, p
}

// What runs on a workbench runs as in an agent: confined, configured, heard.
func TestWorkbenchSenses(t *testing.T) {
	w, p := onWorkbench(t, api.Sensor, strings.Replace(sensor, "stdio}", "stdio}\npermissions: {filesystem: {read: [/etc/hostname, /etc/none]}}", 1)+"def detect(c): say({\"success\": True, \"data\": {\"type\": \"seen\"}})\n"+plain, "")
	reach, err := w.Reach(Task{Plugin: p})
	if err != nil || !slices.Contains(reach.Read, "/etc/hostname") || !slices.Contains(reach.Read, p.Dir) || len(reach.Decisions) != 2 || len(reach.Decisions[1].Granted) != 0 {
		t.Errorf("reach %+v, %v", reach, err)
	}
	var ends atomic.Int32
	task := Task{
		Plugin: p, Settings: config.PluginFile{Plugin: p.ID, Name: "tried"}, Forever: true,
		Trigger: newEvents().take, Ended: func(Exit) { ends.Add(1) },
	}
	err = w.Sense(t.Context(), task, time.Second, func(s *Session) error {
		found, err := s.Detect(t.Context())
		if len(found) != 1 || found[0].Type != "seen" {
			t.Errorf("found %v", found)
		}
		return err
	})
	if err != nil || ends.Load() != 1 {
		t.Errorf("sense: %v, %d ends", err, ends.Load())
	}
}

func TestWorkbenchExecutes(t *testing.T) {
	// What stands in the observer's source is there before the plugin is.
	w, p := onWorkbench(t, api.Action, sdk(`
import sitecustomize
from stavily._agent import from_environment
return {"seen": sitecustomize.SEEN, "org": from_environment().call("get_agent_info", {})}
`), "SEEN = 7\n")
	var answered, ended atomic.Int32
	got := w.Execute(t.Context(), Task{
		Plugin: p, Settings: config.PluginFile{Plugin: p.ID, Name: "tried"},
		Instruction: &api.Instruction{ID: "try-1", PluginID: p.ID, InputData: map[string]json.RawMessage{"percent": json.RawMessage("1")}},
		Line:        func(string) {}, Progress: func(plugin.Progress) {},
		Answered: func(pid int) { answered.Store(int32(pid)) },
		Ended:    func(Exit) { ended.Add(1) },
	})
	if got.Status != api.Completed || !strings.Contains(string(got.Result), `"seen": 7`) && !strings.Contains(string(got.Result), `"seen":7`) {
		t.Errorf("%s %s %s", got.Status, got.Result, got.ErrorMessage)
	}
	if answered.Load() == 0 || ended.Load() != 1 {
		t.Errorf("answered by process %d, %d ends", answered.Load(), ended.Load())
	}
	if w.Python(p) == "" || w.SDK() == "" {
		t.Error("no interpreter or no SDK is told")
	}
	if home, err := w.Home(p.ID); err != nil || home == "" {
		t.Error(home, err)
	}
}

// A line that is no part of the contract is told as such, one of the plugin's own log
// records is not.
func TestWorkbenchHearsStrayLines(t *testing.T) {
	w, p := onWorkbench(t, api.Sensor, sensor+strings.Replace(plain, "def say(o)", `print("hello"); print('{"log": {"level": "info", "message": "meant"}}')
def say(o)`, 1), "")
	var heard []string
	err := w.Sense(t.Context(), Task{
		Plugin: p, Settings: config.PluginFile{Plugin: p.ID, Name: "tried"}, Forever: true,
		Trigger: newEvents().take, Line: func(string) {}, Stray: func(text string) { heard = append(heard, text) },
	}, time.Second, func(*Session) error { return nil })
	if err != nil || !slices.Equal(heard, []string{"hello"}) {
		t.Errorf("%v, stray lines %q", err, heard)
	}
}
