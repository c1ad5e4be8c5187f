// Package destination reads what people write for a place in the network:
// "api.example.com:443", "192.0.2.7:22", "[2001:db8::1]:443", or a port alone.
//
// It is the one reader of that notation, for manifests, for the agent's
// configuration and for the gate that connections go through, so that what one of
// them accepts means the same to the others. It resolves no name and knows no
// policy; a [Destination] is only ever exact. Wildcards are refused, because a gate
// that answers for one name at a time cannot keep their promise, and so is every
// spelling of an address that system libraries read differently (127.1, 0x7f.1,
// 010.0.0.1): what one program takes for a name another takes for this host.
//
// Values are comparable, in one canonical form: lower case, no final dot, addresses
// as package netip writes them, IPv4 never inside IPv6. Everything here is a pure
// function and may be called concurrently.
package destination
