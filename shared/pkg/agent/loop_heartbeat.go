package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// farewellLimit bounds the last heartbeat: a server that is away must not hold up
// the end of the process.
const farewellLimit = 2 * time.Second

// heartbeat tells the orchestrator that this agent lives and what it has, and says goodbye
// when it ends. What is new it tells at the next interval, or at once where people watch it;
// how often it says what is known is for the orchestrator to say, which hears of this agent
// by its other calls as well.
func (rt *Runtime) heartbeat(ctx context.Context) error {
	var last stated
	for {
		every := rt.Config().Agent.HeartbeatInterval.Duration()
		rt.Health.Beat("heartbeat", every+2*rt.Config().API.Timeout.Duration())
		if h := rt.saying("online"); !last.covers(h) || rt.contact.Load() != int32(answered) {
			last = rt.sendHeartbeat(ctx, h)
		}
		select {
		case <-ctx.Done():
			farewell, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellLimit)
			defer cancel()
			rt.sendHeartbeat(farewell, rt.saying("offline"))
			return nil
		case <-rt.beatNow:
			last = stated{}
		case <-time.After(every - time.Duration(rand.Int64N(int64(every)/10))): // up to 10 % early, so that a fleet spreads out
		}
	}
}

// maxSilence bounds how long an orchestrator can have an agent send no heartbeat.
const maxSilence = 15 * time.Minute

// stated is a heartbeat that the orchestrator has, and until when it need not hear it again.
type stated struct {
	beat  api.Heartbeat
	until time.Time
}

// covers reports whether a heartbeat would tell nothing new. When monitors ran last is as
// old as the last heartbeat.
func (s stated) covers(h api.Heartbeat) bool {
	return time.Now().Before(s.until) && reflect.DeepEqual(timeless(s.beat), timeless(h))
}

func timeless(h api.Heartbeat) api.Heartbeat {
	h.Timestamp = api.Time{}
	h.Monitors = slices.Clone(h.Monitors)
	for n := range h.Monitors {
		h.Monitors[n].LastRun = api.Time{}
	}
	return h
}

func (rt *Runtime) saying(status string) api.Heartbeat {
	health := rt.Health.Snapshot()
	_, end := rt.identity.Life()
	return api.Heartbeat{
		Timestamp: api.At(time.Now()), Status: status, Version: api.Version, Health: &health,
		Plugins: rt.infos(), Assigned: rt.assignedStates(), Monitors: rt.monitorInfos(), Sandbox: rt.Plugins.Posture(),
		Tags:                append([]string{}, rt.Config().Agent.Tags...),
		CertificateNotAfter: api.At(end),
		SecretsKey:          rt.secretsKey(),
		Authorities:         rt.identity.Trusted(rt.tlsOptions().Pins),
	}
}

func (rt *Runtime) sendHeartbeat(ctx context.Context, h api.Heartbeat) stated {
	begin := time.Now()
	answer, err := rt.API.Heartbeat(ctx, h)
	rt.noteContact(err)
	if err != nil {
		return stated{}
	}
	rt.noteSkew(begin, time.Now(), answer.ServerTime.Time)
	rt.noteSecretsKey(answer.SecretsKeyRefused)
	rt.noteAdvice(answer)
	return stated{h, begin.Add(min(time.Duration(max(answer.HeartbeatSeconds, 0))*time.Second, maxSilence))}
}

// Conditions of the connection. One that does not answer mends itself; one that
// refuses this agent wants a person.
const (
	conditionOffline = "orchestrator_unreachable"
	conditionRefused = "orchestrator_refuses"
)

// noteContact keeps the conditions that say how it is with the orchestrator, from how
// a call went. It logs changes and not every failure. A refusal never deletes anything
// (G5): what waits is kept until a person has decided.
func (rt *Runtime) noteContact(err error) {
	if errors.Is(err, context.Canceled) || api.TooLargeBetween(err) { // the latter is of that call's size
		return
	}
	now := contactOf(err)
	if now == answered {
		rt.heard.Store(time.Now().UnixNano())
	}
	changed := rt.contact.Swap(int32(now)) != int32(now)
	switch now {
	case answered:
		rt.Health.Clear(conditionOffline)
		rt.Health.Clear(conditionRefused)
		if changed {
			rt.Log.Info("connected to the orchestrator", "url", rt.Config().API.BaseURL)
		}
		return
	case refused:
		rt.Health.Clear(conditionOffline)
		remedy := "if this agent is to work again, enrol it: " + rt.enrollHint()
		if api.CodeOf(err) == api.CodeQuarantined {
			remedy = "nothing is to be done on this host, which goes on collecting and loses nothing: an admin approves it"
		}
		rt.Health.Set(conditionRefused, Degraded, true, err.Error(), remedy)
	case unreachable:
		rt.Health.Set(conditionOffline, Degraded, false, err.Error(), "nothing is lost: events and results are kept and sent when it answers")
	}
	if changed {
		rt.Log.Warn("no contact with the orchestrator", telemetry.KeyError, err)
	}
}

// contact is what a call tells about the connection.
type contact int

const (
	answered    contact = iota + 1 // whatever the answer was, this agent is heard
	refused                        // it is known not to be let in
	unreachable                    // nobody answers, or only "later"
)

func contactOf(err error) contact {
	var answer *api.Error
	switch {
	case err == nil:
		return answered
	case !errors.As(err, &answer):
		return unreachable
	}
	switch answer.Code {
	case api.CodeUnavailable, api.CodeRateLimited:
		return unreachable
	case api.CodeRevoked, api.CodeQuarantined, api.CodeBadCertificate, api.CodeNoCertificate, api.CodeIdentityMismatch, api.CodeBadToken:
		return refused
	}
	return answered
}

// maxSkew is how far the clocks may differ before people are told. Nothing of ours
// depends on it (G7); times in logs and events do.
const maxSkew = 30 * time.Second

func (rt *Runtime) noteSkew(sent, received, server time.Time) {
	middle := sent.Add(received.Sub(sent) / 2)
	skew := middle.Sub(server).Abs()
	if server.IsZero() || skew <= maxSkew {
		rt.Health.Clear("clock_skew")
		return
	}
	rt.Health.Set("clock_skew", Degraded, false,
		fmt.Sprintf("this host's clock differs from the orchestrator's by %v", skew.Truncate(time.Second)),
		"check the time service (chronyc tracking, timedatectl) on both hosts")
}
