package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// conditionBearer holds as long as a token stands for the certificate (F12).
const conditionBearer = "jwt_authentication"

// tokenFields are what records say of a token; never the token itself.
func (rt *Runtime) tokenFields() []slog.Attr {
	is := rt.identity.Identity()
	_, end := rt.identity.Life()
	return []slog.Attr{slog.String("organization", string(is.Org)), slog.String("agent", string(is.Agent)), slog.Time("not_after", end)}
}

// tokenHint is for a token as enrollHint is for a certificate.
func (rt *Runtime) tokenHint() string {
	return fmt.Sprintf("on the orchestrator run `stavily tokens create --jwt --type %s --agent-id %s` and save the token in %s: it is taken up within a minute", rt.Role.Type, rt.Config().Agent.ID, rt.Config().API.Auth.TokenFile)
}

// refreshing keeps the token of an agent that has no certificate in its time.
type refreshing struct {
	rt      *Runtime
	backoff *api.Backoff
	early   time.Duration // by which this process comes sooner, so that a fleet spreads out
	told    string        // the reason that was logged last
}

func newRefreshing(rt *Runtime) *refreshing {
	return &refreshing{rt: rt, backoff: rt.Backoff(), early: rand.N(rt.Config().API.Auth.RefreshThreshold.Duration()/5 + 1)}
}

// run looks until ctx ends.
func (f *refreshing) run(ctx context.Context) error {
	f.rt.Health.Set(conditionBearer, Degraded, false, "api.auth.type is jwt: whoever reads the token file is this agent, and stays it by refreshing the token, until the agent is revoked",
		"use a certificate where the network lets mutual TLS through: set api.auth.type to certificate and enrol this agent")
	for {
		f.rt.Health.Beat("token", 2*renewalLook+2*f.rt.Config().API.Timeout.Duration())
		pause := f.step(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-f.rt.advised:
			f.rt.trust(f.rt.advice.Swap(nil))
		case <-time.After(pause):
		}
	}
}

// step does what is due now and returns how long nothing is.
func (f *refreshing) step(ctx context.Context) time.Duration {
	rt := f.rt
	if rt.identity.Changed() {
		if err := rt.identity.Reload(); err != nil {
			rt.Log.Warn("the token file changed and is not taken up", telemetry.KeyError, err)
		} else {
			rt.API.Reconnect(rt.identity.ClientTLS(rt.tlsOptions()))
		}
	}
	if wait := time.Until(f.due()); wait > 0 {
		rt.Health.Clear(conditionRenewal)
		rt.Health.Clear(conditionExpired)
		return min(wait, renewalLook)
	}
	err := f.refresh(ctx)
	if ctx.Err() != nil {
		return 0
	}
	if err == nil {
		if time.Now().Before(f.due()) {
			f.backoff.Reset()
			f.told = ""
			return 0
		}
		err = errClock
	}
	_, end := rt.identity.Life()
	if told := err.Error(); f.told != told { // once per reason, not once per try
		f.told = told
		rt.Log.Warn("the token is not refreshed", "not_after", end, telemetry.KeyError, err)
	}
	left := time.Until(end)
	if left <= 0 {
		rt.Health.Clear(conditionRenewal)
		rt.Health.Set(conditionExpired, Degraded, true, fmt.Sprintf("the token ended at %s: %v", end.UTC().Format(time.RFC3339), err), rt.tokenHint())
		return renewalLook
	}
	rt.Health.Set(conditionRenewal, Degraded, false, fmt.Sprintf("the token ends at %s and could not be refreshed: %v", end.UTC().Format(time.RFC3339), err), "it is tried again by itself; once it has ended: "+rt.tokenHint())
	return max(min(f.backoff.Next(api.RetryAfter(err)), left/4, renewalLook), renewalFloor)
}

// due is when the token in use is to be refreshed.
func (f *refreshing) due() time.Time {
	begin, end := f.rt.identity.Life()
	life := end.Sub(begin)
	return end.Add(-min(f.rt.Config().API.Auth.RefreshThreshold.Duration(), life/2) - min(f.early, life/10))
}

func (f *refreshing) refresh(ctx context.Context) error {
	rt := f.rt
	if err := rt.identity.Writable(); err != nil {
		return fmt.Errorf("%w: %w", errMounted, err)
	}
	answer, err := rt.API.Refresh(ctx)
	if err != nil {
		return err
	}
	if err := rt.Audit.Record(AuditTokenRefreshed, append(rt.tokenFields(), slog.Time("next_not_after", answer.ExpiresAt.Time))...); err != nil {
		return err
	}
	if err := rt.identity.Refreshed(answer.Token); err != nil {
		return err
	}
	rt.Log.Info("token refreshed", "not_after", answer.ExpiresAt)
	rt.BeatSoon()
	return nil
}
