// Package api is the Agent API, version 1: the wire between agents and the
// orchestrator as Go types, paths and error classes, and the client that agents use.
//
// It owns the shape of every message and nothing else: no storage, no decisions.
// Both sides import it; it imports none of our packages but internal/limits.
//
// Times are RFC 3339 with milliseconds ([Time]); durations are seconds in fields
// named *_seconds. A reader ignores fields it does not know, so fields may be
// added; names and states in this package never change their meaning.
//
// openapi.yaml beside this file ([OpenAPI]) describes the same API for other
// implementations; a test holds its fields, types, enums and examples and these
// types together.
//
// # The client
//
//	call ─ rate limit ─ one HTTP/2 connection ─ status, content type ─ size ─ JSON ─ check ─▶ answer
//	           └ heartbeats pass      │                 │                                 └▶ *Error
//	                                  └─ no answer ─────┴─ not the Agent API's ──▶ *UnreachableError
//
// [Client] sends each call once and leaves retries to its caller, who knows what else
// there is to do: [Retryable] says whether, [Backoff] when. A nil error means that
// the orchestrator said that it did what was asked; 200 and {} is an error.
//
//   - Answers are at most 256 KiB, those to a poll [MaxPollBytes], and decoding one
//     takes less than 48 MiB whatever is in it.
//   - A package is fetched into a file of at most the bytes that were assigned, goes on
//     where an earlier try ended, and is what was assigned by its digest or an error.
//   - A call ends within its timeout, a poll within its wait and the timeout, and when
//     it failed without saying why up to 2 s later. A connection that died silently
//     is found within 30 s.
//   - Redirects are not followed and no token goes elsewhere.
//   - Text of the other side is printable and bounded when it gets into an error.
//
// What no answer means is said by layer (network, proxy, tls, certificate,
// not_stavily), with a remedy. A client is safe for concurrent use; a Backoff is not.
package api
