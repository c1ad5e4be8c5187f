// Package agenttest looks at running agents from outside, for the tests of both roles.
//
// It owns how a test finds an agent's metrics and what it asks of them, and the small disk that a
// base directory is put on, and nothing of how an agent is started or what it is to do: that is
// each role's own.
//
//	base/data/state/metrics.addr ─▶ GET /metrics ─▶ values by label ─▶ balanced, in time
//
// An agent that serves no metrics, or not any more, has none: that is no failure. There is no
// state, and any number of tests may look at once.
package agenttest
