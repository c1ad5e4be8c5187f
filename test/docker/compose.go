//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

const (
	serverName = "stavily-test-server"
	user       = 1000 // of the containers
	sensorID   = "sensor-001"
	actionID   = "action-001"
)

// override is what README's own override file is: a directory that both agents work
// on, and ports that nothing else on this host has.
const override = `services:
  sensor-agent: &agent
    volumes: ["%[1]s:/srv/reports"]
    environment: [STAVILY_HEALTH_PORT=0, STAVILY_METRICS_PORT=0]
  action-agent: *agent
`

const workflow = `name: clean-when-full
triggers: [{event: directory.size.high}]
when: event.data.path == "/srv/reports"
actions:
  - id: clean
    plugin: cleanup-files
    sandbox: confined
    with: {path: "${{ event.data.path }}", target_bytes: 0}
    idempotent: true
`

func (l *lab) home(id string) string { return filepath.Join(l.work, "home", "agent-"+id) }

// up runs compose with the file at the root.
func (l *lab) up(ctx context.Context, args ...string) (string, error) {
	env := []string{"STAVILY_HOME=" + filepath.Join(l.work, "home")}
	all := append(l.compose[1:len(l.compose):len(l.compose)], "-p", "stavily-test", "-f", "docker-compose.yml", "-f", filepath.Join(l.work, "override.yml"))
	return l.with(ctx, env, l.compose[0], append(all, args...)...)
}

// composeFile: R011, R140 to R146, F32: both services become healthy, and an action
// runs in the sandbox.
func (l *lab) composeFile(ctx context.Context) (err error) {
	reports := filepath.Join(l.work, "reports")
	for _, dir := range []string{l.home(sensorID), l.home(actionID), reports} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chown(dir, user, user)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(l.work, "override.yml"), fmt.Appendf(nil, override, reports), 0o644); err != nil {
		return err
	}
	if err := l.startServer(ctx); err != nil {
		return err
	}
	for service, id := range map[string]string{"sensor": sensorID, "action": actionID} {
		if err := l.enrol(ctx, service, id); err != nil {
			return err
		}
	}
	if _, err := l.up(ctx, "up", "-d"); err != nil {
		return err
	}
	defer func() {
		_, down := l.up(context.WithoutCancel(ctx), "down")
		err = errors.Join(err, down)
	}()
	if err := errors.Join(l.healthy(ctx, "stavily-sensor"), l.healthy(ctx, "stavily-action")); err != nil {
		return err
	}
	if err := l.act(ctx, serverName, filepath.Join(reports, "big")); err != nil {
		return err
	}
	if err := eventually(ctx, "a sensor sees the host's /etc", func() error {
		out, err := l.docker(ctx, "exec", serverName, "stavily", "events", "list", "-o", "json")
		if err == nil && !strings.Contains(out, `"path": "/host/etc"`) {
			err = fmt.Errorf("events are %s", out)
		}
		return err
	}); err != nil {
		return err
	}
	return l.operations(ctx)
}

// startServer starts an orchestrator on this host's network and applies the workflow.
func (l *lab) startServer(ctx context.Context) error {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		return err
	}
	if _, err := l.docker(ctx, "run", "-d", "--name", serverName, "--network", "host", "stavily/server", "server", "--listen", addr, "--hostname", "localhost"); err != nil {
		return err
	}
	if err := l.healthy(ctx, serverName); err != nil {
		return err
	}
	file := filepath.Join(l.work, "workflow.yaml")
	if err := os.WriteFile(file, []byte(workflow), 0o644); err != nil {
		return err
	}
	_, err = l.docker(ctx, "cp", file, serverName+":/tmp/workflow.yaml")
	if err == nil {
		_, err = l.docker(ctx, "exec", serverName, "stavily", "workflows", "apply", "-f", "/tmp/workflow.yaml")
	}
	return err
}

