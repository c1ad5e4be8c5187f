package agent

import (
	"context"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
)

// Role is the sensor agent.
func Role() agent.Role {
	return agent.Role{
		Type:       api.Sensor,
		Program:    "sensor-agent",
		Summary:    "Runs sensor plugins and reports the events that they notice",
		Components: components,
	}
}

func components(rt *agent.Runtime) ([]agent.Component, error) {
	spool, err := rt.OpenSpool()
	if err != nil {
		return nil, err
	}
	out := newOutbox(rt, spool)
	set := newMonitors(rt, out)
	fresh := newFreshness(set)
	set.follow()
	rt.ReportMonitors(set.infos)
	rt.TakeEvents(func(ctx context.Context, e api.Event) error {
		_, err := out.accept(ctx, e)
		return err
	})
	return []agent.Component{{Name: "monitors", Run: set.run}, {Name: "freshness", Run: fresh.run}, {Name: "delivery", Run: out.deliver}}, nil
}

// Delivery opens the part of the role that has no host in it: emit takes an event as from a
// plugin, deliver sends what was taken until its context ends.
func Delivery(rt *agent.Runtime) (emit func(context.Context, api.Event) (api.EventID, error), deliver func(context.Context) error, account func() agent.SpoolAccount, err error) {
	spool, err := rt.OpenSpool()
	if err != nil {
		return nil, nil, nil, err
	}
	out := newOutbox(rt, spool)
	return out.accept, out.deliver, spool.Account, nil
}
