package operatorapi

import (
	"context"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/shared/pkg/api"
)

// Authorities is how far a rotation of the certificate authority is.
type Authorities struct {
	Authorities []Authority `json:"authorities"` // the active one first
	NextStep    string      `json:"next_step"`   // prepare | activate | taint | revoke
	Agents      int         `json:"agents"`      // that are let in, of all organisations
	// Behind are the agents that the next step would cut off; it is refused while there are any.
	Behind      int      `json:"behind"`
	BehindNamed []string `json:"behind_named,omitempty"` // the first of them, as organisation/agent
}

// Authority is one certificate authority.
type Authority struct {
	Fingerprint string   `json:"fingerprint"`
	State       string   `json:"state"` // active | prepared | old | tainted
	Since       api.Time `json:"since"`
	NotAfter    api.Time `json:"not_after"`
}

// RotateCARequest says which step is meant.
type RotateCARequest struct {
	Step  string `json:"step,omitempty"`  // empty: whichever is next
	Force bool   `json:"force,omitempty"` // also where agents are cut off by it
}

func (o operators) caShow(ctx context.Context, _ *route.Call) (any, error) {
	a, err := o.engine.Authorities(ctx)
	return viewAuthorities(a), err
}

func (o operators) caRotate(ctx context.Context, c *route.Call) (any, error) {
	var r RotateCARequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	a, err := o.engine.RotateCA(ctx, id, r.Step, r.Force)
	return viewAuthorities(a), err
}

func viewAuthorities(a engine.Authorities) Authorities {
	v := Authorities{NextStep: a.Next, Agents: a.Agents, Behind: a.Behind, BehindNamed: a.Named}
	for _, one := range a.List {
		v.Authorities = append(v.Authorities, Authority{one.Fingerprint, one.State, api.At(one.Since), api.At(one.NotAfter)})
	}
	return v
}
