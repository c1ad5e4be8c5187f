//go:build unix

package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/pyenv"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/plugin"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/stavily/agents/shared/internal/sandbox.forkLoop"))
}

var python = sync.OnceValues(func() (pyenv.Interpreter, error) {
	return pyenv.ResolvePython(context.Background(), "")
})

// spec runs a program of testdata, or Python source where it ends in a newline.
func spec(t *testing.T, program string, args ...string) sandbox.Spec {
	t.Helper()
	interpreter, err := python()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	path, err := filepath.Abs(filepath.Join("testdata", program))
	if strings.HasSuffix(program, "\n") {
		path = filepath.Join(dir, "main.py")
		err = os.WriteFile(path, []byte(program), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	env, err := sandbox.Environment{Agent: "test", Plugin: "test", Home: dir, Temp: dir}.List()
	if err != nil {
		t.Fatal(err)
	}
	return sandbox.Spec{
		Path: interpreter.Path, Args: append([]string{"python3", "-S", path}, args...), Dir: dir, Env: env,
		Grace: 200 * time.Millisecond, Limits: sandbox.Limits{Time: 30 * time.Second},
	}
}

func open(t *testing.T, o Options) (*Session, *Transcript) {
	t.Helper()
	log := &Transcript{}
	o.Log = log
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(0) })
	return s, log
}

// kind is the kind of a fault, or "" for any other error.
func kind(err error) FaultKind {
	var f *Fault
	if errors.As(err, &f) {
		return f.Kind
	}
	return ""
}

