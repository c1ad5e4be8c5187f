package api

import (
	"slices"
	"strings"
)

// MaxHeartbeatMessage is how much a heartbeat says of one plugin, package, monitor or
// condition: with hundreds of them the whole stays below what a server takes.
const MaxHeartbeatMessage = 1 << 10

// bounded is h with messages that fit.
func (h Heartbeat) bounded() Heartbeat {
	h.Plugins = each(h.Plugins, func(p *PluginInfo) { p.Message = cut(p.Message) })
	h.Assigned = each(h.Assigned, func(s *AssignedState) { s.Message = cut(s.Message) })
	h.Monitors = each(h.Monitors, func(m *MonitorInfo) { m.Message = cut(m.Message) })
	if h.Health != nil {
		health := *h.Health
		health.Conditions = each(health.Conditions, func(c *Condition) { c.Message, c.Remedy = cut(c.Message), cut(c.Remedy) })
		h.Health = &health
	}
	return h
}

// each changes a copy of a list; nil stays nil, which says something else than empty.
func each[T any](list []T, change func(*T)) []T {
	list = slices.Clone(list)
	for i := range list {
		change(&list[i])
	}
	return list
}

func cut(s string) string {
	const mark = "…"
	if len(s) <= MaxHeartbeatMessage {
		return s
	}
	return strings.ToValidUTF8(s[:MaxHeartbeatMessage-len(mark)], "") + mark
}