// enrol pastes the command that the server prints, installs the image's plugins, and
// writes what the host's owner would write for them.
func (l *lab) enrol(ctx context.Context, service, id string) error {
	out, err := l.docker(ctx, "exec", serverName, "stavily", "tokens", "create", "--type", service, "--agent-id", id)
	if err != nil {
		return err
	}
	printed := strings.Fields(lastLine(out))
	if _, err := l.up(ctx, append([]string{"run", "--rm", service + "-agent"}, printed[1:]...)...); err != nil {
		return err
	}
	base := "/app/agent-" + id
	if _, err := l.up(ctx, "run", "--rm", "--entrypoint", "cp", service+"-agent", "-r", "/usr/share/stavily/plugins/.", base+"/data/plugins"); err != nil {
		return err
	}
	files := map[string]string{
		"sensor/directory-size.yaml": "plugin: directory-size\ninterval: 1s\nconfig: {path: /srv/reports, max_bytes: 1000000}\n",
		"sensor/host-etc.yaml":       "plugin: directory-size\ninterval: 1s\nconfig: {path: /host/etc, max_files: 0}\n",
		"action/cleanup-files.yaml":  "plugin: cleanup-files\nconfig: {roots: [/srv/reports]}\n",
	}
	for name, text := range files {
		if strings.HasPrefix(name, service) {
			file := filepath.Join(l.home(id), "config", "plugins", filepath.Base(name))
			if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chown(file, user, user)); err != nil {
				return err
			}
		}
	}
	return nil
}

// act fills the directory that the sensor watches, and waits for the action.
func (l *lab) act(ctx context.Context, server, file string) error {
	if err := errors.Join(os.WriteFile(file, make([]byte, 2_000_000), 0o644), os.Chown(file, user, user)); err != nil {
		return err
	}
	if err := l.completed(ctx, server); err != nil {
		return err
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the run has completed and %s is still there: %v", file, err)
	}
	return nil
}

func (l *lab) completed(ctx context.Context, server string) error {
	return eventually(ctx, "an action has run in the sandbox", func() error {
		out, err := l.docker(ctx, "exec", server, "stavily", "runs", "list", "-o", "json")
		if err != nil {
			return err
		}
		var runs []struct{ Status string }
		if err := json.Unmarshal([]byte(out), &runs); err != nil {
			return err
		}
		if len(runs) == 0 || runs[0].Status != "completed" {
			return fmt.Errorf("runs are %s", out)
		}
		return nil
	})
}

// operations is what people do with containers that run.
func (l *lab) operations(ctx context.Context) error {
	for _, args := range [][]string{{"ps"}, {"logs", "sensor-agent"}, {"logs", "action-agent"}} { // R145
		if out, err := l.up(ctx, args...); err != nil || out == "" {
			return errors.Join(err, fmt.Errorf("compose %v says nothing", args))
		}
	}
	logs, err := l.docker(ctx, "logs", "stavily-action") // R143
	if err != nil || !json.Valid([]byte(lastLine(logs))) {
		return errors.Join(err, fmt.Errorf("the log's last line is no JSON: %s", lastLine(logs)))
	}
	if out, err := l.docker(ctx, "exec", "stavily-action", "sh", "-c", "cat /proc/[0-9]*/status"); err != nil || strings.Contains(out, "Z (zombie)") {
		return errors.Join(err, errors.New("the action left a zombie"))
	}
	pid, err := l.docker(ctx, "inspect", "--format", "{{.State.Pid}}", "stavily-action")
	if err != nil {
		return err
	}
	if _, err := l.command(ctx, "kill", "-KILL", pid); err != nil { // R141
		return err
	}
	if err := eventually(ctx, "killed, it was started again", func() error {
		out, err := l.docker(ctx, "inspect", "--format", "{{.RestartCount}} {{.State.Health.Status}}", "stavily-action")
		if err == nil && out != "1 healthy" {
			err = fmt.Errorf("restarts and health: %s", out)
		}
		return err
	}); err != nil {
		return err
	}
	if _, err := l.up(ctx, "stop"); err != nil {
		return err
	}
	for _, name := range []string{"stavily-sensor", "stavily-action"} {
		if code, err := l.docker(ctx, "inspect", "--format", "{{.State.ExitCode}}", name); err != nil || code != "0" {
			return errors.Join(err, fmt.Errorf("%s stopped with exit code %s", name, code))
		}
	}
	fmt.Println("  stopped, both with exit code 0")
	return nil
}
