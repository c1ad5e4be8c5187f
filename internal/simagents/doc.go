// Package simagents makes agents that exist only on the wire: for benchmarks and tests
// that want thousands of them on a real server.
//
// Each has an identity of its own, enrolled with a token of its own, one HTTP/2
// connection over mutual TLS, and the client of the real agents (shared/pkg/api). What is
// left out is everything behind the wire: there is no process, no disk, no plugin.
//
//	Enrol ─▶ Agent ─ Idle   heartbeat · poll · assignments, held as an agent holds them
//	               ─ Persist the same, also while the server is away
//	               ─ Work   poll · claim · result at once, as many at a time as an agent
//	               ─ Sensor one batch of events in flight, as an agent's delivery loop has it
//
// # Invariants
//
//   - What an agent sends has the size that a real one's has: a heartbeat tells of
//     plugins, posture and health.
//   - An error of the server is returned and ends the agent: a benchmark whose agents
//     are refused has measured nothing. The end of the context is no error.
//
// # How to debug it
//
// `stavily agents list` shows them like any others.
package simagents
