package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// asAgent runs a command as the agents' user does.
const asAgent = "setpriv --reuid=stavily --regid=stavily --clear-groups "

// sudo stands for the program of that name, which machines of tests may lack.
const sudo = `#!/bin/bash
if [ "$1" = -u ]; then user=$2; shift 2; exec setpriv --reuid="$user" --regid="$user" --clear-groups "$@"; fi
exec "$@"
`

// downloads is what a download page has, on the machine.
const downloads = "/srv/release"

// installable boots a machine with a release, a server and what a page may assume.
func installable(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t, map[string]string{
		downloads + "/sensor-agent-linux-amd64": filepath.Join(binDir, "sensor-agent"),
		"/usr/local/bin/action-agent":           filepath.Join(binDir, "action-agent"),
		"/usr/bin/stavily":                      filepath.Join(binDir, "stavily"),
	})
	m.write("/usr/local/bin/sudo", sudo)
	m.write("/etc/systemd/system/stavily-server.service", repository(t, "deployments/systemd/stavily-server.service"))
	m.sh("chmod 755 /usr/local/bin/sudo; cd " + downloads + " && sha256sum * > SHA256SUMS")
	m.sh("rm -f /usr/local/bin/sensor-agent; userdel stavily 2>/dev/null; true")
	m.sh("echo 127.0.0.1 stavily.example.com >> /etc/hosts")
	return m
}

// serve starts the orchestrator by its unit.
func (m *machine) serve() {
	m.t.Helper()
	m.sh("id stavily >/dev/null 2>&1 || useradd --system --shell /bin/false --home-dir /var/lib/stavily stavily")
	m.write("/etc/systemd/system/stavily-server.service.d/name.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/stavily server --hostname stavily.example.com\n")
	m.sh("systemctl daemon-reload && systemctl start stavily-server")
	m.until("the server", asAgent+"stavily agents list", has("No agents"))
}

// token makes the command that enrols an agent.
func (m *machine) token(typ api.AgentType, id string) string {
	m.t.Helper()
	said := m.sh(asAgent + "stavily tokens create --type " + string(typ) + " --agent-id " + id)
	command := regexp.MustCompile(`(?m)^\s*(` + string(typ) + `-agent enroll .*)$`).FindStringSubmatch(said)
	if command == nil {
		m.t.Fatalf("no command in %q", said)
	}
	return command[1]
}

func (m *machine) level(id string) *api.Posture {
	m.t.Helper()
	var a struct {
		Sandbox *api.Posture `json:"sandbox"`
	}
	// Before its first heartbeat there is what enrol found, which ran in no unit.
	said := m.until(id+" is online", asAgent+"stavily agents show -o json "+id, has(`"status": "online"`))
	if err := json.Unmarshal([]byte(said), &a); err != nil || a.Sandbox == nil {
		m.t.Fatalf("%v in %s", err, said)
	}
	return a.Sandbox
}

// Everything that docs/install.md tells to type on Linux is typed, and does what it says.
func TestInstallPage(t *testing.T) {
	t.Parallel()
	text := repository(t, "docs/install.md")
	m := installable(t)
	here := strings.NewReplacer("https://github.com/stavily/agents/releases/latest/download", "file://"+downloads)
	m.sh("mkdir -p /srv/person")
	said := map[string]string{}
	for _, b := range block.FindAllStringSubmatch(text, -1) {
		if b[1] != "bash" {
			continue
		}
		for line := range strings.Lines(b[2]) {
			line = strings.TrimSpace(line)
			typed := here.Replace(line)
			switch {
			case strings.Contains(line, " enroll "):
				m.serve()
				printed := m.token(api.Sensor, "web-01")
				if form("sudo "+printed) != form(line) {
					t.Fatalf("`tokens create` printed %q, the page has %q", printed, line)
				}
				typed = "sudo " + printed
			case strings.Contains(line, "--ready"):
				said[line] = m.until("web-01 is ready", typed, has(`"ready"`))
				continue
			case strings.HasSuffix(line, "health.addr"):
				said[line] = m.until("db-01 has a port", typed, has(":"))
				continue
			case strings.HasPrefix(line, "sudo ls"):
				said[line] = m.until("app-01 has its directories", typed, has("certificates"))
				continue
			case strings.HasSuffix(line, "&"):
				m.background(typed)
				continue
			}
			said[line] = m.sh("cd /srv/person && " + typed)
		}
	}
	for line, want := range map[string]string{
		"sha256sum --check --ignore-missing SHA256SUMS": "sensor-agent-linux-amd64: OK",
		"sensor-agent service status":                   "active (running)",
		"journalctl -t stavily-sensor --since -5min":    `"msg":"starting"`,
		"sudo sensor-agent install --agent-id web-01 --base-url https://stavily.example.com:8443 --dry-run": "would create the user stavily",
		"sudo ls -ld /opt/mycompany/stavily/config /opt/mycompany/stavily/certificates":                     "drwx------",
	} {
		if !strings.Contains(said[line], want) {
			t.Errorf("%s: said %q, want %q", line, said[line], want)
		}
	}
	if account := m.sh("getent passwd stavily"); !strings.HasSuffix(strings.TrimSpace(account), ":/var/lib/stavily:/bin/false") {
		t.Errorf("the account is %q", account)
	}
	if left := m.refuses("systemctl cat sensor-agent-web-01"); !strings.Contains(left, "No files found") {
		t.Errorf("after uninstall: %q", left)
	}
	if running := m.sh("systemctl is-active sensor-agent-db-01 sensor-agent-app-01"); running != "active\nactive\n" {
		t.Errorf("the other agents are %q", running)
	}
}

