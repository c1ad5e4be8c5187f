package kit

import (
	"bufio"
	"cmp"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// allOfficial is set where the official plugins are to be tried, by `make test-plugins`:
// it takes minutes.
const allOfficial = "STAVILY_TEST_PLUGINS"

// official is how an official plugin is tried: its configuration and its parameters as
// JSON, in which DIR is a directory with some files, HTTP the URL of a server, ADDRESS a
// place that accepts, MAIL the one of a mail server, and what has to run beside it.
var official = map[string]struct {
	config, params string
	beside         string // of plugins/testdata
	refuses        string // it does not work in a sandbox, and says this
}{
	"sensors/certificate-expiry":     {config: `{"directories": ["DIR"], "files": ["DIR/web.pem"], "days": 100000}`},
	"sensors/command-output":         {config: `{"command": ["/bin/cat", "DIR/shown"], "read": ["DIR"], "value": "([0-9]+)", "above": 5}`},
	"sensors/cpu-load":               {},
	"sensors/directory-size":         {config: `{"path": "DIR", "max_files": 1}`},
	"sensors/disk-space":             {},
	"sensors/file-watch":             {config: `{"directories": ["DIR"]}`},
	"sensors/heartbeat":              {config: `{"label": "web"}`},
	"sensors/http-check":             {config: `{"url": "HTTP"}`},
	"sensors/log-pattern":            {config: `{"directory": "DIR", "file": "app.log", "pattern": "error"}`},
	"sensors/memory":                 {},
	"sensors/process":                {config: `{"cmdline": "."}`},
	"sensors/prometheus-query":       {config: `{"url": "HTTP", "query": "q", "above": 5}`},
	"sensors/service":                {config: `{"units": ["a.service"], "bus": "DIR/bus"}`, beside: "systemd.py"},
	"sensors/tcp-check":              {config: `{"address": "ADDRESS"}`},
	"actions/cleanup-files":          {config: `{"roots": ["DIR/old"]}`, params: `{"path": "DIR/old", "pattern": "a*"}`},
	"actions/container-restart":      {config: `{"containers": ["web"], "socket": "DIR/docker.sock"}`, params: `{"container": "web", "settle_seconds": 0}`, beside: "docker.py"},
	"actions/http-request":           {config: `{"urls": ["HTTP/"]}`, params: `{"url": "HTTP/x"}`},
	"actions/kill-process":           {config: `{"allow": ["sleep"]}`, params: `{"name": "sleep"}`, refuses: "a plugin in the sandbox reaches no process of the host"},
	"actions/restart-service":        {config: `{"units": ["a.service"], "bus": "DIR/bus"}`, params: `{"unit": "a.service", "settle_seconds": 0}`, beside: "systemd.py"},
	"actions/rotate-log":             {config: `{"roots": ["DIR"]}`, params: `{"path": "DIR/app.log"}`},
	"actions/run-command":            {config: `{"allow": ["/bin/cat"], "read": ["DIR/shown"]}`, params: `{"command": ["/bin/cat", "DIR/shown"]}`},
	"actions/write-file":             {config: `{"roots": ["DIR"]}`, params: `{"path": "DIR/written", "content": "x"}`},
	"outputs/email":                  {config: `{"server": "MAIL", "security": "none", "sender": "s@x.test", "recipients": ["a@x.test"]}`, params: `{"text": "x"}`},
	"outputs/file":                   {config: `{"directory": "DIR"}`, params: `{"text": "x"}`},
	"outputs/prometheus-pushgateway": {config: `{"url": "HTTP"}`, params: `{"metrics": {"up": 1}}`},
	"outputs/slack":                  {config: `{"url": "HTTP"}`, params: `{"text": "x"}`},
	"outputs/syslog":                 {config: `{"transport": "tcp", "servers": ["ADDRESS"]}`, params: `{"text": "x"}`},
	"outputs/webhook":                {config: `{"url": "HTTP"}`, params: `{"text": "x"}`},
}

// Every official plugin passes the test that developers run, at its declared permissions.
func TestOfficialPlugins(t *testing.T) {
	if os.Getenv(allOfficial) == "" {
		t.Skipf("takes minutes: `make test-plugins` runs it (%s=1)", allOfficial)
	}
	found, err := filepath.Glob("../plugins/*/*/plugin.yaml")
	if err != nil || len(found) < len(official) {
		t.Fatalf("found %d plugins and %d are known here: %v", len(found), len(official), err)
	}
	for _, manifest := range found {
		dir := filepath.Dir(manifest)
		id := filepath.Base(filepath.Dir(dir)) + "/" + filepath.Base(dir)
		t.Run(id, func(t *testing.T) {
			o, known := official[id]
			if !known {
				t.Fatalf("add to the table how %s is tried", id)
			}
			place := surroundings(t, o.beside)
			tester := patient(20)
			for text, values := range map[string]valuesFlag{o.config: tester.config, o.params: tester.params} {
				if err := json.Unmarshal([]byte(place.Replace(cmp.Or(text, "{}"))), &values); err != nil {
					t.Fatal(err)
				}
			}
			card := try(t, tester, dir)
			switch {
			case o.refuses != "" && !says(card, "commands", Failed, o.refuses):
				t.Errorf("does not say %q", o.refuses)
			case o.refuses == "" && !card.Passed:
				t.Errorf("does not pass: %s", card.failed())
			}
			for _, check := range card.Checks {
				if check.Verdict == Warned {
					t.Errorf("%s: %s", check.Name, strings.Join(check.Notes, "\n"))
				}
			}
		})
	}
}

// surroundings are what plugins find on their host.
func surroundings(t *testing.T, beside string) *strings.Replacer {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"status": "success", "data": {"resultType": "vector", "result": []}}`)
	}))
	t.Cleanup(server.Close)
	secure := httptest.NewTLSServer(nil)
	defer secure.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go swallow(listener)
	for name, text := range map[string]string{
		"shown": "10\n", "app.log": "error\n", "old/a": "x", "units.json": `{"a.service": {"active": "active", "sub": "running", "result": "success"}}`,
		"web.pem": certificate(secure),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	switch beside {
	case "systemd.py":
		standIn(t, beside, dir)
	case "docker.py":
		standIn(t, beside, filepath.Join(dir, "docker.sock"))
	}
	mail := standIn(t, "smtp.py")
	return strings.NewReplacer("DIR", dir, "HTTP", server.URL, "ADDRESS", listener.Addr().String(), "MAIL", "127.0.0.1:"+mail)
}

// swallow reads what anybody sends.
func swallow(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			_, _ = io.Copy(io.Discard, c)
		}()
	}
}

// standIn starts a program of plugins/testdata, which ends with the test, and returns the
// first line that it says.
func standIn(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), python(), append([]string{filepath.Join("..", "plugins", "testdata", program)}, args...)...)
	var log strings.Builder
	cmd.Stderr = &log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	said, err := r.ReadString('\n')
	t.Cleanup(func() {
		in.Close()
		if program == "smtp.py" { // does not listen to its input
			cmd.Process.Kill()
		}
		cmd.Wait()
	})
	if err != nil {
		t.Skipf("%s needs what is not here (dbus-daemon, python3-dbus, python3-gi): %s", program, log.String())
	}
	go io.Copy(io.Discard, r)
	return strings.TrimSpace(said)
}

// certificate is a server's, in PEM.
func certificate(s *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}
