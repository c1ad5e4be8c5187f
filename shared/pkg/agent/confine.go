package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/stavily/agents/internal/diskspace"
	"github.com/stavily/agents/shared/internal/cgroup"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// confinement is what this agent found out, at its start, about how it can confine
// plugins.
type confinement struct {
	host *sandbox.Host
	user *sandbox.Credential // nil is the agent's own

	groups    *cgroup.Parent // nil where the kernel holds no limits of a group
	ungrouped string         // then why
}

// posture tells what holds plugins of a level here.
func (c *confinement) posture(level sandbox.Level) api.Posture {
	p := c.host.Posture(level)
	c.tell(&p)
	if level == sandbox.Full { // a network namespace, which the self-test found to hold
		p.Achieved = append(p.Achieved, api.AchievedEgress)
	}
	return p
}

// landlockABI, when not empty, is the newest version of Landlock to use. Only the attack
// suite's build sets it (-ldflags -X), to see what older kernels hold: a weaker version
// is nothing to configure.
var landlockABI string

// probeSandbox runs the self-test, or reads what an earlier one found.
func probeSandbox(ctx context.Context, c config.Sandbox, dir, cache string) (*sandbox.Host, *sandbox.Credential, error) {
	id, err := pluginUser(c.User)
	if err != nil {
		return nil, nil, err
	}
	abi, _ := strconv.Atoi(landlockABI) // empty is 0, the kernel's own
	host, err := sandbox.Probe(ctx, sandbox.ProbeOptions{LandlockABI: abi, Highest: sandbox.Level(c.Ceiling()), User: id, Dir: dir, Cache: cache})
	if host == nil {
		return nil, nil, fmt.Errorf("test the sandbox: %w", err)
	}
	return host, id, err
}

// confine prepares what launches need. An agent that cannot keep the result of its
// self-test works all the same; one that has no room to test anything waits for it, not ready.
func (p *Plugins) confine(ctx context.Context) error {
	rt := p.rt
	test := func() (*sandbox.Host, *sandbox.Credential, error) {
		return probeSandbox(ctx, rt.Config().Security.Sandbox, tempOf(rt.Config().Agent.BaseDir), filepath.Join(rt.DataDir("state"), "sandbox.json"))
	}
	host, id, err := test()
	if host == nil && diskspace.Full(err) {
		rt.Log.Warn("the agent waits for room on its disk", telemetry.KeyError, err)
	}
	for host == nil && diskspace.Full(err) && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(roomAgain):
			host, id, err = test()
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case host == nil:
		return err
	case err != nil:
		rt.Log.Warn("sandbox", telemetry.KeyError, err)
	}
	p.confinement = confinement{host: host, user: id}
	p.openGroups()
	p.posture = p.confinement.posture(host.Level)
	rt.tellPosture(&p.posture)
	rt.Log.Info("sandbox", "level", p.posture.String(), "missing", host.Missing)
	return nil
}

// pluginUser finds whom plugins are to be: nil is the agent's own user.
func pluginUser(name string) (*sandbox.Credential, error) {
	if name == "" {
		return nil, nil
	}
	id, err := lookUser(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: security.sandbox.user: %w", errUsage, err)
	case os.Geteuid() == int(id.UID):
		return nil, nil
	case os.Geteuid() == 0:
		return id, nil
	}
	return nil, fmt.Errorf("%w: security.sandbox.user: %q: an agent that does not run as root cannot start plugins as somebody else: run it as that user, or leave the key out", errUsage, name)
}

func lookUser(name string) (*sandbox.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("%q: there is no such user on this host: make it (useradd --system %[1]s) or leave the key out", name)
		}
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("%q: has no numbers here: %w", name, err)
	}
	return &sandbox.Credential{UID: uint32(uid), GID: uint32(gid)}, nil
}

// own gives paths to the user that plugins are.
func (c *confinement) own(paths ...string) error {
	if c.user == nil {
		return nil
	}
	for _, path := range paths {
		if err := os.Chown(path, int(c.user.UID), int(c.user.GID)); err != nil {
			return fmt.Errorf("give it to the plugins' user: %w", err)
		}
	}
	return nil
}
