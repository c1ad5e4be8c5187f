package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/stavily/agents/internal/strictyaml"
)

const (
	envPrefix = "STAVILY_"
	// envConfig names the configuration file, as --config does.
	envConfig = "STAVILY_CONFIG"
	// envBaseDir is the older name of STAVILY_AGENT_BASE_DIR, which wins over it (F10).
	envBaseDir = "STAVILY_BASE_DIR"
)

// OtherVariables are the STAVILY_* names that mean something to somebody else: to
// a plugin, which inherits none of the agent's, or to the operator's commands.
var OtherVariables = []string{
	envConfig,
	"STAVILY_AGENT_SOCKET", "STAVILY_PLUGIN_ID", "STAVILY_LOG_LEVEL", "STAVILY_INSTRUCTION_ID", "STAVILY_INPUT_FILE",
	"STAVILY_DATA_DIR",
}

// flags are the keys that have a flag of their own.
var flags = []struct{ name, key, usage string }{
	{"agent-id", "agent.id", "this agent's `id`: a-z, 0-9, '.', '_', '-'"},
	{"base-url", "api.base_url", "the orchestrator's `URL`, for example https://stavily.example.com:8443"},
	{"base-dir", "agent.base_dir", "where this agent keeps everything (default /var/lib/stavily/agent-ID, or ./agent-ID where that cannot be written)"},
	{"log-level", "logging.level", "debug, info, warn or error"},
}

const flagConfig = "config"

// RegisterFlags adds the flags that Load reads to fs.
func RegisterFlags(fs *pflag.FlagSet) {
	fs.String(flagConfig, "", "configuration `file` (default: the first of "+strings.Join(candidates("BASE", "TYPE"), ", ")+")")
	for _, f := range flags {
		fs.String(f.name, "", f.usage)
	}
}

// flagValue is the value of a flag that was given.
func flagValue(fs *pflag.FlagSet, name string) (string, bool) {
	if fs == nil || !fs.Changed(name) {
		return "", false
	}
	return fs.Lookup(name).Value.String(), true
}

// setting is a value that a variable or a flag gives to a key.
type setting struct{ key, text, where string }

func flagSettings(fs *pflag.FlagSet) []setting {
	var out []setting
	for _, f := range flags {
		if text, given := flagValue(fs, f.name); given {
			out = append(out, setting{f.key, text, "--" + f.name})
		}
	}
	return out
}

// environment makes a map of "NAME=value" pairs; of several the last counts.
func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	return env
}

// envSettings returns what the environment sets, and a warning for every
// STAVILY_* variable that nothing reads.
func envSettings(env map[string]string) (out []setting, warnings []string) {
	known := slices.Clone(OtherVariables)
	take := func(key, name string) {
		known = append(known, name)
		if text := env[name]; text != "" {
			out = append(out, setting{key, text, name})
		}
	}
	take("agent.base_dir", envBaseDir)
	for _, l := range leaves(new(Config)) {
		take(l.key(), l.variable())
	}
	for name := range env {
		if strings.HasPrefix(name, envPrefix) && !slices.Contains(known, name) {
			warnings = append(warnings, unknownVariable(name, known))
		}
	}
	slices.Sort(warnings)
	return out, warnings
}

func unknownVariable(name string, known []string) string {
	msg := fmt.Sprintf("environment variable %s is read by nothing", name)
	// The prefix is left out, or every name would be near to every other.
	bare := make([]string, len(known))
	for i, k := range known {
		bare[i] = strings.TrimPrefix(k, envPrefix)
	}
	if near := strictyaml.Nearest(strings.TrimPrefix(name, envPrefix), bare); near != "" {
		msg += fmt.Sprintf(": did you mean %s?", envPrefix+near)
	}
	return msg
}
