//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// pod: R152, F34: the sensor agent of overlays/host-view, as a container with what
// Kubernetes would give it: a base directory of root's on a read-only root file system,
// configuration and certificates that cannot be written, no capabilities.
func (l *lab) pod(ctx context.Context) (err error) {
	const name, base = "stavily-test-pod", "/app/agent-" + sensorID
	args := []string{"run", "-d", "--name", name, "--network", "host", "--user", "1000:1000", "--read-only",
		"--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--memory", "512m", "--cpus", "0.5",
		"-e", "STAVILY_HEALTH_PORT=0", "-e", "STAVILY_METRICS_PORT=0",
		"-v", "/proc:/host/proc:ro", "-v", "/sys:/host/sys:ro"}
	for _, m := range []string{"config:ro", "certificates:ro", "data:rw", "logs:rw"} {
		dir, mode, _ := strings.Cut(m, ":")
		args = append(args, "-v", filepath.Join(l.home(sensorID), dir)+":"+base+"/"+dir+":"+mode)
	}
	if _, err := l.docker(ctx, append(args, "stavily/sensor-agent", "--config="+base+"/config/agent.yaml")...); err != nil {
		return err
	}
	defer func() {
		_, gone := l.docker(context.WithoutCancel(ctx), "rm", "-f", name)
		err = errors.Join(err, gone)
	}()
	if err := l.healthy(ctx, name); err != nil {
		return err
	}
	if err := eventually(ctx, "it is ready", func() error {
		_, err := l.docker(ctx, "exec", name, "sensor-agent", "health", "--ready")
		return err
	}); err != nil {
		return err
	}
	if out, err := l.docker(ctx, "exec", name, "stat", "-c", "%u", base); err != nil || out != "0" {
		return errors.Join(err, fmt.Errorf("the base directory is user %s's: this tested nothing", out))
	}
	return nil
}

// enrolledPod: the sensor agent of the base: its directory is a volume, its configuration
// has no more than agent.yaml and is read-only, and it is enrolled from within.
func (l *lab) enrolledPod(ctx context.Context) (err error) {
	const name, id = "stavily-test-enrolled-pod", "sensor-002"
	const base = "/app/agent-" + id
	out, err := l.docker(ctx, "exec", serverName, "stavily", "tokens", "create", "--type", "sensor", "--agent-id", id)
	if err != nil {
		return err
	}
	printed := strings.Fields(lastLine(out))
	file := filepath.Join(l.work, "pod", "config", "agent.yaml")
	config := fmt.Sprintf("agent: {id: %s, registration_retry_interval: 1s}\napi: {base_url: %q}\nhealth: {port: 0}\nmetrics: {port: 0}\n", id, printed[3])
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(config), 0o644)); err != nil {
		return err
	}
	args := []string{"run", "-d", "--name", name, "--network", "host", "--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp"}
	for dir, at := range map[string]string{"data": base, "logs": base + "/logs", "tmp": base + "/tmp"} {
		dir = filepath.Join(l.work, "pod", dir)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, user, user)); err != nil {
			return err
		}
		args = append(args, "-v", dir+":"+at)
	}
	args = append(args, "-v", filepath.Dir(file)+":"+base+"/config:ro", "stavily/sensor-agent", "--config="+base+"/config/agent.yaml")
	if _, err := l.docker(ctx, args...); err != nil {
		return err
	}
	defer func() {
		_, gone := l.docker(context.WithoutCancel(ctx), "rm", "-f", name)
		err = errors.Join(err, gone)
	}()
	if err := l.healthy(ctx, name); err != nil {
		return err
	}
	if out, err := l.docker(ctx, "exec", name, "sensor-agent", "health", "--ready"); err == nil {
		return fmt.Errorf("an agent without a certificate is ready: %s", out)
	}
	if _, err := l.docker(ctx, append([]string{"exec", name, "sensor-agent"}, printed[1:]...)...); err != nil {
		return err
	}
	return eventually(ctx, "enrolled from within, it is ready", func() error {
		_, err := l.docker(ctx, "exec", name, "sensor-agent", "health", "--ready")
		return err
	})
}

// quickStart: R133, R134, R139: the original README's first example.
func (l *lab) quickStart(ctx context.Context) (err error) {
	const name = "stavily-test-quick-start"
	dir := l.home("quick")
	file := filepath.Join(dir, "sensor-agent", "config.yaml")
	config := "agent:\n  id: \"sensor-quick\"\n  name: \"My Sensor Agent\"\n  type: \"sensor\"\n  organization_id: \"your-org-id\"\n" +
		"api:\n  base_url: \"https://localhost:1\"\n  auth:\n    type: \"certificate\"\n" +
		"    cert_file: \"/app/agent-{AGENT_ID}/certs/client.crt\"\n    key_file: \"/app/agent-{AGENT_ID}/certs/client.key\"\n    ca_file: \"/app/agent-{AGENT_ID}/certs/ca.crt\"\n" +
		"logging:\n  level: \"info\"\n  format: \"json\"\n"
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(config), 0o644)); err != nil {
		return err
	}
	if _, err := l.command(ctx, "chown", "-R", "1000:1000", dir); err != nil {
		return err
	}
	_, err = l.docker(ctx, "run", "-d", "--name", name, "--network", "none", "--restart", "unless-stopped",
		"-v", dir+":/app/agent-sensor-quick:rw", "-v", "/var/log:/var/log:ro", "-v", "/proc:/host/proc:ro", "-v", "/sys:/host/sys:ro", "stavily/sensor-agent:latest")
	if err != nil {
		return err
	}
	defer func() {
		_, gone := l.docker(context.WithoutCancel(ctx), "rm", "-f", name)
		err = errors.Join(err, gone)
	}()
	if err := l.healthy(ctx, name); err != nil {
		return err
	}
	_, err = l.docker(ctx, "exec", name, "curl", "-f", "-sS", "http://localhost:8080/health") // R113
	return err
}

// dev: R012: the lines at the top of docker-compose.dev.yml.
func (l *lab) dev(ctx context.Context) (err error) {
	compose := func(args ...string) error {
		all := append(l.compose[1:len(l.compose):len(l.compose)], "-p", "stavily-test-dev", "-f", "deployments/docker/docker-compose.dev.yml")
		_, err := l.with(ctx, nil, l.compose[0], append(all, args...)...)
		return err
	}
	defer func() { err = errors.Join(err, compose("down", "--volumes")) }()
	if err := compose("up", "-d", "--no-build"); err != nil {
		return err
	}
	if err := errors.Join(l.healthy(ctx, "stavily-dev-sensor"), l.healthy(ctx, "stavily-dev-action")); err != nil {
		return err
	}
	if _, err := l.docker(ctx, "exec", "stavily-dev-sensor", "python3", "-c", `open("/shared/reports/big", "w").write("x" * 2_000_000)`); err != nil {
		return err
	}
	return l.completed(ctx, "stavily-dev-server")
}
