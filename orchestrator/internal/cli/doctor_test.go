package cli

import (
	"context"
	"encoding/json"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// TestDoctor holds what the doctor finds at a real server: first nothing but the missing
// agents, then a step that nobody can take.
func TestDoctor(t *testing.T) {
	s := servertest.Start(t)
	diagnose := func() map[string]operatorapi.Check {
		t.Helper()
		code, stdout, stderr := run(t, "--data-dir", s.DataDir, "doctor", "-o", "json")
		var checks []operatorapi.Check
		if err := json.Unmarshal([]byte(stdout), &checks); err != nil || code != exitOK {
			t.Fatalf("exit %d, %v: %s%s", code, err, stdout, stderr)
		}
		by := map[string]operatorapi.Check{}
		for _, c := range checks {
			by[c.Name] = c
		}
		return by
	}
	first := diagnose()
	for _, name := range []string{"server", "clock here", "port of agents", "port of people", "certificate authority", "clock", "database", "steps"} {
		if c := first[name]; c.Status != operatorapi.CheckOK {
			t.Errorf("%s: %+v, want ok", name, c)
		}
	}
	if c := first["agents"]; c.Status != operatorapi.CheckWarning || !strings.Contains(c.Remedy, "stavily tokens create") {
		t.Errorf("without agents: %+v", c)
	}
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	s.Apply("name: clean\ntriggers:\n  - event: test\nactions:\n  - plugin: cleaner\n")
	_, err := sensor.Events(t.Context(), api.EventBatch{Stream: api.Stream{Epoch: "e"}, Events: []api.Event{{Seq: 1, ID: "E1", Type: "test", Severity: api.Low, Timestamp: api.At(time.Now())}}})
	if err != nil {
		t.Fatal(err)
	}
	if c := diagnose()["steps"]; c.Status != operatorapi.CheckWarning || !strings.Contains(c.Message, "no action agent") {
		t.Errorf("with a step for nobody: %+v", c)
	}
	if _, stdout, _ := run(t, "--data-dir", s.DataDir, "doctor"); !strings.Contains(stdout, "ok       server: answers") || !strings.Contains(stdout, "         → Start or enrol") {
		t.Errorf("for people it says\n%s", stdout)
	}
	s.Stop()
	if code, stdout, stderr := run(t, "--data-dir", s.DataDir, "doctor"); code != exitUnreachable || !strings.Contains(stdout, "failed   server: no server answers") || stderr == "" {
		t.Errorf("without a server: %d\n%s%s", code, stdout, stderr)
	}
}

func TestDoctorJudgesFromHere(t *testing.T) {
	now := time.Now()
	for off, want := range map[time.Duration]string{0: operatorapi.CheckOK, 4 * time.Second: operatorapi.CheckOK, -time.Minute: operatorapi.CheckWarning, time.Hour: operatorapi.CheckWarning} {
		if c := clocks(operatorapi.Health{ServerTime: api.At(now.Add(off))}, now, now); c.Status != want {
			t.Errorf("a clock %s off: %+v, want %s", off, c, want)
		}
	}
	if c := versions(operatorapi.Health{Version: "0.0.1"}); c.Status != operatorapi.CheckWarning || c.Remedy == "" {
		t.Errorf("another version: %+v", c)
	}
	stranger := httptest.NewTLSServer(nil)
	defer stranger.Close()
	fingerprint := "sha256:" + strings.Repeat("0", 64)
	if c := port(t.Context(), "p", stranger.URL, fingerprint); c.Status != operatorapi.CheckFailed || !strings.Contains(c.Message, "wrong certificate") {
		t.Errorf("somebody else's certificate: %+v", c)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "https://" + l.Addr().String()
	l.Close()
	if c := port(t.Context(), "p", address, fingerprint); c.Status != operatorapi.CheckFailed || !strings.Contains(c.Message, "cannot be reached") || c.Remedy == "" {
		t.Errorf("where nobody listens: %+v", c)
	}
}
