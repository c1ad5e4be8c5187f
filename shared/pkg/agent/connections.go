package agent

import (
	"context"
	"strings"
	"sync"

	"golang.org/x/time/rate"

	"github.com/stavily/agents/shared/internal/egress"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// What the log has of the connections of one plugin: those of a run that does much,
// and in the long run what a log of 100 MB has room for within days.
const (
	recordBurst   = 100
	recordsPerSec = 1
)

// connections counts the connections of plugins and records each in the agent's log.
// A plugin could write the log full, so it has a rate; what is left out is said as
// soon as it begins, with the number when it ends, and the metrics have all of it.
type connections struct {
	rt      *Runtime
	refused *turnedAway

	mu     sync.Mutex // guards the field below
	quotas map[api.PluginID]*quota
}

// quota is what a plugin may still write.
type quota struct {
	limiter *rate.Limiter
	left    int // out, since the last record
}

func newConnections(rt *Runtime) *connections {
	return &connections{rt: rt, refused: newTurnedAway(rt), quotas: map[api.PluginID]*quota{}}
}

// of gives who hears of the connections of a task's process.
func (c *connections) of(ctx context.Context, t Task) func(egress.Connection) {
	return func(n egress.Connection) {
		id := string(t.Plugin.ID)
		counts := c.rt.counts
		counts.connections.WithLabelValues(id, string(n.Outcome)).Inc()
		counts.carried.WithLabelValues(id, "sent").Add(float64(n.Sent))
		counts.carried.WithLabelValues(id, "received").Add(float64(n.Received))
		if n.Outcome == egress.Refused {
			c.refused.note(t.Plugin.ID, n.Destination.String(), n.Reason)
		}
		if c.mayRecord(t.Plugin.ID) {
			c.rt.Log.InfoContext(ctx, "plugin connection", record(t, n)...)
		}
	}
}

// record has the same keys for each connection. Of several runs that share a network
// one made it.
func record(t Task, n egress.Connection) []any {
	whose, who := telemetry.KeyMonitor, t.Settings.Name
	if t.Plugin.Kind != plugin.Sensor {
		whose, who = telemetry.KeyInstruction, strings.Join(n.Users, ",")
	}
	address := ""
	if n.Address.IsValid() {
		address = n.Address.String()
	}
	return []any{
		telemetry.KeyPlugin, t.Plugin.ID, whose, who, "destination", n.Destination.String(), "address", address,
		"sent", n.Sent, "received", n.Received, "duration_ms", n.Duration.Milliseconds(), "outcome", n.Outcome, "reason", n.Reason,
	}
}

// mayRecord reports whether the log has room for one more.
func (c *connections) mayRecord(id api.PluginID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.quotas[id]
	if q == nil {
		q = &quota{limiter: rate.NewLimiter(recordsPerSec, recordBurst)}
		c.quotas[id] = q
	}
	if q.limiter.Allow() {
		c.tellLeft(id, q)
		return true
	}
	q.left++
	if q.left == 1 {
		c.rt.Log.Warn("connections of a plugin are left out of the log, because there are many", telemetry.KeyPlugin, id)
	}
	return false
}

// tellLeft says how many were left out. It needs mu.
func (c *connections) tellLeft(id api.PluginID, q *quota) {
	if q.left > 0 {
		c.rt.Log.Warn("connections of a plugin were left out of the log", telemetry.KeyPlugin, id, "count", q.left)
		q.left = 0
	}
}

// close is for the end of the agent, when no plugin runs any more.
func (c *connections) close() {
	c.refused.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, q := range c.quotas {
		c.tellLeft(id, q)
	}
}

// trafficOf is what a result tells of a run's connections.
func trafficOf(counts []egress.Count) []api.Traffic {
	var out []api.Traffic
	for _, n := range counts {
		t := api.Traffic{
			Destination: n.Destination.String(), Connections: n.Connections, Refused: n.Refused, Failed: n.Failed, Shared: n.Shared,
			BytesSent: n.Sent, BytesReceived: n.Received, LastError: plugin.LogText(n.LastError),
		}
		for _, a := range n.Addresses {
			t.Addresses = append(t.Addresses, a.String())
		}
		out = append(out, t)
	}
	return out
}
