//go:build unix

package grant

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/shared/pkg/plugin"
)

func places(t *testing.T, texts ...string) []destination.Destination {
	t.Helper()
	out := []destination.Destination{}
	for _, s := range texts {
		d, err := destination.Parse(s)
		must(t, err)
		out = append(out, d)
	}
	return out
}

func TestNetwork(t *testing.T) {
	const none = "denied: this host's policy grants no network to it (network in security.sandbox, or in the plugin's file)"
	config := map[string]json.RawMessage{
		"url": quote("https://Hooks.example.com/geheim"), "bad": quote("https://geheim:x/"), "list": []byte(`["a:1","b:2"]`),
	}
	all, declared, nothing := Policy{Reach: Everything}, Policy{Reach: Declared}, Policy{}
	only := Policy{Reach: Nothing, Only: places(t, "a:1", "c:3", "443")}
	for _, c := range []struct {
		asks   plugin.Network
		policy Policy
		want   Network
		told   []string
	}{
		{plugin.Network{}, all, Network{}, nil},
		{plugin.Network{All: true}, all, Network{All: true}, []string{"network all: granted"}},
		{plugin.Network{All: true}, declared, Network{}, []string{"network all: denied: this host's policy grants destinations, not the whole network: list them under network in the plugin's file"}},
		{plugin.Network{All: true}, nothing, Network{}, []string{"network all: " + none}},
		{plugin.Network{All: true}, only, Network{Destinations: only.Only}, []string{"network all: granted a:1, c:3, 443: this host's owner lets it reach only these"}},
		{plugin.Network{Destinations: []string{"A:1", "a:1", "2"}}, declared, Network{Destinations: places(t, "a:1", "2")}, []string{"network A:1: granted a:1", "network a:1: granted", "network 2: granted"}},
		{plugin.Network{Destinations: []string{"a:1"}}, nothing, Network{}, []string{"network a:1: " + none}},
		{plugin.Network{Destinations: []string{"a:1", "a:2", "d:443", "3"}}, only, Network{Destinations: places(t, "a:1", "d:443", "c:3")},
			[]string{"network a:1: granted", "network a:2: " + none, "network d:443: granted", "network 3: granted c:3"}},
		{plugin.Network{Destinations: []string{"${config.url}", "${config.list}"}}, all, Network{Destinations: places(t, "hooks.example.com:443", "a:1", "b:2")},
			[]string{"network ${config.url}: granted hooks.example.com:443", "network ${config.list}: granted a:1, b:2"}},
		{plugin.Network{Destinations: []string{"${config.bad}", "${config.none}"}}, all, Network{},
			[]string{"network ${config.bad}: denied: what the plugin's configuration says is not a URL", "network ${config.none}: denied: none is not set in the plugin's configuration"}},
		{plugin.Network{Destinations: []string{"${config.list}"}}, Policy{Only: places(t, "b:2")}, Network{Destinations: places(t, "b:2")},
			[]string{"network ${config.list}: granted b:2: this host's policy grants no network to it (network in security.sandbox, or in the plugin's file)"}},
	} {
		g := resolve(t, Request{Asks: plugin.Permissions{Network: c.asks}, Config: config, Policy: c.policy})
		if diff := cmp.Diff(c.want, g.Network); diff != "" {
			t.Errorf("%+v with %+v (-want +got):\n%s", c.asks, c.policy, diff)
		}
		if diff := cmp.Diff(c.told, account("-", g)); diff != "" {
			t.Errorf("%+v with %+v: told (-want +got):\n%s", c.asks, c.policy, diff)
		}
	}
}
