package sandbox

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hostsOf is the hosts file that leads names to their listeners.
func hostsOf(listen []Listen) string {
	lines := []string{"127.0.0.1 localhost"}
	for _, l := range listen {
		line := l.Address.String() + " " + l.Name
		if l.Name != l.Address.String() && !slices.Contains(lines, line) { // an address needs no line
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// listen appends the listeners of a network namespace of one's own. Without any the
// namespace stays as dead as it was born.
func (p *program) listen(all []Listen, c *channel) {
	if len(all) == 0 {
		return
	}
	p.raise("lo")
	seen := map[netip.Addr]bool{}
	for _, l := range all {
		if !l.Address.IsLoopback() && !seen[l.Address] {
			p.assume(l.Address, len(seen))
			seen[l.Address] = true
		}
		address, size := sockaddr(p, l)
		label := fmt.Sprintf("listen for %s", netip.AddrPortFrom(l.Address, l.Port))
		open := p.call(label, unix.SYS_SOCKET, num(familyOf(l.Address)), num(unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK), none)
		fd := p.keep(open)
		c.add(open)
		if !l.Address.Is4() { // a new address of IPv6 is a tentative one for a moment, which bind(2) does not take
			p.call(label, unix.SYS_SETSOCKOPT, result(fd), num(unix.IPPROTO_IPV6), num(unix.IPV6_FREEBIND), pointer(p, &[1]int32{1}), num(4))
		}
		p.call(label, unix.SYS_BIND, result(fd), address, size)
		p.call(label, unix.SYS_LISTEN, result(fd), num(128))
	}
}

// interfaceRequest is struct ifreq with an address or flags, netdevice(7).
type interfaceRequest struct {
	name  [unix.IFNAMSIZ]byte
	value [24]byte
}

// raise sets an interface up.
func (p *program) raise(name string) {
	const label = "raise the loopback interface"
	r := &interfaceRequest{}
	copy(r.name[:], name)
	binary.NativeEndian.PutUint16(r.value[:], unix.IFF_UP)
	s := p.scratch(p.call(label, unix.SYS_SOCKET, num(unix.AF_INET), num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), none))
	p.call(label, unix.SYS_IOCTL, result(s), num(unix.SIOCSIFFLAGS), pointer(p, r))
	p.call(label, unix.SYS_CLOSE, result(s))
}

// loopbackIndex is the number of the loopback interface in every network namespace
// (LOOPBACK_IFINDEX, include/net/net_namespace.h).
const loopbackIndex = 1

// assume gives the loopback interface the address of a host that the process calls by
// it, so that it finds the listener there. IPv4 has one address an alias, netdevice(7).
func (p *program) assume(a netip.Addr, alias int) {
	label := "take the address " + a.String()
	s := p.scratch(p.call(label, unix.SYS_SOCKET, num(familyOf(a)), num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), none))
	if a.Is4() {
		r := &interfaceRequest{}
		copy(r.name[:], fmt.Sprint("lo:", alias))
		binary.NativeEndian.PutUint16(r.value[:], unix.AF_INET)
		*(*[4]byte)(r.value[4:]) = a.As4()
		p.call(label, unix.SYS_IOCTL, result(s), num(unix.SIOCSIFADDR), pointer(p, r))
	} else {
		r := &struct { // struct in6_ifreq, include/uapi/linux/ipv6.h
			address   [16]byte
			prefixLen uint32
			index     int32
		}{a.As16(), 128, loopbackIndex}
		p.call(label, unix.SYS_IOCTL, result(s), num(unix.SIOCSIFADDR), pointer(p, r))
	}
	p.call(label, unix.SYS_CLOSE, result(s))
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// sockaddr is where to bind, and its size.
func sockaddr(p *program, l Listen) (address, size argument) {
	if l.Address.Is4() {
		a := &unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: l.Address.As4()}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&a.Port))[:], l.Port)
		return pointer(p, a), num(unsafe.Sizeof(*a))
	}
	a := &unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: l.Address.As16()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&a.Port))[:], l.Port)
	return pointer(p, a), num(unsafe.Sizeof(*a))
}
