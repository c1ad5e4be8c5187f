package config

import (
	"fmt"
	"regexp"
	"strings"
)

// reference matches ${NAME} and {NAME}. Anything else in braces is text.
var reference = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\{([A-Z][A-Z_]*)\}`)

// expand replaces the references in every text value, in the order of the structs
// (F42). What cannot be resolved is reported and stays as written.
func (c *Config) expand(env map[string]string, hostname string) problems {
	var ps problems
	for _, l := range leaves(c) {
		for _, text := range l.texts() {
			text.SetString(reference.ReplaceAllStringFunc(text.String(), func(ref string) string {
				value, err := c.resolve(ref, env, hostname)
				if err != nil {
					ps.add(l.key(), "%q: %v", text.String(), err)
					return ref
				}
				return value
			}))
		}
	}
	return ps
}

// resolve finds what one reference stands for.
func (c *Config) resolve(ref string, env map[string]string, hostname string) (string, error) {
	if name, isVariable := strings.CutPrefix(ref, "${"); isVariable {
		name = strings.TrimSuffix(name, "}")
		if value, set := env[name]; set {
			return value, nil
		}
		return "", fmt.Errorf("environment variable %s is not set", name)
	}
	var value, missing string
	switch ref {
	case "{AGENT_ID}":
		value, missing = string(c.Agent.ID), "agent.id is not set"
	case "{ORG_ID}":
		value, missing = string(c.Agent.OrganizationID), "agent.organization_id is not set"
	case "{HOSTNAME}": // in lower case, so that it can be an id; names of hosts have no case
		value, missing = strings.ToLower(hostname), "this host has no name"
	default:
		return "", fmt.Errorf("nothing is called %s: there are {AGENT_ID}, {HOSTNAME}, {ORG_ID} and ${NAME} for an environment variable", ref)
	}
	if value == "" {
		return "", fmt.Errorf("%s: %s", ref, missing)
	}
	return value, nil
}
