package agent

import (
	"net/http"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// counts are the runtime's own metrics. Roles declare theirs beside the code that
// moves them.
type counts struct {
	logsDropped  *telemetry.Counter
	connections  *telemetry.CounterVec
	carried      *telemetry.CounterVec
	level, layer *telemetry.GaugeVec
	runs         *telemetry.CounterVec
	zygotes      *telemetry.CounterVec
	spans        *telemetry.CounterVec
	*calls
	*takings
}

func newCounts(m *telemetry.Registry, rt *Runtime) *counts {
	m.GaugeFunc("orchestrator_connected", "1 when the last call to the orchestrator was answered.", func() float64 {
		return one(contact(rt.contact.Load()) == answered)
	})
	m.GaugeFunc("conditions", "Conditions that hold, as /health lists them.", func() float64 {
		return float64(len(rt.Health.Snapshot().Conditions))
	})
	m.GaugeFunc("ready", "1 when /ready says so.", func() float64 {
		ready, _ := rt.Health.Ready()
		return one(ready)
	})
	m.GaugeFunc("disk_full", "1 when the disk of the base directory has less room than is kept for results: nothing new is begun.", func() float64 {
		return one(rt.Room() != nil)
	})
	m.GaugeFunc("stuck_loops", "Loops that make no progress; /health fails when there is one.", func() float64 {
		stuck := 0
		for _, l := range rt.Health.Loops() {
			if l.Stuck {
				stuck++
			}
		}
		return float64(stuck)
	})
	m.GaugeVec("build_info", "1, with what the program is.", "program", "version").WithLabelValues(rt.Role.Program, api.Version).Set(1)
	return &counts{
		logsDropped: m.Counter("plugin_logs_dropped_total", "Plugin log entries not copied to the orchestrator; logs/plugins on the host has them."),
		connections: m.CounterVec("plugin_connections_total", "Connections that plugins made to their granted destinations, by how they ended.", "plugin", "outcome"),
		carried:     m.CounterVec("plugin_connection_bytes_total", "Bytes that plugins sent to and received from their granted destinations.", "plugin", "direction"),
		level:       m.GaugeVec("sandbox_level", "1 for the level that plugins are confined at, 0 for the others.", "level"),
		runs:        m.CounterVec("plugin_runs_total", "Runs of actions and outputs, by how their process came to be: forked from a warm one, or started cold.", "start"),
		zygotes:     m.CounterVec("zygotes_ended_total", "Ends of processes that runs are forked from, by reason.", "reason"),
		layer:       m.GaugeVec("sandbox_layer", "1 for each layer of the sandbox that is enforced, 0 for the others.", "layer"),
		spans:       m.CounterVec("trace_spans_total", "Spans of traces, by what became of them.", "outcome"),
		calls:       newCalls(m),
		takings:     newTakings(m),
	}
}

func (rt *Runtime) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+rt.Config().Metrics.Path, rt.Metrics.Handler())
	return mux
}