func TestAnOlderPluginRunsUnmodified(t *testing.T) {
	s, log := open(t, Options{Spec: spec(t, "older.py"), Config: map[string]json.RawMessage{"threshold": []byte("85")}})
	if want := (plugin.Info{ID: "older", Name: "Older", Version: "1.0.0", Type: "trigger"}); s.Info() != want {
		t.Errorf("info %+v, want %+v", s.Info(), want)
	}
	for range 3 {
		r, err := s.Call(t.Context(), plugin.Command{Action: plugin.DetectTriggers})
		if err != nil {
			t.Fatal(err)
		}
		events, err := plugin.DecodeEvents(r.Data, plugin.EventSource{Plugin: "older", Now: time.Now()})
		if err != nil || len(events) != 1 || events[0].Type != "disk_full" || string(events[0].Data["threshold"]) != "85" {
			t.Errorf("events %+v, %v", events, err)
		}
	}
	if r, err := s.Call(t.Context(), plugin.Command{Action: "dance"}); err != nil || r.Success || r.Error != "unknown action dance" {
		t.Errorf("an unknown command: %+v, %v", r, err)
	}
	exit, err := s.Close(5 * time.Second)
	if err != nil || !exit.Success() {
		t.Errorf("after stop and the end of its input it %v, %v", exit, err)
	}
	want := []string{
		"plugin loading", "INFO:root:got get_info", "INFO:root:got initialize", "INFO:root:got start",
		"INFO:root:got detect_triggers", "INFO:root:got detect_triggers", "INFO:root:got detect_triggers",
		"INFO:root:got dance", "INFO:root:got stop", "bye",
	}
	if diff := cmp.Diff(want, log.Lines()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if _, err := s.Call(t.Context(), plugin.Command{Action: plugin.DetectTriggers}); err == nil || kind(err) != "" {
		t.Errorf("a call after Close: %v", err)
	}
}

func TestARefusedHandshake(t *testing.T) {
	_, err := Open(t.Context(), Options{Spec: spec(t, "older.py"), Log: &Transcript{}, Config: map[string]json.RawMessage{"threshold": []byte("0")}})
	if kind(err) != Refused || err.Error() != "initialize: threshold must not be 0" {
		t.Errorf("err = %v", err)
	}
}

func TestFaults(t *testing.T) {
	for mode, c := range map[string]struct {
		kind FaultKind
		text string
	}{
		"rubbish": {Junk, "standard output is the protocol"},
		"flood":   {LineTooLong, "a line of more than 1048576 bytes"},
		"hang":    {Silent, "did not answer detect_triggers in time"},
		"die":     {Exited, "ended with exit code 1: the disk is on fire"},
		"crash":   {Exited, "signal 11"},
		"close":   {ClosedOutput, "closed its standard output"},
		"long":    {LineTooLong, "a line of more than"},
	} {
		t.Run(mode, func(t *testing.T) {
			s, log := open(t, Options{Spec: spec(t, "rogue.py", mode)})
			limit := 20 * time.Second
			if mode == "hang" {
				limit = 300 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			_, err := s.Call(ctx, plugin.Command{Action: plugin.DetectTriggers})
			if kind(err) != c.kind || !strings.Contains(err.Error(), c.text) {
				t.Errorf("err = %v (%s); want %s: %s", err, kind(err), c.kind, c.text)
			}
			if d := time.Since(began); d > 5*time.Second {
				t.Errorf("noticed after %v", d)
			}
			if _, again := s.Call(t.Context(), plugin.Command{Action: plugin.GetHealth}); again != err {
				t.Errorf("the next call: %v; want the same fault", again)
			}
			s.Close(0)
			if mode == "rubbish" && !strings.Contains(strings.Join(log.Lines(), "\n"), "\uFFFD rubbish \x00") {
				t.Errorf("the rubbish is not in the log")
			}
		})
	}
}

func TestACallerThatGivesUpBlamesNobody(t *testing.T) {
	s, _ := open(t, Options{Spec: spec(t, "rogue.py", "hang")})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := s.Call(ctx, plugin.Command{Action: plugin.DetectTriggers}); !errors.Is(err, context.Canceled) || kind(err) != "" {
		t.Errorf("err = %v", err)
	}
	if _, err := s.Close(0); err != nil {
		t.Error(err)
	}
}

func TestAnAnswerAmongInvalidText(t *testing.T) {
	s, log := open(t, Options{Spec: spec(t, "rogue.py", "utf8")})
	r, err := s.Call(t.Context(), plugin.Command{Action: plugin.DetectTriggers})
	if err != nil || string(r.Data) != `"answered"` {
		t.Errorf("%+v, %v", r, err)
	}
	s.Close(time.Second)
	if got := strings.Join(log.Lines(), "\n"); !strings.Contains(got, "log \uFFFD( line") || !strings.Contains(got, "stderr: \uFFFD") {
		t.Errorf("log %q", got)
	}
}

func TestAPluginThatDoesNotReadOrAnswer(t *testing.T) {
	for name, o := range map[string]Options{
		"does not answer":       {},
		"does not read, at all": {Config: map[string]json.RawMessage{"large": json.RawMessage(`"` + strings.Repeat("x", 500_000) + `"`)}},
	} {
		o.Spec, o.Log, o.Answer = spec(t, "rogue.py", "deaf"), &Transcript{}, 300*time.Millisecond
		began := time.Now()
		if _, err := Open(t.Context(), o); kind(err) != Silent {
			t.Errorf("%s: err = %v", name, err)
		}
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("%s: took %v", name, d)
		}
	}
}

func TestCommandsThatAreNeverSentHurtNobody(t *testing.T) {
	s, _ := open(t, Options{Spec: spec(t, "older.py")})
	s.turn <- struct{}{} // as if a command were under way
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Call(ctx, plugin.Command{Action: plugin.DetectTriggers}); !errors.Is(err, context.DeadlineExceeded) || kind(err) != "" {
		t.Errorf("while another command is under way: %v", err)
	}
	<-s.turn
	large := map[string]json.RawMessage{"x": json.RawMessage(`"` + strings.Repeat("x", plugin.MaxLineBytes) + `"`)}
	if _, err := s.Call(t.Context(), plugin.Command{Action: plugin.Initialize, Config: large}); !errors.Is(err, limits.ErrTooLarge) {
		t.Errorf("a command that is too long: %v", err)
	}
	if _, err := s.Call(t.Context(), plugin.Command{Action: plugin.DetectTriggers}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestPushedLines(t *testing.T) {
	var events []string
	var percent float64
	s, log := open(t, Options{
		Spec:       spec(t, "rogue.py", "push"),
		OnEvent:    func(raw json.RawMessage) { events = append(events, string(raw)) },
		OnProgress: func(p plugin.Progress) { percent = *p.Percent },
	})
	if s.Info().Protocol != plugin.Protocol {
		t.Errorf("protocol %d", s.Info().Protocol)
	}
	if _, err := s.Call(t.Context(), plugin.Command{Action: plugin.DetectTriggers}); err != nil {
		t.Fatal(err)
	}
	s.Close(time.Second)
	if len(events) != 3 || events[2] != `{"type": "pushed", "data": {"n": 2}}` || percent != 50 {
		t.Errorf("events %q, percent %v", events, percent)
	}
	if diff := cmp.Diff([]string{"warn: by protocol"}, log.Lines()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestAStubbornPluginIsEnded(t *testing.T) {
	s, _ := open(t, Options{Spec: spec(t, "rogue.py", "stubborn")})
	if _, err := s.Call(t.Context(), plugin.Command{Action: plugin.DetectTriggers}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	exit, err := s.Close(300 * time.Millisecond)
	if err != nil || exit.Reason != sandbox.Stopped {
		t.Errorf("exit %v, %v", exit, err)
	}
	if d := time.Since(began); d > 1300*time.Millisecond {
		t.Errorf("took %v; want at most grace + 1 s", d)
	}
}

func TestCallsFromManyGoroutines(t *testing.T) {
	s, _ := open(t, Options{Spec: spec(t, "older.py")})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 20 {
				c := plugin.Command{Action: plugin.ExecuteAction, ActionRequest: &plugin.ActionRequest{ID: "x", Parameters: map[string]json.RawMessage{"i": json.RawMessage([]byte{byte('0' + i%10)})}}}
				r, err := s.Call(t.Context(), c)
				if got := plugin.DecodeActionResult(r); err != nil || string(got.Data) != `{"i": `+string(rune('0'+i%10))+`}` {
					t.Errorf("call %d: %s, %v", i, got.Data, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAFloodOfLogIsBoundedAndSaid(t *testing.T) {
	s, log := open(t, Options{Spec: spec(t, "rogue.py", "stderr")})
	if _, err := s.Call(t.Context(), plugin.Command{Action: plugin.DetectTriggers}); err != nil {
		t.Fatal(err)
	}
	s.Close(time.Second)
	lines := log.Lines()
	last := lines[len(lines)-1]
	if !strings.HasPrefix(last, "agent: ") || !strings.Contains(last, "lines are left out here: the plugin logs more than 200 a second") {
		t.Errorf("%d lines; the last is %q", len(lines), last)
	}
}
