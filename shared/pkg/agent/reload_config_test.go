//go:build unix

package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/internal/audit"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// configured gives a runtime a file to reload from; set writes what stands in it beside
// what an agent needs.
func configured(t *testing.T, rt *Runtime) (set func(text string)) {
	t.Helper()
	rt.file = filepath.Join(rt.Config().Agent.BaseDir, "config", "agent.yaml")
	base := rt.Config().Agent.BaseDir
	rt.reloads.load = func() (*config.Loaded, error) {
		return config.Load(config.LoadOptions{Type: rt.Role.Type, Hostname: "host", Environ: []string{
			"STAVILY_CONFIG=" + rt.file, "STAVILY_AGENT_ID=web-01", "STAVILY_BASE_DIR=" + base,
			"STAVILY_API_BASE_URL=https://127.0.0.1:1", "STAVILY_API_RATE_LIMIT_REQUESTS_PER_SECOND=1000",
			"STAVILY_PLUGINS_PYTHON_INTERPRETER=" + os.Getenv("PYTHON"),
		}})
	}
	return func(text string) { t.Helper(); write(t, rt.file, text) }
}

func (rt *Runtime) mustReload(t *testing.T) Reloaded {
	t.Helper()
	done, err := rt.Reload("test")
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestAReloadTakesEffect(t *testing.T) {
	rt, _ := audited(t, api.Sensor)
	set := configured(t, rt)
	set("agent: {heartbeat_interval: 7s, tags: [role:web]}\nspool: {max_bytes: 8MiB}\nplugins: {python: {index_url: 'https://u:hunter2@h/simple'}}\n")
	backoff := rt.Backoff()
	done := rt.mustReload(t)
	if now := config.Names(done.Changes, false); strings.Join(now, " ") != "agent.tags agent.heartbeat_interval" {
		t.Errorf("in force: %v", now)
	}
	if later := config.Names(done.Changes, true); strings.Join(later, " ") != "plugins.python.index_url spool.max_bytes" {
		t.Errorf("after a restart: %v", later)
	}
	c := rt.Config()
	if c.Agent.HeartbeatInterval != config.Duration(7*time.Second) || c.Spool.MaxBytes == 8*config.Mebibyte {
		t.Errorf("heartbeat %v, spool %v: want the new one, and the old until a restart", c.Agent.HeartbeatInterval, c.Spool.MaxBytes)
	}
	if c := condition(rt, conditionRestart); c == nil || !strings.Contains(c.Message, "plugins.python.index_url, spool.max_bytes") {
		t.Errorf("condition %+v", c)
	}
	isRecorded(t, rt, AuditConfigured, `"by":"test"`, `"keys":["agent.tags","agent.heartbeat_interval"]`, `"needs_restart":["plugins.python.index_url","spool.max_bytes"]`)
	if strings.Contains(strings.Join(recorded(t, rt), ""), "hunter2") {
		t.Error("a secret stands in the audit log")
	}
	set("api: {retry: {initial_interval: 1ns, max_interval: 1ns}}\n")
	rt.mustReload(t)
	if pause := backoff.Next(0); pause > time.Nanosecond {
		t.Errorf("a pause of %v in a loop that began before", pause)
	}
	if c := condition(rt, conditionRestart); c != nil {
		t.Errorf("condition %+v when nothing waits for a restart", c)
	}
}

// A broken file, and what cannot be made ready, change nothing (G4).
func TestARefusedReloadChangesNothing(t *testing.T) {
	rt, log := audited(t, api.Sensor)
	if _, err := rt.whenReconfigured(rt.followLogging); err != nil {
		t.Fatal(err)
	}
	_, out, err := openLog(rt.Config(), rt.secrets)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	rt.logging = out
	open := 0 // what was made ready and is neither in force nor given up
	for _, f := range []adopter{
		func(_, _ *config.Config) (func(), func(), error) {
			open++
			return func() { open-- }, func() { open-- }, nil
		},
		func(_, next *config.Config) (func(), func(), error) {
			if next.Agent.Environment == "refuse" {
				return nil, nil, errors.New("it is refused")
			}
			return func() {}, nil, nil
		},
	} {
		if _, err := rt.whenReconfigured(f); err != nil {
			t.Fatal(err)
		}
	}
	set := configured(t, rt)
	before := rt.Config()
	for text, want := range map[string]string{
		"agent:\n  heartbeat_interval: 7\n":                    "agent.yaml:2:23: \"7\" is not a duration",
		"agent: {tags: [a:1], unknown: 1}\n":                   `unknown key "unknown" in agent`,
		"agent: {tags: [a:1]}\nlogging: {file: /none/a.log}\n": "log to a file: open /none/a.log",
		"agent: {tags: [a:1], environment: refuse}\n":          "it is refused",
		"\x00": "",
	} {
		set(text)
		_, err := rt.Reload("test")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if open != 0 {
			t.Errorf("%q leaves open what was made ready", text)
		}
		if rt.Config() != before {
			t.Fatalf("%q changed the configuration", text)
		}
		if c := condition(rt, conditionConfiguration); c == nil || !strings.Contains(c.Message, want) {
			t.Errorf("%q: condition %+v", text, c)
		}
	}
	if ready, against := rt.Health.Ready(); !ready {
		t.Errorf("a bad file makes the agent not ready: %v", against)
	}
	isRecorded(t, rt, AuditConfigurationRefused, "is not a duration")
	if log.count("configuration not reloaded", "agent.yaml:2:23") != 1 {
		t.Errorf("log:\n%s", log)
	}
	set("agent: {tags: [a:1]}\n")
	rt.mustReload(t)
	if c := condition(rt, conditionConfiguration); c != nil {
		t.Errorf("condition %+v after the file was corrected", c)
	}
}

// What is not recorded does not take effect (G8).
func TestNoReloadWithoutAudit(t *testing.T) {
	rt, _ := testRuntime(t, api.Sensor)
	set := configured(t, rt)
	file := rt.Config().Security.Audit.File
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	rt.openAudit()
	defer rt.closeAudit()
	defer os.Remove(file)
	set("agent: {tags: [a:1]}\n")
	if _, err := rt.Reload("test"); err == nil || len(rt.Config().Agent.Tags) != 0 {
		t.Errorf("Reload = %v with tags %v: want nothing to change", err, rt.Config().Agent.Tags)
	}
}

// Whole or not at all, for whoever reads meanwhile: two values that change together are
// never seen apart, and a broken file between them is never seen.
func TestReloadStormOfTheConfiguration(t *testing.T) {
	rt, _ := audited(t, api.Sensor)
	rt.Config().Logging.Output = "file"
	out := &lines{}
	log, logging, err := telemetry.NewLogger(telemetry.LogOptions{Level: "info", Format: "json", Output: "stdout", Stdout: out})
	if err != nil {
		t.Fatal(err)
	}
	rt.Log, rt.logging = log, logging
	defer logging.Close()
	if _, err := rt.whenReconfigured(rt.followLogging); err != nil {
		t.Fatal(err)
	}
	set := configured(t, rt)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				c := rt.Config()
				if len(c.Agent.Tags) == 1 && c.Agent.Tags[0] != fmt.Sprintf("n:%d", c.Plugins.Timeout.Duration()/time.Second) {
					t.Errorf("tag %s beside timeout %v", c.Agent.Tags[0], c.Plugins.Timeout)
					return
				}
				log.Info("line", slog.Int("n", 1))
			}
		})
	}
	for i := 1; i <= 40; i++ {
		text := fmt.Sprintf("agent: {tags: ['n:%d']}\nplugins: {timeout: %ds}\nlogging: {format: %s, output: file}\n", i, i, []string{"json", "text"}[i%2])
		if i%2 == 0 {
			text += "logging: {}\n" // stands twice
		}
		set(text)
		if _, err := rt.Reload("test"); (err == nil) != (i%2 == 1) {
			t.Errorf("reload %d: %v", i, err)
		}
	}
	close(done)
	readers.Wait()
	if n := rt.Config().Plugins.Timeout.Duration() / time.Second; n != 39 {
		t.Errorf("number %d is in force, want the last valid one", n)
	}
	if report, err := audit.Verify([]string{rt.Config().Security.Audit.File}, nil); err != nil || len(report.Findings) > 0 || report.Records < 41 {
		t.Errorf("%+v, %v: want a record of each", report, err)
	}
}

