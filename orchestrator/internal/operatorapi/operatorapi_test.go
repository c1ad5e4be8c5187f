package operatorapi_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

func batch(seq uint64, id api.EventID, typ string) api.EventBatch {
	return api.EventBatch{Stream: api.Stream{Epoch: "e"}, Events: []api.Event{{Seq: seq, ID: id, Type: typ, Severity: api.Low, Timestamp: api.At(time.Now())}}}
}

var errEnough = errors.New("seen enough")

// TestFollowEvents holds that a follower gets every event once and in order: the last
// few, those that come, and only those that it asked for.
func TestFollowEvents(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	emit := func(seq uint64, id api.EventID, typ string) {
		t.Helper()
		if _, err := sensor.Events(t.Context(), batch(seq, id, typ)); err != nil {
			t.Fatal(err)
		}
	}
	emit(1, "E1", "wanted")
	emit(2, "E2", "wanted")
	emit(3, "E3", "other")
	next := uint64(4)
	var got []api.EventID
	query := url.Values{"tail": {"1"}, "type": {"wanted"}}
	err := s.Operator.Follow(t.Context(), "/api/v1/events/follow", query, func(line json.RawMessage) error {
		var e operatorapi.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		got = append(got, e.ID)
		if len(got) == 4 {
			return errEnough
		}
		emit(next, api.EventID("N"+string('0'+rune(next))), "other")
		emit(next+1, api.EventID("N"+string('0'+rune(next+1))), "wanted")
		next += 2
		return nil
	})
	if want := "[E2 N5 N7 N9]"; !errors.Is(err, errEnough) || sprint(got) != want {
		t.Errorf("followed %v, %v, want %s", got, err, want)
	}
}

func sprint(ids []api.EventID) string {
	out := "["
	for n, id := range ids {
		if n > 0 {
			out += " "
		}
		out += string(id)
	}
	return out + "]"
}

func TestOrganisationsAreApart(t *testing.T) {
	s := servertest.Start(t)
	s.Enrol(api.Sensor, "sensor-1", "a")
	other := s.Organisation("other")
	var agents []operatorapi.Agent
	if other.Do("GET", "/api/v1/agents", nil, &agents); len(agents) != 0 {
		t.Errorf("organisation other sees %+v", agents)
	}
	err := other.Operator.Do(t.Context(), "GET", "/api/v1/agents/sensor-1", nil, nil, nil)
	if api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("another organisation's agent: %v, want not_found", err)
	}
}

func TestRefusals(t *testing.T) {
	s := servertest.Start(t)
	for path, want := range map[string]api.Code{
		"/api/v1/runs?limit=0":             api.CodeInvalid,
		"/api/v1/runs?limit=x":             api.CodeInvalid,
		"/api/v1/events?limit=501":         api.CodeInvalid,
		"/api/v1/events/follow?tail=-1":    api.CodeInvalid,
		"/api/v1/runs?workflw=x":           api.CodeInvalid,
		"/api/v1/agents/nobody":            api.CodeNotFound,
		"/api/v1/workflows/nothing":        api.CodeNotFound,
		"/api/v1/runs/nothing":             api.CodeNotFound,
		"/api/v1/runs/nothing/follow":      api.CodeNotFound,
		"/api/v1/runs/nothing/logs":        api.CodeNotFound,
		"/agents/v1/sensor-1/instructions": api.CodeNotFound, // of the agents' listener
	} {
		u, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Operator.Do(t.Context(), "GET", u.Path, u.Query(), nil, nil); api.CodeOf(err) != want {
			t.Errorf("GET %s: %v, want %q", path, err, want)
		}
	}
	foreign := operatorapi.NewClient(s.DataDir+"/"+operatorapi.SocketName, "Not An Org")
	defer foreign.Close()
	if err := foreign.Do(t.Context(), "GET", "/api/v1/runs", nil, nil, nil); api.CodeOf(err) != api.CodeInvalid {
		t.Errorf("a bad organisation: %v, want invalid", err)
	}
}

func TestHealth(t *testing.T) {
	s := servertest.Start(t)
	var h operatorapi.Health
	s.Do("GET", "/api/v1/health", nil, &h)
	if h.Status != "ok" || h.BaseURL != s.URL() || h.CAFingerprint != s.Token(api.Sensor, "").CAFingerprint {
		t.Errorf("health = %+v", h)
	}
}

// TestStatusOfAgents holds what people see of agents that say nothing.
func TestStatusOfAgents(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	status := func() string {
		t.Helper()
		var a operatorapi.Agent
		s.Do("GET", "/api/v1/agents/sensor-1", nil, &a)
		return a.Status
	}
	if got := status(); got != "offline" {
		t.Errorf("enrolled and not heard of: %s, want offline", got)
	}
	for _, said := range []string{"online", "draining", "offline"} {
		if _, err := sensor.Heartbeat(t.Context(), api.Heartbeat{Status: said}); err != nil {
			t.Fatal(err)
		}
		if got := status(); got != said {
			t.Errorf("after it said %s: %s", said, got)
		}
	}
	s.Do("POST", "/api/v1/agents/sensor-1/revoke", operatorapi.RevokeRequest{}, nil)
	if got := status(); got != "revoked" {
		t.Errorf("after it was revoked: %s", got)
	}
}
