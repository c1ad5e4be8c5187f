// Package handshake lets TLS handshakes happen before a server hears of their connections, and
// keeps account of whoever was refused before it was known who that was.
//
// It owns the reasons, which are few, how they are counted, and how often they are put on record.
// It refuses nobody: crypto/tls and the route table do, and a failed connection is handed on like
// another, so that the server says in its log what it was.
//
//	accept ─▶ handshake, 5 s ─▶ net/http ─▶ route table
//	              │ failed                      │ nobody
//	              └───────▶ Watch.Refused ◀─────┘
//	                   metric, each; audit record, at most one a minute and reason
//
// # Invariants
//
//   - Handshakes are computed by half of the processors at most, however many come. While it waits
//     for the client a handshake has none: who says half of a hello holds up nobody. Signatures,
//     half of its work, are computed on threads of their own.
//   - A refusal costs a count in memory. What is kept of addresses is 16 networks for each
//     listener and reason, and how many others there were.
//   - The first refusal of a kind is on record within a second. As long as it goes on the next
//     record follows after a minute, or after pauses that double up to an hour where the same
//     networks come again: an agent whose certificate has ended knocks for ever.
//   - Who connects and says nothing is counted and not recorded: load balancers do so all day.
//   - A record that cannot be written is written later, with what was counted meanwhile.
//
// # Concurrency
//
// A [Watch] is safe for concurrent use. [Watch.Run] is the one writer.
package handshake
