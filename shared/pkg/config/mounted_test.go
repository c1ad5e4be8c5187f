package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

func mount(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// F29, R134: a container that is told nothing works in the directory that it was given.
func TestMountedBaseDirectory(t *testing.T) {
	for name, file := range map[string]string{
		"quick start": "sensor-agent/config.yaml", "compose": "config/sensor.yaml", "enrolled": "config/agent.yaml",
	} {
		t.Run(name, func(t *testing.T) {
			app := t.TempDir()
			base := filepath.Join(app, "agent-dir")
			mount(t, base, map[string]string{
				file:                   "agent: {id: sensor-001}\napi:\n  base_url: https://h:1\n  auth: {cert_file: \"certs/{AGENT_ID}.crt\"}\n",
				"../agent-is-no-dir":   "",
				"../other/config.yaml": "",
			})
			l := mustLoad(t, LoadOptions{Type: api.Sensor, Mounts: app})
			if l.File != filepath.Join(base, file) || l.Config.Agent.BaseDir != base || l.Config.Agent.ID != "sensor-001" {
				t.Errorf("file %s, base %s, id %s: want those of %s", l.File, l.Config.Agent.BaseDir, l.Config.Agent.ID, base)
			}
		})
	}
}

func TestMountedBaseDirectoryNamesTheAgent(t *testing.T) {
	app := t.TempDir()
	base := filepath.Join(app, "agent-web-01")
	mount(t, base, map[string]string{"config/agent.yaml": "api:\n  base_url: https://h:1\nlogging: {file: \"logs/{AGENT_ID}.log\"}\n"})
	l := mustLoad(t, LoadOptions{Type: api.Sensor, Mounts: app})
	if l.Config.Agent.ID != "web-01" || l.Config.Logging.File != filepath.Join(base, "logs", "web-01.log") {
		t.Errorf("id %q, log %q: want web-01 in both", l.Config.Agent.ID, l.Config.Logging.File)
	}
	if got := l.Origin("agent.id"); !strings.Contains(got, base) {
		t.Errorf("origin of agent.id = %q, want the directory", got)
	}
}

// Whoever names an agent, a directory or a file is taken at their word.
func TestMountedBaseDirectoryIsTheLastResort(t *testing.T) {
	app := t.TempDir()
	t.Chdir(app)
	mount(t, app, map[string]string{"agent-a/x": "", "else.yaml": "agent: {id: b}\napi: {base_url: https://h:1}\n"})
	for _, o := range []LoadOptions{
		{Flags: parseFlags(t, "--config", filepath.Join(app, "else.yaml"))},
		{Environ: []string{"STAVILY_CONFIG=" + filepath.Join(app, "else.yaml")}},
		{Flags: parseFlags(t, "--agent-id=b", "--base-url=https://h:1")},
		{Environ: []string{"STAVILY_BASE_DIR=" + filepath.Join(app, "agent-b"), "STAVILY_AGENT_ID=b", "STAVILY_API_BASE_URL=https://h:1"}},
	} {
		o.Type, o.Mounts = api.Sensor, app
		if l := mustLoad(t, o); l.Config.Agent.ID != "b" || l.Config.Agent.BaseDir != filepath.Join(app, "agent-b") {
			t.Errorf("%v: agent %q in %s, want b in its own", o.Environ, l.Config.Agent.ID, l.Config.Agent.BaseDir)
		}
	}
}

func TestSeveralMountedBaseDirectories(t *testing.T) {
	app := t.TempDir()
	mount(t, app, map[string]string{"agent-a/x": "", "agent-b/x": ""})
	_, err := Load(LoadOptions{Type: api.Sensor, Mounts: app})
	if err == nil || !strings.Contains(err.Error(), "agent-a, ") || !strings.Contains(err.Error(), "--base-dir") {
		t.Errorf("two directories: %v, want both names and what to do", err)
	}
}
