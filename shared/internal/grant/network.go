package grant

import (
	"errors"
	"slices"
	"strings"

	"github.com/stavily/agents/internal/destination"
)

var errNoNetwork = errors.New("this host's policy grants no network to it (network in security.sandbox, or in the plugin's file)")

// network decides what of the network is reached.
func (g *Grants) network(r *Request) {
	asks := r.Asks.Network
	if asks.All {
		g.everything(r.Policy)
		return
	}
	for _, entry := range asks.Destinations {
		granted, err := r.destinations(entry)
		d := Decision{Use: network, Asked: entry}
		for _, to := range granted {
			d.Granted = append(d.Granted, to.String())
			if !slices.Contains(g.Network.Destinations, to) {
				g.Network.Destinations = append(g.Network.Destinations, to)
			}
		}
		if err != nil {
			d.Why = err.Error()
		}
		g.Account = append(g.Account, d)
	}
}

// everything is for a plugin that does not say where it goes.
func (g *Grants) everything(p Policy) {
	d := Decision{Use: network, Asked: "all"}
	switch {
	case p.Only != nil:
		g.Network.Destinations = p.Only
		for _, to := range p.Only {
			d.Granted = append(d.Granted, to.String())
		}
		d.Why = "this host's owner lets it reach only these"
	case p.Reach == Everything:
		g.Network.All = true
		d.Granted = []string{"all"}
	case p.Reach == Declared:
		d.Why = "this host's policy grants destinations, not the whole network: list them under network in the plugin's file"
	default:
		d.Why = errNoNetwork.Error()
	}
	g.Account = append(g.Account, d)
}

// destinations are the places that one entry means, as far as the policy grants them.
// A list may be granted in part, and then has an error too.
func (r *Request) destinations(entry string) ([]destination.Destination, error) {
	values, err := r.fill(entry)
	if err != nil {
		return nil, err
	}
	var out []destination.Destination
	var errs []error
	for _, value := range values {
		to, err := parse(value)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		granted := r.Policy.narrow(to)
		if len(granted) == 0 {
			errs = append(errs, errNoNetwork)
		}
		out = append(out, granted...)
	}
	return out, errors.Join(errs...)
}

// parse reads what a person or a plugin's configuration writes for a place. Of a URL,
// which may hold a credential, errors repeat nothing.
func parse(value string) (destination.Destination, error) {
	if strings.Contains(value, "://") {
		to, err := destination.FromURL(value)
		if err != nil {
			return to, errors.New("what the plugin's configuration says " + err.Error())
		}
		return to, nil
	}
	return destination.Parse(value)
}

// narrow is the part of a destination that the policy grants: a port of any host
// may come down to that port of the hosts that the owner lists.
func (p Policy) narrow(to destination.Destination) []destination.Destination {
	if p.Only == nil {
		if p.Reach == Nothing {
			return nil
		}
		return []destination.Destination{to}
	}
	var out []destination.Destination
	for _, allowed := range p.Only {
		switch {
		case allowed.Port != to.Port:
		case allowed.Host == to.Host || allowed.Host == "":
			return []destination.Destination{to}
		case to.Host == "":
			out = append(out, allowed)
		}
	}
	return out
}
