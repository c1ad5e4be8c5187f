package destination

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Destination is one host and port. Without a host it is that port of any host.
type Destination struct {
	Host string // a name or an address, canonical; empty: any
	Port uint16
}

// Parse reads "host:port" or "port".
func Parse(s string) (Destination, error) {
	host, port := "", s
	if strings.Contains(s, ":") {
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil || host == "" {
			return Destination{}, fmt.Errorf("%.300q must be \"host:port\" or \"port\", with an IPv6 address in brackets", s)
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Destination{}, fmt.Errorf("%.300q must be \"host:port\" or \"port\", with a port from 1 to 65535", s)
	}
	d := Destination{Port: uint16(n)}
	if host != "" {
		if d.Host, err = Host(host); err != nil {
			return Destination{}, err
		}
	}
	return d, nil
}

// schemePorts are the ports of URLs that do not say one.
var schemePorts = map[string]uint16{"http": 80, "ws": 80, "https": 443, "wss": 443}

// FromURL is where a URL leads. Its errors do not repeat the URL, which may hold a
// credential.
func FromURL(text string) (Destination, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Destination{}, errors.New("is not a URL")
	}
	if u.Hostname() == "" {
		return Destination{}, errors.New("is a URL without a host")
	}
	port, err := URLPort(u)
	if err != nil {
		return Destination{}, err
	}
	d := Destination{Port: cmp.Or(port, schemePorts[strings.ToLower(u.Scheme)])}
	if d.Port == 0 {
		return Destination{}, fmt.Errorf("is a URL of scheme %.20q, which has no port of its own: write the port", u.Scheme)
	}
	d.Host, err = Host(u.Hostname())
	return d, err
}

// URLPort is the port that a URL says; 0 where it says none.
func URLPort(u *url.URL) (uint16, error) {
	port := u.Port()
	if port == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("is a URL whose port is not from 1 to 65535")
	}
	return uint16(n), nil
}

// String writes what Parse reads.
func (d Destination) String() string {
	port := strconv.Itoa(int(d.Port))
	if d.Host == "" {
		return port
	}
	return net.JoinHostPort(d.Host, port)
}

// Addr is the address that the destination names literally, if it does not name a
// host that has to be looked up.
func (d Destination) Addr() (netip.Addr, bool) {
	a, err := netip.ParseAddr(d.Host)
	return a, err == nil
}

// Longest name and label that the name system has (RFC 1035, 2.3.4).
const (
	maxName  = 253
	maxLabel = 63
)

// Host gives a name or address in its canonical form, or says what is wrong with it.
func Host(s string) (string, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" {
			return "", fmt.Errorf("%q: an address with a zone means another host on each machine: leave it out", s)
		}
		return a.Unmap().String(), nil
	}
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if strings.Contains(name, "*") {
		return "", fmt.Errorf("%.300q: wildcards are not taken: name each host", s)
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if !isLabel(label) || len(name) > maxName {
			return "", fmt.Errorf("%.300q is not a host name or address: names are of a-z, 0-9, '-' and '_' (in ASCII: xn--… where they are not)", s)
		}
	}
	if last := labels[len(labels)-1]; numeric(last) {
		return "", fmt.Errorf("%.300q looks like an address and is none: write all four numbers, in decimal and without leading zeros", s)
	}
	return name, nil
}

func isLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// numeric reports whether inet_aton(3) would take a label for a part of an address:
// no top-level domain looks like that.
func numeric(label string) bool {
	_, err := strconv.ParseUint(label, 0, 64)
	return err == nil || strings.Trim(label, "0123456789") == "" || strings.HasPrefix(label, "0x")
}
