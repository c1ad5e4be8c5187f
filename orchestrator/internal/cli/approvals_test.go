package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// What waits for people is listed with what it would do, decided on by its digest, and the
// explanation of the event says what became of it.
func TestApprovals(t *testing.T) {
	s := servertest.Start(t)
	s.Apply("name: w\ntriggers: [{event: a}]\nactions: [{id: ok, approval: {}}, {id: do, plugin: p, needs: [ok], with: {path: '${{ event.data.path }}'}}, " +
		"{id: get, plugin: q, needs: [ok], type: plugin_install, plugin_configuration: {plugin_url: 'https://a.example/q.git', tag: v1}}]\n")
	sensor := s.Enrol(api.Sensor, "s", "h")
	for seq, id := range []api.EventID{"E1", "E2"} {
		_, err := sensor.Events(t.Context(), api.EventBatch{Stream: api.Stream{Epoch: "e"}, Events: []api.Event{{
			Seq: uint64(seq + 1), ID: id, Type: "a", Severity: api.Low, Timestamp: api.At(time.Now()), Data: map[string]json.RawMessage{"path": json.RawMessage(`"/var/` + string(id) + `"`)},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	stavily := func(want int, args ...string) (out, errs string) {
		t.Helper()
		code, out, errs := run(t, append([]string{"--data-dir", s.DataDir}, args...)...)
		if code != want {
			t.Fatalf("%v = %d: %s%s", args, code, out, errs)
		}
		return out, errs
	}
	var all []operatorapi.Approval
	out, _ := stavily(exitOK, "approvals", "list", "-o", "json")
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 2 {
		t.Fatalf("%s: %v", out, err)
	}
	out, _ = stavily(exitOK, "approvals", "list")
	for _, want := range []string{
		`do: plugin p on the host of the sensor: {"path":"/var/E1"}` + "\n", all[1].Digest,
		`get: plugin_install of plugin q on the host of the sensor: without input, plugin_configuration {"plugin_url":"https://a.example/q.git","tag":"v1"}`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("listed %s, want %s", out, want)
		}
	}
	if _, errs := stavily(exitFailed, "approvals", "approve", string(all[0].Run), "ok", "--by", "ann", "--digest", all[1].Digest); !strings.Contains(errs, "asks for an approval of "+all[0].Digest) {
		t.Errorf("the digest of another: %s", errs)
	}
	if _, errs := stavily(exitOK, "approvals", "approve", string(all[0].Run), "ok", "--by", "ann"); !strings.Contains(errs, "is approved by ann; the run is running") {
		t.Errorf("approved: %s", errs)
	}
	if _, errs := stavily(exitOK, "approvals", "deny", string(all[1].Run), "ok", "--by", "bob", "--reason", "not now"); !strings.Contains(errs, "is denied by bob; the run is failed") {
		t.Errorf("denied: %s", errs)
	}
	stavily(exitFailed, "approvals", "approve", string(all[1].Run), "ok", "--by", "ann")
	if out, _ := stavily(exitOK, "explain", "E2"); !strings.Contains(out, "which is failed: step ok: rejected: denied by bob: not now") {
		t.Errorf("explained %s", out)
	}
	if _, errs := stavily(exitOK, "approvals", "list"); !strings.Contains(errs, "Nothing waits for an approval.") {
		t.Errorf("listed %s", errs)
	}
}
