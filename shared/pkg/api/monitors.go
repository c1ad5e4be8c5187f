package api

import (
	"encoding/json"
	"errors"
	"fmt"
)

// MaxMonitors is how many monitors the orchestrator can want of one agent.
const MaxMonitors = 100

// DesiredMonitor is a monitor that a workflow wants a sensor to run, beside those of its own
// files. Whether it runs, and what its plugin may reach, the agent's own policy decides.
type DesiredMonitor struct {
	Name     string                     `json:"name"` // its events have it
	Plugin   PluginID                   `json:"plugin"`
	Version  string                     `json:"version,omitempty"` // range of versions that will do; empty: any
	Interval float64                    `json:"interval_seconds"`
	Config   map[string]json.RawMessage `json:"config,omitempty"`
	Workflow string                     `json:"workflow"`
}

// Monitors is the whole set; what is not in it any more is to end. Version changes with the
// set and means nothing else; an empty set may have none.
type Monitors struct {
	Version  string           `json:"version,omitempty"`
	Monitors []DesiredMonitor `json:"monitors"`
}

// Validate reports whether everything that names a file or bounds work is sound.
func (m DesiredMonitor) Validate() error {
	if !(m.Interval >= 1 && m.Interval <= 86400) {
		return fmt.Errorf("monitor %.80s: an interval of %v seconds, must be 1 to 86400", m.Name, m.Interval)
	}
	return errors.Join(PluginID(m.Name).Validate(), m.Plugin.Validate())
}

func checkMonitors(s Monitors) error {
	if len(s.Monitors) > MaxMonitors {
		return fmt.Errorf("%d monitors, more than %d", len(s.Monitors), MaxMonitors)
	}
	seen := map[string]bool{}
	for _, m := range s.Monitors {
		if err := m.Validate(); err != nil {
			return err
		}
		if seen[m.Name] {
			return fmt.Errorf("monitor %s is wanted twice", m.Name)
		}
		seen[m.Name] = true
	}
	return nil
}
