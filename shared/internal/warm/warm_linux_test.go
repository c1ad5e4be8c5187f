package warm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/shared/internal/cgroup"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/supervise"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// handler is a plugin whose action evaluates what it is asked to.
const handler = `
import os, sys, time
import stavily

count = 0

@stavily.action
def act(params, ctx):
    scope = dict(globals(), ctx=ctx)
    exec(params.get("do", ""), scope)
    return eval(params.get("value", "None"), scope)
`

// script is a run that executes statements and gives the value of an expression.
func script(do, value string) run {
	parameters, err := json.Marshal(map[string]string{"do": do, "value": value})
	if err != nil {
		panic(err)
	}
	return run{parameters: string(parameters)}
}

// want runs from the zygote and compares the result.
func (l *lab) want(r run, want string) {
	l.t.Helper()
	if err := l.answers(r, want); err != nil {
		l.t.Error(err)
	}
}

func (l *lab) answers(r run, want string) error {
	got, err := l.warm(l.t.Context(), r)
	if err != nil || got.Status != api.Completed || string(got.Data) != want {
		return fmt.Errorf("%s\n got %s %s %q, %v\nwant %s\nlog: %s", r.parameters, got.Status, got.Data, got.Error, err, want, strings.Join(l.log.Lines(), "\n"))
	}
	return nil
}

func TestEveryExecutionIsFresh(t *testing.T) {
	l := newLab(t, "print('imported')\nimport random, tempfile"+handler)
	l.warmUp()
	for _, r := range []run{
		script("global count; count += 1; import os; os.environ['LEFT'] = 'x'; sys.path.append('/left')", "count"),
		script("open(os.path.join(os.environ['TMPDIR'], 'left'), 'w').write('x')", "1"),
		script("os.chdir('/'); import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", "1"),
	} {
		l.want(r, "1")
	}
	l.want(script("global count; count += 1", "count"), "1")
	l.want(script("", "[os.environ.get('LEFT'), '/left' in sys.path, os.listdir(os.environ['TMPDIR']), os.getcwd()]"),
		fmt.Sprintf(`[null, false, [], %q]`, l.plan.Spec.Dir))
	l.want(script("import tempfile", "tempfile.gettempdir() == os.environ['TMPDIR']"), "true")
	if n := strings.Count(strings.Join(l.log.Lines(), "\n"), "imported"); n != 1 {
		t.Errorf("the plugin was imported %d times", n)
	}
	seen := map[string]bool{}
	for range 3 {
		r, err := l.warm(t.Context(), script("import random", "random.random()"))
		if err != nil {
			t.Fatal(err)
		}
		seen[string(r.Data)] = true
	}
	if len(seen) != 3 {
		t.Errorf("random numbers repeat: %v", seen)
	}
}

// A process that is forked ahead goes the way of an execution before it is one: that is
// most of what makes executions fast.
func TestSparesRehearse(t *testing.T) {
	l := newLab(t, `
import os
import stavily
import stavily._zygote as zygote

rehearsed, rehearse = [], zygote._rehearse

def noted(*way):
    rehearse(*way)
    rehearsed.append(os.getpid())
    open("{}/rehearsed-{}".format(os.environ["HOME"], os.getpid()), "x").close()

zygote._rehearse = noted

@stavily.action
def act(params, ctx):
    return {"rehearsed": os.getpid() in rehearsed}
`)
	l.warmUp()
	l.eventually("the zygote and a spare have rehearsed", func() bool {
		done, err := filepath.Glob(l.plan.Spec.Home + "/rehearsed-*")
		return err == nil && len(done) == 2
	})
	if r, err := l.warm(t.Context(), run{}); err != nil || !strings.Contains(string(r.Data), `"rehearsed": true`) {
		t.Errorf("%s, %v", r.Data, err)
	}
}

