package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// official is a host with one official plugin as it ships: its manifest, its code, and
// so its permissions.
type official struct {
	*host
	id  api.PluginID
	dir string // a place on the host beside the agent's, which tests give plugins

	events []plugin.EventType // of its manifest
}

// newOfficial installs the plugin in a directory of plugins/ on a host of this level, and
// skips where the host gives less. The settings are the lines of its file in
// config/plugins below `plugin`, in which DIR stands for a place of the test.
func newOfficial(t *testing.T, level sandbox.Level, folder, settings string, environ ...string) *official {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	id := filepath.Base(folder)
	typ := api.Action
	if strings.HasPrefix(folder, "sensors/") {
		typ = api.Sensor
	}
	files := map[string]string{id + ".yaml": "plugin: " + id + "\n" + strings.ReplaceAll(settings, "DIR", dir)}
	source := filepath.Join("..", "..", "..", "plugins", folder)
	manifest := ""
	for line := range strings.Lines(read(t, filepath.Join(source, "plugin.yaml"))) {
		if !strings.HasPrefix(line, "id:") && !strings.HasPrefix(line, "version:") { // newHost writes these
			manifest += line
		}
	}
	files[id] = manifest + "---\n" + read(t, filepath.Join(source, "main.py"))
	modules, err := filepath.Glob(filepath.Join(source, "*.py"))
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range modules {
		if name := filepath.Base(module); name != "main.py" && !strings.HasPrefix(name, "test_") {
			files[id+"/"+name] = read(t, module)
		}
	}
	environ = append(environ, "STAVILY_SECURITY_SANDBOX_LEVEL="+string(level), portLevel)
	declared, _, err := plugin.ParseManifest(source, []byte(read(t, filepath.Join(source, "plugin.yaml"))))
	if err != nil {
		t.Fatal(err)
	}
	o := &official{newHost(t, typ, files, environ...), api.PluginID(id), dir, declared.Events}
	if o.posture.Level != level {
		t.Skipf("this host gives %s", &o.posture)
	}
	return o
}

// portLevel lets plugins reach hosts where these cannot be told apart.
const portLevel = "STAVILY_SECURITY_SANDBOX_ALLOW_PORT_LEVEL_EGRESS=true"

// atBothLevels runs a test at the levels that plugins are made for.
func atBothLevels(t *testing.T, folder, settings string, test func(t *testing.T, o *official)) {
	for _, level := range []sandbox.Level{sandbox.Full, sandbox.Confined} {
		t.Run(string(level), func(t *testing.T) { test(t, newOfficial(t, level, folder, settings)) })
	}
}

// told is what one check of a sensor emitted, or the error that it ended with.
type told struct {
	events []api.Event
	err    error
}

func (d told) types() []string {
	var out []string
	for _, e := range d.events {
		out = append(out, e.Type)
	}
	return out
}

// value is a field of the data of the only event.
func (d told) value(t *testing.T, field string) (text string) {
	t.Helper()
	if len(d.events) != 1 {
		t.Fatalf("%d events: %v, %v", len(d.events), d.types(), d.err)
	}
	return strings.Trim(string(d.events[0].Data[field]), `"`)
}

// sense starts the sensor, calls use, and ends it.
func (o *official) sense(t *testing.T, use func(*Session, *events) error) {
	t.Helper()
	task, got := o.task(o.id), newEvents()
	task.Forever, task.Trigger = true, got.take
	if err := o.Sense(t.Context(), task, time.Second, func(s *Session) error { return use(s, got) }); err != nil {
		t.Fatalf("%v\n%s\n%s", err, o.log, o.pluginLog())
	}
}

// watch checks once before each of the changes and once at the end.
func (o *official) watch(t *testing.T, changes ...func()) []told {
	t.Helper()
	var all []told
	o.sense(t, func(s *Session, got *events) error {
		for i := 0; ; i++ {
			before := len(got.types())
			_, err := s.Detect(t.Context()) // what it emits comes before the answer
			got.mu.Lock()
			all = append(all, told{slices.Clone(got.all[before:]), err})
			o.declared(t, got.all[before:])
			got.mu.Unlock()
			if i == len(changes) {
				return nil
			}
			changes[i]()
		}
	})
	return all
}

