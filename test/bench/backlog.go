package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
)

// What a sensor with a backlog promises: docs/performance.md.
const (
	mostBacklogMemory = 50 // MB, at its peak
	leastDrain        = 5  // times the events that come in meanwhile
)

const (
	floods     = 10  // monitors that fill the spool, each as fast as an agent lets a plugin
	steadyRate = 100 // events a second that one more monitor reports all the time
)

// depthMetric is the agent's own number of events in its spool.
const depthMetric = "stavily_agent_spool_events"

var probes = http.Client{Timeout: 5 * time.Second}

// roomy is a spool that holds a million events; the rest of the configuration is as it comes.
var roomy = []string{"STAVILY_SPOOL_MAX_BYTES=1GiB"}

// backlog lets a sensor agent collect events while its server is away, starts both again
// and watches it hand them in while others come.
func backlog(ctx context.Context, b *bench) ([]Figure, error) {
	const id = "behind"
	a, err := b.add(ctx, id, api.Sensor, "bench-sensor")
	if err != nil {
		return nil, err
	}
	waiting, rate, err := b.fill(ctx, a)
	if err != nil {
		return nil, err
	}
	full, err := memory(b.Process(id).Pid(), "smaps_rollup")
	if err != nil {
		return nil, err
	}
	b.Kill(id)
	if err := a.Configure("steady", fmt.Sprintf("plugin: bench-sensor\nconfig: {count: %d, pause: %g}\n", 10*b.waiting, 1.0/steadyRate)); err != nil {
		return nil, err
	}
	if err := b.StartServer(ctx); err != nil {
		return nil, err
	}
	starting := time.Now()
	if err := b.start(ctx, id); err != nil {
		return nil, err
	}
	started := time.Since(starting)
	drained, err := drain(ctx, a, waiting)
	if err != nil {
		return nil, err
	}
	peak, err := memory(b.Process(id).Pid(), "status")
	if err != nil {
		return nil, err
	}
	return []Figure{
		{"events that wait", waiting, "", 0, 0},
		{fmt.Sprintf("accepted meanwhile from %d plugins", floods), rate, "events/s", 0, 0},
		{"RSS of the agent with them", full["Rss"], "MB", mostBacklogMemory, 0},
		{"start with them after a kill, until ready", float64(started.Milliseconds()), "ms", 0, 0},
		{"RSS since, at most", peak["VmHWM"], "MB", mostBacklogMemory, 0},
		{"handed in", drained, "events/s", 0, 0},
		{fmt.Sprintf("of the %d events/s that come in meanwhile", steadyRate), drained / steadyRate, "times", 0, leastDrain},
	}, nil
}

// fill takes the server away and has plugins report until enough events wait, and returns how many and how fast.
func (b *bench) fill(ctx context.Context, a *cluster.Agent) (waiting, rate float64, err error) {
	for n := range floods {
		if err := a.Configure(fmt.Sprint("flood-", n), fmt.Sprintf("plugin: bench-sensor\nconfig: {count: %d, pause: 0}\n", b.waiting)); err != nil {
			return 0, 0, err
		}
	}
	if err := b.StartAgent(ctx, a.ID); err != nil {
		return 0, 0, err
	}
	b.Kill(cluster.ServerName)
	first, err := awaitDepth(ctx, a, func(n float64) bool { return n > 0 })
	if err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	waiting, err = awaitDepth(ctx, a, func(n float64) bool { return n >= float64(b.waiting) })
	rate = (waiting - first) / time.Since(begun).Seconds()
	for n := range floods {
		err = errors.Join(err, os.Remove(filepath.Join(a.Base, "config", "plugins", fmt.Sprintf("flood-%d.yaml", n))))
	}
	return waiting, rate, err
}

// drain is how many events a second leave the spool until half of them have.
func drain(ctx context.Context, a *cluster.Agent, waiting float64) (float64, error) {
	first, err := awaitDepth(ctx, a, func(n float64) bool { return n < waiting })
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	left, err := awaitDepth(ctx, a, func(n float64) bool { return n < waiting/2 })
	return (first-left)/time.Since(begun).Seconds() + steadyRate, err
}

// awaitDepth waits until the number of events in an agent's spool is as wanted, and returns it.
func awaitDepth(ctx context.Context, a *cluster.Agent, enough func(float64) bool) (float64, error) {
	for {
		n, err := spoolDepth(ctx, a)
		if err != nil || enough(n) {
			return n, err
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return 0, fmt.Errorf("%.0f events wait: %w", n, err)
		}
	}
}

// spoolDepth is what the agent's metrics say.
func spoolDepth(ctx context.Context, a *cluster.Agent) (float64, error) {
	addr, err := a.Endpoint("metrics")
	if err != nil {
		return 0, err
	}
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	answer, err := probes.Do(ask)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		return 0, fmt.Errorf("metrics of agent %s: %w", a.ID, err)
	}
	family := families[depthMetric]
	if len(family.GetMetric()) != 1 {
		return 0, fmt.Errorf("agent %s has no metric %s", a.ID, depthMetric)
	}
	return family.GetMetric()[0].GetGauge().GetValue(), nil
}
