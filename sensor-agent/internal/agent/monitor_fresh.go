package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// The events that the agent itself reports of its monitors, and what marks all such.
const (
	staleEvent  = "stavily.monitor.stale"
	freshEvent  = "stavily.monitor.fresh"
	ownEvents   = "stavily."
	staleMemory = "stale-monitors"
)

// staleAfter is how many intervals may pass without a look that succeeded.
const staleAfter = 3

// minPatience is what a monitor has at least: with a short interval three of them are
// less than its plugin takes to start. A variable for tests, set before anything runs.
var minPatience = 10 * time.Second

// freshness notices monitors that fall silent and those that come back, and tells each
// change once: in /health, and as an event, also over restarts.
type freshness struct {
	set  *monitors
	news chan struct{}       // holds something when a monitor has looked that was stale
	told map[string]api.Time // monitors that were told to be stale → when they were fresh last
}

func newFreshness(set *monitors) *freshness {
	f := &freshness{set: set, news: make(chan struct{}, 1), told: map[string]api.Time{}}
	if err := set.rt.Recall(staleMemory, &f.told); err != nil {
		set.rt.Log.Warn("which monitors were told to be stale is not known", telemetry.KeyError, err)
	}
	set.news = f.news
	return f
}

// run looks at all monitors whenever one may have fallen silent, until ctx ends.
func (f *freshness) run(ctx context.Context) error {
	for {
		next := f.look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-f.news:
		case <-time.After(next):
		}
	}
}

// look judges all monitors and tells when to look again.
func (f *freshness) look(ctx context.Context, now time.Time) time.Duration {
	next := minPatience // monitors come and go
	here := map[string]bool{}
	for _, m := range f.set.all() {
		name := m.settings.Name
		here[name] = true
		last, looked := m.lastFresh(now)
		left := m.patience() - now.Sub(last)
		_, stale := f.told[name]
		switch {
		case left <= 0:
			f.stale(ctx, m, last, stale)
			continue
		case stale && looked:
			f.fresh(ctx, m, now)
		}
		next = min(next, left)
	}
	for name := range f.told {
		if !here[name] { // nothing of that name runs any more: nobody waits for it to come back
			f.forget(name)
		}
	}
	return max(next, 10*time.Millisecond)
}

// patience is how long a monitor may be silent.
func (m *monitor) patience() time.Duration {
	return max(staleAfter*m.interval(), minPatience)
}

// lastFresh is when the monitor last looked with success, or else began. One that tells by
// itself what it sees is fresh as long as it runs.
func (m *monitor) lastFresh(now time.Time) (last time.Time, looked bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.plugin != nil && m.plugin.Runtime.Contract == plugin.Script && m.info.State == string(agent.MonitorRunning) {
		m.freshAt = now
	}
	if m.freshAt.IsZero() {
		return m.born, false
	}
	return m.freshAt, true
}

// looked notes a look that succeeded.
func (m *monitor) looked(now time.Time) {
	m.mu.Lock()
	late := m.freshAt.IsZero() || now.Sub(m.freshAt) >= m.patience()
	m.freshAt = now
	m.mu.Unlock()
	if !late {
		return
	}
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// inherit goes on where the monitor ended that this one takes the place of.
func (m *monitor) inherit(old *monitor) {
	old.mu.Lock()
	defer old.mu.Unlock()
	m.born, m.freshAt = old.born, old.freshAt
	m.wish.Store(old.wish.Load()) // until its own plugin has said
}

func staleCondition(name string) string { return "stale_monitor_" + name }

// stale tells that a monitor is silent. The condition is kept as long as it is; the
// event is told once, and again until it is on disk.
func (f *freshness) stale(ctx context.Context, m *monitor, last time.Time, told bool) {
	rt, name := f.set.rt, m.settings.Name
	m.mu.Lock()
	reason := strings.TrimSpace(m.info.State + ": " + m.info.Message)
	m.mu.Unlock()
	reason = strings.TrimSuffix(reason, ":")
	rt.Health.Set(staleCondition(name), agent.Degraded, false,
		fmt.Sprintf("monitor %s has seen nothing since %s, for %d intervals of %v or more: %s", name, last.UTC().Format(time.RFC3339), staleAfter, m.interval(), reason),
		"see logs/plugins/"+string(m.settings.Plugin)+".log")
	if told {
		return
	}
	err := f.tell(ctx, m, staleEvent, api.High, map[string]any{
		"interval_seconds": m.interval().Seconds(), "last_fresh": api.At(last), "reason": rt.Redact(reason),
	})
	if err != nil {
		return
	}
	rt.Log.Warn("monitor is stale", telemetry.KeyMonitor, name, telemetry.KeyPlugin, m.settings.Plugin, "since", last, "reason", reason)
	f.told[name] = api.At(last)
	f.remember()
}

// fresh tells that a monitor is back.
func (f *freshness) fresh(ctx context.Context, m *monitor, now time.Time) {
	name := m.settings.Name
	since := f.told[name]
	if f.tell(ctx, m, freshEvent, api.Low, map[string]any{"stale_since": since, "silent_seconds": now.Sub(since.Time).Round(time.Second).Seconds()}) != nil {
		return
	}
	f.set.rt.Log.Info("monitor is fresh again", telemetry.KeyMonitor, name, telemetry.KeyPlugin, m.settings.Plugin, "since", since)
	f.forget(name)
}

func (f *freshness) forget(name string) {
	delete(f.told, name)
	f.set.rt.Health.Clear(staleCondition(name))
	f.remember()
}

func (f *freshness) remember() {
	if err := f.set.rt.Remember(staleMemory, f.told); err != nil {
		f.set.rt.Log.Warn("a change of a monitor may be told again", telemetry.KeyError, err)
	}
}

// tell puts an event of the agent's own into the spool.
func (f *freshness) tell(ctx context.Context, m *monitor, typ string, severity api.Severity, data map[string]any) error {
	e := api.Event{
		Type: typ, Severity: severity, Timestamp: api.At(time.Now()), Source: string(m.settings.Plugin), Monitor: m.settings.Name,
		Data: map[string]json.RawMessage{},
	}
	for name, value := range data {
		raw, err := json.Marshal(value)
		if err != nil {
			return err
		}
		e.Data[name] = raw
	}
	_, err := f.set.out.accept(ctx, e)
	if err != nil && ctx.Err() == nil {
		f.set.rt.Log.Warn("a change of a monitor waits to be told", telemetry.KeyMonitor, m.settings.Name, telemetry.KeyError, err)
	}
	return err
}
