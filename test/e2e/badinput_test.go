package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
)

// outcome is how a command ended.
type outcome struct {
	code           int
	stdout, stderr string
}

// environ is what commands see: our programs first in PATH, free ports for probes, and
// nothing named STAVILY_ of the caller's but what is given.
func environ(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "STAVILY_") })
	return append(env, append([]string{
		"PATH=" + binDir + string(filepath.ListSeparator) + os.Getenv("PATH"),
		"STAVILY_HEALTH_PORT=0", "STAVILY_HEALTH_BIND=127.0.0.1", "STAVILY_METRICS_PORT=0",
	}, more...)...)
}

// command runs one of our programs to its end.
func command(t *testing.T, program string, args ...string) outcome {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes")
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(binDir, program), args...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = environ(), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", program, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// want checks the exit code, and that standard error has each of the texts.
func (o outcome) want(t *testing.T, what string, code int, texts ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("%s: exit code %d, want %d: %s%s", what, o.code, code, o.stdout, o.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(o.stderr, text) {
			t.Errorf("%s: it does not say %q:\n%s", what, text, o.stderr)
		}
	}
}

// background is a program that runs until the test ends or calls stop.
type background struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  string // file with what it prints
	done bool
}

func inBackground(t *testing.T, cmd *exec.Cmd) *background {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &background{t: t, cmd: cmd, log: log.Name()}
	t.Cleanup(func() {
		b.stop()
		if t.Failed() {
			t.Logf("%v printed:\n%s", cmd.Args, b.printed())
		}
	})
	return b
}

func (b *background) printed() string {
	b.t.Helper()
	text, err := os.ReadFile(b.log)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// stop asks the program to end, which it must do with exit code 0.
func (b *background) stop() {
	b.t.Helper()
	if b.done {
		return
	}
	b.done = true
	err := b.cmd.Process.Signal(syscall.SIGTERM)
	if err = errors.Join(err, b.cmd.Wait()); err != nil {
		b.t.Errorf("stop %v: %v", b.cmd.Args, err)
	}
}

func TestWrongCommandLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(config, []byte("agent:\n  id: a\n  base_dir: "+dir+"/base\napi:\n  base_ulr: https://h\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none")
	for _, c := range []struct {
		line  []string
		code  int
		texts []string
	}{
		{[]string{"stavily", "runz"}, 2, []string{`unknown command "runz"`, `did you mean "runs"`, "stavily --help"}},
		{[]string{"stavily", "agents", "remove", "web-01"}, 2, []string{`unknown command "remove" for "stavily agents"`, "stavily agents --help"}},
		{[]string{"stavily", "events", "list", "--folow"}, 2, []string{"--folow", "stavily events list --help"}},
		{[]string{"stavily", "runs", "show"}, 2, []string{"accepts 1 arg(s), received 0", "stavily runs show --help"}},
		{[]string{"stavily", "tokens", "create", "--type", "robot"}, 2, []string{`--type "robot": must be sensor or action`}},
		{[]string{"stavily", "agents", "list", "-o", "xml"}, 2, []string{`--output "xml": must be table, json or yaml`}},
		{[]string{"stavily", "--data-dir", none, "agents", "list"}, 3, []string{"no server answers at " + none, "start one with `stavily server`"}},
		{[]string{"sensor-agent", "--folow"}, 2, []string{"unknown flag: --folow", "sensor-agent --help"}},
		{[]string{"sensor-agent", "--config", config}, 2, []string{config + `:5:3: unknown key "base_ulr" in api: did you mean "base_url"?`}},
		{[]string{"sensor-agent", "config", "validate", config}, 2, []string{config + `:5:3: unknown key "base_ulr"`}},
		{[]string{"sensor-agent", "enroll", "--agent-id", "a", "--base-url", "https://h", "--base-dir", none}, 2, []string{"--token", "`stavily tokens create --type sensor`"}},
		{[]string{"sensor-agent", "--agent-id", "Web 01", "--base-url", "https://h", "--base-dir", none}, 2, []string{`--agent-id: agent.id: agent id "Web 01": must be 1 to 63 characters`}},
	} {
		command(t, c.line[0], c.line[1:]...).want(t, strings.Join(c.line, " "), c.code, c.texts...)
	}
	for _, made := range []string{none, filepath.Join(dir, "base")} {
		if _, err := os.Stat(made); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a wrong command line made %s: %v", made, err)
		}
	}
}