// background starts what a page tells to run without a service manager: it must run as
// the account, become alive, and end with 0.
func (m *machine) background(line string) {
	m.t.Helper()
	const base = "/var/lib/stavily/agent-web-02"
	m.sh(asAgent + "mkdir -p " + base + "/config")
	m.write(base+"/config/agent.yaml", "agent: {id: web-02, base_dir: "+base+"}\napi: {base_url: \"https://stavily.example.com:8443\"}\nhealth: {port: 0}\nmetrics: {enabled: false}\n")
	m.sh("chown -R stavily: " + base)
	done := make(chan error, 1)
	cmd := m.command(strings.TrimSuffix(line, "&") + "; echo ended with $? > /srv/ended")
	go func() { done <- cmd.Run() }()
	m.until("web-02 lives", "sensor-agent health --agent-id web-02 --base-dir "+base, has(`"status"`))
	if user := m.sh("ps -o user= -p $(pgrep -f -- '^sensor-agent --config " + base + "' | tail -1)"); strings.TrimSpace(user) != "stavily" {
		m.t.Errorf("web-02 runs as %q", user)
	}
	m.sh("kill $(pgrep -f -- '^sensor-agent --config " + base + "' | tail -1)")
	if err := <-done; err != nil {
		m.t.Error(err)
	}
	if ended := m.sh("cat /srv/ended"); ended != "ended with 0\n" {
		m.t.Errorf("web-02 %s", ended)
	}
}

// Under the hardened unit and under the original README's, which is used as it was
// written, plugins run at level full; the agent ends them itself when it is stopped; an
// agent that is stuck is started anew.
func TestUnits(t *testing.T) {
	t.Parallel()
	m := installable(t)
	m.sh("install -m 755 " + downloads + "/sensor-agent-linux-amd64 /usr/local/bin/sensor-agent")
	m.sh("action-agent install --agent-id web-01-fix --base-url https://stavily.example.com:8443")
	m.serve()
	m.sh(m.token(api.Action, "web-01-fix"))
	m.put(filepath.Join("testdata", "plugins", "old-stdio-action"), "/var/lib/stavily/agent-web-01-fix/data/plugins/old-stdio-action")
	m.sh("action-agent start")
	if posture := m.level("web-01-fix"); posture.Level != api.SandboxFull || !strings.HasPrefix(posture.Layers["proc"], api.LayerEnforced) {
		t.Errorf("under the hardened unit: %s, /proc %q, without %v", posture, posture.Layers["proc"], posture.Lacks())
	}

	original := strings.ReplaceAll(repository(t, "deployments/systemd/original.service"), "{AGENT_ID}", "web-01")
	m.sh(asAgent + m.token(api.Sensor, "web-01"))
	const base = "/var/lib/stavily/agent-web-01"
	m.put(filepath.Join("testdata", "plugins", "old-chatty-sensor"), base+"/data/plugins/old-chatty-sensor")
	m.write(base+"/config/plugins/chatty.yaml", "plugin: old-chatty-sensor\ninterval: 1s\n")
	m.sh("chown -R stavily: " + base)
	m.write("/etc/systemd/system/sensor-agent-web-01.service", original)
	m.write("/srv/w.yaml", "name: w\ntriggers:\n  - event: old.chatty\nactions:\n  - {plugin: old-stdio-action, sandbox: full, with: {type: a, data: 1}}\n")
	m.sh(asAgent + "stavily workflows apply -f /srv/w.yaml")
	m.sh("systemctl daemon-reload && systemctl enable sensor-agent-web-01.service && systemctl start sensor-agent-web-01.service && systemctl status sensor-agent-web-01.service")
	if said := m.sh("systemd-analyze verify sensor-agent-web-01.service 2>&1"); said != "" {
		t.Errorf("systemd-analyze verify, the original unit: %s", said)
	}
	if posture := m.level("web-01"); posture.Level != api.SandboxFull {
		t.Errorf("under the original unit: %s, without %v", posture, posture.Lacks())
	}
	m.until("a run", asAgent+"stavily runs list", has("completed"))
	if said := m.refuses("sensor-agent install --agent-id web-01"); !strings.Contains(said, "--replace") {
		t.Errorf("over the original unit: %q", said)
	}
	m.sh("sensor-agent install --agent-id web-01 --replace && sensor-agent restart")
	if said := m.sh("systemctl show -p Type -p StatusText sensor-agent-web-01"); !strings.Contains(said, "Type=notify") || !strings.Contains(said, "StatusText=") {
		t.Errorf("once replaced: %q", said)
	}
	m.checksUnits()
	m.stopsAndStarts()
}

