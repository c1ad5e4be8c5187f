package agent

import (
	"log/slog"
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// turnedAwayEvery is how often refused connections of one plugin to one destination are
// recorded: a plugin that tries again and again would fill the disk.
const turnedAwayEvery = time.Minute

// turnedAway records connections that were refused: the first at once, those after it
// by their number.
type turnedAway struct {
	rt    *Runtime
	every time.Duration

	mu      sync.Mutex // guards pending
	pending map[turnedAwayTo]*refusedCount
}

type turnedAwayTo struct {
	plugin      api.PluginID
	destination string // one of those that it is granted, so that there are few
}

type refusedCount struct {
	count int // since the last record
	why   string
	timer *time.Timer // that will record them
}

func newTurnedAway(rt *Runtime) *turnedAway {
	return &turnedAway{rt: rt, every: turnedAwayEvery, pending: map[turnedAwayTo]*refusedCount{}}
}

func (t *turnedAway) note(id api.PluginID, destination, why string) {
	to := turnedAwayTo{id, destination}
	t.mu.Lock()
	c, waits := t.pending[to]
	if waits {
		c.count, c.why = c.count+1, why
		t.mu.Unlock()
		return
	}
	c = &refusedCount{}
	c.timer = time.AfterFunc(t.every, func() { t.settle(to) })
	t.pending[to] = c
	t.mu.Unlock()
	t.record(to, 1, why)
}

// settle records what came since the last record, and forgets a pair that is quiet.
func (t *turnedAway) settle(to turnedAwayTo) {
	t.mu.Lock()
	c := t.pending[to]
	if c == nil {
		t.mu.Unlock()
		return
	}
	count, why := c.count, c.why
	if c.count = 0; count > 0 {
		c.timer.Reset(t.every)
	} else {
		delete(t.pending, to)
	}
	t.mu.Unlock()
	if count > 0 {
		t.record(to, count, why)
	}
}

func (t *turnedAway) record(to turnedAwayTo, count int, why string) {
	t.rt.Audit.Note(AuditDenied, slog.String("what", deniedConnection), slog.String("name", to.destination),
		slog.String("plugin", string(to.plugin)), slog.Int("count", count), slog.String("reason", why))
}

// close records what is left, when no plugin runs any more.
func (t *turnedAway) close() {
	t.mu.Lock()
	var left []turnedAwayTo
	for to, c := range t.pending {
		c.timer.Stop()
		left = append(left, to)
	}
	t.mu.Unlock()
	for _, to := range left {
		t.settle(to)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.pending {
		c.timer.Stop()
	}
	clear(t.pending)
}