// An agent that runs as root lets plugins be somebody else, warm ones too.
func TestAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start processes as somebody else")
	}
	nobody := &sandbox.Credential{UID: 65534, GID: 65534}
	l := newLab(t, handler, func(o *Options, p *Plan) {
		p.Spec.User = nobody
		for _, dir := range []string{p.Spec.Dir, p.Spec.Home, o.Dir, scratch, filepath.Dir(p.Spec.Dir), filepath.Dir(filepath.Dir(p.Spec.Dir))} {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(os.Chmod(filepath.Join(p.Spec.Dir, "main.py"), 0o644), os.Chown(p.Spec.Home, 65534, 65534)); err != nil {
			t.Fatal(err)
		}
	})
	l.warmUp()
	do := "open(os.environ['TMPDIR'] + '/a', 'w').write('a'); open(os.environ['HOME'] + '/b', 'w').write('b')"
	l.want(script(do, "[os.getuid(), os.getgid(), os.getgroups(), open(os.environ['TMPDIR'] + '/a').read()]"), `[65534, 65534, [], "a"]`)
	r, err := l.warm(t.Context(), run{parameters: script("time.sleep(60)", "").parameters, limits: sandbox.Limits{Time: 200 * time.Millisecond}})
	if err != nil || r.Status != api.TimedOut {
		t.Errorf("%+v, %v", r, err)
	}
	l.nothingLeft()
}

func TestEnvironmentIsTheExecutionsOwn(t *testing.T) {
	l := newLab(t, handler, func(_ *Options, p *Plan) { p.Environment.Traceparent = "00-zygote" })
	l.warmUp()
	r := script("", "[os.environ.get(n) for n in ('SECRET', 'TRACEPARENT', 'STAVILY_INSTRUCTION_ID', 'STAVILY_ZYGOTE_FD')]")
	r.extra = map[string]string{"SECRET": "s3cr3t"}
	l.want(r, `["s3cr3t", "00-zygote", "01J", null]`)
	l.plan.Environment.Traceparent = ""
	plan := l.plan
	plan.Environment.Traceparent = "00-zygote"
	seat := l.pool.Seat(&plan)
	if seat == nil {
		t.Fatal("no seat")
	}
	defer seat.Free()
	given, err := os.MkdirTemp(seat.Given(), "e")
	if err != nil {
		t.Fatal(err)
	}
	r.extra = nil
	a := r.action(l, seat.Temp())
	got, err := l.from(t.Context(), seat, a, given)
	if want := `[null, null, "01J", null]`; err != nil || string(got.Data) != want {
		t.Errorf("got %s, %v; want %s", got.Data, err, want)
	}
	large := script("", "1")
	large.extra = map[string]string{}
	for n := range 17 {
		large.extra[fmt.Sprint("LARGE_", n)] = strings.Repeat("x", plugin.MaxLineBytes/16)
	}
	l.plan = plan
	if _, err := l.warm(t.Context(), large); err == nil || !strings.Contains(err.Error(), ErrCold.Error()) {
		t.Errorf("an environment that no line holds: %v; want ErrCold", err)
	}
}

func TestStreamsAreTheExecutionsOwn(t *testing.T) {
	l := newLab(t, handler)
	l.warmUp()
	log := &supervise.Transcript{}
	r := script("print('printed'); os.write(1, b'raw\\n'); import subprocess; subprocess.run(['/bin/sh', '-c', 'echo child']); ctx.log.warning('logged')", "sys.stdin.read()")
	r.log = log
	l.want(r, `""`)
	if got := strings.Join(log.Lines(), "\n"); got != "stderr: printed\nstderr: raw\nstderr: child\nstderr: warn: logged" {
		t.Errorf("log %q", got)
	}
	// Its standard files, and the two ends of the conversation.
	l.want(script("def kind(fd):\n try:\n  return oct(os.fstat(fd).st_mode)[:-4]\n except OSError:\n  return ''", "[k for k in map(kind, range(100)) if k]"),
		`["0o2", "0o1", "0o1", "0o1", "0o1"]`)
}