// checksUnits lets systemd judge the units. It exits 0 at keys that it does not know, and
// says so.
func (m *machine) checksUnits() {
	m.t.Helper()
	for unit, most := range map[string]string{"sensor-agent-web-01": "36", "action-agent-web-01-fix": "36", "stavily-server": "19"} {
		if said := m.sh("systemd-analyze verify " + unit + ".service 2>&1"); said != "" {
			m.t.Errorf("systemd-analyze verify %s: %s", unit, said)
		}
		m.sh("systemd-analyze security --no-pager --threshold=" + most + " " + unit + ".service")
	}
}

// stopsAndStarts stops agents that run plugins, and lets one be stuck.
func (m *machine) stopsAndStarts() {
	m.t.Helper()
	m.until("a plugin runs", "systemctl status sensor-agent-web-01", has("main.py"))
	m.sh("sensor-agent stop")
	if said := m.sh("systemctl show -p Result -p ExecMainStatus sensor-agent-web-01; journalctl --no-pager -u sensor-agent-web-01"); !strings.Contains(said, "Result=success") || !strings.Contains(said, "ExecMainStatus=0") || strings.Contains(said, "Killing process") {
		m.t.Errorf("stopped: %s", said)
	}
	m.write("/etc/systemd/system/action-agent-web-01-fix.service.d/quick.conf", "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\nRestartSec=100ms\n")
	m.sh("systemctl daemon-reload && action-agent restart")
	m.sh("sleep 3 && test $(systemctl show -P NRestarts action-agent-web-01-fix) = 0") // it is fed
	m.sh("kill -STOP $(systemctl show -P MainPID action-agent-web-01-fix)")
	m.until("the watchdog bites", "systemctl show -P NRestarts action-agent-web-01-fix", func(said string) bool { return said != "0\n" })
	m.until("it is up again", "systemctl is-active action-agent-web-01-fix", has("active"))
	if said := m.refuses("sensor-agent service status"); !strings.Contains(said, "does not run") {
		m.t.Errorf("status of what is stopped: %q", said)
	}
}

// What install says where it cannot be done.
func TestInstallRefusals(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		t.Skip("this host has systemd: nothing is to be installed on it")
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"install", "--agent-id", "web-01"}, 2, "api.base_url"},
		{[]string{"install", "--agent-id", "web-01", "--base-url", "https://x.example", "--base-dir", "/home/x"}, 1, "services do not see"},
		{[]string{"start", "--agent-id", "Web"}, 2, "agent id"},
		{[]string{"start", "--agent-id", "web-01"}, 1, "systemd does not run"},
		{[]string{"uninstall", "--agent-id", "web-01"}, 1, "is no service of this host"},
		{[]string{"service", "status"}, 1, "no sensor agent is a service of this host"},
	} {
		o := command(t, "sensor-agent", c.args...)
		if o.code != c.code || !strings.Contains(o.stderr, c.want) {
			t.Errorf("%v: exit code %d, %q; want %d and %q", c.args, o.code, o.stderr, c.code, c.want)
		}
	}
}
