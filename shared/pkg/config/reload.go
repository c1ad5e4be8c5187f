package config

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
)

// atRunTime are the keys whose change takes effect in a running agent, and sections (that
// end in a dot) of which all do. Every other key keeps its value until the agent is
// started anew, so a new one is safe before somebody has thought of it.
var atRunTime = []string{
	"agent.environment", "agent.tags", "agent.heartbeat_interval", "agent.registration_retry_interval",
	"api.timeout", "api.poll_wait", "api.retry.", "api.rate_limit.",
	"logging.",
	"security.sandbox.require", "security.sandbox.chroot", "security.sandbox.read", "security.sandbox.write",
	"security.sandbox.network", "security.sandbox.allow_port_level_egress", "security.sandbox.allow_private",
	"security.sandbox.max_processes", "security.sandbox.max_cpu", "security.sandbox.max_temp", "security.integrity.interval",
	"plugins.max_memory", "plugins.timeout", "plugins.allowed_plugins", "plugins.blocked_plugins", "plugins.pins",
	"plugins.trusted_keys", "plugins.sources", "plugins.auto_update", "plugins.update_interval",
	"health.path", "health.ready_path", "health.ready_contact", "health.status_path", "metrics.path",
}

// Change is one key that has another value than before.
type Change struct {
	Key     string          `json:"key"`
	Before  json.RawMessage `json:"before"` // as Show writes it, secrets redacted
	After   json.RawMessage `json:"after"`
	Origin  string          `json:"origin"`            // of the new value
	Restart bool            `json:"restart,omitempty"` // it takes effect when the agent is started anew
}

// Follow makes the configuration of a running agent of what was loaded anew: the old
// one with what can change while it runs. It returns that, and everything that differs.
// The error says that what results is not valid.
func (l *Loaded) Follow(running *Config) (*Config, []Change, error) {
	next := l.Config
	before, after := leaves(running), leaves(&next)
	changes := []Change{}
	for i, leaf := range after {
		old := before[i].value
		if same(old, leaf.value) {
			continue
		}
		c := Change{Key: leaf.key(), Before: display(old), After: display(leaf.value), Origin: l.Origin(leaf.key()), Restart: !takesEffect(leaf.key())}
		if c.Restart {
			leaf.value.Set(old)
		}
		changes = append(changes, c)
	}
	if err := next.Validate(); err != nil {
		return nil, changes, err
	}
	return &next, changes, nil
}

// takesEffect reports whether a change of a key does so in a running agent.
func takesEffect(key string) bool {
	return slices.ContainsFunc(atRunTime, func(k string) bool {
		return k == key || strings.HasSuffix(k, ".") && strings.HasPrefix(key, k)
	})
}

// same takes nothing and an empty list for the same, as people do.
func same(a, b reflect.Value) bool {
	return reflect.DeepEqual(a.Interface(), b.Interface()) || (a.Kind() == reflect.Slice || a.Kind() == reflect.Map) && a.Len() == 0 && b.Len() == 0
}

// Names lists the keys of changes.
func Names(changes []Change, restart bool) []string {
	out := []string{}
	for _, c := range changes {
		if c.Restart == restart {
			out = append(out, c.Key)
		}
	}
	return out
}

// String is for people: plugins.timeout: "5m" → "1m" (/etc/stavily/agent.yaml:12:12).
func (c Change) String() string {
	return c.Key + ": " + string(c.Before) + " → " + string(c.After) + " (" + c.Origin + ")"
}
