package agent

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// Level is how bad a condition is.
type Level string

// A degraded agent works with something missing; a failing one has a loop that
// makes no progress and wants a restart.
const (
	Degraded Level = "degraded"
	Failing  Level = "failing"
)

// Health is what the agent knows to be wrong with itself, and which of its loops
// make progress. It is asked, never assumed: an agent without conditions and with
// all its loops beating is well. Safe for concurrent use.
type Health struct {
	now     func() time.Time
	secrets *telemetry.Redactor          // set before anything runs
	silence func() (api.Condition, bool) // a condition that time makes, which is blocking; nil: none. Set before anything runs
	full    func() (api.Condition, bool) // the same of the disk

	mu         sync.Mutex // guards the fields below
	conditions map[string]api.Condition
	blocking   map[string]bool // conditions that make the agent not ready
	beats      map[string]beat
	posture    *api.Posture // what confines plugins; nil until that is known
}

type beat struct {
	last  time.Time
	limit time.Duration
}

func newHealth(now func() time.Time) *Health {
	return &Health{now: now, conditions: map[string]api.Condition{}, blocking: map[string]bool{}, beats: map[string]beat{}}
}

// Set raises a condition, or changes its words and keeps since when it holds.
// remedy says what a person can do. With blocking set the agent is not ready.
func (h *Health) Set(name string, level Level, blocking bool, message, remedy string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	since := api.At(h.now())
	if old, held := h.conditions[name]; held {
		since = old.Since
	}
	h.conditions[name] = api.Condition{Name: name, Status: string(level), Since: since, Message: h.secrets.Redact(message), Remedy: remedy}
	h.blocking[name] = blocking
}

// Clear ends a condition; one that does not hold is no error.
func (h *Health) Clear(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conditions, name)
	delete(h.blocking, name)
}

// confined says what confines plugins, for /health to tell.
func (h *Health) confined(p *api.Posture) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.posture = p
}

func (h *Health) sandbox() *api.Posture {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.posture
}

// Beat says that a loop made progress and will again within limit.
func (h *Health) Beat(loop string, limit time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beats[loop] = beat{h.now(), limit}
}

// Snapshot looks at every condition and loop now.
func (h *Health) Snapshot() api.Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := slices.Collect(maps.Values(h.conditions))
	for loop, b := range h.beats {
		if late := h.now().Sub(b.last); late > b.limit {
			out = append(out, api.Condition{
				Name: "stuck_" + loop, Status: string(Failing), Since: api.At(b.last.Add(b.limit)),
				Message: "the " + loop + " loop made no progress for " + late.Truncate(time.Second).String(),
				Remedy:  "restart the agent and report this with its log",
			})
		}
	}
	for _, look := range []func() (api.Condition, bool){h.silence, h.full} {
		if look == nil {
			continue
		}
		if c, held := look(); held {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b api.Condition) int { return cmp.Compare(a.Name, b.Name) })
	return api.Health{Status: worst(out), Conditions: out}
}

// Loop is one loop of the agent and when it moved last.
type Loop struct {
	Name  string   `json:"name"`
	Last  api.Time `json:"last"`
	Limit string   `json:"limit"` // it is stuck when it has not moved for so long
	Stuck bool     `json:"stuck"`
}

// Loops are all loops by name.
func (h *Health) Loops() []Loop {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := []Loop{}
	for _, name := range slices.Sorted(maps.Keys(h.beats)) {
		b := h.beats[name]
		out = append(out, Loop{name, api.At(b.last), b.limit.String(), h.now().Sub(b.last) > b.limit})
	}
	return out
}

// Ready reports whether the agent can do its work, and otherwise the conditions
// that keep it from it.
func (h *Health) Ready() (bool, []api.Condition) {
	snapshot := h.Snapshot()
	h.mu.Lock()
	defer h.mu.Unlock()
	against := slices.DeleteFunc(snapshot.Conditions, func(c api.Condition) bool {
		return c.Status != string(Failing) && !h.blocking[c.Name] && c.Name != conditionSilent && c.Name != conditionDisk
	})
	return len(against) == 0, against
}

func worst(conditions []api.Condition) string {
	status := "ok"
	for _, c := range conditions {
		if c.Status == string(Failing) {
			return c.Status
		}
		status = c.Status
	}
	return status
}
