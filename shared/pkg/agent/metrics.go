package agent

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stavily/agents/shared/pkg/telemetry"
)

// counts are the runtime's own metrics. Roles declare theirs beside the code that
// moves them.
type counts struct {
	logsDropped prometheus.Counter
}

func newCounts(m *telemetry.Registry, rt *Runtime) *counts {
	m.GaugeFunc("orchestrator_connected", "1 when the last call to the orchestrator was answered.", func() float64 {
		if contact(rt.contact.Load()) == answered {
			return 1
		}
		return 0
	})
	m.GaugeFunc("conditions", "Conditions that hold, as /health lists them.", func() float64 {
		return float64(len(rt.Health.Snapshot().Conditions))
	})
	return &counts{
		logsDropped: m.Counter("plugin_logs_dropped_total", "Plugin log entries not copied to the orchestrator; logs/plugins on the host has them."),
	}
}

func (rt *Runtime) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+rt.Config.Metrics.Path, rt.Metrics.Handler())
	return mux
}
