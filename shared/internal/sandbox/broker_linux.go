package sandbox

import (
	"context"
	"net/netip"
	"os"
	"slices"

	"github.com/stavily/agents/shared/internal/broker"
)

// broker answers connect(2) and bind(2) of the tree until it has ended: nothing else
// tells apart the host's sockets, which a process without namespaces sees.
func (t *tree) broker(ctx context.Context, listener *os.File, s *Spec) {
	ctx, end := context.WithCancel(context.WithoutCancel(ctx)) // a plugin that is asked to end still connects
	rules := broker.Rules{
		Sockets: slices.DeleteFunc(append([]string{s.Socket}, s.Sockets...), func(path string) bool { return path == "" }),
		Below:   slices.DeleteFunc([]string{s.Temp, s.Home, s.Given}, func(path string) bool { return path == "" }),
		Dial:    s.Network.allows,
		Listen:  func(netip.AddrPort) bool { return s.Network.All },
		Own:     func(pid int) bool { return descends(pid, t.pid) },
	}
	t.closers = append(t.closers, end)
	t.servers.Go(func() {
		// Calls that nobody answers any more fail, so a broker that ends early keeps
		// closed what it kept closed.
		_ = broker.Serve(ctx, listener, rules)
	})
}

// allows reports whether a process without a network namespace may connect to an
// address.
func (n *Network) allows(to netip.AddrPort) bool {
	return n.All || slices.Contains(n.Ports, to.Port())
}

// maxDepth ends the walk up a tree that is torn down meanwhile.
const maxDepth = 1000

// descends reports whether pid is ancestor or below it. What loses its parent falls to
// an ancestor that is a subreaper, so the walk does not leave the tree.
func descends(pid, ancestor int) bool {
	for range maxDepth {
		if pid == ancestor {
			return true
		}
		s, ok := statOf(pid)
		if !ok || s.parent <= 1 {
			return false
		}
		pid = s.parent
	}
	return false
}
