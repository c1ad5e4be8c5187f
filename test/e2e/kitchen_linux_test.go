package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// kitchen is the world in which the cookbook is tried.
type kitchen struct {
	*world
	chat, mail inbox
	web        *httptest.Server // the service's health, and the chat's hook
	smtp       string
}

// inbox is what came, line by line.
type inbox struct {
	mu   sync.Mutex
	text strings.Builder
}

func (i *inbox) add(line string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.text.WriteString(line + "\n")
}

func (i *inbox) all() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.text.String()
}

func newKitchen(t *testing.T) *kitchen {
	t.Helper()
	k := &kitchen{world: newWorld(t, "STAVILY_API_RATE_LIMIT_REQUESTS_PER_SECOND=100")}
	k.furnish()
	k.web = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil && r.Method == http.MethodPost {
			k.chat.add(string(body))
		}
	}))
	t.Cleanup(k.web.Close)
	k.smtp = k.beside("smtp.py", k.mail.add)
	k.beside("systemd.py", func(string) {}, k.dir)
	k.keepsHookSecret("deploy-hook")
	for _, name := range entries(t) {
		k.apply(k.here(name))
	}
	for id, tags := range map[api.AgentID]string{"web-1": "role:web, canary, role:deployer, role:mail", "web-2": "role:web", "db-1": "role:db"} {
		k.actionAgent(id, tags)
	}
	k.sensorAgent()
	k.tells("disk-full", "disk.space.high", `{"percent": 93, "mount": "/"}`)
	k.tells("published", "package.published", `{"version": "2.0.0"}`)
	return k
}

// tells lets the told sensor report an event.
func (k *kitchen) tells(name, event, payload string) {
	k.t.Helper()
	file := filepath.Join(k.dir, "told", name)
	k.must(os.WriteFile(file, fmt.Appendf(nil, `{"trigger_name": %q, "payload": %s}`, event, payload), 0o600))
	k.must(os.Rename(file, file+".json")) // whole
}

// furnish makes the files that the entries find.
func (k *kitchen) furnish() {
	k.t.Helper()
	for _, dir := range []string{"spool", "told", "out", "log", "bin"} {
		k.must(os.Mkdir(filepath.Join(k.dir, dir), 0o700))
	}
	var logins strings.Builder
	for n := range 25 {
		fmt.Fprintf(&logins, "sshd[1]: Failed password for root from 192.0.2.7 port %d\n", n+1)
	}
	month := time.Now().AddDate(0, -1, 0)
	for file, text := range map[string]string{
		"spool/old": "x", "spool/young": "x", "log/auth.log": logins.String(), "cert.pem": endsSoon(k.t),
		"units.json": `{"web.service": {"active": "failed", "sub": "failed", "result": "exit-code"}, "worker.service": {"active": "active", "sub": "running"}}`,
	} {
		k.must(os.WriteFile(filepath.Join(k.dir, file), []byte(text), 0o600))
	}
	k.must(os.Chtimes(filepath.Join(k.dir, "spool", "old"), month, month))
	for _, program := range []string{"backup", "backup-verify", "deploy", "install"} {
		script := fmt.Sprintf("#!/bin/sh\necho \"%s $*\" >> %s\n", program, filepath.Join(k.dir, "out", "commands"))
		k.must(os.WriteFile(filepath.Join(k.dir, "bin", program), []byte(script), 0o700))
	}
}

// endsSoon is a certificate that ends in three days.
func endsSoon(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "www.example.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 3)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// beside starts a program of plugins/testdata and returns its first line; each gets the
// others.
func (k *kitchen) beside(program string, each func(line string), args ...string) string {
	k.t.Helper()
	python := os.Getenv("PYTHON")
	if python == "" {
		python = "/usr/bin/python3" // that of the system has its bindings of the bus
	}
	cmd := exec.Command(python, append([]string{filepath.Join(root, "plugins", "testdata", program)}, args...)...)
	in, err := cmd.StdinPipe()
	k.must(err)
	out, err := cmd.StdoutPipe()
	k.must(err)
	k.must(cmd.Start())
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() == 77 {
			k.t.Skipf("%s: what it needs is not installed", program)
		} else {
			k.t.Fatalf("%s: %v", program, err)
		}
	}
	first := lines.Text()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines.Scan() {
			each(lines.Text())
		}
		if err := lines.Err(); err != nil {
			k.t.Errorf("what %s says: %v", program, err)
		}
	}()
	k.t.Cleanup(func() {
		in.Close()
		if program == "smtp.py" { // does not listen to its input
			_ = cmd.Process.Kill()
		}
		<-read
		_ = cmd.Wait()
	})
	return first
}

