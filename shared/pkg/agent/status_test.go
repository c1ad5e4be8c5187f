package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

func askStatus(t *testing.T, rt *Runtime, from string) (int, Status) {
	t.Helper()
	r := httptest.NewRequest("GET", "/my-status", nil)
	r.RemoteAddr = from
	w := httptest.NewRecorder()
	rt.healthHandler(config.Health{Path: "/health", ReadyPath: "/ready", StatusPath: "/my-status"}).ServeHTTP(w, r)
	var s Status
	if w.Code == 200 {
		if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
	} else if strings.Contains(w.Body.String(), "agent_id") {
		t.Errorf("%d tells: %s", w.Code, w.Body)
	}
	return w.Code, s
}

func TestStatusTellsCallersOnThisHost(t *testing.T) {
	rt, _ := testRuntime(t, api.Sensor)
	rt.Health.Set("disk_full", Degraded, true, "no room", "make room")
	rt.Health.Beat("delivery", time.Hour)
	rt.Health.Beat("heartbeat", -time.Second)
	rt.noteContact(nil)
	code, s := askStatus(t, rt, "127.0.0.1:9")
	if code != 200 || s.AgentID != rt.Config().Agent.ID || s.Version != api.Version || s.Ready || s.Orchestrator.Contact != "connected" || time.Since(s.Orchestrator.AnsweredAt.Time) > time.Minute {
		t.Errorf("%d %+v", code, s)
	}
	if got := fmt.Sprint(s.Against); got != "[disk_full stuck_heartbeat]" {
		t.Errorf("kept from being ready by %s", got)
	}
	if i := slices.IndexFunc(s.Health.Conditions, func(c api.Condition) bool { return c.Name == "disk_full" }); i < 0 || s.Health.Conditions[i].Remedy != "make room" || s.Health.Conditions[i].Since.IsZero() {
		t.Errorf("conditions %+v", s.Health.Conditions)
	}
	if len(s.Loops) != 2 || s.Loops[0].Name != "delivery" || s.Loops[0].Stuck || !s.Loops[1].Stuck || s.Health.Status != string(Failing) {
		t.Errorf("%s, loops %+v", s.Health.Status, s.Loops)
	}
	if code, _ := askStatus(t, rt, "192.0.2.1:9"); code != 403 {
		t.Errorf("a remote caller gets %d, want 403", code)
	}
	var out bytes.Buffer
	if err := print(&out, "table", s, s.table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"! disk_full", "no room; make room", "not ready: disk_full, stuck_heartbeat", "loop heartbeat", "stuck"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestReadyCanAskForContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, _ := testRuntime(t, api.Sensor)
		rt.Health = newHealth(time.Now)
		rt.Health.silence = rt.silence
		rt.noteContact(nil)
		time.Sleep(time.Hour)
		if ready, _ := rt.Health.Ready(); !ready {
			t.Error("an outage makes an agent unready that was not asked for contact")
		}
		c := *rt.Config()
		c.Health.ReadyContact = config.Duration(5 * time.Minute)
		rt.config.Store(&c)
		ready, against := rt.Health.Ready()
		if ready || len(against) != 1 || against[0].Name != conditionSilent || time.Since(against[0].Since.Time) != 55*time.Minute {
			t.Errorf("after an hour of silence: %v, %+v", ready, against)
		}
		if got := rt.Health.Snapshot().Status; got != string(Degraded) {
			t.Errorf("/health is %s: a restart would not help", got)
		}
		rt.noteContact(errors.New("nobody there"))
		if ready, _ := rt.Health.Ready(); ready {
			t.Error("ready because a call failed")
		}
		rt.noteContact(nil)
		if ready, against := rt.Health.Ready(); !ready {
			t.Errorf("not ready although it was answered: %+v", against)
		}
	})
}

