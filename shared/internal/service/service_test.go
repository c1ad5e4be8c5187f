package service

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/deployments"
)

func sample() Agent {
	return Agent{
		Program: "action-agent", Type: "action", ID: "web-01", Binary: "/usr/local/bin/action-agent", Base: "/opt/my company/100%/a",
		Config: "/opt/my company/100%/a/config/agent.yaml", User: "stavily", Write: []string{"/srv/data", "/srv/data", "/srv/with space"},
	}
}

func TestUnit(t *testing.T) {
	text := unit(sample(), "stavily")
	for _, want := range []string{
		"\nExecStart=/usr/local/bin/action-agent \"--config=/opt/my company/100%%/a/config/agent.yaml\"\n",
		"\nReadWritePaths=\"/opt/my company/100%%/a\" -/srv/data -\"/srv/with space\"\n",
		"\nEnvironmentFile=-/etc/default/action-agent-web-01\n",
		"\nRequiresMountsFor=\"/opt/my company/100%%/a\"\n",
		"\nUser=stavily\nGroup=stavily\n", "\nSyslogIdentifier=stavily-action\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the unit has no %q:\n%s", want, text)
		}
	}
	if left := regexp.MustCompile(`@[A-Z]+@`).FindString(text); left != "" {
		t.Errorf("%s is not filled in", left)
	}
	if want := "TimeoutStopSec=75\n"; StopLimit != 75*time.Second || !strings.Contains(text, want) {
		t.Errorf("the unit does not stop after %v", StopLimit)
	}
}

// The list of launchd is XML whose values are the agent's, whatever they hold.
func TestPropertyList(t *testing.T) {
	a := sample()
	a.Base = "/opt/a&b<c>"
	text := propertyList(a)
	if !strings.Contains(text, "<string>/opt/a&amp;b&lt;c&gt;/logs/launchd.log</string>") || !strings.Contains(text, "<string>com.stavily.action-agent-web-01</string>") {
		t.Errorf("the list is\n%s", text)
	}
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	if strings.Contains(text, "@") || !strings.Contains(deployments.AgentPropertyList, "<integer>75</integer>") {
		t.Errorf("not filled in, or another time to stop than %v:\n%s", StopLimit, text)
	}
}

func TestWhatNoUnitCanHold(t *testing.T) {
	for name, change := range map[string]func(*Agent){
		"quote":              func(a *Agent) { a.Base = `/opt/a"b` },
		"line break":         func(a *Agent) { a.Config = "/opt/a/x\nUser=root" },
		"placeholder":        func(a *Agent) { a.Base = "/opt/@USER@" },
		"variable":           func(a *Agent) { a.Binary = "/opt/$HOME/x" },
		"relative":           func(a *Agent) { a.Base = "agent-web-01" },
		"home":               func(a *Agent) { a.Base = "/home/me/agent" },
		"private tmp":        func(a *Agent) { a.Binary = "/tmp/action-agent" },
		"a system directory": func(a *Agent) { a.Base = "/etc" },
		"root":               func(a *Agent) { a.User = "root" },
		"strange user":       func(a *Agent) { a.User = "a b" },
		"strange path":       func(a *Agent) { a.Write = []string{"/srv/\x00"} },
	} {
		a := sample()
		change(&a)
		if err := a.check(); !errors.Is(err, ErrNotPossible) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := sample().check(); err != nil {
		t.Errorf("the sample: %v", err)
	}
}

// A dry run does nothing, the first error ends a real one, and both say the same steps.
func TestApply(t *testing.T) {
	did := 0
	steps := []Step{
		{"one", func(context.Context) error { did++; return nil }},
		{"two", func(context.Context) error { did++; return os.ErrPermission }},
		{"three", func(context.Context) error { did++; return nil }},
	}
	var out strings.Builder
	if err := Apply(t.Context(), steps, true, &out); err != nil || did != 0 || out.String() != "would one\nwould two\nwould three\n" {
		t.Errorf("dry: %v, %d done, %q", err, did, out.String())
	}
	out.Reset()
	err := Apply(t.Context(), steps, false, &out)
	if !errors.Is(err, os.ErrPermission) || !strings.HasPrefix(err.Error(), "two: ") || did != 2 || out.String() != "done: one\n" {
		t.Errorf("real: %v, %d done, %q", err, did, out.String())
	}
}

func TestNotify(t *testing.T) {
	dir, err := os.MkdirTemp("", "n") // short: paths of sockets are
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Skipf("no datagram sockets here: %v", err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := Notify("READY=1", "STATUS=ok"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, err := socket.Read(buf)
	if got := string(buf[:n]); err != nil || got != "READY=1\nSTATUS=ok" {
		t.Errorf("got %q, %v", got, err)
	}
	t.Setenv("NOTIFY_SOCKET", path+"-gone")
	if err := Notify("READY=1"); err == nil {
		t.Error("a socket that is not there is no error")
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify("READY=1"); err != nil || Notified() {
		t.Errorf("without a manager: %v", err)
	}
}

func TestWatchdog(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"60000000", "", time.Minute},
		{"", "", 0},
		{"-1", "", 0},
		{"99999999999999999999", "", 0},
		{"60000000", "1", 0}, // for another process
	} {
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		if got := Watchdog(); got != c.want {
			t.Errorf("Watchdog() = %v with %+v", got, c)
		}
	}
}
