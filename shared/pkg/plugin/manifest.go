package plugin

import (
	"strings"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Kind is what a plugin does, and so which agent runs it.
type Kind string

// The kinds. Manifests also say trigger and monitor for a sensor.
const (
	Sensor Kind = "sensor"
	Action Kind = "action"
	Output Kind = "output"
)

// RunsOn reports whether agents of type t run plugins of this kind.
func (k Kind) RunsOn(t api.AgentType) bool { return (k == Sensor) == (t == api.Sensor) }

// Contract is how a plugin's process and the agent talk.
type Contract string

// The contracts. Detect is an action that does not say: see supervise.RunAction.
const (
	Stdio  Contract = "stdio"
	Script Contract = "script"
	Detect Contract = "detect"
)

// The runtimes: how the entry point is run.
const (
	Python     = "python"
	Executable = "executable"
	Bash       = "bash"
	Node       = "node"
)

// Manifest is a plugin.yaml that was checked.
type Manifest struct {
	ID          api.PluginID
	Name        string // for people; the id when the manifest has none
	Description string
	Version     string // a semantic version, as written
	Author      string
	License     string
	Kind        Kind
	Runtime     Runtime

	Configuration Schema      // set once, by the agent's operator
	Parameters    Schema      // given with each call of an action or output
	Events        []EventType // that a sensor may send, as far as the manifest tells

	Limits      Limits
	Permissions Permissions
	InputFile   bool // contract script: wants its input as --input FILE

	Tags       []string
	Categories []string
}

// EventType is a type of events and what is in the data of one.
type EventType struct {
	Type string
	Data Schema
}

// Runtime says how the plugin is run.
type Runtime struct {
	Type         string
	Version      string // what the interpreter must be, as written; empty is any
	EntryPoint   string // a file in the plugin's directory, slash-separated
	Requirements string // a file in the plugin's directory, or empty
	Contract     Contract
	Cold         bool // each run is a new start: the manifest says warm: false

	SystemPackages bool // Python: may use what the system has installed
}

// Unlimited is a limit that the manifest asks not to have.
const Unlimited = -1

// Limits are what the plugin says it needs. Zero is not said. They never widen
// what the agent's own configuration allows.
type Limits struct {
	Memory        int64         // bytes
	CPU           float64       // share of one processor
	ExecutionTime time.Duration // of one run, or Unlimited
}

// Permissions are what the plugin says it needs to reach. An entry of a list may be
// a [Placeholder].
type Permissions struct {
	Network     Network
	Read, Write []string // absolute paths; writing includes reading
	Stat        []string // absolute paths of which names, sizes and file systems are seen, and no content
	SystemCalls []string // for people to read
}

// Network is everything, or the destinations, each "host:port" or "port", or
// nothing.
type Network struct {
	All          bool
	Destinations []string
}

// Placeholder gives the key of the plugin's configuration for which an entry of its
// permissions stands: "${config.roots}" is whatever the host's owner writes under roots,
// one value or a list. Parameters, which come over the wire, cannot be named.
func Placeholder(entry string) (key string, ok bool) {
	key, ok = strings.CutPrefix(entry, "${config.")
	if !ok || !strings.HasSuffix(key, "}") {
		return "", false
	}
	key = strings.TrimSuffix(key, "}")
	return key, !strings.ContainsAny(key, "${}")
}

// Plugin is one plugin on disk.
type Plugin struct {
	Manifest
	Dir    string // absolute
	Digest string // "sha256:" + hex over all files; see Load
}
