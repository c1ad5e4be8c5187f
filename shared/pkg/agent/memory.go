package agent

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// memory bounds what plugins may take together, each counted by its limit (F25). Who
// finds no room waits, and those who came first go first. The zero value bounds nothing.
type memory struct {
	room  *semaphore.Weighted // nil: as much as there is
	total config.Size

	mu      sync.Mutex // guards the field below
	waiting int
}

func newMemory(total config.Size) *memory {
	if total == 0 {
		return &memory{}
	}
	return &memory{room: semaphore.NewWeighted(total.Bytes()), total: total}
}

// conditionMemory holds while plugins wait for others to end.
const conditionMemory = "plugin_memory"

// MakeRoom waits until a task's plugin may run beside those that run, by the limits of
// their memory and plugins.total_memory. leave gives its share back. The error is the
// cause of the end of ctx; nothing is held then.
func (p *Plugins) MakeRoom(ctx context.Context, t Task) (leave func(), err error) {
	m := p.memory
	if m == nil || m.room == nil || t.Plugin == nil {
		return func() {}, nil
	}
	share := p.limits(t.Plugin, t.Settings, 0).Memory
	if !m.room.TryAcquire(share) {
		p.awaitMemory(+1)
		err = m.room.Acquire(ctx, share)
		p.awaitMemory(-1)
	}
	if err != nil {
		return func() {}, fmt.Errorf("wait for memory to run plugin %s in: %w", t.Plugin.ID, context.Cause(ctx))
	}
	return func() { m.room.Release(share) }, nil
}

// awaitMemory counts those who wait, and tells.
func (p *Plugins) awaitMemory(change int) {
	m := p.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting += change
	if m.waiting == 0 {
		p.rt.Health.Clear(conditionMemory)
		return
	}
	p.rt.Health.Set(conditionMemory, Degraded, false, fmt.Sprintf("plugins that wait for memory: %d; those that run may take all of plugins.total_memory, %v", m.waiting, m.total),
		"raise plugins.total_memory, or lower plugins.max_memory or the memory in the files of plugins that need less")
}

// weighMemory warns where plugins that each keep to their limit can together take more
// than the control group of this agent has (a container's limit, say): the kernel then
// ends what it likes (F25).
func (p *Plugins) weighMemory(limit int64) {
	c := p.rt.Config()
	atOnce := len(p.Settings())
	if p.rt.Role.Type == api.Action {
		atOnce = c.API.MaxConcurrent
	}
	together := smallest(int64(atOnce)*c.Plugins.MaxMemory.Bytes(), c.Plugins.TotalMemory.Bytes())
	if limit == 0 || together <= limit {
		return
	}
	p.rt.Log.Warn("plugins may together take more memory than this agent's control group has", "at_once", atOnce,
		"max_memory", c.Plugins.MaxMemory.String(), "group_limit", limit, "remedy", "set plugins.total_memory, lower plugins.max_memory or api.max_concurrent, or raise the container's or unit's limit")
}
