package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/lockfile"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// command runs one in this process and returns its two outputs.
func command(t *testing.T, role Role, args ...string) (string, string, error) {
	t.Helper()
	var out, errs strings.Builder
	cmd := newCommand(role)
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

// minimal are the flags without which there is no configuration.
func minimal(base string, more ...string) []string {
	return append([]string{"--agent-id", "web-01", "--base-url", "https://127.0.0.1:1", "--base-dir", base}, more...)
}

// stderr is what Main says of a command line, and its exit code.
func stderr(t *testing.T, args ...string) (int, string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	out, errs := os.Stdout, os.Stderr
	defer func() { os.Stdout, os.Stderr = out, errs }()
	os.Stdout, os.Stderr = null, file
	return Main(args, sensorRole), read(t, file.Name())
}

func TestExitCodes(t *testing.T) {
	t.Setenv("STAVILY_HEALTH_PORT", "0")
	t.Setenv("STAVILY_METRICS_PORT", "0")
	base := filepath.Join(t.TempDir(), "base")
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	write(t, wrong, "agent: {idd: x}\n")
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"version"}, exitOK, ""},
		{[]string{"--help"}, exitOK, ""},
		{[]string{"config"}, exitOK, ""},
		{minimal(base, "config", "show"), exitOK, ""},
		{[]string{"--nope"}, exitUsage, "unknown flag: --nope"},
		{[]string{"sohw"}, exitUsage, "sohw"},
		{[]string{"config", "sohw"}, exitUsage, "sohw"},
		{[]string{"version", "7"}, exitUsage, `"7"`},
		{[]string{"config", "validate"}, exitUsage, "usage: sensor-agent config validate FILE"},
		{[]string{"config", "validate", wrong}, exitUsage, wrong + `:1:9: unknown key "idd"`},
		{minimal(base, "config", "show", "-o", "xml"), exitUsage, `--output "xml"`},
		{[]string{"--agent-id", "web-01"}, exitUsage, "api.base_url"},
		{minimal(base, "enroll"), exitUsage, "stavily tokens create --type sensor"},
		{minimal(base, "enroll", "--token", "t", "--ca-fingerprint", "sha256:0"), exitFailed, "fingerprint"},
		{minimal(base, "health"), exitFailed, "no agent has run here yet"},
		{minimal(filepath.Join(t.TempDir(), "other"), "--require-enrolled"), exitFailed, "this agent has no certificate yet"},
	} {
		code, says := stderr(t, c.args...)
		if code != c.code || !strings.Contains(says, c.says) || (c.code == exitOK) != (says == "") {
			t.Errorf("%q = %d, %q; want %d, %q", c.args, code, says, c.code, c.says)
		}
	}
	t.Setenv("STAVILY_HEALTH_ENABLED", "false")
	if code, says := stderr(t, minimal(base, "health")...); code != exitUsage || !strings.Contains(says, "health.enabled is false") {
		t.Errorf("health of an agent that serves none = %d, %q", code, says)
	}
}

func TestConfigCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agent.yaml")
	write(t, file, "agent: {id: web-07, base_dir: /srv/a}\napi: {base_url: \"https://h:1\"}\n")
	out, _, err := command(t, sensorRole, "config", "show", "--config", file, "--log-level", "warn")
	if err != nil || !strings.Contains(out, file+":1:") || !strings.Contains(out, "--log-level") {
		t.Errorf("config show: %v, want values with their origins:\n%s", err, out)
	}
	// What it shows is a configuration.
	shown := filepath.Join(t.TempDir(), "shown.yaml")
	write(t, shown, out)
	t.Setenv("STAVILY_TYPO", "1")
	out, errs, err := command(t, sensorRole, "config", "validate", shown)
	if err != nil || out != shown+" is valid for sensor agent web-07\n" || !strings.Contains(errs, "warning: ") || !strings.Contains(errs, "STAVILY_TYPO") {
		t.Errorf("config validate: %v, %q, %q", err, out, errs)
	}
	if _, _, err := command(t, Role{Type: api.Action, Program: "action-agent"}, "config", "validate", shown); !errors.Is(err, errUsage) {
		t.Errorf("a sensor agent's file for an action agent: %v", err)
	}
	out, _, err = command(t, sensorRole, "config", "show", "--config", file, "-o", "json")
	var all map[string]struct{ Value any }
	if err != nil || json.Unmarshal([]byte(out), &all) != nil || all["agent.id"].Value != "web-07" {
		t.Errorf("config show -o json: %v, %q", err, out)
	}
	if out, _, err := command(t, sensorRole, "version"); err != nil || out != api.Version+"\n" {
		t.Errorf("version: %v, %q", err, out)
	}
}

