//go:build unix

package agent

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// asAgent makes a process of this test program an agent.
const asAgent = "TEST_AS_AGENT"

// sharedCache is where the SDK stands once the first agent of this program has unpacked
// it, which takes longer than most tests.
var (
	sharedCache string
	unpacking   sync.Mutex
)

func TestMain(m *testing.M) {
	// One argument and no more is how an agent starts what confines a plugin.
	if os.Getenv(asAgent) != "" || len(os.Args) == 1 && !strings.HasSuffix(os.Args[0], ".test") {
		role := Role()
		if os.Getenv(asAgent) == asBoastful {
			role.Components = boastful
		}
		os.Exit(agent.Main(os.Args[1:], role))
	}
	var err error
	if sharedCache, err = os.MkdirTemp("", "action-agent-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(sharedCache)
	os.Exit(code)
}

const agentID = "web-01"

// run is an agent that runs, or did.
type run struct {
	t    *testing.T
	o    *orchestrator
	base string
	work string // where plugins leave their marks
	log  *lockedBuffer
	env  []string
	// within is a command that starts the agent in surroundings of its own; may be empty.
	within []string
	cmd    *exec.Cmd
	done   chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// prelude counts the run of an instruction and has what the programs share.
const prelude = `
import json, os, sys, time
work, me = %q, os.environ["STAVILY_INSTRUCTION_ID"]
def mark(name, text):
    with open(os.path.join(work, name), "a") as f:
        f.write(str(text) + "\n")
def gate(name):
    while not os.path.exists(os.path.join(work, name)):
        time.sleep(0.005)
mark("ran-" + me, "begun")
`

// install makes the base directory of an enrolled agent with the given plugins:
// their programs by name.
func install(t *testing.T, o *orchestrator, plugins map[string]string, more string) *run {
	t.Helper()
	r := &run{t: t, o: o, base: t.TempDir(), work: t.TempDir(), log: &lockedBuffer{}}
	files := map[string]string{"data/state/.keep": "", "config/agent.yaml": fmt.Sprintf(`
agent: {id: %s, base_dir: %q, heartbeat_interval: 1s}
api:
  base_url: %q
  timeout: 5s
  poll_wait: 1s
  retry: {initial_interval: 10ms, max_interval: 50ms}
  rate_limit: {requests_per_second: 1000, burst: 1000}
  %s
logging: {output: stdout, level: debug}
health: {enabled: false}
metrics: {port: 0}
`, agentID, r.base, o.server.URL, more)}
	for name, program := range plugins {
		dir := "data/plugins/" + name
		files[dir+"/plugin.yaml"] = fmt.Sprintf(`{id: %s, version: 1.2.0, type: action, runtime: {type: python, entry_point: main.py, contract: script}, permissions: {filesystem: {read: [%q], write: [%q]}}}`, name, r.work, r.work)
		files[dir+"/main.py"] = fmt.Sprintf(prelude, r.work) + program
	}
	for name, text := range files {
		write(t, filepath.Join(r.base, name), text)
	}
	leaf := o.ca.Issue(pkitest.Agent("spiffe://stavily/org/acme/action/" + agentID))
	at := func(name string) string { return filepath.Join(r.base, "certificates", name) }
	keyPEM, err := pki.EncodeKey(leaf.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	write(t, at("client.key"), string(keyPEM))
	write(t, at("client.crt"), string(pkitest.PEM(leaf.Leaf)))
	write(t, at("ca.crt"), string(pkitest.PEM(o.ca.Cert)))
	return r
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs the agent until the test ends.
func (r *run) start() *run {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	line := append(r.within, self, "--config", filepath.Join(r.base, "config", "agent.yaml"))
	r.cmd = exec.Command(line[0], line[1:]...)
	r.cmd.Env = append(append(os.Environ(), asAgent+"=1"), r.env...)
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	unpacking.Lock()
	defer unpacking.Unlock()
	cache := filepath.Join(r.base, "data", "cache")
	shared := r.linkSDK(cache)
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	cmd, done := r.cmd, make(chan struct{})
	r.done = done
	go func() {
		defer close(done)
		_ = cmd.Wait() // its exit code is looked at where it matters
	}()
	r.t.Cleanup(func() {
		if !r.t.Failed() {
			r.balances()
		}
		r.kill()
		if r.t.Failed() {
			r.t.Logf("log of the agent:\n%s", r.log)
		}
	})
	var found []string
	await(r.t, "the SDK", func() (done bool) {
		found, err = filepath.Glob(filepath.Join(cache, "sdk-*"))
		return len(found) > 0 && err == nil
	})
	if !shared {
		if err := os.CopyFS(filepath.Join(sharedCache, filepath.Base(found[0])), os.DirFS(found[0])); err != nil {
			r.t.Fatal(err)
		}
	}
	return r
}

// linkSDK puts the SDK where the agent looks for it, once one has unpacked it.
func (r *run) linkSDK(cache string) bool {
	r.t.Helper()
	shared, err := filepath.Glob(filepath.Join(sharedCache, "sdk-*"))
	if err != nil || len(shared) == 0 {
		return false
	}
	err = errors.Join(os.MkdirAll(cache, 0o700), os.Symlink(shared[0], filepath.Join(cache, filepath.Base(shared[0]))))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		r.t.Fatal(err)
	}
	return true
}

// await waits for something that only looking tells.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// kill ends the agent as a crash does.
func (r *run) kill() {
	if err := r.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		r.t.Error(err)
	}
	<-r.done
}

// stop asks the agent to end and returns its exit code.
func (r *run) stop() int {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	select {
	case <-r.done:
	case <-time.After(patience):
		r.t.Fatal("the agent does not end")
	}
	return r.cmd.ProcessState.ExitCode()
}

// file awaits what a plugin writes into a file.
func (r *run) file(name string) string {
	r.t.Helper()
	var text []byte
	await(r.t, name, func() (whole bool) {
		var err error
		text, err = os.ReadFile(filepath.Join(r.work, name))
		return err == nil && bytes.HasSuffix(text, []byte("\n"))
	})
	return strings.TrimSpace(string(text))
}

// open opens the gate that a plugin waits at.
func (r *run) open(name string) { write(r.t, filepath.Join(r.work, name), "") }

// runs counts how often an instruction's plugin was started.
func (r *run) runs(id api.InstructionID) int {
	text, err := os.ReadFile(filepath.Join(r.work, "ran-"+string(id)))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.t.Error(err)
	}
	return strings.Count(string(text), "\n")
}

// gone checks that the plugin of an instruction has ended, with all that it started:
// in a namespace of its own it cannot say by which number others know it.
func (r *run) gone(id api.InstructionID) {
	r.t.Helper()
	ours := [][]byte{[]byte("\x00STAVILY_INSTRUCTION_ID=" + id + "\x00"), []byte("HOME=" + r.base)}
	await(r.t, "the end of the plugin of "+string(id), func() bool {
		environs, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			r.t.Fatal(err)
		}
		for _, path := range environs {
			text, err := os.ReadFile(path) // empty when it is dead
			if err == nil && bytes.Contains(text, ours[0]) && bytes.Contains(text, ours[1]) {
				return false
			}
		}
		return true
	})
}
