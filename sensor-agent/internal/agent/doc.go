// Package agent is what only a sensor agent does: it runs monitors and delivers the
// events that they report.
//
//	monitor ─ detect every interval ─┐
//	monitor ─ report_trigger ────────┼─▶ outbox: id, fsync to the spool ─▶ "accepted"
//	monitor ─ pushed event ──────────┘        │
//	                                    delivery loop ─▶ orchestrator ─▶ acknowledged: forgotten
//
// A monitor is one file of config/plugins: a plugin with a configuration, an interval
// and a process of its own, so that one that hangs delays no other. A monitor whose
// plugin fails is started again with growing pauses for ever, and its state says why.
// Sensing goes on while the orchestrator is away; what the spool cannot hold blocks
// the plugin that reports it.
//
// A monitor that has not looked with success for three intervals (ten seconds at least)
// is stale: a condition in /health says so, and the events stavily.monitor.stale and, when
// it is back, stavily.monitor.fresh, once for each change, over restarts too. Types that
// begin with "stavily." are the agent's own; a plugin cannot report them.
package agent
