package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

const conditionNotEnrolled = "not_enrolled"

// awaitIdentity waits until a usable certificate for this agent is in place. An
// agent without one is alive and not ready: it looks again at the interval that the
// configuration gives for registration, and executes nothing (F07).
func (rt *Runtime) awaitIdentity(ctx context.Context) (*pki.Credentials, error) {
	told := ""
	for {
		creds, err := rt.loadIdentity()
		if err == nil {
			rt.Health.Clear(conditionNotEnrolled)
			for _, w := range creds.Warnings() {
				rt.Log.Warn("credentials", "warning", w)
			}
			return creds, nil
		}
		if rt.Role.requireEnrolled {
			return nil, fmt.Errorf("%w: %s", err, rt.enrollHint())
		}
		rt.Health.Set(conditionNotEnrolled, Degraded, true, err.Error(), rt.enrollHint())
		if told != err.Error() { // once per reason, not once per look
			told = err.Error()
			rt.Log.Warn("not enrolled", telemetry.KeyError, err, "remedy", rt.enrollHint())
			if !errors.Is(err, fs.ErrNotExist) {
				rt.denied(deniedIdentity, rt.Config().API.Auth.CertFile, err.Error())
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(rt.Config().Agent.RegistrationRetryInterval.Duration()):
		}
	}
}

func (rt *Runtime) loadIdentity() (*pki.Credentials, error) {
	creds, err := pki.LoadCredentials(credentialFiles(rt.Config().API.Auth))
	if errors.Is(err, fs.ErrNotExist) {
		if rt.Config().API.Auth.Type == config.JWT {
			return nil, fmt.Errorf("this agent has no token yet: %w", err)
		}
		return nil, fmt.Errorf("this agent has no certificate yet: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return creds, checkIdentity(creds.Identity(), rt.Config().Agent.ID, rt.Role.Type, rt.Config().Agent.OrganizationID)
}

// checkIdentity refuses a certificate that is for somebody else. The certificate
// decides the organisation; a configuration that names another is a mistake that a
// person must see, not one to act under (F41).
func checkIdentity(is pki.Identity, id api.AgentID, typ api.AgentType, org api.OrgID) error {
	switch {
	case is.Type != typ:
		return fmt.Errorf("the certificate is for an agent of type %s and this is one of type %s: enrol it again with a token of type %s", is.Type, typ, typ)
	case is.Agent != id:
		return fmt.Errorf("the certificate is for agent %q and agent.id is %q: correct agent.id or enrol again", is.Agent, id)
	case org != "" && is.Org != org:
		return fmt.Errorf("the certificate is for organisation %q and agent.organization_id is %q: correct it or enrol again", is.Org, org)
	}
	return nil
}

// organization is the certificate's; a workbench has none.
func (rt *Runtime) organization() api.OrgID {
	if rt.identity == nil {
		return rt.Config().Agent.OrganizationID
	}
	return rt.identity.Identity().Org
}

func (rt *Runtime) enrollHint() string {
	if rt.Config().API.Auth.Type == config.JWT {
		return rt.tokenHint()
	}
	return fmt.Sprintf("on the orchestrator run `stavily tokens create --type %s --agent-id %s` and paste the command it prints here", rt.Role.Type, rt.Config().Agent.ID)
}
