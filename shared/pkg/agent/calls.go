package agent

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// calls are the metrics of the calls to the orchestrator.
type calls struct {
	lasted *telemetry.HistogramVec
	failed *telemetry.CounterVec
}

// callBuckets reach from a call on the same host to a poll that found nothing.
var callBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

func newCalls(m *telemetry.Registry) *calls {
	return &calls{
		lasted: m.HistogramVec("api_request_seconds", "Time from a call to the orchestrator to its answer, by route; polls and looks at assignments are held open by the orchestrator.", callBuckets, "route"),
		failed: m.CounterVec("api_errors_total", "Calls to the orchestrator that failed, by route and class: the error code of its answer, unreachable, or other.", "route", "class"),
	}
}

// routes name what a path pattern is for, few as they are.
var routes = map[string]string{
	api.PathEnroll: "enroll", api.PathCertificate: "certificate", api.PathHeartbeat: "heartbeat", api.PathInstructions: "poll",
	api.PathInstruction: "progress", api.PathResult: "result", api.PathEvents: "events", api.PathLogs: "logs",
	api.PathPlugins: "assignments", api.PathPackage: "package",
}

// called counts one call. One that this agent gave up is none.
func (c *calls) called(_, path string, took time.Duration, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	route := cmp.Or(routes[path], "other")
	c.lasted.WithLabelValues(route).Observe(took.Seconds())
	if err != nil {
		c.failed.WithLabelValues(route, classOf(err)).Inc()
	}
}

func classOf(err error) string {
	var unreachable *api.UnreachableError
	switch code := api.CodeOf(err); {
	case code != "":
		return string(code)
	case errors.As(err, &unreachable), errors.Is(err, context.DeadlineExceeded):
		return "unreachable"
	}
	return "other"
}
