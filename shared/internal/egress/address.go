package egress

import (
	"net/netip"
	"slices"

	"github.com/stavily/agents/internal/destination"
)

// class is what kind of place an address is.
type class int

const (
	public   class = iota
	private        // a network of the owner's
	loopback       // this host
	metadata       // where clouds hand out credentials, and the link it is on
	nowhere        // no host: nothing allows it
)

func (c class) String() string {
	return [...]string{"public", "private", "this host's own", "a link-local or metadata address", "no address of a host"}[c]
}

// classes is the IANA registry of special addresses (RFC 6890), as far as they are
// not public, and the metadata services of clouds. The first match counts.
var classes = []struct {
	prefix netip.Prefix
	class
}{
	{netip.MustParsePrefix("100.100.100.200/32"), metadata}, // Alibaba
	{netip.MustParsePrefix("168.63.129.16/32"), metadata},   // Azure, a public address that means the host machine
	{netip.MustParsePrefix("192.0.0.192/32"), metadata},     // Oracle
	{netip.MustParsePrefix("fd00:ec2::254/128"), metadata},  // AWS
	{netip.MustParsePrefix("fd20:ce::254/128"), metadata},   // Google
	{netip.MustParsePrefix("169.254.0.0/16"), metadata},     // all others, and link-local
	{netip.MustParsePrefix("fe80::/10"), metadata},

	{netip.MustParsePrefix("127.0.0.0/8"), loopback},
	{netip.MustParsePrefix("::1/128"), loopback},

	{netip.MustParsePrefix("0.0.0.0/8"), nowhere}, // 0.0.0.0 reaches this host
	{netip.MustParsePrefix("::/128"), nowhere},
	{netip.MustParsePrefix("224.0.0.0/3"), nowhere}, // multicast, reserved, broadcast
	{netip.MustParsePrefix("ff00::/8"), nowhere},
	{netip.MustParsePrefix("100::/64"), nowhere}, // discard

	{netip.MustParsePrefix("10.0.0.0/8"), private},
	{netip.MustParsePrefix("100.64.0.0/10"), private}, // carriers' translation
	{netip.MustParsePrefix("172.16.0.0/12"), private},
	{netip.MustParsePrefix("192.168.0.0/16"), private},
	{netip.MustParsePrefix("192.0.0.0/24"), private},
	{netip.MustParsePrefix("198.18.0.0/15"), private}, // benchmarks of networks
	{netip.MustParsePrefix("192.0.2.0/24"), private},  // the three for documentation
	{netip.MustParsePrefix("198.51.100.0/24"), private},
	{netip.MustParsePrefix("203.0.113.0/24"), private},
	{netip.MustParsePrefix("fc00::/7"), private},
	{netip.MustParsePrefix("fec0::/10"), private},
	{netip.MustParsePrefix("2001:db8::/32"), private},
	{netip.MustParsePrefix("3fff::/20"), private},
	{netip.MustParsePrefix("64:ff9b:1::/48"), private}, // translation to IPv4, by local choice
	{netip.MustParsePrefix("2001::/32"), private},      // Teredo: hides IPv4 behind a cipher
	{netip.MustParsePrefix("5f00::/16"), private},      // segment routing
}

// classify judges an address, and the IPv4 address that it carries if it does.
func classify(a netip.Addr) class {
	a = a.Unmap().WithZone("")
	for _, c := range classes {
		if c.prefix.Contains(a) {
			return c.class
		}
	}
	if inner, ok := embedded(a); ok {
		return classify(inner)
	}
	return public
}

// carriers are IPv6 prefixes whose addresses lead to an IPv4 address, and the byte at
// which that begins.
var carriers = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("::/96"), 12},        // IPv4-compatible, deprecated
	{netip.MustParsePrefix("64:ff9b::/96"), 12}, // translation, RFC 6052
	{netip.MustParsePrefix("2002::/16"), 2},     // 6to4, RFC 3056
}

// embedded is the IPv4 address in an IPv6 one.
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	for _, c := range carriers {
		if c.prefix.Contains(a) {
			return netip.AddrFrom4([4]byte(b[c.at : c.at+4])), true
		}
	}
	if b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe { // ISATAP, RFC 5214
		return netip.AddrFrom4([4]byte(b[12:])), true
	}
	return netip.Addr{}, false
}

// Allow is what the host's owner lets names lead to although it is not public.
type Allow struct {
	Networks []netip.Prefix
	Names    []string // canonical; these may lead to private addresses and this host
}

// ParseAllow reads networks, addresses and names. What is none of them is left out;
// the configuration has refused it.
func ParseAllow(texts []string) Allow {
	var out Allow
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			out.Networks = append(out.Networks, p.Masked())
		} else if host, err := destination.Host(text); err == nil {
			if a, err := netip.ParseAddr(host); err == nil {
				out.Networks = append(out.Networks, netip.PrefixFrom(a, a.BitLen()))
			} else {
				out.Names = append(out.Names, host)
			}
		}
	}
	return out
}

// permits decides whether a name may lead to an address of class c.
func (w Allow) permits(name string, a netip.Addr, c class) bool {
	switch c {
	case public:
		return true
	case nowhere:
		return false
	case metadata: // only who means exactly that: a wide network does not bring it along
		return slices.ContainsFunc(w.Networks, func(p netip.Prefix) bool { return p.Contains(a) && classify(p.Addr()) == metadata })
	}
	if slices.Contains(w.Names, name) {
		return true
	}
	return slices.ContainsFunc(w.Networks, func(p netip.Prefix) bool { return p.Contains(a) })
}
