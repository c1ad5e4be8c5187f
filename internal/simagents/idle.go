package simagents

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/shared/pkg/api"
)

// Rhythm is how often an agent calls. The zero Rhythm is none.
type Rhythm struct {
	Heartbeat time.Duration // agent.heartbeat_interval
	PollWait  time.Duration // api.poll_wait
}

// Idle lives as an agent does that has nothing to do: its heartbeats, its poll and its
// look at assignments are all it sends, as far as the server's answers ask for them. A sensor
// does not poll for instructions. The first heartbeat and the first poll are as long as what is
// left of one at a random moment: so is a fleet at any time but after a start of all at once.
func (a *Agent) Idle(ctx context.Context, r Rhythm) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return ended(ctx, a.beat(ctx, r.Heartbeat)) })
	group.Go(func() error { return ended(ctx, a.follow(ctx, r.PollWait)) })
	return group.Wait()
}

// ended is err unless ctx is the reason for it.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// beat sends a heartbeat at every interval, up to a tenth early, as agents do.
func (a *Agent) beat(ctx context.Context, every time.Duration) error {
	pause := rand.N(max(every, a.asked))
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		answer, err := a.Heartbeat(ctx, a.heartbeat())
		if err != nil {
			return err
		}
		a.asked = time.Duration(answer.HeartbeatSeconds) * time.Second
		pause = max(every, a.asked) - rand.N(every/10)
	}
}

func (a *Agent) heartbeat() api.Heartbeat {
	return api.Heartbeat{
		Timestamp: api.At(time.Now()), Status: "online", Version: api.Version, Health: &api.Health{Status: "ok"},
		Plugins: installed, Tags: a.Tags, Sandbox: posture, CertificateNotAfter: api.At(a.notAfter), Authorities: a.trusted,
	}
}

// follow looks at assignments, and polls for instructions, which tells of them from then on.
func (a *Agent) follow(ctx context.Context, wait time.Duration) error {
	known, byPolls, next := "", false, rand.N(wait)
	for ctx.Err() == nil {
		if !byPolls {
			set, changed, err := a.Assignments(ctx, known, wait)
			if err != nil {
				return err
			}
			if changed {
				known, byPolls = set.Version, set.ToldByPolls
			}
			continue
		}
		answer, err := a.PollKnowing(ctx, next, maxOffers, known)
		if err != nil {
			return err
		}
		next = wait
		byPolls = answer.AssignmentsVersion == ""
	}
	return nil
}

// installed is what the agent says that it has: the plugin of the workload and some
// official ones.
var installed = []api.PluginInfo{
	{ID: Plugin, Version: "1.0.0", State: "ready"},
	{ID: "cleanup-files", Version: "1.0.0", State: "ready"},
	{ID: "restart-service", Version: "1.0.0", State: "ready"},
	{ID: "http-request", Version: "1.0.0", State: "ready"},
	{ID: "slack", Version: "1.0.0", State: "ready"},
}

// posture is that of an agent that runs as root on a recent Linux.
var posture = &api.Posture{
	Level: api.SandboxFull, Achieved: []string{api.AchievedMemory, api.AchievedEgress},
	Layers: map[string]string{
		"namespaces": api.LayerEnforced, "filesystem": api.LayerEnforced, "seccomp": api.LayerEnforced, "landlock": api.LayerEnforced,
		"cgroup": api.LayerEnforced, "rlimits": api.LayerEnforced, "capabilities": api.LayerEnforced, "egress": api.LayerEnforced,
	},
	LandlockABI: 6, Kernel: "6.18.0", Memory: "cgroup2",
	SelfTest: &api.SelfTest{Passed: []string{"files", "network", "processes", "syscalls", "memory", "kill"}},
}
