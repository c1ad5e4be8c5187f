package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/shared/pkg/api"
)

// Sandbox is the owner's word on what confines plugins, and the ceiling of what
// any of them may reach. A file in plugins.config_dir can say otherwise for one
// plugin (see [PluginFile]); a manifest and the orchestrator cannot. The agent's own
// directory is out of reach for every plugin, whatever stands here.
type Sandbox struct {
	Enabled bool             `yaml:"enabled"` // whether plugins are confined; false only together with require: none
	Require api.SandboxLevel `yaml:"require"` // the level without which a plugin does not run, unless its file says trusted: full, confined, limited or none
	Level   api.SandboxLevel `yaml:"level"`   // the highest that is used; the host decides which one is reached: sandbox check tells
	User    string           `yaml:"user"`    // the user that an agent which runs as root lets plugins run as; empty: its own
	Chroot  string           `yaml:"chroot"`  // a directory below which nothing is shown to plugins; at level full their private root hides it; empty: none

	Read    []string `yaml:"read"`    // paths that manifests can ask for; what is outside of them is not granted
	Write   []string `yaml:"write"`   // the same, for writing; sensors never write
	Network string   `yaml:"network"` // all: as the manifest asks; declared: destinations only; none

	// Whether it is accepted, where single destinations cannot be told apart,
	// that a plugin reaches every address on the ports that it declares.
	AllowPortLevelEgress bool `yaml:"allow_port_level_egress"`
	// Networks, addresses and names that may lead to private addresses. Without it, a name that does is refused.
	AllowPrivate []string `yaml:"allow_private"`

	MaxProcesses int     `yaml:"max_processes"` // of one run, at least 2
	MaxCPU       float64 `yaml:"max_cpu"`       // share of one processor, of one run, 0.01 to 1024
	MaxTemp      Size    `yaml:"max_temp"`      // of the private directory of one run, at least 2MB
}

// What plugins may reach of the network, from the widest.
const (
	NetworkAll      = "all"
	NetworkDeclared = "declared"
	NetworkNone     = "none"
)

var networks = []string{NetworkAll, NetworkDeclared, NetworkNone}

// What one run may take where nobody says otherwise: far more than a plugin that
// does its job needs, and little enough that one that does not is no danger to the host.
const (
	defaultMaxProcesses = 256
	defaultMaxCPU       = 1.0
	defaultMaxTemp      = 256 * Megabyte

	// minProcesses is an interpreter, and a child of it that it waits for.
	minProcesses = 2
	// minCPU is a hundredth: less than a second in 100 starts no interpreter in time.
	minCPU = 0.01
	// maxCPU is beyond every machine; it keeps infinity out.
	maxCPU = 1024
	// minTemp holds the input of an instruction (1 MiB on the wire) and the socket.
	minTemp = 2 * Megabyte
)

func defaultSandbox() Sandbox {
	return Sandbox{
		Enabled: true, Require: api.SandboxConfined, Level: api.SandboxFull,
		Read: []string{"/"}, Write: []string{"/"}, Network: NetworkAll,
		MaxProcesses: defaultMaxProcesses, MaxCPU: defaultMaxCPU, MaxTemp: defaultMaxTemp,
	}
}

// Ceiling is the highest level that is used.
func (s Sandbox) Ceiling() api.SandboxLevel {
	if !s.Enabled {
		return api.SandboxNone
	}
	return s.Level
}

// levelForm completes the sentence "the level must be".
const levelForm = "full, confined, limited or none"

func (s *Sandbox) check(ps *problems) {
	const section = "security.sandbox."
	ps.require(s.Require.Valid(), section+"require", string(s.Require), levelForm)
	ps.require(s.Level.Valid(), section+"level", string(s.Level), levelForm)
	switch {
	case !s.Require.Valid() || !s.Level.Valid(): // said already
	case !s.Enabled && s.Require != api.SandboxNone:
		ps.add(section+"enabled", "false: would leave plugins unconfined, and security.sandbox.require asks for %s: set that to none as well if this is meant", s.Require)
	case s.Enabled && !s.Level.AtLeast(s.Require):
		ps.add(section+"level", "%q: must be at least security.sandbox.require, which is %s: lower that as well if this is meant", s.Level, s.Require)
	}
	ps.require(s.User == "" || userName.MatchString(s.User), section+"user", s.User, "the name or the number of a user of this host")
	if s.Chroot != "" {
		err := checkGrantPath(s.Chroot)
		ps.require(err == nil && filepath.Clean(s.Chroot) != "/", section+"chroot", s.Chroot, "an absolute path below /, without '..'")
	}
	ps.requirePaths(section+"read", s.Read)
	ps.requirePaths(section+"write", s.Write)
	ps.requireOneOf(section+"network", s.Network, networks...)
	for _, p := range s.AllowPrivate {
		ps.require(isPlace(p), section+"allow_private", p, "a network such as 10.0.0.0/8, an address, or a host name")
	}
	ps.require(s.MaxProcesses >= minProcesses, section+"max_processes", s.MaxProcesses, "at least %d", minProcesses)
	ps.require(s.MaxCPU >= minCPU && s.MaxCPU <= maxCPU, section+"max_cpu", s.MaxCPU, "from %v to %d (1 is one processor)", minCPU, maxCPU)
	ps.require(s.MaxTemp >= minTemp, section+"max_temp", s.MaxTemp, "at least %v", minTemp)
}

// userName is what useradd(8) takes, and what Active Directory makes of names.
var userName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,31}$`)

func (ps *problems) requirePaths(key string, paths []string) {
	for _, p := range paths {
		if err := checkGrantPath(p); err != nil {
			ps.add(key, "%v", err)
		}
	}
}

// checkGrantPath refuses what does not say by itself which file it means. A path
// that begins with / counts as absolute on every platform, as in manifests.
func checkGrantPath(p string) error {
	switch {
	case !strings.HasPrefix(p, "/") && !filepath.IsAbs(p):
		return fmt.Errorf("%q: must be an absolute path", p)
	case strings.ContainsRune(p, 0) || slices.Contains(strings.Split(filepath.ToSlash(p), "/"), ".."):
		return fmt.Errorf("%q: must be a path without '..' and NUL", p)
	}
	return nil
}

// isPlace reports whether s is a network, an address or a host name.
func isPlace(s string) bool {
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	_, err := destination.Host(s)
	return err == nil
}
