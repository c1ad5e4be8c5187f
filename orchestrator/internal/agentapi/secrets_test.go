package agentapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/sealed"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// Whoever reads what goes over the wire, as a proxy does that ends TLS, reads no form of a
// secret; the agent opens it, and nobody else.
func TestAProxyDoesNotSeeSecrets(t *testing.T) {
	const value = "kanarie-9c41e7"
	s := servertest.Start(t)
	sensor, a := s.Enrol(api.Sensor, "s1", "h"), s.Enrol(api.Action, "a1", "h")
	key, err := sealed.OpenKey(filepath.Join(t.TempDir(), "k"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Heartbeat(t.Context(), api.Heartbeat{Status: "online", SecretsKey: key.Public()}); err != nil {
		t.Fatal(err)
	}
	s.Do(http.MethodPut, "/api/v1/secrets/api", operatorapi.SecretRequest{Value: value}, nil)
	s.Apply("name: w\ntriggers: [{event: disk.space.high}]\nactions: [{plugin: p, with: {mount: '${{ event.data.mount }}', token: 'Bearer ${{ secrets.api }}'}}]\n")
	send(t, sensor, full(1, "E1", "95"), api.EventAccepted)

	client := s.HTTP(a)
	var wire bytes.Buffer
	call := func(method, path string, in, out any) {
		t.Helper()
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if method == http.MethodGet {
			r.Body = nil
			r.ContentLength = 0
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		wire.Write(append(body, text...))
		if err != nil || answer.StatusCode != http.StatusOK || json.Unmarshal(text, out) != nil {
			t.Fatalf("%s %s: %d %s, %v", method, path, answer.StatusCode, text, err)
		}
	}
	var offers api.PollResponse
	call(http.MethodGet, "/agents/v1/a1/instructions?wait=5", nil, &offers)
	i := offers.Instruction
	var claimed api.ProgressResponse
	call(http.MethodPut, "/agents/v1/a1/instructions/"+string(i.ID), api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: "b"}, &claimed)

	var masks telemetry.Redactor
	masks.Add(value)
	if text := wire.String(); masks.Redact(text) != text || !strings.Contains(text, "[secret api]") {
		t.Errorf("the wire shows it, or was not seen: %s", text)
	}
	contents, err := key.Open(sealed.Binding{Org: "default", Agent: "a1", Instruction: i.ID, Attempt: i.Attempt}, claimed.Secrets)
	if err != nil || len(contents.Fills) != 1 || contents.Fills[0].Text != "Bearer "+value {
		t.Errorf("the agent opens %d texts, %v", len(contents.Fills), err)
	}
}
