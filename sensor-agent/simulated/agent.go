package simulated

import (
	"context"
	"errors"

	role "github.com/stavily/agents/sensor-agent/internal/agent"
	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
)

// Agent is one life of an agent's process.
type Agent struct {
	emit     func(context.Context, api.Event) (api.EventID, error)
	deliver  func(context.Context) error
	closeAll func() error
	account  func() agent.SpoolAccount
}

// Open starts an agent over its base directory, as it is after whatever happened to it. The
// role of b is set.
func Open(b agent.Bare) (*Agent, error) {
	b.Role = role.Role()
	rt, closeAll, err := b.Open()
	if err != nil {
		return nil, err
	}
	emit, deliver, account, err := role.Delivery(rt)
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}
	return &Agent{emit, deliver, closeAll, account}, nil
}

// Emit takes an event as if a plugin had reported it.
func (a *Agent) Emit(ctx context.Context, e api.Event) (api.EventID, error) {
	return a.emit(ctx, e)
}

// Run delivers until ctx ends.
func (a *Agent) Run(ctx context.Context) error { return a.deliver(ctx) }

// Account is what became of the events of all lives.
func (a *Agent) Account() agent.SpoolAccount { return a.account() }

// Close closes the files.
func (a *Agent) Close() error { return a.closeAll() }
