package broker

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Sizes of addresses, from unix(7), ip(7), ipv6(7) and net/socket.c.
const (
	maxAddress  = 128 // sockaddr_storage
	maxUnix     = 110
	sizeInet    = 16
	sizeInet6   = 24 // without the scope, which RFC 2133 did not have
	withScope   = 28
	familyBytes = 2
)

// family returns the first field of an address, AF_UNSPEC if it has none.
func family(address []byte) uint16 {
	if len(address) < familyBytes {
		return unix.AF_UNSPEC
	}
	return binary.NativeEndian.Uint16(address)
}

// unixPath returns the path that an address of AF_UNIX holds. A name that is abstract
// comes with @ in place of its zero byte.
func unixPath(address []byte) (path string, abstract bool, errno unix.Errno) {
	if len(address) <= familyBytes || len(address) > maxUnix {
		return "", false, unix.EINVAL
	}
	name := address[familyBytes:]
	if name[0] == 0 {
		return "@" + string(name[1:]), true, 0
	}
	name, _, _ = bytes.Cut(name, []byte{0})
	return string(name), false, 0
}

// inetAddress returns the address that the kernel would take; IPv4 in IPv6 as IPv4.
func inetAddress(address []byte) (netip.AddrPort, unix.Errno) {
	var ip netip.Addr
	switch f := family(address); {
	case f == unix.AF_INET && len(address) >= sizeInet:
		ip = netip.AddrFrom4([4]byte(address[4:8]))
	case f == unix.AF_INET6 && len(address) >= sizeInet6:
		ip = netip.AddrFrom16([16]byte(address[8:24])).Unmap()
		if len(address) >= withScope && ip.Is6() {
			if scope := binary.NativeEndian.Uint32(address[24:]); scope != 0 {
				ip = ip.WithZone(strconv.FormatUint(uint64(scope), 10))
			}
		}
	case f == unix.AF_INET || f == unix.AF_INET6:
		return netip.AddrPort{}, unix.EINVAL
	default:
		return netip.AddrPort{}, unix.EAFNOSUPPORT
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(address[2:])), 0
}

// reached is where a connect to an address ends: the unspecified one is this host.
func reached(to netip.AddrPort) netip.AddrPort {
	switch ip := to.Addr(); {
	case ip == netip.IPv4Unspecified():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port())
	case ip.WithZone("") == netip.IPv6Unspecified():
		return netip.AddrPortFrom(netip.IPv6Loopback(), to.Port())
	}
	return to
}

// unixAddress is the address of a path, for calls of our own.
func unixAddress(path string) []byte {
	b := binary.NativeEndian.AppendUint16(make([]byte, 0, maxUnix), unix.AF_UNIX)
	return append(append(b, path...), 0)
}