// declared holds events to what the manifest says of them, where it does.
func (o *official) declared(t *testing.T, got []api.Event) {
	t.Helper()
	for _, e := range got {
		i := slices.IndexFunc(o.events, func(d plugin.EventType) bool { return d.Type == e.Type })
		if i < 0 && len(o.events) > 0 {
			t.Errorf("%s is sent and not declared under events of the manifest", e.Type)
		}
		if i < 0 {
			continue
		}
		if _, err := o.events[i].Data.Apply(e.Data); err != nil {
			t.Errorf("%s is not as the manifest declares it: %v", e.Type, err)
		}
	}
}

// run executes the action or output with these parameters, which are JSON.
func (o *official) run(t *testing.T, parameters string) api.Result {
	t.Helper()
	order := o.order(o.id, func(i *api.Instruction) {
		if err := json.Unmarshal([]byte(strings.ReplaceAll(parameters, "DIR", o.dir)), &i.InputData); err != nil {
			t.Fatal(err)
		}
	})
	return o.Execute(t.Context(), order)
}

func (o *official) pluginLog() string {
	text, err := os.ReadFile(filepath.Join(o.base, "logs", "plugins", string(o.id)+".log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// expect fails unless the checks emitted these types, which stand with spaces between
// them, or ended with an error that says what stands behind "error: ".
func (o *official) expect(t *testing.T, got []told, want ...string) {
	t.Helper()
	for i, w := range want {
		says, failing := strings.CutPrefix(w, "error: ")
		switch {
		case failing && (got[i].err == nil || !strings.Contains(got[i].err.Error(), says)):
			t.Errorf("check %d: error %v, want %q", i, got[i].err, says)
		case !failing && (got[i].err != nil || strings.Join(got[i].types(), " ") != w):
			t.Errorf("check %d: %q and error %v, want %q\n%s\n%s", i, got[i].types(), got[i].err, w, o.log, o.pluginLog())
		}
	}
}

// The sizes that disk-space tells are the host's, also where it has a root of its own,
// and the mounts are the host's list.
func TestOfficialDiskSpaceSeesTheHost(t *testing.T) {
	t.Parallel()
	var fs unix.Statfs_t
	if err := unix.Statfs("/", &fs); err != nil {
		t.Fatal(err)
	}
	atBothLevels(t, "sensors/disk-space", "config: {threshold: 0, mounts: [/]}\n", func(t *testing.T, o *official) {
		got := o.watch(t)[0]
		if want := fmt.Sprint(int64(fs.Blocks) * fs.Frsize); got.value(t, "total_bytes") != want {
			t.Errorf("/ has %s bytes, and %s are told", want, got.value(t, "total_bytes"))
		}
		if got.value(t, "device") == "" {
			t.Errorf("the list of mounts is not the host's")
		}
	})
	if _, err := os.Stat("/dev/host"); err == nil {
		t.Error("/dev/host was made on the host")
	}
}

// fakeSystemd is a real bus with a stand-in for systemd on it, at "bus" in a directory.
func fakeSystemd(t *testing.T, dir, units string) {
	t.Helper()
	write(t, filepath.Join(dir, "units.json"), units)
	standIn(t, "systemd.py", dir)
}

// standIn starts a program of plugins/testdata, which ends with the test.
func standIn(t *testing.T, program, arg string) {
	t.Helper()
	python, err := interpreter()
	if err != nil {
		t.Skip(err)
	}
	// Not by the test's context, whose end comes before clean-up: it must end what it started.
	cmd := exec.Command(python.Path, filepath.Join("..", "..", "..", "plugins", "testdata", program), arg)
	var log strings.Builder
	cmd.Stderr = &log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, _ := bufio.NewReader(out).ReadString('\n')
	end := func() error { in.Close(); return cmd.Wait() }
	if said != "ready\n" {
		var exit *exec.ExitError
		if err := end(); errors.As(err, &exit) && exit.ExitCode() == notHere {
			t.Skipf("%s %s", program, log.String())
		}
		t.Fatalf("%s: %s", program, log.String())
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("%s: %v: %s", program, err, log.String())
		}
	})
}

// notHere is how a program of plugins/testdata ends where what it needs is not to be had.
const notHere = 77
