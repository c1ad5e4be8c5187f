package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// Monitors is the set of monitors that the workflows in effect want a sensor to run. When it
// is the one of the version that is known, it waits until it differs, at most wait.
func (e *Engine) Monitors(ctx context.Context, id pki.Identity, known string, wait time.Duration) (set api.Monitors, changed bool, err error) {
	waiting := &poll{woken: make(chan struct{}, 1)}
	defer e.deliveries.enter(id.Org, waiting)()
	timer := time.NewTimer(together(wait))
	defer timer.Stop()
	for {
		if set, err = e.monitorsOf(ctx, id); err != nil || set.Version != known || known == "" {
			return set, err == nil, err
		}
		select {
		case <-waiting.woken:
		case <-timer.C:
			return set, false, nil
		case <-ctx.Done():
			return set, false, ctx.Err()
		}
	}
}

// monitorsOf reads the set as it is now. One that is empty has no version.
func (e *Engine) monitorsOf(ctx context.Context, id pki.Identity) (set api.Monitors, err error) {
	set.Monitors = []api.DesiredMonitor{}
	if id.Type != api.Sensor {
		return set, nil
	}
	programs, err := e.inEffect(ctx, id.Org)
	if err != nil || !slices.ContainsFunc(programs, func(p program) bool { return hasMonitors(p.Definition) }) {
		return set, err
	}
	agent, err := e.agent(ctx, id)
	if err != nil {
		return set, err
	}
	for _, p := range programs {
		for _, t := range p.Triggers {
			if t.Monitor == nil || p.Mode == workflow.Off || !t.Agents.Picks(sensorOf(*agent)) {
				continue
			}
			set.Monitors = append(set.Monitors, api.DesiredMonitor{
				Name: t.Monitor.Name, Plugin: t.Monitor.Plugin, Version: t.Monitor.Version,
				Interval: t.Monitor.Interval.Seconds(), Config: t.Monitor.Config, Workflow: p.name,
			})
		}
	}
	slices.SortFunc(set.Monitors, func(a, b api.DesiredMonitor) int { return cmp.Compare(a.Name, b.Name) })
	if n := len(set.Monitors); n > api.MaxMonitors {
		e.log.WarnContext(ctx, "more monitors than a sensor takes", "org", id.Org, "agent", id.Agent, "count", n, "most", api.MaxMonitors)
		set.Monitors = set.Monitors[:api.MaxMonitors]
	}
	if len(set.Monitors) == 0 {
		return set, nil
	}
	text, err := json.Marshal(set.Monitors)
	set.Version = versionOfSet(text)
	return set, err
}

func hasMonitors(d *workflow.Definition) bool {
	return d != nil && slices.ContainsFunc(d.Triggers, func(t workflow.Trigger) bool { return t.Monitor != nil })
}

// monitorsMay has sensors look again where the text that comes into effect for a name, nil for
// none, or the one before it brings monitors.
func (t *tx) monitorsMay(name string, next *workflow.Definition) error {
	p, err := t.program(name)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	t.monitors = t.monitors || hasMonitors(next) || hasMonitors(p.Definition)
	return err
}
