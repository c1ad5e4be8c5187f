package plugin

import (
	"fmt"
	"net"
	"path"
	"slices"
	"strings"
)

// Asks lists everything that the plugin asks to reach, a sentence's part each, such as
// "read /var/log" or "network api.example.com:443".
func (m Manifest) Asks() []string {
	var all []string
	for _, a := range m.asks() {
		all = append(all, a.String())
	}
	return all
}

// Grown lists what next asks to reach and before does not: all that somebody has to
// approve before next takes the place of before. Of the zero Manifest everything has
// grown. A path that lies below one that was asked for in the same way, or to write
// where now only to read, has not; neither has a destination whose port was asked for
// on every host.
func Grown(before, next Manifest) []string {
	had := before.asks()
	var grown []string
	if before.Kind != "" && before.Kind != next.Kind {
		grown = append(grown, fmt.Sprintf("to run as %s and not as %s", next.Kind, before.Kind))
	}
	for _, a := range next.asks() {
		if !slices.ContainsFunc(had, func(h ask) bool { return h.covers(a) }) {
			grown = append(grown, a.String())
		}
	}
	return grown
}

// The ways in which a plugin reaches something; later ones include earlier ones of files.
const (
	toStat = iota
	toRead
	toWrite
	toConnect
)

var ways = [...]string{toStat: "stat", toRead: "read", toWrite: "write", toConnect: "network"}

// ask is one thing that a plugin asks to reach.
type ask struct {
	way  int
	what string // a path, a destination, a placeholder; "": the whole network
	// otherwise is what stands for a placeholder where the owner writes nothing, as JSON.
	otherwise string
}

func (m Manifest) asks() []ask {
	var all []ask
	add := func(way int, entries []string) {
		for _, e := range entries {
			a := ask{way: way, what: e}
			if key, ok := Placeholder(e); ok {
				p, _ := m.Configuration.Property(key)
				a.otherwise = string(p.Default)
			}
			all = append(all, a)
		}
	}
	if m.Permissions.Network.All {
		all = append(all, ask{way: toConnect})
	}
	add(toConnect, m.Permissions.Network.Destinations)
	add(toRead, m.Permissions.Read)
	add(toWrite, m.Permissions.Write)
	add(toStat, m.Permissions.Stat)
	return all
}

func (a ask) String() string {
	switch {
	case a.way == toConnect && a.what == "":
		return "network, every destination"
	case a.otherwise != "":
		return fmt.Sprintf("%s %s, which is %.200s unless the owner writes something", ways[a.way], a.what, a.otherwise)
	}
	return ways[a.way] + " " + a.what
}

// covers reports whether who was given h has what a asks for.
func (h ask) covers(a ask) bool {
	if h.way == toConnect || a.way == toConnect {
		return h.way == a.way && (h.what == "" || h == a || h.what == portOf(a.what))
	}
	if h.way < a.way {
		return false
	}
	if h.what == a.what {
		return h.otherwise == a.otherwise
	}
	return within(h.what, a.what)
}

// portOf is the port of a destination of one host.
func portOf(destination string) string {
	_, port, err := net.SplitHostPort(destination)
	if err != nil {
		return "-" // of no host, or none
	}
	return port
}

// within reports whether p is a path below dir. Placeholders are no paths.
func within(dir, p string) bool {
	if !path.IsAbs(dir) || !path.IsAbs(p) || strings.Contains(p, "..") {
		return false
	}
	return strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
