package warm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	sdk "github.com/stavily/agents/sdk/python"
	"github.com/stavily/agents/shared/internal/pyenv"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/supervise"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

var scratch string // of the whole test binary

func TestMain(m *testing.M) {
	sandbox.Main()
	if dir := os.Getenv(victimDir); dir != "" {
		beVictim(dir)
	}
	var err error
	if scratch, err = os.MkdirTemp("", "warm-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreTopFunction("github.com/stavily/agents/shared/internal/sandbox.forkLoop")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// compiled is the SDK with its byte code, as agents unpack it: without that each start
// costs 20 ms more.
var compiled = sync.OnceValues(func() (string, error) {
	python, err := interpreter()
	if err != nil {
		return "", err
	}
	if err := os.CopyFS(scratch, sdk.Source); err != nil {
		return "", err
	}
	return filepath.Join(scratch, "src"), exec.Command(python.Path, "-I", "-m", "compileall", "-q", scratch).Run()
})

var interpreter = sync.OnceValues(func() (pyenv.Interpreter, error) {
	return pyenv.ResolvePython(context.Background(), os.Getenv("PYTHON"))
})

// host is what this machine gives; tests run at the highest level, or at what
// STAVILY_TEST_LEVEL says.
var host = sync.OnceValues(func() (*sandbox.Host, error) {
	dir := filepath.Join(scratch, "probe")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return sandbox.Probe(context.Background(), sandbox.ProbeOptions{Dir: dir})
})

// lab is a pool with one plugin.
type lab struct {
	t    testing.TB
	pool *Pool
	plan Plan
	temp string // of cold runs
	log  *supervise.Transcript

	mu      sync.Mutex // guards the fields below
	refused []string
	gone    []string // reason, or reason: error
}

// newLab runs a pool beside a plugin whose main.py is program; its handler is an action
// named act. Options may be changed before it runs.
func newLab(t testing.TB, program string, change ...func(*Options, *Plan)) *lab {
	t.Helper()
	python, err := interpreter()
	if err != nil {
		t.Skip(err)
	}
	source, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	found, err := host()
	if err != nil {
		t.Fatal(err)
	}
	level := found.Level
	if l := os.Getenv("STAVILY_TEST_LEVEL"); l != "" {
		level = sandbox.Level(l)
	}
	base := t.TempDir()
	dirs := map[string]string{}
	for _, name := range []string{"plugin", "home", "zygotes", "cold"} {
		dirs[name] = filepath.Join(base, name)
		if err := os.Mkdir(dirs[name], 0o700); err != nil {
			t.Fatal(err)
		}
	}
	main := filepath.Join(dirs["plugin"], "main.py")
	if err := os.WriteFile(main, []byte(program+"\nif __name__ == '__main__':\n    stavily.run()\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, temp: dirs["cold"], log: &supervise.Transcript{}}
	l.plan = Plan{
		Plugin: "test", Digest: "sha256:1", Log: l.log,
		Environment: sandbox.Environment{Agent: "test", Plugin: "test", Home: dirs["home"], SDK: source},
		Spec: sandbox.Spec{
			Path: python.Path, Args: []string{python.Path, main}, Dir: dirs["plugin"],
			Host: found, Level: level, Code: append([]string{dirs["plugin"], source}, python.Prefix...), Home: dirs["home"], Temp: dirs["cold"],
			Grace:  300 * time.Millisecond,
			Limits: sandbox.Limits{Time: 20 * time.Second, Memory: 256 << 20, Processes: 64, OpenFiles: 1024},
		},
	}
	o := Options{
		Dir: dirs["zygotes"], Zygotes: 16, Idle: time.Minute, Age: time.Hour, Executions: 1000,
		Refused: func(_ api.PluginID, reason string) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.refused = append(l.refused, reason)
		},
		Gone: func(_ api.PluginID, reason Reason, err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			text := string(reason)
			if err != nil {
				text += ": " + err.Error()
			}
			l.gone = append(l.gone, text)
		},
	}
	for _, c := range change {
		c(&o, &l.plan)
	}
	l.pool = New(o)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.pool.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(dirs["zygotes"]); err != nil || len(left) > 0 {
			t.Errorf("directories are left of zygotes: %v, %v", left, err)
		}
	})
	l.eventually("the pool runs", func() bool {
		l.pool.mu.Lock()
		defer l.pool.mu.Unlock()
		return l.pool.open
	})
	return l
}

func (l *lab) eventually(what string, true func() bool) {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); !true(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			l.t.Fatalf("not within a minute: %s\nlog: %s", what, strings.Join(l.log.Lines(), "\n"))
		}
	}
}

