package workflow

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/stavily/agents/shared/pkg/api"
)

// The interval of a monitor that a workflow brings: with a local file a shorter one is for
// the host's owner to choose.
const (
	monitorInterval    = 30 * time.Second
	minMonitorInterval = time.Second
	maxMonitorConfig   = 16 << 10
)

// Monitor is what the sensors of a trigger are to run.
type Monitor struct {
	Name     string // the workflow's and the trigger's: its events have it
	Plugin   api.PluginID
	Version  string // range of versions, as written; empty for any
	Interval time.Duration
	Config   map[string]json.RawMessage
}

// monitor checks what a trigger has its sensors run. n is the trigger's number, from 1.
func (c *checker) monitor(path []any, n int, t trigger) *Monitor {
	path = at(path, "monitor")
	if !c.doc.Has(path) {
		return nil
	}
	id, version, ranged := strings.Cut(t.Monitor.Plugin, "@")
	m := &Monitor{Name: c.def.Name + "." + t.ID, Plugin: api.PluginID(id), Version: version, Config: c.objectAt(at(path, "config"))}
	if t.ID == "" {
		m.Name += fmt.Sprint(n)
	}
	if err := api.PluginID(m.Name).Validate(); err != nil && c.def.Name != "" {
		c.fail(path, "its name is %s, which is too long: give the trigger a shorter id", m.Name)
	}
	switch err := m.Plugin.Validate(); {
	case id == "":
		c.fail(at(path, "plugin"), "plugin is missing: name the sensor plugin that looks")
	case err != nil:
		c.fail(at(path, "plugin"), "%v", err)
	case ranged:
		if _, err := semver.NewConstraint(version); err != nil || len(version) > maxText {
			c.fail(at(path, "plugin"), "plugin version %q: must be a version or a range such as 1.2.0, ^1.2 or >=1, <3", version)
		}
	}
	m.Interval = c.duration(at(path, "interval"), t.Monitor.Interval, monitorInterval, minMonitorInterval, maxTimeout)
	size := 0
	for name, value := range m.Config {
		size += len(name) + len(value)
	}
	if size > maxMonitorConfig {
		c.fail(at(path, "config"), "config has %d bytes, at most %d", size, maxMonitorConfig)
	}
	if known := c.known; known != nil && m.Plugin.Validate() == nil && len(known.Plugins[m.Plugin].Published) == 0 {
		c.missing(at(path, "plugin"), false, "plugin %s is not published: the sensors must have it already", m.Plugin)
	}
	return m
}