// What the lists say counts at once, in both directions.
func TestListsChangeAtRunTime(t *testing.T) {
	h := newHost(t, api.Action, map[string]string{"tidy": scripted + "---\n" + "print('{}')\n"})
	if _, err := h.rt.whenReconfigured(h.reconfigure); err != nil {
		t.Fatal(err)
	}
	set := configured(t, h.rt)
	h.following()
	set("plugins: {blocked_plugins: [tidy]}\n")
	before := h.Generation()
	end := h.turns.take("tidy") // as during an installation, which may take minutes
	h.rt.mustReload(t)
	_, err := h.Find("tidy")
	end()
	if err == nil || !strings.Contains(err.Error(), "plugins.blocked_plugins") {
		t.Errorf("Find = %v right after it was blocked", err)
	}
	h.eventually("the refusal", func() bool { return condition(h.rt, conditionOf("tidy")) != nil })
	if h.Generation() != before {
		t.Error("monitors begin anew though nothing that they are granted has changed")
	}
	set("security: {sandbox: {write: [/srv]}}\n")
	h.rt.mustReload(t)
	h.eventually("the plugin", func() bool { _, err := h.Find("tidy"); return err == nil })
	if h.Generation() == before {
		t.Error("grants changed, and monitors go on with what they had")
	}
}
