package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/internal/strictyaml"
)

// Reach is what one plugin may reach of the network: one of the words of
// security.sandbox.network, or a list of destinations.
type Reach struct {
	Word         string   // empty where there is a list, or nothing is said
	Destinations []string // "host:port" or "port"; not nil where there is a list
}

// IsZero reports whether nothing is said.
func (r Reach) IsZero() bool { return r.Word == "" && r.Destinations == nil }

// UnmarshalYAML takes a word or a list. What they say is checked by the file's reader,
// which knows where each item stands.
func (r *Reach) UnmarshalYAML(n *yaml.Node) error {
	switch n.Kind {
	case yaml.ScalarNode:
		r.Word = n.Value
		return nil
	case yaml.SequenceNode:
		r.Destinations = make([]string, len(n.Content))
		for i, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return fmt.Errorf("item %d must be text", i+1)
			}
			r.Destinations[i] = item.Value
		}
		return nil
	}
	return errors.New(reachForm)
}

var reachForm = fmt.Sprintf("must be %s, or a list of \"host:port\" and \"port\"", strings.Join(networks, ", "))

// checkSandbox finds what is wrong with the keys that stand in for security.sandbox.
func (f *PluginFile) checkSandbox(doc *strictyaml.Doc) strictyaml.Errors {
	var errs strictyaml.Errors
	fail := func(path []any, format string, args ...any) {
		errs = append(errs, doc.Errorf(path, "%v: "+format, append([]any{path[0]}, args...)...))
	}
	for _, key := range []string{"read", "write", "network", "require"} {
		if n := doc.Node([]any{key}); n != nil && n.ShortTag() == "!!null" {
			fail([]any{key}, "has no value: give it one or remove the key; [] is nothing")
		}
	}
	if f.Require != "" && !f.Require.Valid() {
		fail([]any{"require"}, "%q: must be %s", f.Require, levelForm)
	}
	for key, paths := range map[string][]string{"read": f.Read, "write": f.Write} {
		for i, p := range paths {
			if err := checkGrantPath(p); err != nil {
				fail([]any{key, i}, "%v", err)
			}
		}
	}
	if f.Network.Word != "" && !slices.Contains(networks, f.Network.Word) {
		fail([]any{"network"}, "%q: %s", f.Network.Word, reachForm)
	}
	for i, d := range f.Network.Destinations {
		if _, err := destination.Parse(d); err != nil {
			fail([]any{"network", i}, "%v", err)
		}
	}
	if f.Processes != 0 && f.Processes < minProcesses {
		fail([]any{"processes"}, "%d: must be at least %d", f.Processes, minProcesses)
	}
	if !(f.CPU == 0 || f.CPU >= minCPU && f.CPU <= maxCPU) { // NaN is neither
		fail([]any{"cpu"}, "%v: must be from %v to %d (1 is one processor)", f.CPU, minCPU, maxCPU)
	}
	if f.Temp != 0 && f.Temp < minTemp {
		fail([]any{"temp"}, "%v: must be at least %v", f.Temp, minTemp)
	}
	return errs
}
