package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
)

// TestOneStartsInTheOwnName holds that who starts a run over HTTPS is who the token says, on
// record and for the approval of it, and nobody whom --by names.
func TestOneStartsInTheOwnName(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	s := servertest.Start(t)
	s.Apply("name: deploy\ntriggers: [{manual: {}}]\nactions:\n  - {id: ok, approval: {self: false}}\n  - {plugin: p, needs: [ok], agents: {any: {tags: [x]}}}\n")
	s.Browser("ann", account.Approver)
	var made operatorapi.NewAPIToken
	s.Do("POST", "/api/v1/api-tokens", operatorapi.APITokenRequest{User: "ann", Name: "laptop", Role: "approver"}, &made)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(made.Secret), 0o600); err != nil {
		t.Fatal(err)
	}
	wants := func(line string, code int, says string) {
		t.Helper()
		got, stdout, stderr := run(t, strings.Fields(line)...)
		if got != code || !strings.Contains(stdout+stderr, says) {
			t.Errorf("stavily %s = %d\n%s%s\nwant %d and %q", line, got, stdout, stderr, code, says)
		}
	}
	wants("context add prod --use --url "+s.WebURL()+" --ca-file "+filepath.Join(s.DataDir, "ca", "ca.crt")+" --token-file "+token, exitOK, "")
	wants("workflows run deploy --by bob", exitFailed, "logged in as ann")
	wants("workflows run deploy", exitOK, "")
	id := string(s.Runs()[0].ID)
	wants("approvals approve "+id+" ok --by bob", exitFailed, "logged in as ann")
	wants("approvals approve "+id+" ok", exitFailed, "ann has started the run")
	wants("approvals deny "+id+" ok", exitOK, "is denied by you")
	audit := s.Audit()
	last, before := audit[len(audit)-1], audit[len(audit)-2]
	if last.Actor != "user ann token laptop" || !strings.Contains(last.Detail, "by ann") || before.Action != "workflow.run" || !strings.Contains(before.Detail, "by ann") {
		t.Errorf("on record: %+v, %+v", before, last)
	}
}
