package sim

import (
	"fmt"

	"github.com/stavily/agents/shared/pkg/api"
)

// balance holds the accounts of each sensor, which go on over all its lives, against what the
// world has seen: whatever died when, at the end nothing waits, nothing was lost, and nothing
// is missing in the counts.
func (w *world) balance() {
	for _, n := range w.nodes {
		l := n.life.Load()
		if l == nil || l.sensor.Load() == nil {
			continue
		}
		a, told := l.sensor.Load().Account(), w.history.toldOf(n.id)
		if a.Unaccounted() != 0 || a.Waiting+a.Corrupt+a.Refused+a.Rejected != 0 || a.Taken < told {
			w.broken("CountersBalance", fmt.Sprintf("%s: %d unaccounted for in %+v; %d were accepted", n.id, a.Unaccounted(), a, told))
		}
	}
}

// delivered reports whether every sensor is there and has handed in what it took. After calls
// that failed it pauses for minutes, and when an answer was lost its events are recorded before
// it knows.
func (w *world) delivered() bool {
	for _, n := range w.nodes {
		if n.typ != api.Sensor {
			continue
		}
		l := n.life.Load()
		if l == nil || l.dead.Load() {
			return false
		}
		if sensor := l.sensor.Load(); sensor == nil || sensor.Account().Waiting > 0 {
			return false
		}
	}
	return true
}

// toldOf is how many events of a sensor plugins were told are accepted.
func (h *history) toldOf(id api.AgentID) (n uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.accepted {
		if a.by == id {
			n++
		}
	}
	return n
}
