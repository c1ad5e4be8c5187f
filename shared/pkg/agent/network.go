package agent

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/shared/internal/egress"
	"github.com/stavily/agents/shared/internal/grant"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
)

// network puts what is granted of the network into the terms of the sandbox: everything,
// a listener for each destination or, where these cannot be told apart and the owner
// accepts that, ports of any host. Listeners are served until ctx ends, by the gate.
func (p *Plugins) network(ctx context.Context, t Task, n grant.Network) (sandbox.Network, *egress.Gate, error) {
	if err := p.canFilter(t, n); err != nil {
		return sandbox.Network{}, nil, err
	}
	if n.All || len(n.Destinations) == 0 || !p.filters(n) {
		return p.reach(n), nil, nil
	}
	gate, err := egress.New(egress.Options{
		Destinations: n.Destinations, Allow: egress.ParseAllow(p.rt.Config().Security.Sandbox.AllowPrivate), Report: p.connections.of(ctx, t),
	})
	if err != nil {
		return sandbox.Network{}, nil, fmt.Errorf("plugin %s: %w", t.Plugin.ID, err)
	}
	var out sandbox.Network
	for _, l := range gate.Listen(ctx) {
		out.Listen = append(out.Listen, sandbox.Listen(l))
	}
	return out, gate, nil
}

// reach is what is granted without listeners.
func (p *Plugins) reach(n grant.Network) sandbox.Network {
	switch {
	case n.All:
		return sandbox.Network{All: true}
	case len(n.Destinations) == 0 || p.filters(n):
		return sandbox.Network{}
	}
	return sandbox.Network{Ports: ports(n)}
}

// filters reports whether these destinations can be told apart here: they are served
// one by one in a network namespace.
func (p *Plugins) filters(n grant.Network) bool {
	return p.posture.Level == sandbox.Full && !slices.ContainsFunc(n.Destinations, func(d destination.Destination) bool { return d.Host == "" })
}

// landlockPorts is the version of Landlock that tells ports apart (Linux 6.7).
const landlockPorts = 4

// canFilter reports whether a plugin can be held to the destinations that it is granted.
// Below level confined nothing is held to anything, which the owner has accepted.
func (p *Plugins) canFilter(t Task, n grant.Network) error {
	if n.All || len(n.Destinations) == 0 || p.filters(n) || !p.posture.Satisfies(sandbox.Confined) {
		return nil
	}
	all := joined(ports(n))
	switch abi := p.posture.LandlockABI; {
	case abi > 0 && abi < landlockPorts:
		return fmt.Errorf("plugin %s is granted ports %s of the network and could reach all others on this host, whose kernel tells them apart from Linux 6.7 on (%s)", t.Plugin.ID, all, p.rt.toCheck())
	case p.rt.Config().Security.Sandbox.AllowPortLevelEgress:
		return nil
	case p.posture.Level == sandbox.Full:
		return fmt.Errorf("plugin %s asks for ports %s of any host: list the hosts under `network` in its file in config/plugins, or set security.sandbox.allow_port_level_egress", t.Plugin.ID, all)
	}
	return fmt.Errorf("plugin %s is granted network destinations, which only sandbox full tells apart, and this agent gives %s (%s; or set security.sandbox.allow_port_level_egress, and it can reach any host on ports %s)",
		t.Plugin.ID, described(&p.posture), p.rt.toCheck(), all)
}

func ports(n grant.Network) []uint16 {
	var out []uint16
	for _, d := range n.Destinations {
		out = append(out, d.Port)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func joined(ports []uint16) string {
	texts := make([]string, len(ports))
	for i, port := range ports {
		texts[i] = strconv.Itoa(int(port))
	}
	return strings.Join(texts, ", ")
}

// postureOf is what confines a process with this network: its destinations are only
// filtered where it is not given everything.
func (p *Plugins) postureOf(n sandbox.Network) *api.Posture {
	if !n.All && len(n.Ports) == 0 {
		return p.Posture()
	}
	out := p.posture
	out.Achieved = slices.DeleteFunc(slices.Clone(out.Achieved), func(name string) bool { return name == api.AchievedEgress })
	return &out
}
