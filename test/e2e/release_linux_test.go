package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The release has exactly these ten artefacts (R021).
var artefacts = []string{
	"action-agent-darwin-amd64", "action-agent-darwin-arm64", "action-agent-linux-amd64", "action-agent-linux-arm64", "action-agent-windows-amd64.exe",
	"sensor-agent-darwin-amd64", "sensor-agent-darwin-arm64", "sensor-agent-linux-amd64", "sensor-agent-linux-arm64", "sensor-agent-windows-amd64.exe",
}

func TestTenArtefacts(t *testing.T) {
	t.Parallel()
	said, err := exec.Command("make", "-C", root, "--dry-run", "--always-make", "--no-print-directory", "build-all").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	var got []string
	for _, m := range regexp.MustCompile(`-o bin/(\S+) `).FindAllStringSubmatch(string(said), -1) {
		got = append(got, m[1])
	}
	if got = sorted(got); !slices.Equal(got, artefacts) {
		t.Errorf("make build-all makes %v, want %v", got, artefacts)
	}
}

// install.sh installs what SHA256SUMS says, and nothing else.
func TestInstallScript(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts real processes")
	}
	from, to := t.TempDir(), t.TempDir()
	install := func(args ...string) (string, error) {
		said, err := exec.Command(filepath.Join(root, "scripts/install.sh"), append(args, "--from", from, "--to", to)...).CombinedOutput()
		return string(said), err
	}
	sh := func(line string) {
		t.Helper()
		if said, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, said)
		}
	}
	processor := runtime.GOARCH
	file := filepath.Join(from, "action-agent-linux-"+processor)
	sh("cp " + filepath.Join(binDir, "action-agent") + " " + file + " && cd " + from + " && sha256sum action-agent-* > SHA256SUMS")
	if said, err := install("action"); err != nil || !strings.Contains(said, filepath.Join(to, "action-agent")) {
		t.Errorf("install: %v: %s", err, said)
	}
	sh("rm " + filepath.Join(to, "action-agent") + "; printf x >> " + file)
	if said, err := install("action"); err == nil || !strings.Contains(said, "nothing is installed") || exists(t, to, "action-agent") {
		t.Errorf("a changed program: %v: %s", err, said)
	}
	if said, err := install("sensor"); err == nil || exists(t, to, "sensor-agent") {
		t.Errorf("a program that is not there: %v: %s", err, said)
	}
	sh("cp " + filepath.Join(binDir, "sensor-agent") + " " + filepath.Join(from, "sensor-agent-linux-"+processor))
	if said, err := install("sensor"); err == nil || !strings.Contains(said, "does not name") || exists(t, to, "sensor-agent") {
		t.Errorf("a program without a sum: %v: %s", err, said)
	}
}

// What `make package` made, in STAVILY_DIST: the packages can be installed, upgraded,
// removed and purged, and the bills of materials name what is linked in.
func TestPackages(t *testing.T) {
	dist := os.Getenv("STAVILY_DIST")
	if dist == "" {
		t.Skip("make test-package runs this")
	}
	billsAreTrue(t, dist)
	files := map[string]string{}
	for _, name := range []string{"stavily-sensor-agent", "stavily-action-agent", "stavily-server"} {
		for format, pattern := range map[string]string{"deb": name + "_*_" + runtime.GOARCH + ".deb", "rpm": name + "-[0-9]*." + map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH] + ".rpm"} {
			found, err := filepath.Glob(filepath.Join(dist, pattern))
			if err != nil || len(found) != 1 {
				t.Fatalf("%s: %v, %v", pattern, found, err)
			}
			files["/srv/"+name+"."+format] = found[0]
		}
	}
	m := newMachine(t, files)
	m.sh("userdel stavily 2>/dev/null; rm -f /usr/local/bin/{sensor,action}-agent; true")
	m.debian()
	m.redHat()
}

func (m *machine) debian() {
	m.t.Helper()
	m.sh("dpkg -i /srv/*.deb")
	m.sh("sensor-agent install --agent-id web-01 --base-url https://localhost:8443 && sensor-agent start && systemctl start stavily-server")
	m.until("the agent lives", "sensor-agent health --agent-id web-01", has(`"status"`))
	before := m.sh("systemctl show -P MainPID sensor-agent-web-01")
	m.sh("dpkg -i /srv/stavily-sensor-agent.deb")
	if after := m.sh("systemctl is-active -q sensor-agent-web-01 && systemctl show -P MainPID sensor-agent-web-01"); after == before {
		m.t.Error("an upgrade does not restart the agent")
	}
	m.sh("dpkg -r stavily-sensor-agent && test -e /etc/systemd/system/sensor-agent-web-01.service && ! systemctl is-active sensor-agent-web-01")
	m.sh("systemctl is-active stavily-server")
	m.sh("dpkg -P stavily-sensor-agent stavily-action-agent stavily-server")
	left := m.sh("ls /usr/bin/{sensor-agent,action-agent,stavily} /etc/systemd/system/sensor-agent-web-01.service /usr/share/doc/stavily-* 2>/dev/null; systemctl is-active stavily-server; true")
	if left != "inactive\n" {
		m.t.Errorf("purging leaves %q", left)
	}
	m.sh("test -e /var/lib/stavily/agent-web-01/config/agent.yaml") // the owner's
}

func (m *machine) redHat() {
	m.t.Helper()
	if m.command("rpm --version").Run() != nil {
		m.t.Log("rpm is not installed here: its packages were not tried")
		return
	}
	m.sh("rpm -K --nosignature /srv/*.rpm && rpm -i --nodeps /srv/*.rpm") // Debian's rpm knows none of the packages of Debian
	m.sh("sensor-agent install --agent-id web-01 && sensor-agent start")
	m.sh("rpm -U --nodeps --replacepkgs /srv/stavily-sensor-agent.rpm && systemctl is-active sensor-agent-web-01")
	m.sh("rpm -e --nodeps stavily-sensor-agent stavily-action-agent stavily-server && ! systemctl is-active sensor-agent-web-01 && ! test -e /usr/bin/sensor-agent")
}

// billsAreTrue compares each bill of materials with what `go version -m` says.
func billsAreTrue(t *testing.T, dist string) {
	t.Helper()
	bills, err := filepath.Glob(filepath.Join(dist, "*.cdx.json"))
	if err != nil || len(bills) < len(artefacts) {
		t.Fatalf("bills %v, %v", bills, err)
	}
	for _, path := range bills {
		var b struct {
			Format     string                           `json:"bomFormat"`
			Components []struct{ Name, Version string } `json:"components"`
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &b); err != nil || b.Format != "CycloneDX" {
			t.Fatalf("%s: %v, format %q", path, err, b.Format)
		}
		var got []string
		for _, c := range b.Components[1:] {
			got = append(got, c.Name+" "+c.Version)
		}
		said, err := exec.Command("go", "version", "-m", strings.TrimSuffix(path, ".cdx.json")).Output()
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, m := range regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(string(said), -1) {
			want = append(want, m[1]+" "+m[2])
		}
		if len(want) < 5 || !slices.Equal(sorted(got), sorted(want)) {
			t.Errorf("%s names %v, linked are %v", path, got, want)
		}
	}
}
