package seccomp

import (
	"errors"
	"fmt"
)

// Net is what sockets of the internet families a process may make.
type Net int

const (
	None Net = iota // none
	TCP             // TCP streams over IPv4 and IPv6
	All             // TCP, MPTCP, UDP, ping, and reading routes over netlink
)

func (n Net) String() string {
	if n < None || n > All {
		return fmt.Sprintf("Net(%d)", int(n))
	}
	return [...]string{"none", "tcp", "all"}[n]
}

// Policy says what else holds a process, and with that what the filter must see to.
type Policy struct {
	Network Net

	// Namespaced: process ids, network, IPC and mounts are the process's own, so that
	// what names things of those kinds cannot name the host's.
	Namespaced bool

	// LandlockABI is the version in force, 0 for none. From 3 on Landlock holds
	// truncate(2); from 6 on signals, if the ruleset has that scope.
	LandlockABI int

	// Broker: connect(2) is answered by a supervisor that holds the filter's listener,
	// and so are, where neither namespaces nor Landlock hold them, bind(2), signals to
	// others and, with Network TCP, listen(2). The filter must then be installed with
	// SECCOMP_FILTER_FLAG_NEW_LISTENER.
	Broker bool

	// NoConnect: connect(2) is refused; for a process with no network and no agent
	// socket, where there is no broker.
	NoConnect bool
}

// signals reports whether the filter must hold signals, since nothing else does.
func (p Policy) signals() bool { return !p.Namespaced && p.LandlockABI < 6 }

func (p Policy) validate() error {
	switch {
	case p.Network < None || p.Network > All:
		return fmt.Errorf("seccomp policy: network %v: unknown", p.Network)
	case p.LandlockABI < 0:
		return fmt.Errorf("seccomp policy: Landlock ABI %d: negative; 0 is none", p.LandlockABI)
	case p.Broker && p.NoConnect:
		return errors.New("seccomp policy: connect(2) cannot be both brokered and refused")
	}
	return nil
}