// warmUp waits for the zygote.
func (l *lab) warmUp() {
	l.t.Helper()
	l.pool.Prepare(l.plan)
	l.eventually("a zygote is ready", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.refused)+len(l.gone) > 0 {
			l.t.Fatalf("refused %q, gone %q\n%s", l.refused, l.gone, strings.Join(l.log.Lines(), "\n"))
		}
		return l.pool.Zygotes() == 1
	})
}

// run is what belongs to one execution.
type run struct {
	parameters string            // JSON
	extra      map[string]string // environment
	limits     sandbox.Limits    // zero fields: the plan's
	log        supervise.LogSink
	ready      func() error // before it is asked anything
}

func (r run) action(l *lab, temp string) supervise.Action {
	env := l.plan.Environment
	env.Temp, env.Extra, env.Instruction = temp, r.extra, "01J"
	list, err := env.List()
	if err != nil {
		l.t.Fatal(err)
	}
	spec := l.plan.Spec
	spec.Env = list
	if r.limits.Time > 0 {
		spec.Limits.Time = r.limits.Time
	}
	if r.limits.Memory > 0 {
		spec.Limits.Memory = r.limits.Memory
	}
	if r.limits.TempSize > 0 {
		spec.Limits.TempSize = r.limits.TempSize
	}
	if r.limits.CPU > 0 {
		spec.Limits.CPU = r.limits.CPU
	}
	if r.log == nil {
		r.log = l.log
	}
	if r.parameters == "" {
		r.parameters = "{}"
	}
	var parameters map[string]json.RawMessage
	if err := json.Unmarshal([]byte(r.parameters), &parameters); err != nil {
		l.t.Fatal(err)
	}
	return supervise.Action{
		Options:  supervise.Options{Spec: spec, Config: l.plan.Config, Log: r.log},
		Contract: plugin.Stdio, Ready: r.ready,
		Command: plugin.Command{Action: plugin.ExecuteAction, ActionRequest: &plugin.ActionRequest{ID: "01J", Parameters: parameters}},
	}
}

// warm runs one execution from the zygote; the error is what RunAction gives.
func (l *lab) warm(ctx context.Context, r run) (supervise.ActionResult, error) {
	seat := l.pool.Seat(&l.plan)
	if seat == nil {
		return supervise.ActionResult{}, ErrCold
	}
	defer seat.Free()
	given, err := os.MkdirTemp(seat.Given(), "e")
	if err != nil {
		return supervise.ActionResult{}, err
	}
	defer os.RemoveAll(given)
	a := r.action(l, seat.Temp())
	return l.from(ctx, seat, a, given)
}

// from runs an execution from this seat.
func (l *lab) from(ctx context.Context, seat *Seat, a supervise.Action, given string) (_ supervise.ActionResult, err error) {
	if a.Environment, err = seat.Environment(a.Spec.Env); err != nil {
		return supervise.ActionResult{}, err
	}
	if a.Standby, err = seat.Stand(a.Spec, given); err != nil {
		return supervise.ActionResult{}, err
	}
	return supervise.RunAction(ctx, a)
}

// cold runs the same without it.
func (l *lab) cold(ctx context.Context, r run) (supervise.ActionResult, error) {
	return supervise.RunAction(ctx, r.action(l, l.temp))
}
