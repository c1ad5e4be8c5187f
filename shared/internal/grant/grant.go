package grant

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Request is what has to be decided.
type Request struct {
	Kind    plugin.Kind
	Asks    plugin.Permissions
	Config  map[string]json.RawMessage // the plugin's, in force: what ${config.KEY} stands for
	Policy  Policy
	Private bool // the process has a root directory and process ids of its own

	// Host says where the host's /proc, /sys, /etc and /var are mounted, for an agent in
	// a container: "/proc" → "/host/proc".
	Host map[string]string
}

// Policy is what the host's owner allows at most.
type Policy struct {
	Read, Write []string // ceilings: nothing outside of them
	Reach       Reach
	Only        []destination.Destination // not nil: none but these

	Protected []string // nobody sees these, whatever the rest says
	Sealed    []string // nobody writes these
}

// Reach is how much of the network may be granted.
type Reach int

// From nothing to everything that a manifest asks for.
const (
	Nothing  Reach = iota
	Declared       // destinations that it names
	Everything
)

// Grants is what a process gets. Paths are absolute, exist, and hold no links.
type Grants struct {
	Read, Write []string // files, directories and devices; writing includes reading
	Sockets     []string // to connect to
	Stat        []string // names, sizes and file systems only; for a process with its own root
	Masks       []string // to be hidden below the above; for a process with its own root
	Mounts      []Mount  // to be shown under another name; for a process with its own root
	HostProc    string   // what HOST_PROC must say, when not empty
	HostRoot    string   // what HOST_ROOT must say, when not empty
	Network     Network

	Account []Decision // one for each entry of the manifest, in its order
}

// Mount shows the host's Source at Target, read-only.
type Mount struct {
	Source, Target string
	Stat           bool // as in Grants.Stat
}

// Network is everything, or these destinations.
type Network struct {
	All          bool
	Destinations []destination.Destination
}

// Decision is what became of one entry of a manifest.
type Decision struct {
	Use     string   // read, write, stat or network
	Asked   string   // as the manifest says it
	Granted []string // nothing: denied
	Why     string   // where something else was granted than asked; for people
}

// String is a line for people.
func (d Decision) String() string {
	line := d.Use + " " + d.Asked + ": "
	switch granted := strings.Join(d.Granted, ", "); {
	case granted == "":
		line += "denied"
	case granted == d.Asked:
		line += "granted"
	default:
		line += "granted " + granted
	}
	if d.Why != "" {
		line += ": " + d.Why
	}
	return line
}

// Warnings are the decisions that gave something else than was asked for.
func (g Grants) Warnings() []Decision {
	return slices.DeleteFunc(slices.Clone(g.Account), func(d Decision) bool { return d.Why == "" })
}

// The uses, as manifests and accounts name them.
const (
	read    = "read"
	write   = "write"
	stat    = "stat"
	network = "network"
)

// Resolve decides.
func Resolve(r Request) (Grants, error) {
	f, err := newFiles(&r)
	if err != nil {
		return Grants{}, fmt.Errorf("decide what a plugin may reach: %w", err)
	}
	for _, ask := range r.asks(read, r.Asks.Read) {
		f.decide(ask)
	}
	for _, ask := range r.asks(write, r.Asks.Write) {
		f.decide(ask)
	}
	for _, ask := range r.asks(stat, r.Asks.Stat) {
		f.decide(ask)
	}
	f.finish()
	f.grants.network(&r)
	return f.grants, nil
}

// ask is one path that one entry of the manifest means.
type ask struct {
	use   string
	entry string // as written
	path  string
	err   error // the entry means no path at all
}

func (r *Request) asks(use string, entries []string) []ask {
	var out []ask
	for _, entry := range entries {
		values, err := r.fill(entry)
		if err != nil {
			out = append(out, ask{use: use, entry: entry, err: err})
		}
		for _, path := range values {
			out = append(out, ask{use: use, entry: entry, path: path})
		}
	}
	return out
}

// fill gives what an entry stands for: itself, or the values that the host's owner
// wrote in the plugin's configuration.
func (r *Request) fill(entry string) ([]string, error) {
	key, ok := plugin.Placeholder(entry)
	if !ok {
		return []string{entry}, nil
	}
	raw, set := r.Config[key]
	if !set {
		return nil, fmt.Errorf("%s is not set in the plugin's configuration", key)
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	var several []string
	if err := json.Unmarshal(raw, &several); err != nil {
		return nil, fmt.Errorf("%s in the plugin's configuration is neither text nor a list of texts", key)
	}
	return several, nil
}
