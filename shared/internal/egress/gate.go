package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/internal/destination"
)

// MaxDestinations is how many a process can have: listeners are made at its launch,
// and each costs.
const MaxDestinations = 64

const (
	// DefaultConnections at a time are more than a pool of any HTTP client keeps.
	DefaultConnections = 256
	// DefaultIdle is what most proxies and NAT tables keep a silent connection for.
	DefaultIdle = 5 * time.Minute
	// dialLimit bounds looking a name up and reaching one of its addresses, below the
	// thirty seconds that most clients wait.
	dialLimit = 20 * time.Second
	// tryLimit bounds one address while there are others to try.
	tryLimit = 5 * time.Second
)

// Options say what a gate lets through.
type Options struct {
	Destinations []destination.Destination // exact: each with a host
	Allow        Allow
	Connections  int           // at a time, of all destinations; 0 is DefaultConnections
	Idle         time.Duration // 0 is DefaultIdle

	// Report hears of each connection when it has ended; it may be called concurrently
	// and must not block for long. Nil drops it.
	Report func(Connection)

	// What tests replace. Nil is the agent's resolver, the network, the host's interfaces.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	Dial   func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	Own    func() []netip.Addr
}

// Outcome is how a connection ended.
type Outcome string

// The outcomes. They are stable: metrics and the audit log carry them.
const (
	Closed      Outcome = "closed"      // by both sides, in order
	Broken      Outcome = "broken"      // by one side, in the middle
	IdleLimit   Outcome = "idle_limit"  // nothing was said for too long
	Stopped     Outcome = "stopped"     // the plugin ended
	Refused     Outcome = "refused"     // the name leads only to addresses that are not allowed
	Busy        Outcome = "busy"        // too many at a time
	Unresolved  Outcome = "unresolved"  // the name is not known
	Unreachable Outcome = "unreachable" // nobody answers there
)

// Connection is one that was accepted from the plugin, after its end.
type Connection struct {
	Destination    destination.Destination
	Users          []string       // who had joined when it began: one of them made it
	Address        netip.AddrPort // that was dialled; zero: none
	Sent, Received int64          // bytes from and to the plugin
	Started        time.Time
	Duration       time.Duration
	Outcome        Outcome
	Reason         string // for people; empty when closed in order
}

// Gate is the way out of one process.
type Gate struct {
	o     Options
	slots chan struct{}

	mu        sync.Mutex // guards the fields below
	joined    []*Tally
	flows     map[*flow]bool // that have not ended
	listeners map[listener]bool
	passes    map[listener][]chan struct{} // closed when who accepts there comes by, having begun all that it accepted
}

// listener is an open one, for a destination by its place in Options.
type listener struct {
	net.Listener
	destination int
}

// New makes a gate. It refuses destinations that it could not tell apart.
func New(o Options) (*Gate, error) {
	if len(o.Destinations) > MaxDestinations {
		return nil, fmt.Errorf("%d network destinations: at most %d can be told apart", len(o.Destinations), MaxDestinations)
	}
	o.Destinations = slices.Clone(o.Destinations)
	slices.SortFunc(o.Destinations, compare)
	o.Destinations = slices.Compact(o.Destinations)
	for _, d := range o.Destinations {
		if d.Host == "" || d.Port == 0 {
			return nil, fmt.Errorf("network destination %s: a port of any host cannot be told apart from others", d)
		}
		if a, ok := d.Addr(); ok && classify(a) == nowhere {
			return nil, fmt.Errorf("network destination %s: is %s", d, nowhere)
		}
	}
	if o.Connections == 0 {
		o.Connections = DefaultConnections
	}
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	if o.Lookup == nil {
		o.Lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
		}
	}
	if o.Own == nil {
		o.Own = interfaceAddrs
	}
	return &Gate{o: o, slots: make(chan struct{}, o.Connections), flows: map[*flow]bool{}, listeners: map[listener]bool{}, passes: map[listener][]chan struct{}{}}, nil
}