func TestCallsAreCounted(t *testing.T) {
	rt, _ := testRuntime(t, api.Sensor)
	rt.counts.called("GET", api.PathHeartbeat, 3*time.Millisecond, nil)
	rt.counts.called("GET", api.PathInstructions, time.Second, &api.Error{Code: api.CodeUnavailable})
	rt.counts.called("GET", api.PathInstructions, time.Second, fmt.Errorf("x: %w", &api.UnreachableError{}))
	rt.counts.called("GET", "/new", time.Second, errors.New("x"))
	rt.counts.called("GET", "/new", time.Second, fmt.Errorf("x: %w", context.Canceled))
	w := httptest.NewRecorder()
	rt.Metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`_api_request_seconds_bucket{route="heartbeat",le="0.005"} 1`, `_api_request_seconds_count{route="poll"} 2`, `_api_request_seconds_count{route="other"} 1`,
		`_api_errors_total{route="poll",class="unavailable"} 1`, `_api_errors_total{route="poll",class="unreachable"} 1`, `_api_errors_total{route="other",class="other"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q in:\n%s", want, w.Body)
		}
	}
}

// showsStatus asks an agent that runs without a certificate.
func showsStatus(t *testing.T, role Role, file string) {
	t.Helper()
	out, _, err := command(t, role, "status", "--config", file, "-o", "json")
	var s Status
	if err != nil || json.Unmarshal([]byte(out), &s) != nil || s.AgentID != "web-01" || s.Ready || s.Certificate != nil || !slices.Contains(s.Against, conditionNotEnrolled) {
		t.Errorf("status -o json: %v, %q", err, out)
	}
	if out, _, err := command(t, role, "status", "--config", file); err != nil || !strings.Contains(out, "! "+conditionNotEnrolled) || !strings.Contains(out, "stavily tokens create") {
		t.Errorf("status: %v, %q", err, out)
	}
}

// An agent listens where it was told to and nowhere else (R170): on two ports that differ
// by its type (F18), or on none.
func TestAnAgentListensOnlyWhereItIsToldTo(t *testing.T) {
	names := func(rt *Runtime) (out []string) {
		for _, c := range rt.listeners() {
			out = append(out, c.Name)
		}
		return out
	}
	for _, c := range []struct {
		environ []string
		want    string
	}{
		{nil, "[health endpoint metrics endpoint]"},
		{[]string{"STAVILY_METRICS_ENABLED=false"}, "[health endpoint]"},
		{[]string{"STAVILY_HEALTH_ENABLED=false"}, "[metrics endpoint]"},
		{[]string{"STAVILY_HEALTH_ENABLED=false", "STAVILY_METRICS_ENABLED=false"}, "[]"},
	} {
		rt, _ := testRuntime(t, api.Action, c.environ...)
		if got := fmt.Sprint(names(rt)); got != c.want {
			t.Errorf("%q: listeners %s, want %s", c.environ, got, c.want)
		}
	}
}

// All paths are the owner's to choose, and a namespace stands in each name of ours.
func TestPathsAndNamespaceAreConfigured(t *testing.T) {
	rt, _ := testRuntime(t, api.Sensor, "STAVILY_HEALTH_PATH=/h", "STAVILY_HEALTH_READY_PATH=/r", "STAVILY_HEALTH_STATUS_PATH=/s", "STAVILY_METRICS_PATH=/m", "STAVILY_METRICS_NAMESPACE=mine")
	health := rt.healthHandler(rt.Config().Health)
	for path, want := range map[string]int{"/h": 200, "/r": 200, "/s": 200, "/health": 404, "/ready": 404, "/status": 404} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", path, nil)
		r.RemoteAddr = "127.0.0.1:1"
		health.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("GET %s = %d, want %d", path, w.Code, want)
		}
	}
	w := httptest.NewRecorder()
	rt.metricsHandler().ServeHTTP(w, httptest.NewRequest("GET", "/m", nil))
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "mine_") && !strings.HasPrefix(line, "go_") && !strings.HasPrefix(line, "process_") {
			t.Errorf("outside of the namespace: %s", line)
		}
	}
	if !strings.Contains(w.Body.String(), "\nmine_orchestrator_connected 0\n") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}