func TestWaysToEnd(t *testing.T) {
	l := newLab(t, handler)
	l.warmUp()
	for name, c := range map[string]struct {
		run    run
		status api.InstructionStatus
		text   string
	}{
		"raises":       {script("raise stavily.Failed('no space')", ""), api.Failed, "no space"},
		"sys.exit":     {script("sys.exit(3)", ""), api.Failed, "SystemExit: 3"},
		"os._exit":     {script("print('gone', file=sys.stderr); os._exit(3)", ""), api.Failed, "ended with exit code 3: gone"},
		"os._exit(0)":  {script("os._exit(0)", ""), api.Failed, "ended with exit code 0"},
		"crashes":      {script("os.kill(os.getpid(), 11)", ""), api.Failed, "ended by signal 11"},
		"closes all":   {script("os.closerange(3, 200)", "1"), api.Failed, "ended with exit code 1: OSError"},
		"closes, runs": {script("os.closerange(3, 200); time.sleep(60)", "1"), api.Failed, "closed its standard output"},
		"time limit":   {run{parameters: script("time.sleep(60)", "").parameters, limits: sandbox.Limits{Time: 200 * time.Millisecond}}, api.TimedOut, "time limit"},
		"memory":       {run{parameters: script("x = bytearray(300 << 20); time.sleep(60)", "").parameters, limits: sandbox.Limits{Memory: 128 << 20}}, api.Failed, "more memory than its limit"},
		"memory, children": {run{parameters: script("for _ in range(8):\n if os.fork() == 0:\n  x = bytearray(60 << 20); time.sleep(60)\ntime.sleep(60)", "").parameters,
			limits: sandbox.Limits{Memory: 128 << 20}}, api.Failed, "more memory than its limit"},
		"stores": {run{parameters: script("f = open(os.environ['TMPDIR'] + '/f', 'wb')\nfor _ in range(40): f.write(bytes(1 << 20)); time.sleep(0.05)\ntime.sleep(60)", "").parameters,
			limits: sandbox.Limits{TempSize: 16 << 20}}, api.Failed, "stored more"},
		"a large file": {run{parameters: script("f = open(os.environ['TMPDIR'] + '/f', 'wb'); f.truncate(1 << 40)", "").parameters,
			limits: sandbox.Limits{TempSize: 16 << 20}}, api.Failed, "File too large"},
		"CPU":       {run{parameters: script("while True: pass", "").parameters, limits: sandbox.Limits{CPU: time.Second}}, api.Failed, "more CPU time"},
		"processes": {run{parameters: script("for _ in range(70):\n if os.fork() == 0: time.sleep(60)\ntime.sleep(60)", "").parameters, limits: sandbox.Limits{Memory: 2 << 30}}, api.Failed, "more processes"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := l.warm(t.Context(), c.run)
			if err != nil || r.Status != c.status || !strings.Contains(r.Error, c.text) {
				t.Errorf("%s %q, %v; want %s %q", r.Status, r.Error, err, c.status, c.text)
			}
		})
	}
	l.want(script("", "'well'"), `"well"`)
	l.nothingLeft()
	if len(l.gone) > 0 {
		t.Errorf("the zygote went: %q", l.gone)
	}
}

// Where there are control groups, the kernel holds one execution to its memory before the
// watch has looked, and it is named all the same.
func TestMemoryInAControlGroup(t *testing.T) {
	groups, err := cgroup.Open(fmt.Sprintf("stavily-warm-test-%d", os.Getpid()))
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { groups.Close() })
	// Where processors are short the kernel has taken the zygote as well.
	for range 3 {
		if err = memoryInAGroup(t, groups); err == nil {
			return
		}
	}
	t.Error(err)
}

func memoryInAGroup(t *testing.T, groups *cgroup.Parent) error {
	l := newLab(t, handler, func(_ *Options, p *Plan) { p.Groups, p.Spec.Limits.Memory = groups, 100<<20 })
	l.warmUp()
	for range 2 {
		r, err := l.warm(t.Context(), script("x = []\nwhile True: x.append(bytearray(1 << 20))", ""))
		if err != nil || r.Exit.Reason != sandbox.MemoryLimit || !strings.Contains(r.Error, "more memory") {
			return fmt.Errorf("%+v, %w", r, err)
		}
		if err := l.answers(script("", "1"), "1"); err != nil {
			return err
		}
	}
	var together errgroup.Group
	for range 4 { // each takes less than its limit, and all together more
		together.Go(func() error { return l.answers(script("x = bytearray(60 << 20); time.sleep(0.5)", "1"), "1") })
	}
	return together.Wait()
}

