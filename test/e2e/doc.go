// Package e2e tests the system from outside: the three programs as real processes
// over mutual TLS, real plugins, command lines, files and signals. Effects are
// counted in files that the plugins append to, outside the agents' world, so that
// the count does not rest on our own books.
//
// STAVILY_E2E_COUNT sets how often the crash tests kill (default 5), STAVILY_HOSTILE how many
// hostile replies each kind of agent gets (default 150), and STAVILY_HOSTILE_SEED what they
// are drawn from.
package e2e
