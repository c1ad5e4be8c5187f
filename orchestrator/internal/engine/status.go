package engine

import (
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
)

// SilentAfter is how long an agent may not be heard before it is shown as silent: the longest poll
// (agentapi), and until the next one is written down.
const SilentAfter = 3 * time.Minute

// What agents are beside what they say themselves.
const (
	StatusLost        = "lost" // it has fallen silent without a word
	StatusQuarantined = "quarantined"
	StatusRevoked     = "revoked"
)

// StatusOf is what an agent said last, unless that cannot be true any more or does not count.
func StatusOf(a store.Agent, now time.Time) string {
	switch {
	case a.State == store.Revoked:
		return StatusRevoked
	case a.State == store.Quarantined:
		return StatusQuarantined
	case a.Status != StatusOffline && now.Sub(a.LastSeen) > SilentAfter:
		return StatusLost
	}
	return a.Status
}

// stateOf is the same in the words of the metric.
func stateOf(a store.Agent, now time.Time) string {
	switch s := StatusOf(a, now); s {
	case StatusRevoked, StatusQuarantined:
		return s
	case StatusOffline, StatusLost:
		return "silent"
	}
	return "connected"
}
