package agentapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

func jwt(t *testing.T, s *servertest.Server, typ api.AgentType, id api.AgentID) string {
	t.Helper()
	var token operatorapi.NewToken
	s.Do(http.MethodPost, "/api/v1/tokens", operatorapi.TokenRequest{AgentType: typ, AgentID: id, JWT: true, TTLSeconds: 600}, &token)
	return token.Token
}

// asked says what each route of agents answers to callers with a token in place of a
// certificate, when the server takes tokens.
var asked = map[route.ID][]api.Code{
	//                   sensor           other sensor's path       action            other action's path       revoked           other organisation's sensor, no token of ours
	route.Enroll:       {api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken},
	route.Download:     {api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken, api.CodeBadToken},
	route.Renew:        {api.CodeForbidden, api.CodeIdentityMismatch, api.CodeForbidden, api.CodeIdentityMismatch, api.CodeRevoked, api.CodeForbidden, api.CodeBadToken},
	route.Refresh:      {in, api.CodeIdentityMismatch, in, api.CodeIdentityMismatch, api.CodeRevoked, in, api.CodeBadToken},
	route.Heartbeat:    {in, api.CodeIdentityMismatch, in, api.CodeIdentityMismatch, api.CodeRevoked, in, api.CodeBadToken},
	route.Instructions: {api.CodeForbidden, api.CodeForbidden, in, api.CodeIdentityMismatch, api.CodeRevoked, api.CodeForbidden, api.CodeBadToken},
	route.Progress:     {api.CodeForbidden, api.CodeForbidden, in, api.CodeIdentityMismatch, api.CodeRevoked, api.CodeForbidden, api.CodeBadToken},
	route.Result:       {api.CodeForbidden, api.CodeForbidden, in, api.CodeIdentityMismatch, api.CodeRevoked, api.CodeForbidden, api.CodeBadToken},
	route.Events:       {in, api.CodeIdentityMismatch, api.CodeForbidden, api.CodeForbidden, api.CodeRevoked, in, api.CodeBadToken},
	route.Logs:         {in, api.CodeIdentityMismatch, in, api.CodeIdentityMismatch, api.CodeRevoked, in, api.CodeBadToken},
	route.Assignments:  {in, api.CodeIdentityMismatch, in, api.CodeIdentityMismatch, api.CodeRevoked, in, api.CodeBadToken},
	route.Monitors:     {in, api.CodeIdentityMismatch, api.CodeForbidden, api.CodeForbidden, api.CodeRevoked, in, api.CodeBadToken},
	route.Package:      {in, api.CodeIdentityMismatch, in, api.CodeIdentityMismatch, api.CodeRevoked, in, api.CodeBadToken},
}

func TestMatrixOfTokens(t *testing.T) {
	s := servertest.StartWith(t, func(o *server.Options) { o.AllowJWT = true })
	sensor, action, gone := jwt(t, s, api.Sensor, "sensor-1"), jwt(t, s, api.Action, "action-1"), jwt(t, s, api.Sensor, "sensor-9")
	s.Do(http.MethodPost, "/api/v1/agents/sensor-9/revoke", operatorapi.RevokeRequest{}, nil)
	elsewhere := servertest.StartWith(t, func(o *server.Options) { o.AllowJWT = true })
	columns := []caller{
		{"sensor", nil, "sensor-1", sensor},
		{"sensor on another sensor's path", nil, "sensor-9", sensor},
		{"action", nil, "action-1", action},
		{"action on another agent's path", nil, "action-9", action},
		{"revoked sensor", nil, "sensor-9", gone},
		{"sensor of another organisation", nil, "sensor-1", jwt(t, s.Organisation("other"), api.Sensor, "sensor-1")},
		{"sensor of another server", nil, "sensor-1", jwt(t, elsewhere, api.Sensor, "sensor-1")},
	}
	for _, row := range route.Table() {
		if row.Listener != route.Agents {
			continue
		}
		codes := asked[row.ID]
		if len(codes) != len(columns) {
			t.Errorf("route %s: %d expectations for %d callers: every cell is explicit", row.ID, len(codes), len(columns))
			continue
		}
		for i, c := range columns {
			path := strings.NewReplacer("{agent_id}", string(c.path), "{id}", "01J00000000000000000000000", "{plugin_id}", "p", "{version}", "1.0.0").Replace(row.Pattern)
			status, code := call(t, s, c, row.Method, path)
			admitted := status != http.StatusUnauthorized && status != http.StatusForbidden
			if codes[i] == in && !admitted || codes[i] != in && code != codes[i] {
				t.Errorf("%s by %s = %d %q, want %q", row.ID, c.name, status, code, codes[i])
			}
		}
	}
}

// A token is refused by a server that was not told to take it, one made before a
// revocation stays refused after the agent is let in again, and an open poll ends.
func TestTokensAndRevocation(t *testing.T) {
	allow := true
	var agent operatorapi.Agent
	s := servertest.StartWith(t, func(o *server.Options) { o.AllowJWT = allow })
	first := jwt(t, s, api.Action, "action-1")
	as := func(token string) caller { return caller{"", nil, "action-1", token} }
	beats := func(what, token string, want api.Code) {
		t.Helper()
		if status, code := call(t, s, as(token), http.MethodPost, "/agents/v1/action-1/logs"); code != want && !(want == "" && status != 401 && status != 403) {
			t.Errorf("%s: %d %q, want %q", what, status, code, want)
		}
	}
	beats("the first token", first, "")
	polled := make(chan api.Code, 1)
	go func() {
		_, code := call(t, s, as(first), http.MethodGet, "/agents/v1/action-1/instructions?wait=9")
		polled <- code
	}()
	time.Sleep(300 * time.Millisecond) // the poll is open
	s.Do(http.MethodPost, "/api/v1/agents/action-1/revoke", operatorapi.RevokeRequest{}, nil)
	if code := <-polled; code != api.CodeRevoked {
		t.Errorf("the open poll ended with %q, want %q", code, api.CodeRevoked)
	}
	beats("after the revocation", first, api.CodeRevoked)
	time.Sleep(time.Second) // tokens count whole seconds
	second := jwt(t, s, api.Action, "action-1")
	beats("the next token", second, "")
	if shown := s.Operator.Do(t.Context(), http.MethodGet, "/api/v1/agents/action-1", nil, nil, &agent); shown != nil || agent.CertificateNotAfter.Before(time.Now()) {
		t.Errorf("shown: %v, good until %v", shown, agent.CertificateNotAfter)
	}
	beats("the one from before", first, api.CodeBadToken)

	allow = false
	s.Restart()
	beats("a server without tokens", second, api.CodeNoCertificate)
	err := s.Operator.Do(t.Context(), http.MethodPost, "/api/v1/tokens", nil, operatorapi.TokenRequest{AgentType: api.Action, AgentID: "action-1", JWT: true}, nil)
	if err == nil || !strings.Contains(err.Error(), "--allow-jwt") {
		t.Errorf("a token from a server without tokens: %v", err)
	}
	found := ""
	for _, row := range s.Audit() {
		found += row.Action + " "
	}
	if !strings.Contains(found, "jwt.create") {
		t.Errorf("on record: %s", found)
	}
}
