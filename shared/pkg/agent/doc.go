// Package agent is the runtime that both agents share, and the only door from
// them to shared/internal.
//
// It owns everything that is the same in a sensor agent and an action agent:
// the command line, configuration, the base directory and its lock, enrolment and
// identity, the connection to the orchestrator, heartbeats, the plugin host, the
// upload of plugin logs, health, readiness, metrics and shutdown. What only one of
// them does is its [Role], in sensor-agent/internal/agent and
// action-agent/internal/agent. If a line must change in both agents, it belongs here.
//
// # Life of a process
//
//	Main ─ flags ─ config ─ base directory + lock ─ logger ─ sweep of what a killed process left
//	  │
//	  ├─ health and metrics listeners, forking thread      (from the first moment)
//	  ├─ identity: certificate there? no → not ready, looks again every
//	  │            agent.registration_retry_interval, executes nothing
//	  └─ role components + heartbeat + plugin logs          (once enrolled)
//	SIGTERM → contexts cancelled → components drain → exit 0; a second signal kills
//
// # Rules
//
// A component is a struct or function with Run(ctx) that blocks; [Health.Beat] says
// that its loop makes progress, and a loop that misses its own limit turns /health
// to 503. That the orchestrator is away is no failure: agents keep working, /health
// stays 200 and a condition says since when.
//
// enroll takes no lock of a running agent, which notices the certificate that it
// stores. A result over 256 KiB is kept in data/cache; a plugin process has a private
// directory tmp/run-<plugin>-<number> for as long as it lives.
//
// # Plugins that change
//
// [Plugins] changes while the agent runs: by an edited directory or file (reload*.go), by
// the host's owner (control*.go), by an instruction or an assignment (install*.go,
// assignments.go). All of them go one way: a tree aside, checked, with its environment,
// stored, started once, and swapped in (plugins_install.go). One change of a plugin at a
// time has its turn. Who runs a plugin acquires its version, which stays on disk until it
// is released, and hears of changes by [Plugins.Changes].
//
// # How to debug it
//
// `sensor-agent config show` prints every value with its origin; GET /health on the
// host lists conditions with since-when and remedy; data/state holds the ports that
// were really bound; logs/plugins/<id>.log is what a plugin said; `sensor-agent plugins
// show ID` is what becomes of one.
package agent
