package account

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Kinds of credentials. Each has a prefix of its own, so that a leaked one is recognised
// by people and scanners.
const (
	KindSession    = "session"
	KindToken      = "token"
	KindInvitation = "invitation"
)

var prefixes = map[string]string{KindSession: "svs_", KindToken: "sva_", KindInvitation: "svi_"}

// Lives of credentials.
const (
	SessionLife    = 12 * time.Hour // a working day, with its handover
	SessionIdle    = time.Hour
	InvitationLife = 24 * time.Hour

	DefaultTokenLife = 90 * 24 * time.Hour
	MaxTokenLife     = 366 * 24 * time.Hour

	// maxSessions of one user; the oldest ends for a new one.
	maxSessions = 20
	// maxTokens of one user.
	maxTokens = 100
	// useResolution: a use is written down when the last is this long ago.
	useResolution = 5 * time.Minute
)

// newSecret makes a credential of a kind. It names the organisation, so that it is looked
// up in that one alone.
func newSecret(kind string, org api.OrgID) string {
	return prefixes[kind] + string(org) + "_" + strings.ToLower(rand.Text())
}

// parseSecret is the organisation that a credential of a kind claims.
func parseSecret(kind, text string) (api.OrgID, bool) {
	rest, ok := strings.CutPrefix(text, prefixes[kind])
	end := strings.LastIndexByte(rest, '_')
	if !ok || end < 0 || len(text) > 256 {
		return "", false
	}
	org := api.OrgID(rest[:end])
	return org, org.Validate() == nil
}

// hashOf is how a credential is kept. It has 130 random bits, so it needs no salt and no
// slow hash.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
