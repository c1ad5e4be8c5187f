package kit

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// audit holds what a plugin did against what its manifest asks for.
type audit struct {
	plugin *plugin.Plugin
	reach  agent.Reach
	config map[string]any

	refused  []string            // sentences
	doubtful []string            // what was not seen and may be meant to be
	uses     []use               // as paths of the host
	need     map[string][]string // read, write, network → entries that the manifest would need
}

func newAudit(p *plugin.Plugin, reach agent.Reach, uses []use, config map[string]any) *audit {
	a := &audit{plugin: p, reach: reach, config: config, need: map[string][]string{}}
	for _, u := range uses {
		u.Path = a.ofHost(u.Path)
		a.uses = append(a.uses, u)
	}
	for _, u := range a.uses {
		a.judge(u)
	}
	return a
}

// ofHost is a path as the host has it, where the plugin sees it under another name.
func (a *audit) ofHost(path string) string {
	for target, source := range a.reach.Mounts {
		if within(path, target) {
			return filepath.Join(source, strings.TrimPrefix(path, target))
		}
	}
	return path
}

// judge decides whether a use was allowed.
func (a *audit) judge(u use) {
	switch u.Use {
	case "read", "run":
		if exists(u.Path) && !a.covered(u.Path, a.reach.Read, a.reach.Write, a.reach.Sockets) && !a.above(u.Path) {
			a.refuse(u, "read", "")
		}
	case "write":
		switch {
		case a.covered(u.Path, a.reach.Write) || strings.HasPrefix(u.Path, "/dev/"):
		case a.plugin.Kind == plugin.Sensor:
			a.refused = append(a.refused, fmt.Sprintf("%swrite %s: a sensor writes nothing but below TMPDIR and HOME", place(u), u.Path))
		default:
			a.refuse(u, "write", "")
		}
	case "stat":
		if u.Where != "" && exists(u.Path) && !a.covered(u.Path, a.reach.Read, a.reach.Write, a.reach.Stat, a.reach.Sockets) && !a.above(u.Path) {
			a.doubtful = append(a.doubtful, fmt.Sprintf("%sasked for %s, which is not shown to it: `stat` or `read` would show it", place(u), u.Path))
		}
	case "socket":
		if exists(u.Path) && !a.covered(u.Path, a.reach.Sockets, a.reach.Write) {
			a.refuse(u, "read", "connect to ")
		}
	case "lookup", "connect":
		a.destination(u)
	case "network":
		if !a.reach.Network.All && len(a.reach.Network.Destinations) == 0 && !slices.ContainsFunc(a.uses, named) {
			a.refused = append(a.refused, place(u)+"open a network socket: no network is declared")
		}
	}
}

// named reports whether a use tells of a destination.
func named(u use) bool { return u.Use == "lookup" || u.Use == "connect" }

// destination judges a name that was looked up, or an address that was connected to.
func (a *audit) destination(u use) {
	host, port, err := net.SplitHostPort(u.Path)
	ip, noAddress := netip.ParseAddr(host)
	switch {
	case err != nil, a.reach.Network.All, a.allows(u.Path):
		return
	case noAddress == nil && gate.Contains(ip):
		return // one of the agent's own listeners, which its name led to
	case port == "" || port == "0":
		a.refused = append(a.refused, fmt.Sprintf("%slook up %s: only the names of destinations are known", place(u), host))
		return
	}
	if u.Use == "connect" && a.namedBefore(port) {
		return // told by its name
	}
	a.refuse(u, "network", "")
}

// gate is where a plugin of level full finds its destinations.
var gate = netip.MustParsePrefix("127.0.1.0/24")

// namedBefore reports whether a name was looked up for this port, for which an address
// then stands.
func (a *audit) namedBefore(port string) bool {
	return slices.ContainsFunc(a.uses, func(u use) bool { return u.Use == "lookup" && strings.HasSuffix(u.Path, ":"+port) })
}

// allows reports whether a destination is granted: itself, or its port of any host.
func (a *audit) allows(target string) bool {
	want, err := destination.Parse(target)
	return err == nil && slices.ContainsFunc(a.reach.Network.Destinations, func(text string) bool {
		got, err := destination.Parse(text)
		return err == nil && got.Port == want.Port && (got.Host == "" || got.Host == want.Host)
	})
}

// refuse notes a use that was not allowed, and what would allow it.
func (a *audit) refuse(u use, section, doing string) {
	if doing == "" {
		doing = u.Use + " "
	}
	a.refused = append(a.refused, fmt.Sprintf("%s%s%s: not declared", place(u), doing, u.Path))
	entry := u.Path
	if section != "network" {
		entry = a.bestNamed(u.Path)
	}
	if !slices.Contains(a.need[section], entry) {
		a.need[section] = append(a.need[section], entry)
	}
}

func place(u use) string {
	if u.Where == "" {
		return ""
	}
	return u.Where + ": "
}

// bestNamed is a path as a manifest best says it: by the key of the configuration that it
// came from.
func (a *audit) bestNamed(path string) string {
	for _, property := range a.plugin.Configuration {
		value := text(a.config[property.Name])
		if value == "" {
			value = text(property.Default)
		}
		if strings.HasPrefix(value, "/") && value != "/" && within(path, filepath.Clean(value)) {
			return "${config." + property.Name + "}"
		}
	}
	return path
}

// covered reports whether a path, or what it leads to, is in one of the places.
func (a *audit) covered(path string, places ...[]string) bool {
	names := []string{path}
	if to, err := filepath.EvalSymlinks(path); err == nil {
		names = append(names, to)
	}
	for _, dir := range slices.Concat(places...) {
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			real = dir
		}
		if slices.ContainsFunc(names, func(name string) bool { return within(name, dir) || within(name, real) }) {
			return true
		}
	}
	return false
}

// above reports whether something that is shown lies below a path, so that the plugin
// finds it as a directory.
func (a *audit) above(path string) bool {
	return slices.ContainsFunc(slices.Concat(a.reach.Read, a.reach.Write, a.reach.Stat, a.reach.Sockets), func(p string) bool { return within(p, path) })
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+string(filepath.Separator))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// unused tells of what the manifest asks for and the plugin did not use.
// Another program that it ran may have used anything.
func (a *audit) unused() []string {
	if slices.ContainsFunc(a.uses, func(u use) bool { return u.Use == "run" }) {
		return nil
	}
	var out []string
	for _, d := range a.reach.Decisions {
		if len(d.Granted) == 0 {
			continue
		}
		used, written := false, false
		for _, u := range a.uses {
			if d.Use == "network" {
				used = used || named(u)
				continue
			}
			for _, granted := range d.Granted {
				real, err := filepath.EvalSymlinks(u.Path)
				if hit := within(u.Path, granted) || err == nil && within(real, granted); hit {
					used, written = true, written || u.Use == "write" || u.Use == "socket"
				}
			}
		}
		switch {
		case !used:
			out = append(out, fmt.Sprintf("%s %s was not used in this run: leave it out if nothing needs it", d.Use, d.Asked))
		case d.Use == "write" && !written:
			out = append(out, fmt.Sprintf("write %s was only read in this run: ask for `read`", d.Asked))
		}
	}
	return out
}