// The life of an agent that is not enrolled: it serves its health, waits, and ends in
// order; a second one in the same directory is refused meanwhile.
func TestRunWithoutACertificate(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base")
	write(t, filepath.Join(base, "tmp", "run-disk-1", "input.json"), "{}")
	file := filepath.Join(base, "config", "agent.yaml")
	write(t, file, "agent: {id: web-01, base_dir: "+base+"}\napi: {base_url: \"https://127.0.0.1:1\"}\nhealth: {port: 0, bind: 127.0.0.1}\nmetrics: {port: 0, bind: 127.0.0.1}\nlogging: {output: file}\n")
	loaded, err := config.Load(config.LoadOptions{Type: api.Sensor, Hostname: "host", Environ: []string{"STAVILY_CONFIG=" + file}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	role, asked := sensorRole, make(chan struct{})
	role.Components = func(*Runtime) ([]Component, error) { close(asked); return nil, nil }
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, loaded, nil, role) }()
	var out string
	for { // until it says why it is not ready; each try asks the agent
		if out, _, err = command(t, role, "health", "--ready", "--config", file); strings.Contains(out, conditionNotEnrolled) {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("the agent ended: %v", err)
		default:
		}
	}
	if !errors.Is(err, errUnhealthy) || !strings.Contains(out, "stavily tokens create") {
		t.Errorf("health --ready: %v, %q", err, out)
	}
	if out, _, err := command(t, role, "health", "--config", file); err != nil || !strings.Contains(out, `"degraded"`) {
		t.Errorf("health: %v, %q; want alive and degraded", err, out)
	}
	showsStatus(t, role, file)
	if err := run(ctx, loaded, nil, role); !errors.Is(err, lockfile.ErrHeld) {
		t.Errorf("a second agent: %v", err)
	}
	var metrics strings.Builder
	addr := filepath.Join(base, stateDir, "metrics.addr")
	for range 1000 { // it is bound beside the other, maybe later
		if _, err := os.Stat(addr); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := askHealth(ctx, addr, loaded.Config.Metrics.Path, &metrics); err != nil || !strings.Contains(metrics.String(), "orchestrator_connected 0") {
		t.Errorf("metrics: %v\n%s", err, &metrics)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run = %v, want nil when it is asked to end", err)
	}
	if _, _, err := command(t, role, "status", "--config", file); err == nil || !strings.Contains(err.Error(), "no agent runs here") {
		t.Errorf("status after the agent has ended: %v", err)
	}
	select {
	case <-asked:
		t.Error("the role's components were made without a certificate")
	default:
	}
	if left := names(t, filepath.Join(base, "tmp")); len(left) > 0 {
		t.Errorf("tmp still holds %q", left)
	}
	text := read(t, filepath.Join(base, "logs", "agent.log"))
	for _, event := range []string{"starting", "had left in tmp", "not enrolled", "stopped"} {
		if strings.Count(text, event) < 1 {
			t.Errorf("the log lacks %q:\n%s", event, text)
		}
	}
}

// A role that cannot begin ends the agent with its reason.
func TestARoleThatFails(t *testing.T) {
	rt, _ := testRuntime(t, api.Sensor)
	rt.Fail(io.ErrUnexpectedEOF)
	rt.Fail(io.EOF) // the first counts, and no caller waits
	if err := rt.untilFailed(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("untilFailed = %v, want the first reason", err)
	}
}
