// Package plugin is what a plugin is on paper: its manifest, the schema of what it
// takes, and what travels between it and the agent.
//
// It owns the reading of plugin.yaml (both forms, every mistake with its place),
// the checks and defaults of configuration and parameters ([Schema.Apply]), the
// lines of contract stdio ([Command], [DecodeMessage]), the command line of
// contract script ([Flags]), and the conversion of what plugins report into events
// ([DecodeEvents]) and results ([DecodeActionResult]). It starts nothing and
// decides nothing: processes are shared/internal/sandbox and supervise.
//
// # Strict and lenient
//
// What people write by hand, manifests and configuration, is checked strictly and
// completely. What older plugins say at run time is understood generously: other
// names of a field, a missing type, a lone event where a list could be. Nothing is
// guessed where a wrong guess would do harm: a time without a zone is kept as text
// and the agent's clock counts; a plugin's own event id is kept as metadata, since
// it may repeat, and an event that seems a repetition is dropped by the
// orchestrator.
//
// # Contracts
//
//	type       contract absent
//	trigger    stdio
//	sensor     stdio
//	monitor    script
//	action     detect: stdio, unless the process answers the handshake with
//	           anything but JSON
//	output     stdio
//
// # Bounds
//
// A manifest has at most 1 MiB, a plugin 10,000 files and 512 MiB, an answer 1 MiB
// (the caller's reader holds it), an event 64 KiB, one answer 500 events.
//
// Everything here is a value or a pure function, and may be used concurrently.
package plugin
