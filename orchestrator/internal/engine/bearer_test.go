package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// A token that a thief refreshed right before the revocation is not let in with the one
// that is made right after it, although both would say the same second.
func TestARevocationEndsTokensOfItsSecond(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		tokens, err := ca.OpenTokens(t.TempDir(), w.ca)
		if err != nil {
			t.Fatal(err)
		}
		w.jwt = tokens
		id, spec := pki.Identity{Org: "default", Type: api.Sensor, Agent: "web-01"}, TokenSpec{Type: api.Sensor, Agent: "web-01"}
		if _, err := w.CreateJWT(t.Context(), id.Org, spec); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		stolen, err := w.RefreshToken(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		if err := w.Revoke(t.Context(), id.Org, id.Agent, "stolen"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.CreateJWT(t.Context(), id.Org, spec); api.CodeOf(err) != api.CodeConflict || !strings.Contains(err.Error(), "in a moment") {
			t.Errorf("within the second of the revocation: %v, want that it is made again in a moment", err)
		}
		time.Sleep(time.Second)
		made, err := w.CreateJWT(t.Context(), id.Org, spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := w.AdmitToken(t.Context(), stolen.Token); api.CodeOf(err) != api.CodeBadToken {
			t.Errorf("the stolen token: %v, want %s", err, api.CodeBadToken)
		}
		_, _, release, err := w.AdmitToken(t.Context(), made.Text)
		if err != nil {
			t.Fatal(err)
		}
		release()
	})
}