// pid is the zygote's.
func (l *lab) pid() int {
	l.t.Helper()
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	for _, e := range l.pool.entries {
		if e.zygote != nil {
			return e.zygote.session.Pid()
		}
	}
	l.t.Fatal("there is no zygote")
	return 0
}

// nothingLeft looks whether the zygote is alone.
func (l *lab) nothingLeft() {
	l.t.Helper()
	l.eventually("the zygote has only those that it forked ahead", func() bool { return len(sandbox.Family(l.pid())) == 2 })
}

func TestADaemonIsSweptWithItsExecution(t *testing.T) {
	l := newLab(t, handler)
	l.warmUp()
	l.want(script("for _ in range(5):\n if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n   import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.closerange(0, 20); time.sleep(60)\n  os._exit(0)", "1"), "1")
	l.nothingLeft()
}

func TestACancelledExecutionIsAskedFirst(t *testing.T) {
	for do, grace := range map[string]time.Duration{
		"print('runs'); ctx.sleep(60); raise stavily.Cancelled('after 1 of 2')":                       10 * time.Second,
		"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('runs'); time.sleep(60)": 200 * time.Millisecond,
	} {
		l := newLab(t, handler, func(_ *Options, p *Plan) { p.Spec.Grace = grace })
		l.warmUp()
		ctx, cancel := context.WithCancel(t.Context())
		var began time.Time
		log := &waiter{text: "runs", heard: make(chan struct{})}
		go func() {
			defer cancel()
			select {
			case <-log.heard:
			case <-time.After(time.Minute):
			}
			began = time.Now()
		}()
		order := script(do, "")
		order.log = log
		r, err := l.warm(ctx, order)
		heard := r.Error == "after 1 of 2"
		if err != nil || r.Status != api.Cancelled || heard != strings.Contains(do, "raise") || time.Since(began) > 9*time.Second {
			t.Errorf("%s: %+v, %v after %v", do, r, err, time.Since(began))
		}
		l.nothingLeft()
	}
}

// waiter is a log that waits for a line.
type waiter struct {
	text  string
	heard chan struct{}
}

func (w *waiter) Line(_, text string) {
	if text == w.text {
		close(w.heard)
	}
}

// One of three is killed; the others do not notice.
func TestExecutionsAtTheSameTime(t *testing.T) {
	l := newLab(t, handler)
	l.warmUp()
	var wg sync.WaitGroup
	results := make([]supervise.ActionResult, 3)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range results {
		of := ctx
		if i != 1 {
			of = t.Context()
		}
		wg.Go(func() {
			var err error
			if results[i], err = l.warm(of, script("time.sleep(1)", strconv.Itoa(i))); err != nil {
				t.Error(err)
			}
		})
	}
	l.eventually("three run", func() bool { return len(sandbox.Family(l.pid())) == 5 })
	cancel()
	wg.Wait()
	if results[0].Status != api.Completed || results[1].Status != api.Cancelled || results[2].Status != api.Completed || string(results[2].Data) != "2" {
		t.Errorf("%+v", results)
	}
	l.nothingLeft()
}