// token makes a token and returns it with the authority's fingerprint.
func (w *world) token(args ...string) (token, fingerprint string) {
	w.t.Helper()
	made := cli[struct {
		Token         string `json:"token"`
		CAFingerprint string `json:"ca_fingerprint"`
	}](w, append([]string{"tokens", "create"}, args...)...)
	return made.Token, made.CAFingerprint
}

// A token lets in the one agent that it was made for, once; whom it does not let in
// gets nothing, is told why, and takes nothing from whom it does.
func TestEnrolmentIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token, pin := w.token("--type", "sensor", "--agent-id", "web-01")
	first, other := filepath.Join(w.dir, "first"), filepath.Join(w.dir, "other")
	enrol := func(program, token, pin, id, base string) outcome {
		return command(t, program, "enroll", "--base-url", w.URL(), "--token", token, "--ca-fingerprint", pin, "--agent-id", id, "--base-dir", base)
	}
	const again = "`stavily tokens create` makes a new one"
	enrol("action-agent", token, pin, "web-01", other).want(t, "another type", 1, "is for agents of type sensor and this one is of type action", again)
	enrol("sensor-agent", token, pin, "web-02", other).want(t, "another id", 1, "made for agent web-01 and not for web-02", again)
	enrol("sensor-agent", token[:len(token)-3], pin, "web-01", other).want(t, "half a token", 1, "enrolment token", again)
	wrong := pin[:len(pin)-4] + strings.Map(func(r rune) rune { return map[bool]rune{true: '1', false: '0'}[r == '0'] }, pin[len(pin)-4:])
	enrol("sensor-agent", token, wrong, "web-01", other).want(t, "another authority", 1, "none is the CA with the fingerprint "+wrong, "compare it with the output of `stavily tokens create`")

	enrol("sensor-agent", token, pin, "web-01", first).want(t, "the right agent after all that", 0)
	enrol("sensor-agent", token, pin, "web-01", other).want(t, "the token again", 1, "was used already, by agent web-01", again)
	if _, err := os.Stat(filepath.Join(other, "certificates", "client.crt")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the refused agent has a certificate: %v", err)
	}
	if agents := cli[[]agentRecord](w, "agents", "list"); len(agents) != 1 || agents[0].ID != "web-01" {
		t.Errorf("agents = %+v, want web-01 alone", agents)
	}
	config := filepath.Join(first, "config", "agent.yaml")
	inBackground(t, program("sensor-agent", "--config", config))
	w.awaitReady("sensor-agent", config)
}

func program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(binDir, name), args...)
	cmd.Env = environ()
	return cmd
}

func (w *world) awaitReady(program, config string) {
	w.t.Helper()
	w.await(config+" ready", func() error {
		if o := command(w.t, program, "health", "--ready", "--config", config); o.code != 0 {
			return fmt.Errorf("%s%s", o.stdout, o.stderr)
		}
		return nil
	})
}

// What does not belong to a directory, or comes second, is told so and harms nobody
// who is there.
func TestWhoDoesNotBelongHere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.agent("here-s", api.Sensor, nil, nil)
	config := filepath.Join(a.Base, "config", "agent.yaml")
	ready := []string{"health", "--ready", "--config", config}

	command(t, "action-agent", "--config", config).want(t, "the other program", 2,
		config+`:5:9: agent.type: "sensor": this is the action agent: start the sensor agent with this configuration, or correct the type`)

	stranger := inBackground(t, program("sensor-agent", "--config", config, "--agent-id", "here-x"))
	w.await("the agent of another id not ready", func() error {
		o := command(t, "sensor-agent", ready...)
		const why, remedy = `the certificate is for agent \"here-s\" and agent.id is \"here-x\"`, "stavily tokens create --type sensor --agent-id here-x"
		if o.code != 1 || !strings.Contains(o.stdout, why) || !strings.Contains(o.stdout, remedy) {
			return fmt.Errorf("%+v", o)
		}
		return nil
	})
	stranger.stop()

	w.start("here-s")
	pid := fmt.Sprintf("held by process %d", w.Process("here-s").Pid())
	command(t, "sensor-agent", "--config", config).want(t, "second agent", 1, pid, a.Base, "stop it, or use another directory")
	command(t, "sensor-agent", ready...).want(t, "first agent", 0)

	pid = fmt.Sprintf("held by process %d", w.Process(cluster.ServerName).Pid())
	command(t, "stavily", "server", "--data-dir", w.DataDir(), "--listen", "127.0.0.1:0", "--web-listen", "127.0.0.1:0").want(t, "second server", 1, pid, w.DataDir(), "stop it, or use another directory")
	command(t, "stavily", "--data-dir", w.DataDir(), "agents", "show", "here-s").want(t, "first server", 0)
}

