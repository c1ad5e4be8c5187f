package sandbox

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/stavily/agents/shared/pkg/api"
)

// Environment is what a plugin process finds in its environment, built from
// scratch: of the agent's own variables only those named in inherited reach it.
// Empty fields are left out.
type Environment struct {
	Agent       api.AgentID
	Plugin      api.PluginID
	Instruction api.InstructionID
	Home, Temp  string            // the plugin's private directories
	Socket      string            // the agent socket of this process
	Input       string            // the input file
	SDK         string            // the directory that holds the Python package
	HostRoot    string            // where the host's root directory is seen, for who asks for the sizes of file systems
	HostProc    string            // where the host's /proc is, when not as the agent's own environment says
	Traceparent string            // W3C trace context
	LogLevel    string            // from which level on the SDK logs; empty: info
	Extra       map[string]string // what the instruction sets; see CheckExtra
}

// inherited are variables of the agent that say where the host is mounted, for
// agents in containers (HOST_*), or without which programs do not start.
var inherited = append([]string{"HOST_PROC", "HOST_SYS", "HOST_ETC", "HOST_VAR"}, platformInherited...)

// List gives the variables as "NAME=value", sorted, and refuses an Extra that
// CheckExtra refuses.
func (e Environment) List() ([]string, error) {
	if err := CheckExtra(e.Extra); err != nil {
		return nil, err
	}
	vars := map[string]string{
		"PATH": defaultPath(),
		"LANG": "C.UTF-8", // text in and out is UTF-8, whatever the host speaks

		"PYTHONPATH":              e.SDK,
		"PYTHONUNBUFFERED":        "1", // a line that is printed is a line that is seen
		"PYTHONDONTWRITEBYTECODE": "1", // a plugin's directory never changes by running it
		"PYTHONUTF8":              "1",
		"MALLOC_ARENA_MAX":        "2", // glibc else reserves 64 MiB of address space a thread

		"HOST_ROOT": e.HostRoot,

		"STAVILY_AGENT_ID":       string(e.Agent),
		"STAVILY_PLUGIN_ID":      string(e.Plugin),
		"STAVILY_INSTRUCTION_ID": string(e.Instruction),
		"STAVILY_AGENT_SOCKET":   e.Socket,
		"STAVILY_INPUT_FILE":     e.Input,
		"STAVILY_LOG_LEVEL":      e.LogLevel,
		"TRACEPARENT":            e.Traceparent,
	}
	for _, name := range homeNames {
		vars[name] = e.Home
	}
	for _, name := range tempNames {
		vars[name] = e.Temp
	}
	for _, name := range inherited {
		vars[name] = os.Getenv(name)
	}
	if e.HostProc != "" {
		vars["HOST_PROC"] = e.HostProc
	}
	for name, value := range e.Extra {
		vars[name] = value
	}
	var out []string
	for name, value := range vars {
		if _, given := e.Extra[name]; value != "" || given {
			out = append(out, name+"="+value)
		}
	}
	slices.Sort(out)
	return out, nil
}

// refused are names that an instruction may not set, because they change what
// runs rather than what it works on: the loader, the interpreter, the shell, the
// program search, and what the agent itself tells the plugin.
var refused = []string{"PATH", "IFS", "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS", "PS4", "HOME", "TMPDIR", "TRACEPARENT", "NODE_OPTIONS", "PERL5LIB", "PERL5OPT", "RUBYOPT", "RUBYLIB", "GCONV_PATH", "LOCPATH", "NLSPATH"}

// refusedPrefixes are the same for families of names.
var refusedPrefixes = []string{"LD_", "DYLD_", "PYTHON", "STAVILY_", "BASH_FUNC_", "GLIBC_", "MALLOC_"}

const (
	maxExtra      = 256      // variables; the longest environments of build systems have about 200
	maxExtraBytes = 64 << 10 // one value
)

// CheckExtra reports the first variable, in order of name, that may not be set for
// a plugin. Names are compared without regard to case, as Windows does.
func CheckExtra(extra map[string]string) error {
	if len(extra) > maxExtra {
		return fmt.Errorf("environment: %d variables: at most %d", len(extra), maxExtra)
	}
	names := make([]string, 0, len(extra))
	for name := range extra {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		upper := strings.ToUpper(name)
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00"):
			return fmt.Errorf("environment: %q is not a name of a variable", name)
		case strings.ContainsRune(extra[name], 0) || len(extra[name]) > maxExtraBytes:
			return fmt.Errorf("environment: value of %s: must be at most %d bytes without NUL", name, maxExtraBytes)
		case slices.Contains(refused, upper), slices.ContainsFunc(refusedPrefixes, func(p string) bool { return strings.HasPrefix(upper, p) }):
			return fmt.Errorf("environment: %s may not be set for a plugin: it changes what runs; pass the value as a parameter or under another name", name)
		}
	}
	return nil
}
