package agent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
)

// webhook and slack post to the URL that the owner configured.
func TestOfficialWebhookAndSlackPost(t *testing.T) {
	t.Parallel()
	bodies := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- r.Method + " " + r.URL.Path + " " + string(body)
	}))
	defer server.Close()
	for folder, want := range map[string]string{
		"outputs/webhook": `POST /services/secret {"text": "disk full"}`,
		"outputs/slack":   `POST /services/secret {"text": "disk full", "attachments": [{`,
	} {
		atBothLevels(t, folder, fmt.Sprintf("config: {url: %q, retries: 0}\n", server.URL+"/services/secret"), func(t *testing.T, o *official) {
			o.ended(o.run(t, `{"text": "disk full"}`), api.Completed, "")
			if got := <-bodies; !strings.HasPrefix(got, want) {
				t.Errorf("posted %s, want %s", got, want)
			}
		})
	}
}

// Mail reaches a real server, whose certificate nobody knows, over no encryption, and over
// STARTTLS it is refused.
func TestOfficialEmailSends(t *testing.T) {
	t.Parallel()
	python, err := interpreter()
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), python.Path, filepath.Join("..", "..", "..", "plugins", "testdata", "smtp.py"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	lines.Scan()
	settings := "config: {server: \"127.0.0.1:" + lines.Text() + "\", security: SECURITY, sender: s@x.test, recipients: [a@x.test], retries: 0}\n"
	atBothLevels(t, "outputs/email", strings.Replace(settings, "SECURITY", "none", 1), func(t *testing.T, o *official) {
		o.ended(o.run(t, `{"subject": "disk full", "text": "Look at it."}`), api.Completed, "")
		lines.Scan()
		var took struct{ Text string }
		if err := json.Unmarshal(lines.Bytes(), &took); err != nil || !strings.Contains(took.Text, "Subject: disk full\r\n") || !strings.Contains(took.Text, "\r\nLook at it.\r\n") {
			t.Errorf("the server took %s (%v)", lines.Bytes(), err)
		}
	})
	atBothLevels(t, "outputs/email", strings.Replace(settings, "SECURITY", "starttls", 1), func(t *testing.T, o *official) {
		o.ended(o.run(t, `{"text": "Look at it."}`), api.Failed, "STARTTLS extension not supported")
	})
}

func TestOfficialFileAppends(t *testing.T) {
	t.Parallel()
	atBothLevels(t, "outputs/file", "config: {directory: DIR, max_bytes: 1024, keep: 1}\n", func(t *testing.T, o *official) {
		for range 2 {
			o.ended(o.run(t, `{"text": "`+strings.Repeat("x", 700)+`"}`), api.Completed, "")
		}
		for _, name := range []string{"messages.jsonl", "messages.jsonl.1"} {
			var line struct{ Content struct{ Text string } }
			if err := json.Unmarshal([]byte(read(t, filepath.Join(o.dir, name))), &line); err != nil || len(line.Content.Text) != 700 {
				t.Errorf("%s: %+v, %v", name, line, err)
			}
		}
	})
}

// Syslog goes over streams at both levels, to this host's socket only where other sockets
// cannot be reached, and in a datagram of the network never.
func TestOfficialSyslogSends(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	settings := fmt.Sprintf("config: {transport: TRANSPORT, servers: [%q], sockets: [DIR/log]}\n", listener.Addr())
	with := func(transport string) string { return strings.Replace(settings, "TRANSPORT", transport, 1) }
	atBothLevels(t, "outputs/syslog", with("tcp"), func(t *testing.T, o *official) {
		heard := make(chan string, 1)
		go func() {
			c, err := listener.Accept()
			if err != nil {
				heard <- err.Error()
				return
			}
			defer c.Close()
			text, _ := io.ReadAll(c)
			heard <- string(text)
		}()
		o.ended(o.run(t, `{"text": "disk full", "severity": "high"}`), api.Completed, "")
		if got := <-heard; !strings.Contains(got, " <27>1 ") || !strings.HasSuffix(got, " - disk full") || !strings.Contains(got, " web-01 stavily ") {
			t.Errorf("heard %q", got)
		}
	})
	atBothLevels(t, "outputs/syslog", with("unix"), func(t *testing.T, o *official) {
		log, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(o.dir, "log"), Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		r := o.run(t, `{"text": "disk full"}`)
		if o.posture.Level == sandbox.Confined {
			o.ended(r, api.Failed, "it takes level full, or transport tls or tcp")
			return
		}
		o.ended(r, api.Completed, "")
		buffer := make([]byte, 1000)
		log.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := log.Read(buffer); err != nil || !strings.HasSuffix(string(buffer[:n]), " - disk full") {
			t.Errorf("heard %q, %v", buffer[:n], err)
		}
	})
	atBothLevels(t, "outputs/syslog", with("udp"), func(t *testing.T, o *official) {
		o.ended(o.run(t, `{"text": "disk full"}`), api.Failed, "the sandbox refuses UDP at every level")
	})
}
