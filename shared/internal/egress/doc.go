// Package egress lets a process without a network of its own reach the destinations
// that it was granted, and nothing else.
//
//	plugin ── connect 127.0.1.N:443 ──▶ listener in the plugin's network namespace
//	                                        │ accepted by the agent ([Listener.Serve])
//	   TLS, names, bytes: untouched         │ look the name up ─ judge each address ─ dial that address
//	                                        ▼
//	                                    api.example.com:443
//
// A socket stays in the network namespace that it was made in, so the agent accepts
// there and dials from its own: no relay process, no proxy settings in the plugin. The
// plugin's hosts file ([Gate.Hosts]) leads each name to the listener's address.
//
// It owns: which address stands for which name, the judgement of every address a
// name leads to, the copying, and the report and count ([Tally]) of every connection. It makes
// no listener (the sandbox does, in the namespace) and no policy (package grant does).
//
// # Invariants
//
//   - The agent looks names up at each connection and dials exactly the address that
//     it judged, so a name that changes its mind in between (DNS rebinding) gains nothing.
//   - Private, loopback, link-local and metadata addresses, also inside of IPv6 forms
//     that carry IPv4, and the host's own, are refused, unless the destination is that
//     address literally or [Allow] has it. Nothing allows multicast and unspecified ones.
//   - At most 64 destinations, and [Options].Connections at a time.
//   - A connection without a byte in either direction for [Options].Idle is ended. Half-
//     closing works: a client may end its request and go on reading.
//   - Each connection that was accepted is reported once, refused or not.
//   - What a plugin sent before it ended is delivered, within a second.
//
// # Concurrency, failure
//
// Everything may be called concurrently. Serve returns when its listener is closed or
// its context ends, and leaves no goroutine. A refusal resets the plugin's connection:
// by then connect(2) has succeeded. The reason is in the report.
//
// Where there is no network namespace only ports can be told apart, which is the
// sandbox's coarser means and not done here.
package egress
