package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/stavily/agents/shared/pkg/api"
)

// Pins name the only version of a plugin that this agent uses, by the digest of its
// files: "sha256:" and 64 hex digits, as `plugins show` prints it.
type Pins map[api.PluginID]string

// UnmarshalYAML takes a mapping of plugin to digest.
func (p *Pins) UnmarshalYAML(n *yaml.Node) error {
	out := map[api.PluginID]string{}
	if err := n.Decode(&out); err != nil {
		return errors.New("plugins.pins: must map plugins to digests, for example {disk-cleaner: sha256:…}")
	}
	*p = out
	return p.validate()
}

// UnmarshalText takes "id=sha256:…, id=sha256:…", for the environment and flags.
func (p *Pins) UnmarshalText(text []byte) error {
	out := Pins{}
	for item := range strings.SplitSeq(string(text), ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		id, digest, found := strings.Cut(item, "=")
		if !found {
			return fmt.Errorf("%q: must be PLUGIN=sha256:…, with commas between several", item)
		}
		out[api.PluginID(strings.TrimSpace(id))] = strings.TrimSpace(digest)
	}
	if err := out.validate(); err != nil {
		return err
	}
	*p = out
	return nil
}

func (p Pins) validate() error {
	for _, id := range slices.Sorted(maps.Keys(p)) {
		if err := id.Validate(); err != nil {
			return fmt.Errorf("plugins.pins: %w", err)
		}
		if err := api.ValidateDigest(p[id]); err != nil {
			return fmt.Errorf("plugins.pins: %s: %w, as `plugins show %[1]s` prints it", id, err)
		}
	}
	return nil
}