// here is an entry with the places of this world, and no time of day in which it keeps
// its hands off.
func (k *kitchen) here(name string) string {
	later := time.Now().UTC().Add(48 * time.Hour)
	return strings.NewReplacer(
		"/var/spool/reports", filepath.Join(k.dir, "spool"), "/usr/local/bin", filepath.Join(k.dir, "bin"),
		"http://127.0.0.1:8080/health", k.web.URL+"/health",
		"09:00 - 18:00 Europe/Berlin", later.Format("Mon 15:04")+" - "+later.Add(time.Minute).Format("Mon 15:04")+" UTC",
		"Tue 09:00 - Tue 11:00 Europe/Berlin", later.Format("Mon 15:04")+" - "+later.Add(time.Minute).Format("Mon 15:04")+" UTC",
	).Replace(repository(k.t, "docs/cookbook/"+name))
}

func (k *kitchen) actionAgent(id api.AgentID, tags string) {
	k.t.Helper()
	at := func(name string) string { return filepath.Join(k.dir, name) }
	bin := at("bin")
	a := k.agent(id, api.Action, nil, map[string]string{
		"cleanup-files":   "plugin: cleanup-files\nconfig: {roots: [" + at("spool") + "]}\n",
		"restart-service": "plugin: restart-service\nconfig: {units: [web.service, worker.service], bus: " + at("bus") + "}\n",
		"http-request":    "plugin: http-request\nconfig: {urls: [" + k.web.URL + "/]}\n",
		"slack":           "plugin: slack\nconfig: {url: " + k.web.URL + "/hook}\n",
		"file":            "plugin: file\nconfig: {directory: " + at("out") + "}\n",
		"email":           "plugin: email\nconfig: {server: \"127.0.0.1:" + k.smtp + "\", security: none, sender: s@x.test, recipients: [ops@x.test]}\n",
		"run-command": fmt.Sprintf("plugin: run-command\nconfig: {allow: [%s/backup, %s/backup-verify, %s/deploy, %s/install], read: [%s], write: [%s]}\n",
			bin, bin, bin, bin, bin, at("out")),
	})
	file := filepath.Join(a.Base, "config", "agent.yaml")
	text, err := os.ReadFile(file)
	k.must(err)
	tagged := strings.Replace(string(text), "\nagent:\n", "\nagent:\n  tags: ["+quotedList(tags)+"]\n", 1)
	if tagged == string(text) {
		k.t.Fatalf("%s has no section agent:\n%s", file, text)
	}
	k.must(os.WriteFile(file, []byte(tagged), 0o600))
	k.start(id)
}

func quotedList(tags string) string {
	list := strings.Split(tags, ", ")
	for i := range list {
		list[i] = `"` + list[i] + `"`
	}
	return strings.Join(list, ", ")
}

// sensorAgent starts the sensors: those that can find what they look for are the official ones.
func (k *kitchen) sensorAgent() {
	k.t.Helper()
	at := func(name string) string { return filepath.Join(k.dir, name) }
	k.agent("eyes", api.Sensor, []string{"told-sensor"}, map[string]string{
		"told":    "plugin: told-sensor\nconfig: {directory: " + at("told") + "}\n",
		"service": "plugin: service\ninterval: 1s\nconfig: {units: [web.service], bus: " + at("bus") + "}\n",
		"certs":   "plugin: certificate-expiry\ninterval: 2s\nconfig: {files: [" + at("cert.pem") + "]}\n",
		"worker":  "plugin: process\ninterval: 2s\nconfig: {cmdline: \"server --data-dir " + k.DataDir() + "\", max_rss_bytes: 1000}\n",
		"logins":  "plugin: log-pattern\ninterval: 2s\nconfig: {directory: " + at("log") + ", file: auth.log, pattern: Failed password, min_count: 20, severity: high, from_start: true}\n",
	})
	k.start("eyes")
}
