package engine

import (
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
)

const (
	// SilentAfter is how long an agent may not be heard before it is shown as silent.
	SilentAfter = 3 * time.Minute

	// HeardWithin is how long a call is held without a word of its agent: until that calls anew, and
	// it is written down, it must not count as silent, also in a busy minute.
	HeardWithin = SilentAfter - 40*time.Second
)

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
