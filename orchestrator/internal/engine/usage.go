package engine

import (
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/shared/pkg/api"
)

// UsageHours is of how many hours the use of an agent's host is kept.
const UsageHours = 24

// mostCPU is what one instruction counts for at most, in seconds: an agent may say anything.
const mostCPU = 1e6

// Usage is what the work of one agent came to in an hour.
type Usage struct {
	Ended, Failed int // instructions
	CPU           time.Duration
	Memory        int64 // bytes, the most that one of them had
}

// usages keeps what agents' work came to, of those that worked in the last hours, as this
// server was told since it began: nothing depends on it.
type usages struct {
	mu     sync.Mutex // guards the fields below
	agents map[agentKey]*hours
	swept  int64 // hour in which those that work no more were dropped
}

// hours are the last ones, each where its number leaves it.
type hours [UsageHours]struct {
	hour int64 // since 1970
	Usage
}

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// add counts an instruction that ended with a result.
func (u *usages) add(key agentKey, i instruction.Instruction, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	hour := hourOf(now)
	u.sweep(hour)
	of := u.agents[key]
	if of == nil {
		of = &hours{}
		u.agents[key] = of
	}
	h := &of[hour%UsageHours]
	if h.hour != hour {
		h.hour, h.Usage = hour, Usage{}
	}
	h.Ended++
	if i.Status != api.Completed {
		h.Failed++
	}
	if used := i.Result.ResourceUsage; used != nil {
		h.CPU += time.Duration(min(max(used.CPUSeconds, 0), mostCPU) * float64(time.Second))
		h.Memory = max(h.Memory, used.MaxRSSBytes)
	}
}

// sweep drops, once an hour, the agents of which nothing is left.
func (u *usages) sweep(hour int64) {
	if u.agents == nil {
		u.agents = map[agentKey]*hours{}
	}
	if u.swept == hour {
		return
	}
	u.swept = hour
	for key, of := range u.agents {
		newest := int64(0)
		for _, h := range of {
			newest = max(newest, h.hour)
		}
		if newest <= hour-UsageHours {
			delete(u.agents, key)
		}
	}
}

// of are the last hours of an agent, the oldest first and the one that runs last; nil where
// it did nothing.
func (u *usages) of(key agentKey, now time.Time) []Usage {
	u.mu.Lock()
	defer u.mu.Unlock()
	kept := u.agents[key]
	if kept == nil {
		return nil
	}
	out := make([]Usage, UsageHours)
	last, some := hourOf(now), false
	for n := range out {
		hour := last - int64(UsageHours-1-n)
		if h := kept[hour%UsageHours]; h.hour == hour {
			out[n], some = h.Usage, true
		}
	}
	if !some {
		return nil
	}
	return out
}

// UsageOf is what the work of an agent came to in each of the last hours, the oldest first, as
// far as this server was told since it began; nil where that is nothing.
func (e *Engine) UsageOf(org api.OrgID, agent api.AgentID) []Usage {
	return e.usages.of(agentKey{org, agent}, e.now())
}
