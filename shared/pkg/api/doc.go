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
// openapi.yaml beside this file describes the same API for other
// implementations; a test decodes every example in it into these types and
// every type's fields into it.
package api
