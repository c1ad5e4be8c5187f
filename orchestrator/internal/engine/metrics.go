package engine

import (
	"context"
	"errors"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// counts are the engine's metrics. What a transition did is counted when it is durable.
type counts struct {
	events       *telemetry.CounterVec
	lost         *telemetry.Counter
	unaccounted  *telemetry.Counter
	ahead        *telemetry.Counter
	clones       *telemetry.Counter
	started      *telemetry.Counter
	ended        *telemetry.CounterVec
	instructions *telemetry.CounterVec
	transactions *telemetry.HistogramVec
	requests     *telemetry.CounterVec
	took         *telemetry.HistogramVec
	webhooks     *telemetry.CounterVec
}

// Served counts a request of an agent; see route.Options.
func (e *Engine) Served(route, outcome string, took time.Duration) {
	e.counts.requests.WithLabelValues(route, outcome).Inc()
	e.counts.took.WithLabelValues(route).Observe(took.Seconds())
}

var requestBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// commitBuckets reach from a commit that shares its fsync to a disk that is in trouble.
var commitBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}

func newCounts(m *telemetry.Registry, e *Engine) *counts {
	m.GaugesFunc("agents", "Agents by state: connected ones were heard of in the last three minutes, silent ones were not, revoked ones may not connect, quarantined ones wait for an admin.", "state", e.agentStates)
	m.GaugeFunc("disk_full", "1 while the disk of the database has less room than is kept for results (--keep-free): events, lines of logs, webhooks and packages are not taken.", func() float64 {
		if _, full := e.Full(); full {
			return 1
		}
		return 0
	})
	return &counts{
		requests:     m.CounterVec("requests_total", "Requests of agents, by route and outcome: ok, client_gone or the code of the error.", "route", "outcome"),
		took:         m.HistogramVec("request_seconds", "Time from a request of an agent to its answer, by route; polls and looks at assignments are held open.", requestBuckets, "route"),
		events:       m.CounterVec("events_total", "Events that agents sent, by outcome: accepted, duplicate or rejected.", "outcome"),
		lost:         m.Counter("events_lost_total", "Events that agents reported as lost."),
		unaccounted:  m.Counter("events_unaccounted_total", "Numbers of streams that were settled and are neither stored, known, refused nor lost: 0, or the server has a fault."),
		ahead:        m.Counter("events_ahead_total", "Events that were acknowledged once and that this database does not know, because it was restored from a backup; they count as lost too."),
		clones:       m.Counter("agents_cloned_total", "Agents that were revoked because their keys were used in two places."),
		started:      m.Counter("runs_started_total", "Runs of workflows that began."),
		ended:        m.CounterVec("runs_ended_total", "Runs of workflows that ended, by status.", "status"),
		instructions: m.CounterVec("instructions_total", "Instructions that came into a state; pending ones are the new ones, and those offered again.", "state"),
		webhooks:     m.CounterVec("webhook_calls_total", "Calls of webhooks, by outcome: signed or refused.", "outcome"),
		transactions: m.HistogramVec("transaction_seconds", "Time of a transaction of the store, with its wait for the writer and its commit, by outcome: committed, refused or failed.", commitBuckets, "outcome"),
	}
}

func outcome(err error) string {
	var refusal *api.Error
	switch {
	case err == nil:
		return "committed"
	case errors.As(err, &refusal):
		return "refused"
	}
	return "failed"
}

// scrapeLimit bounds how long a scrape waits for the store.
const scrapeLimit = 5 * time.Second

// agentStates counts the agents of all organisations. What cannot be read is left out.
func (e *Engine) agentStates(ctx context.Context) map[string]float64 {
	ctx, cancel := context.WithTimeout(ctx, scrapeLimit)
	defer cancel()
	orgs, err := e.store.Orgs(ctx)
	if err != nil {
		return nil
	}
	out := map[string]float64{"connected": 0, "silent": 0, "revoked": 0, "quarantined": 0}
	for _, org := range orgs {
		var agents []store.Agent
		if err := e.View(ctx, org, func(r store.Reader) (err error) { agents, err = r.Agents(); return err }); err != nil {
			return nil
		}
		for _, a := range agents {
			out[stateOf(a, e.now())]++
		}
	}
	return out
}
