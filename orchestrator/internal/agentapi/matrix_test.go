package agentapi_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// caller is one column of the matrix: with which certificate or token, and on whose path.
type caller struct {
	name  string
	agent *servertest.Agent // nil: no certificate
	path  api.AgentID
	token string
}

// in stands for an answer of the handler itself, whatever it is: the caller was let in.
const in = api.Code("")

// want says for every route of agents, in the order of the columns of callers, what
// each gets.
var want = map[route.ID][]api.Code{
	//                   nobody                token                 sensor           other sensor's path       action            other action's path       revoked sensor   revoked action   other organisation's sensor
	route.Enroll:       {api.CodeBadToken, in, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken},
	route.Download:     {api.CodeBadToken, in, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken},
	route.Renew:        {api.CodeNoCertificate, api.CodeNoCertificate, in, api.CodeIdentityMismatch, in, api.CodeIdentityMismatch, api.CodeRevoked, api.CodeRevoked, in},
	route.Refresh:      {api.CodeNoCertificate, api.CodeNoCertificate, api.CodeForbidden, api.CodeIdentityMismatch, api.CodeForbidden, api.CodeIdentityMismatch, api.CodeRevoked, api.CodeRevoked, api.CodeForbidden},
	route.Heartbeat:    {api.CodeNoCertificate, api.CodeNoCertificate, in, api.CodeIdentityMismatch, in, api.CodeIdentityMismatch, api.CodeRevoked, api.CodeRevoked, in},
	route.Instructions: {api.CodeNoCertificate, api.CodeNoCertificate, api.CodeForbidden, api.CodeForbidden, in, api.CodeIdentityMismatch, api.CodeRevoked, api.CodeRevoked, api.CodeForbidden},
	route.Progress:     {api.CodeNoCertificate, api.CodeNoCertificate, api.CodeForbidden, api.CodeForbidden, in, api.CodeIdentityMismatch, api.CodeRevoked, api.CodeRevoked, api.CodeForbidden},
	route.Result:       {api.CodeNoCertificate, api.CodeNoCertificate, api.CodeForbidden, api.CodeForbidden, in, api.CodeIdentityMismatch, api.CodeRevoked, api.CodeRevoked, api.CodeForbidden},
	route.Events:       {api.CodeNoCertificate, api.CodeNoCertificate, in, api.CodeIdentityMismatch, api.CodeForbidden, api.CodeForbidden, api.CodeRevoked, api.CodeRevoked, in},
	route.Logs:         {api.CodeNoCertificate, api.CodeNoCertificate, in, api.CodeIdentityMismatch, in, api.CodeIdentityMismatch, api.CodeRevoked, api.CodeRevoked, in},
	route.Assignments:  {api.CodeNoCertificate, api.CodeNoCertificate, in, api.CodeIdentityMismatch, in, api.CodeIdentityMismatch, api.CodeRevoked, api.CodeRevoked, in},
	route.Monitors:     {api.CodeNoCertificate, api.CodeNoCertificate, in, api.CodeIdentityMismatch, api.CodeForbidden, api.CodeForbidden, api.CodeRevoked, api.CodeRevoked, in},
	route.Package:      {api.CodeNoCertificate, api.CodeNoCertificate, in, api.CodeIdentityMismatch, in, api.CodeIdentityMismatch, api.CodeRevoked, api.CodeRevoked, in},
}

func callers(t *testing.T, s *servertest.Server) []caller {
	t.Helper()
	sensor, action := s.Enrol(api.Sensor, "sensor-1", "a"), s.Enrol(api.Action, "action-1", "a")
	goneSensor, goneAction := s.Enrol(api.Sensor, "sensor-9", "a"), s.Enrol(api.Action, "action-9", "a")
	for _, gone := range []*servertest.Agent{goneSensor, goneAction} {
		s.Do(http.MethodPost, "/api/v1/agents/"+string(gone.ID)+"/revoke", operatorapi.RevokeRequest{}, nil)
	}
	return []caller{
		{"nobody", nil, "sensor-1", ""},
		{"token", nil, "sensor-1", s.Token(api.Sensor, "").Token},
		{"sensor", sensor, "sensor-1", ""},
		{"sensor on another sensor's path", sensor, "sensor-9", ""},
		{"action", action, "action-1", ""},
		{"action on another agent's path", action, "action-9", ""},
		{"revoked sensor", goneSensor, "sensor-9", ""},
		{"revoked action", goneAction, "action-9", ""},
		{"sensor of another organisation", s.Organisation("other").Enrol(api.Sensor, "sensor-1", "a"), "sensor-1", ""},
	}
}

func TestMatrix(t *testing.T) {
	s := servertest.Start(t)
	columns := callers(t, s)
	cells := 0
	for _, row := range route.Table() {
		codes := want[row.ID]
		if row.Listener != route.Agents { // not to be found on this listener, by anybody
			codes = make([]api.Code, len(columns))
			for i := range codes {
				codes[i] = api.CodeNotFound
			}
		}
		if len(codes) != len(columns) {
			t.Errorf("route %s: %d expectations for %d callers: every cell is explicit", row.ID, len(codes), len(columns))
			continue
		}
		for i, c := range columns {
			cells++
			path := strings.NewReplacer("{agent_id}", string(c.path), "{id}", "01J00000000000000000000000", "{plugin_id}", "p", "{version}", "1.0.0").Replace(row.Pattern)
			status, code := call(t, s, c, row.Method, path)
			admitted := code != api.CodeNoCertificate && code != api.CodeBadCertificate && code != api.CodeBadToken &&
				status != http.StatusForbidden
			if codes[i] == in && !admitted || codes[i] != in && code != codes[i] {
				t.Errorf("%s by %s = %d %q, want %q", row.ID, c.name, status, code, codes[i])
			}
			t.Logf("%-16s %-32s %d %s", row.ID, c.name, status, code)
		}
	}
	if wantCells := 25 * 9; cells < wantCells {
		t.Errorf("%d cells, want at least %d", cells, wantCells)
	}
}

// call makes a bare request and returns its status and the class of its error, which
// must be JSON.
func call(t *testing.T, s *servertest.Server, c caller, method, path string) (int, api.Code) {
	t.Helper()
	client := s.HTTP(c.agent)
	defer client.CloseIdleConnections()
	var body io.Reader
	if method != http.MethodGet {
		body = strings.NewReader("{}")
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s by %s: %v", method, path, c.name, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode < 300 {
		return resp.StatusCode, ""
	}
	var e api.ErrorBody
	if err := json.Unmarshal(text, &e); err != nil || e.Error == nil {
		t.Errorf("%s %s by %s: %d with the body %q, want a JSON error", method, path, c.name, resp.StatusCode, text)
		return resp.StatusCode, "none"
	}
	return resp.StatusCode, e.Error.Code
}

func TestRefusalsAreAudited(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	status, code := call(t, s, caller{"sensor", sensor, "sensor-2", ""}, "POST", "/agents/v1/sensor-2/events")
	if status != 403 || code != api.CodeIdentityMismatch {
		t.Fatalf("another's path = %d %s, want 403 identity_mismatch", status, code)
	}
	found := ""
	for _, row := range s.Audit() {
		found += fmt.Sprintln(row.Actor, row.Action, row.Object, row.Detail)
	}
	if !strings.Contains(found, "agent sensor-1 refused events identity_mismatch") {
		t.Errorf("the audit log has no record of it:\n%s", found)
	}
}

var _ = time.Second
