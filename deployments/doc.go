// Package deployments holds what hosts need to run Stavily, as files: units of systemd,
// the property list of launchd, and beside them what containers and clusters need.
//
// Two of them are templates that `sensor-agent install` and `action-agent install` fill
// in, and are part of the binaries: a name between two @ is replaced
// (shared/internal/service). All others are used as they stand.
package deployments

import _ "embed"

// AgentUnit is the hardened systemd unit of one agent.
//
//go:embed systemd/agent.service
var AgentUnit string

// AgentPropertyList is the launchd job of one agent.
//
//go:embed launchd/agent.plist
var AgentPropertyList string