// A workflow with mistakes is told with the place of each, and what was in effect stays
// in effect.
func TestWrongWorkflowsChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply(oneStep)
	file := filepath.Join(w.dir, "one.yaml")
	const head = "name: one\ntriggers: [{event: test.go}]\n"
	for name, c := range map[string]struct {
		text  string
		texts []string
	}{
		"circle":      {head + "actions:\n  - {plugin: a, needs: [b]}\n  - {plugin: b, needs: [a]}\n", []string{":4:25: needs go in a circle: a → b → a"}},
		"type":        {head + "when: event.severity > 3\nactions: [{plugin: a}]\n", []string{":3:22: > does not take (string, int)"}},
		"no truth":    {head + "when: event.key\nactions: [{plugin: a}]\n", []string{":3:7: must be true or false, not string"}},
		"unknown key": {head + "actions:\n  - plugin: a\n    wth: {n: 1}\n", []string{`:5:5: unknown key "wth" in actions[0]: did you mean "with"?`}},
		"all at once": {"nme: one\ntriggers: [{evnt: test.go}]\nactions: [{}]\n", []string{`:1:1: unknown key "nme"`, `:2:13: unknown key "evnt"`, ":3:11: plugin is missing"}},
		"no YAML":     {head + "actions: [{plugin: a}\n", []string{":4:1: did not find expected ',' or ']'"}},
	} {
		w.write(file, c.text)
		o := command(t, "stavily", "--data-dir", w.DataDir(), "workflows", "apply", "-f", file)
		o.want(t, name, 1)
		for _, text := range c.texts {
			if !strings.Contains("\n"+o.stderr, "\n"+file+text) {
				t.Errorf("%s: no line begins with the place %q:\n%s", name, text, o.stderr)
			}
		}
		if got := command(t, "stavily", "--data-dir", w.DataDir(), "workflows", "show", "one"); got.stdout != oneStep {
			t.Fatalf("%s: the workflow in effect is now:\n%s", name, got.stdout)
		}
	}
	command(t, "stavily", "--data-dir", w.DataDir(), "workflows", "apply", "-f", file+".gone").want(t, "no file", 1, file+".gone: no such file")

	sensor := w.client(w.agent("wrong-s", api.Sensor, nil, nil))
	if status, body := sensor.call(w.ctx, "POST", "wrong-s/events", oneEvent); status != 200 {
		t.Fatalf("event = %d %s", status, body)
	}
	started := cli[[]struct {
		Workflow string `json:"workflow"`
		Version  int    `json:"version"`
	}](w, "runs", "list")
	if len(started) != 1 || started[0].Workflow != "one" || started[0].Version != 1 {
		t.Errorf("runs = %+v, want one of version 1", started)
	}
}

// A plugin that cannot be run is refused by name and place; its neighbours work.
func TestManifestWithoutEntryPoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.agent("manifest-s", api.Sensor, []string{"old-chatty-sensor"}, map[string]string{
		"good":  "plugin: old-chatty-sensor\ninterval: 1s\n",
		"wrong": "plugin: headless\n",
		"typo":  "plugin: old-chatty-sensor\nintervall: 1s\n",
	})
	manifest := filepath.Join(a.Base, "data", "plugins", "headless", "plugin.yaml")
	w.write(manifest, "id: headless\nname: Headless\nversion: 1.0.0\ntype: sensor\nruntime: {type: python}\n")
	w.start("manifest-s")
	w.await("the neighbour's event and the reasons", func() error {
		if n := len(w.events()); n != 1 {
			return fmt.Errorf("%d events", n)
		}
		shown, err := w.CLI(w.ctx, "agents", "show", "manifest-s")
		w.must(err)
		for _, text := range []string{
			"refused " + manifest + ":5:10: runtime.entry_point: is missing: name the file to run, for example main.py",
			filepath.Join(a.Base, "config", "plugins", "typo.yaml") + `:2:1: unknown key "intervall"`,
			"Monitor:           wrong (headless) refused",
		} {
			if !strings.Contains(string(shown), text) {
				return fmt.Errorf("agents show does not say %q:\n%s", text, shown)
			}
		}
		return nil
	})
}

// conditions asks an agent how it is.
func conditions(t *testing.T, program, config string) []api.Condition {
	t.Helper()
	o := command(t, program, "health", "--config", config)
	var h api.Health
	if err := json.Unmarshal([]byte(o.stdout), &h); err != nil {
		return nil // it is not listening yet
	}
	return h.Conditions
}
