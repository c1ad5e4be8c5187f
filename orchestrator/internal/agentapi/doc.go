// Package agentapi serves the Agent API, version 1: it turns the eight calls of
// agents into calls of the engine, and bounds what a connection may cost.
//
// It owns the listener's limits and the HTTP half of each call: query parameters,
// bodies, 204 or an empty poll. It decides nothing: who may call is the route
// table's, what happens is the engine's.
//
//	accept ─ per-address cap ─ TLS 1.3 ─ route table ─ handler ─ engine
//
// # Invariants
//
//   - At most 64 connections of one address have not shown a good certificate; one
//     more is closed. Agents that have are not counted, so a NAT can hide thousands.
//   - Such a connection ends after 9 s, whatever it does.
//   - A connection on which a request was refused for coming too soon is read slowly for a second,
//     20 times 2 kB: who goes on is held up by that and costs next to nothing. Not that of a proxy.
//   - A handshake or request header that takes over 5 s ends the connection, as do
//     3 minutes without a request. A long poll is never cut by these: it lasts up to
//     60 s, and keep-alives of TCP find clients that are gone; pings those behind a proxy.
//   - TLS sessions are not resumed, so every connection verifies its certificate.
//   - A client that sends neither wait nor lease nor attempt is served: it gets the
//     next instruction or "no_pending_instructions", and when to come again.
//
// # How to debug it
//
// Refused handshakes are debug records of the server's log; every refused request
// has an id (see package route). `openssl s_client -connect HOST:PORT` shows the
// certificate and the CA that the server presents.
package agentapi
