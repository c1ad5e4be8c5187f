package agent

import (
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// takings are the metrics of what plugins take of the host.
type takings struct {
	cpu            *telemetry.CounterVec
	ended          *telemetry.CounterVec
	memory, stored *telemetry.GaugeVec
}

func newTakings(m *telemetry.Registry) *takings {
	return &takings{
		cpu:    m.CounterVec("plugin_cpu_seconds_total", "CPU time that processes of plugins took, counted at their end.", "plugin"),
		ended:  m.CounterVec("plugin_limits_total", "Processes of plugins that were ended, by the limit or the reason.", "plugin", "reason"),
		memory: m.GaugeVec("plugin_memory_peak_bytes", "The highest resident size of the process tree of a plugin that ended last.", "plugin"),
		stored: m.GaugeVec("plugin_stored_peak_bytes", "The most that the process tree of a plugin that ended last stored in its temporary directory and added to its home.", "plugin"),
	}
}

// took counts what one process of a plugin took.
func (t *takings) took(id api.PluginID, e sandbox.Exit) {
	label := string(id)
	t.cpu.WithLabelValues(label).Add(e.CPU.Seconds())
	t.memory.WithLabelValues(label).Set(float64(e.MaxRSS))
	t.stored.WithLabelValues(label).Set(float64(e.Stored))
	if e.Reason != "" {
		t.ended.WithLabelValues(label, string(e.Reason)).Inc()
	}
}