func TestSiblingsAreOutOfReach(t *testing.T) {
	l := newLab(t, handler)
	if !l.plan.Spec.Level.AtLeast(sandbox.Confined) {
		t.Skip("files and signals have no boundary at level " + string(l.plan.Spec.Level))
	}
	l.warmUp()
	var wg sync.WaitGroup
	wg.Go(func() {
		do := "open(os.environ['TMPDIR'] + '/secret', 'w').write('s'); open(os.environ['HOME'] + '/who', 'w').write('%d %s\\n' % (os.getpid(), os.environ['TMPDIR'])); time.sleep(2)"
		l.want(script(do, "'untouched'"), `"untouched"`)
	})
	z := l.zygote()
	var sibling, secret string
	l.eventually("the sibling has its secret", func() bool {
		b, err := os.ReadFile(filepath.Join(l.plan.Spec.Home, "who"))
		who, temp, found := strings.Cut(strings.TrimSuffix(string(b), "\n"), " ")
		sibling, secret = who, temp+"/secret"
		return err == nil && found
	})
	attempt := func(do string) run {
		return script("def attempt():\n try:\n  "+do+"\n  return 'done'\n except OSError as e:\n  return 'refused' if e.errno in (1, 13, 18, 30) else str(e)", "attempt()")
	}
	for _, do := range []string{
		fmt.Sprintf("open(%q).read()", secret),
		fmt.Sprintf("open(%q, 'w')", secret),
		fmt.Sprintf("os.listdir(%q)", z.temp),
		fmt.Sprintf("os.listdir(%q)", z.given),
		fmt.Sprintf("os.unlink(%q)", secret),
		fmt.Sprintf("os.rename(%q, os.path.join(os.environ['TMPDIR'], 'mine'))", secret),
		fmt.Sprintf("os.link(%q, os.path.join(os.environ['TMPDIR'], 'mine'))", secret),
		fmt.Sprintf("os.mkdir(%q)", filepath.Join(z.temp, "x")),
		fmt.Sprintf("os.kill(%s, 9)", sibling),
		"os.kill(os.getppid(), 9)",
		fmt.Sprintf("open('/proc/%s/mem').read()", sibling),
		fmt.Sprintf("os.readlink('/proc/%s/cwd')", sibling),
		fmt.Sprintf("os.readlink('/proc/%s/fd/0')", sibling),
		"open('/proc/%d/mem' % os.getppid()).read()",
		fmt.Sprintf("open(%q, 'w')", filepath.Join(l.plan.Spec.Dir, "x")),
		"open('/tmp/left', 'w')",
	} {
		l.want(attempt(do), `"refused"`)
	}
	l.want(attempt("open(os.path.join(os.environ['HOME'], 'state'), 'w')"), `"done"`)
	wg.Wait()
}

func (l *lab) zygote() *zygote {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	for _, e := range l.pool.entries {
		return e.zygote
	}
	return nil
}

func TestAZygoteThatIsKilled(t *testing.T) {
	l := newLab(t, handler)
	l.warmUp()
	pid := l.pid()
	time.AfterFunc(200*time.Millisecond, func() { syscall.Kill(pid, syscall.SIGKILL) })
	began := time.Now()
	_, err := l.warm(t.Context(), script("time.sleep(60)", ""))
	if err == nil || !strings.Contains(err.Error(), "the warm process that the run was forked from is gone, and the run with it: it was ended by signal 9") || time.Since(began) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if sandbox.IsChild(pid, os.Getpid()) {
		t.Error("the zygote is left")
	}
	l.eventually("its end is told", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.gone) == 1 })
	if !strings.HasPrefix(l.gone[0], "crashed: it was ended by signal 9") {
		t.Errorf("gone: %q", l.gone)
	}
	if _, err := l.warm(t.Context(), script("", "1")); err != ErrCold {
		t.Errorf("the next one: %v, want cold", err)
	}
	if r, err := l.cold(t.Context(), script("", "1")); err != nil || r.Status != api.Completed {
		t.Errorf("cold: %+v, %v", r, err)
	}
	l.gone = nil
	l.eventually("there is another one", func() bool { l.pool.Prepare(l.plan); return l.pool.Zygotes() == 1 })
	l.want(script("", "1"), "1")
}

// A zygote that does not do what it is told is ended, with all that came from it.
func TestAZygoteThatDoesNotKill(t *testing.T) {
	l := newLab(t, "import os\nos.killpg = os.kill = lambda *_: None\n"+handler)
	l.warmUp()
	var wg sync.WaitGroup
	var sibling error
	wg.Go(func() { _, sibling = l.warm(t.Context(), script("time.sleep(60)", "")) })
	r, err := l.warm(t.Context(), run{parameters: script("time.sleep(60)", "").parameters, limits: sandbox.Limits{Time: 200 * time.Millisecond}})
	if err != nil || r.Status != api.TimedOut {
		t.Errorf("%+v, %v; want a timeout", r, err)
	}
	wg.Wait()
	if sibling == nil || !strings.Contains(sibling.Error(), "did not end an execution") {
		t.Errorf("the sibling: %v", sibling)
	}
}