func compare(a, b destination.Destination) int {
	if c := strings.Compare(a.Host, b.Host); c != 0 {
		return c
	}
	return int(a.Port) - int(b.Port)
}

// localhost is a name that by definition leads to the host itself (RFC 6761, 6.3), so
// who names it names the address.
const localhost = "localhost"

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Listener is what has to be opened for one destination in the plugin's network
// namespace. Serve is to be called once with it.
type Listener struct {
	Name    string     // what the plugin calls the host: a name, or an address
	Address netip.Addr // where to listen: 127.0.1.N for names, else the address itself
	Port    uint16
	Serve   func(net.Listener)
}

// Listen gives a listener for each destination, sorted by name. Ports of one host
// share an address. When ctx ends all connections end.
func (g *Gate) Listen(ctx context.Context) []Listener {
	out := g.places()
	for i := range out {
		out[i].Serve = func(l net.Listener) { g.serve(ctx, l, i) }
	}
	return out
}

// places are the listeners without those who serve them.
func (g *Gate) places() []Listener {
	var out []Listener
	next := netip.AddrFrom4([4]byte{127, 0, 1, 0})
	for i, d := range g.o.Destinations {
		address, literal := d.Addr()
		switch {
		case literal:
		case d.Host == localhost:
			address = loopback4
		case i > 0 && g.o.Destinations[i-1].Host == d.Host:
			address = next
		default:
			next = next.Next()
			address = next
		}
		out = append(out, Listener{Name: d.Host, Address: address, Port: d.Port})
	}
	return out
}

// Hosts is the hosts file (hosts(5)) that leads names to the listeners.
func (g *Gate) Hosts() string {
	lines := []string{loopback4.String() + " " + localhost}
	for _, l := range g.places() {
		if l.Name != localhost && l.Name != l.Address.String() { // an address needs no line
			lines = append(lines, l.Address.String()+" "+l.Name)
		}
	}
	return strings.Join(slices.Compact(lines), "\n") + "\n"
}

// refusal is an error that policy makes.
type refusal struct{ reason string }

func (r refusal) Error() string { return r.reason }

var errUnresolved = errors.New("the name leads to no address")

// reach connects to a destination: by the address that it names or by those that its
// name has now and policy allows, one after the other.
func (g *Gate) reach(ctx context.Context, d destination.Destination) (net.Conn, netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	addresses, err := g.addresses(ctx, d)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	var to netip.AddrPort
	for i, a := range addresses {
		to = netip.AddrPortFrom(a, d.Port)
		limit := tryLimit
		if i == len(addresses)-1 {
			limit = dialLimit
		}
		attempt, cancel := context.WithTimeout(ctx, limit)
		var c net.Conn
		c, err = g.o.Dial(attempt, to)
		cancel()
		if err == nil {
			return c, to, nil
		}
	}
	return nil, to, err
}

// addresses are the ones to dial. There is at least one, or an error.
func (g *Gate) addresses(ctx context.Context, d destination.Destination) ([]netip.Addr, error) {
	if a, ok := d.Addr(); ok {
		return []netip.Addr{a}, nil
	}
	found, err := g.o.Lookup(ctx, d.Host)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnresolved, err)
	}
	if len(found) == 0 {
		return nil, errUnresolved
	}
	own := g.o.Own()
	var out []netip.Addr
	var why string
	for _, a := range found {
		a = a.Unmap()
		c := classify(a)
		if (c == public || c == private) && slices.Contains(own, a) {
			c = loopback
		}
		if c == loopback && d.Host == localhost || g.o.Allow.permits(d.Host, a, c) {
			out = append(out, a)
		} else {
			why = fmt.Sprintf("%s leads to %s, which is %s: name the address in the manifest, or allow it in security.sandbox.allow_private", d.Host, a, c)
		}
	}
	if len(out) == 0 {
		return nil, refusal{why}
	}
	return out, nil
}

// interfaceAddrs are this host's own addresses.
func interfaceAddrs() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil // its loopback addresses are known all the same
	}
	var out []netip.Addr
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out
}
