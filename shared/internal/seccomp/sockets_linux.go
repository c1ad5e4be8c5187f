package seccomp

import "golang.org/x/sys/unix"

const typeMask = 0xf // SOCK_TYPE_MASK of linux/net.h; the other bits are SOCK_CLOEXEC and SOCK_NONBLOCK

func (r *rules) sockets() {
	r.decide(r.socket(), unix.SYS_SOCKET)
	r.decide(r.equal(low(0), r.unixSocket(), noEntry, unix.AF_UNIX), unix.SYS_SOCKETPAIR)
	r.decide(r.connect(), unix.SYS_CONNECT)
	r.decide(r.bind(), unix.SYS_BIND)
	r.decide(r.listen(), unix.SYS_LISTEN)
	r.decide(r.sendto(), unix.SYS_SENDTO)
	r.decide(r.fastOpen(2, allow), unix.SYS_SENDMSG)
	r.decide(r.fastOpen(3, allow), unix.SYS_SENDMMSG)
	r.decide(r.setsockopt(), unix.SYS_SETSOCKOPT)
}

// socket decides by family, type and protocol. A family that is refused does not
// exist, so that libraries look for another way.
func (r *rules) socket() *node {
	families := errno(unix.EAFNOSUPPORT)
	if r.Network == All {
		// Reading routes and interfaces; to change them takes a capability.
		route := r.equal(low(2), allow, families, unix.NETLINK_ROUTE)
		families = r.equal(low(0), route, families, unix.AF_NETLINK)
	}
	families = r.equal(low(0), r.internet(), families, unix.AF_INET, unix.AF_INET6)
	return r.equal(low(0), r.unixSocket(), families, unix.AF_UNIX)
}

// unixSocket refuses datagrams where the host's sockets can be named: sendto and
// sendmsg reach any address without connect, even from one end of a pair. The kernel
// makes SOCK_RAW a datagram socket too.
func (r *rules) unixSocket() *node {
	return r.unless(r.Namespaced, r.equal(low(1).masked(typeMask), allow, noEntry, unix.SOCK_STREAM, unix.SOCK_SEQPACKET))
}

func (r *rules) internet() *node {
	if r.Network == None {
		return noEntry
	}
	protocols := errno(unix.EPROTONOSUPPORT)
	kind := low(1).masked(typeMask)
	if r.Network == TCP {
		return r.equal(kind, r.equal(low(2), allow, protocols, unix.IPPROTO_IP, unix.IPPROTO_TCP), noEntry, unix.SOCK_STREAM)
	}
	streams := r.equal(low(2), allow, protocols, unix.IPPROTO_IP, unix.IPPROTO_TCP, unix.IPPROTO_MPTCP)
	datagrams := r.equal(low(2), allow, protocols, unix.IPPROTO_IP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6)
	return r.equal(kind, streams, r.equal(kind, datagrams, noEntry, unix.SOCK_DGRAM), unix.SOCK_STREAM)
}

func (r *rules) connect() *node {
	switch {
	case r.Broker:
		return notify
	case r.NoConnect:
		return noEntry
	}
	return allow
}

// bind goes to the broker where it could take a name of the host: Landlock's scope
// holds connects to abstract unix sockets, not who has their names, and before ABI 4
// nothing holds ports.
func (r *rules) bind() *node {
	if r.Broker && !r.Namespaced {
		return notify
	}
	return allow
}

// listen goes to the broker where it could open a port of the host: without
// bind(2) it takes a port that is free.
func (r *rules) listen() *node {
	if r.Broker && r.Network == TCP && !r.Namespaced {
		return notify
	}
	return allow
}

// fastOpen refuses to connect by sending (TCP Fast Open), past connect(2) and
// Landlock, as a kernel without it.
func (r *rules) fastOpen(flags uint32, otherwise *node) *node {
	if r.Network == All {
		return otherwise
	}
	return r.bits(low(flags), unix.MSG_FASTOPEN, errno(unix.EOPNOTSUPP), otherwise)
}

// sendto with an address is for datagrams. The same by sendmsg is in memory, where
// the filter cannot look: what counts is that no datagram socket can be made.
func (r *rules) sendto() *node {
	if r.Namespaced || r.Network == All {
		return r.fastOpen(3, allow)
	}
	return r.fastOpen(3, r.null(4, allow, noEntry))
}

const tcpULP = 31 // linux/tcp.h

// setsockopt refuses programs in the kernel and protocols on top of TCP (kernel TLS):
// both have a history, and libraries do without.
func (r *rules) setsockopt() *node {
	programs := r.equal(low(2), denied, allow,
		unix.SO_ATTACH_FILTER, unix.SO_ATTACH_BPF, unix.SO_ATTACH_REUSEPORT_CBPF, unix.SO_ATTACH_REUSEPORT_EBPF)
	upper := r.equal(low(2), errno(unix.ENOPROTOOPT), allow, tcpULP)
	return r.equal(low(1), programs, r.equal(low(1), upper, allow, unix.SOL_TCP), unix.SOL_SOCKET)
}