// One that is only slow to do it, as where processors are short, ends nobody else, and who ends
// meanwhile is said to have ended, also where that is told only later.
func TestAZygoteThatIsSlowToKill(t *testing.T) {
	l := newLab(t, "import os, time\nkill = os.killpg\ndef late(*of):\n    time.sleep(2)\n    kill(*of)\nos.killpg = late\n"+handler)
	l.warmUp()
	var siblings errgroup.Group
	siblings.Go(func() error { return l.answers(script("time.sleep(4)", "1"), "1") })
	siblings.Go(func() error {
		r, err := l.warm(t.Context(), script("time.sleep(0.5); os._exit(3)", ""))
		if err != nil || r.Exit.Code != 3 || strings.Contains(r.Error, "lives on") {
			return fmt.Errorf("%+v, %v; want an end with 3", r, err)
		}
		return nil
	})
	r, err := l.warm(t.Context(), run{parameters: script("time.sleep(60)", "").parameters, limits: sandbox.Limits{Time: 200 * time.Millisecond}})
	if err != nil || r.Status != api.TimedOut {
		t.Errorf("%+v, %v; want a timeout", r, err)
	}
	if err := siblings.Wait(); err != nil {
		t.Error(err)
	}
}

func TestAZygoteThatTalksNonsense(t *testing.T) {
	for name, say := range map[string]string{
		"no JSON":       "hello",
		"no message":    `{}`,
		"a stranger":    `{"hello":77}`,
		"too long":      strings.Repeat("x", 5000),
		"an early word": `{"ended":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			program := fmt.Sprintf("import os\nos.write(3, %q.encode())\n", say) + handler
			l := newLab(t, program)
			l.pool.Prepare(l.plan)
			l.eventually("it goes", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.gone) == 1 })
			if !strings.HasPrefix(l.gone[0], "crashed: it s") {
				t.Errorf("gone: %q", l.gone)
			}
			if l.pool.Seat(&l.plan) != nil {
				t.Error("there is a seat")
			}
		})
	}
}

func TestWhatCannotBeForked(t *testing.T) {
	for name, c := range map[string]struct{ program, reason string }{
		"thread":       {"import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "starts threads"},
		"quiet thread": {"import _thread, time\n_thread.start_new_thread(time.sleep, (60,))", "starts threads"},
		"socket":       {"import socket\ns = socket.socketpair()", "opens a socket"},
		"file":         {"f = open(__file__)", "opens a file"},
		"pipe":         {"import os\np = os.pipe()", "opens a pipe"},
		"process":      {"import subprocess\np = subprocess.Popen(['sleep', '60'])", "starts processes"},
		"environment":  {"import os\nWHERE = os.environ.get('TMPDIR')", "reads TMPDIR"},
		"memory":       {"import mmap\nm = mmap.mmap(-1, 4096)", "shared memory"},
		"wide grant":   {"", "is granted /"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, "import stavily\n"+c.program+handler, func(_ *Options, p *Plan) {
				if name == "wide grant" {
					if !p.Spec.Level.AtLeast(sandbox.Confined) {
						t.Skip("nothing is granted at this level")
					}
					p.Spec.Read = []string{"/"}
				}
			})
			l.pool.Prepare(l.plan)
			l.eventually("it is refused", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.refused)+len(l.gone) > 0 })
			if len(l.refused) != 1 || !strings.Contains(l.refused[0], c.reason) {
				t.Errorf("refused %q, gone %q", l.refused, l.gone)
			}
			l.pool.Prepare(l.plan)
			if l.pool.Seat(&l.plan) != nil || len(l.refused) != 1 {
				t.Error("it is tried again")
			}
		})
	}
}

// A plugin that goes on working in its zygote takes what nobody asked it to.
func TestAZygoteThatWorksByItself(t *testing.T) {
	program := "import os, signal, time\ndef work(*_):\n  end = time.monotonic() + 0.5\n  while time.monotonic() < end: pass\nsignal.signal(signal.SIGALRM, work)\nsignal.setitimer(signal.ITIMER_REAL, 1, 0.6)\n"
	l := newLab(t, program+handler)
	l.warmUp()
	l.eventually("it is found out", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.gone) == 1 })
	if !strings.HasPrefix(l.gone[0], "crashed: it worked for ") {
		t.Errorf("gone: %q", l.gone)
	}
}

// A plugin of an older SDK answers the handshake and knows nothing of zygotes.
func TestAnOlderSDK(t *testing.T) {
	program := `
import json, sys
for line in sys.stdin:
    print(json.dumps({"action": json.loads(line)["action"], "success": True, "data": {}}), flush=True)
sys.exit(0)
import stavily
`
	l := newLab(t, program)
	l.pool.Prepare(l.plan)
	l.eventually("it is refused", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.refused) == 1 })
	if l.refused[0] != "its SDK does not know how" {
		t.Errorf("refused %q", l.refused)
	}
}

func TestAPluginThatCannotBeImported(t *testing.T) {
	l := newLab(t, "raise SystemExit('no such library')\nimport stavily")
	l.pool.Prepare(l.plan)
	l.eventually("it goes", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.gone) == 1 })
	if l.gone[0] != "crashed: the plugin's zygote ended with exit code 1: no such library" {
		t.Errorf("gone: %q", l.gone)
	}
}

func TestRecycling(t *testing.T) {
	for reason, change := range map[Reason]func(*Options, *Plan){
		Aged:  func(o *Options, _ *Plan) { o.Age = 2 * time.Second },
		Idle:  func(o *Options, _ *Plan) { o.Idle = 2 * time.Second },
		Spent: func(o *Options, _ *Plan) { o.Executions = 3 },
	} {
		t.Run(string(reason), func(t *testing.T) {
			l := newLab(t, handler, change)
			l.warmUp()
			for i := range 3 {
				if r, err := l.warm(t.Context(), script("", "1")); err != nil || r.Status != api.Completed {
					t.Errorf("run %d: %+v, %v", i, r, err)
				}
			}
			l.eventually("it goes", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.gone) == 1 })
			left := l.pool.Zygotes()
			if l.gone[0] != string(reason) || left != 0 && reason != Spent { // whose successor may be there already
				t.Errorf("gone %q, %d left", l.gone, left)
			}
			l.gone = nil
			if reason == Spent {
				l.warmUp()
				l.want(script("", "1"), "1")
			}
		})
	}
}

// The successor of a zygote is there before it has to go: no run in between starts cold.
func TestASuccessorIsThereInTime(t *testing.T) {
	l := newLab(t, handler, func(o *Options, _ *Plan) { o.Executions = 20 })
	l.warmUp()
	for range 19 {
		l.want(script("", "1"), "1")
	}
	l.eventually("the first one goes", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return slices.Equal(l.gone, []string{string(Spent)}) })
	l.gone = nil
	for range 10 { // the first one had a seat left
		l.want(script("", "1"), "1")
	}
}

// An execution that goes on outlives the time of its zygote.
func TestAnExecutionHoldsItsZygote(t *testing.T) {
	l := newLab(t, handler, func(o *Options, _ *Plan) { o.Age = 100 * time.Millisecond })
	l.warmUp()
	l.want(script("time.sleep(0.5)", "1"), "1")
}

func TestAnotherConfigurationReplacesTheZygote(t *testing.T) {
	l := newLab(t, handler)
	l.plan.Config = map[string]json.RawMessage{"a": []byte("1")}
	l.warmUp()
	l.want(script("", "ctx.config.a"), "1")
	l.plan.Config = map[string]json.RawMessage{"a": []byte("2")}
	if l.pool.Seat(&l.plan) != nil {
		t.Error("a seat in a zygote with another configuration")
	}
	l.pool.Prepare(l.plan)
	l.eventually("the old one goes", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return slices.Equal(l.gone, []string{"replaced"}) })
	l.gone = nil
	l.warmUp()
	l.want(script("", "ctx.config.a"), "2")
}

// Of a plugin that has another version, or is gone, no process stays, also not one that
// is on its way.
func TestADroppedPluginHasNoZygote(t *testing.T) {
	l := newLab(t, handler)
	l.warmUp()
	l.pool.Drop("test", l.plan.Digest)
	l.pool.Drop("another", "")
	if l.pool.Zygotes() != 1 || !slices.Equal(l.pool.InUse(), []string{l.plan.Spec.Dir}) {
		t.Errorf("%d zygotes of %q, want the one of this version", l.pool.Zygotes(), l.pool.InUse())
	}
	l.pool.Drop("test", "sha256:2")
	l.eventually("the end of the zygote", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.gone) == 1 })
	l.pool.Prepare(l.plan)
	l.pool.Drop("test", "")
	time.Sleep(time.Second) // in which it would have been raised
	if n := l.pool.Zygotes(); n != 0 || len(l.pool.InUse()) > 0 {
		t.Errorf("%d zygotes of %q are left", n, l.pool.InUse())
	}
	l.gone = nil
	l.warmUp() // and it may come back
}

func TestTheLeastUsedZygoteGoes(t *testing.T) {
	l := newLab(t, handler, func(o *Options, _ *Plan) { o.Zygotes = 2 })
	plans := make([]Plan, 3)
	for i := range plans {
		plans[i] = l.plan
		plans[i].Plugin = api.PluginID(fmt.Sprint("p", i))
	}
	for i := range plans[:2] {
		l.pool.Prepare(plans[i])
		l.eventually("a zygote is ready", func() bool { return l.pool.Zygotes() == i+1 })
	}
	l.pool.Seat(&plans[0]).Free()
	l.pool.Prepare(plans[2])
	l.eventually("one goes", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.gone) == 1 })
	if s := l.pool.Seat(&plans[1]); s != nil || l.gone[0] != "evicted" {
		t.Errorf("gone %q", l.gone)
	}
	for _, i := range []int{0, 2} {
		s := l.pool.Seat(&plans[i])
		if s == nil {
			t.Errorf("plan %d has no zygote", i)
		}
		s.Free()
	}
}

func TestSeatsAreBounded(t *testing.T) {
	l := newLab(t, handler)
	l.warmUp()
	var seats []*Seat
	for range maxSeats {
		seats = append(seats, l.pool.Seat(&l.plan))
	}
	if l.pool.Seat(&l.plan) != nil {
		t.Error("one seat too many")
	}
	for _, s := range seats {
		s.Free()
	}
	l.want(script("", "1"), "1")
}

// What one execution leaves, a thousand would make fatal.
func TestNothingLeaks(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a thousand executions")
	}
	l := newLab(t, handler, func(o *Options, _ *Plan) { o.Executions = 5000 })
	l.warmUp()
	z := l.zygote()
	count := func() [5]int {
		names := func(dir string) int {
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		processes := len(sandbox.Family(os.Getpid()))
		return [5]int{names("/proc/self/fd"), names(fmt.Sprintf("/proc/%d/fd", l.pid())), names(z.temp) + names(z.given), processes, runtime.NumGoroutine()}
	}
	burst := func(n int) {
		for range n {
			l.want(script("open(os.environ['TMPDIR'] + '/f', 'w')", "1"), "1")
		}
	}
	burst(20)
	before := count()
	for range 20 { // how many are forked ahead varies from one look to the next
		burst(1)
		for i, n := range count() {
			before[i] = max(before[i], n)
		}
	}
	burst(1000)
	var after [5]int
	l.eventually(fmt.Sprintf("no more descriptors of the agent, of the zygote, directories, processes and goroutines than %v", before), func() bool {
		after = count()
		for i := range after {
			if after[i] > before[i] {
				return false
			}
		}
		return true
	})
}

func TestBeforeAndAfterRunAllIsCold(t *testing.T) {
	p := New(Options{Dir: t.TempDir()})
	plan := Plan{Plugin: "x", Spec: sandbox.Spec{Path: "/bin/true"}}
	p.Prepare(plan)
	if p.Seat(&plan) != nil || p.Zygotes() != 0 {
		t.Error("a pool that does not run has a zygote")
	}
	var none *Seat
	none.Free()
}
