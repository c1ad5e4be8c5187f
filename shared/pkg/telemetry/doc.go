// Package telemetry makes the loggers and the metrics registry that agents and
// orchestrator hand down to everything they build.
//
// It owns what a line looks like once it is written, and where: rotation, file
// modes, secrets and control characters. What is logged, and which metrics there
// are, is said beside the code that knows; nothing here is global.
//
//	slog handler (json | text) ─┐
//	plugin's own log lines ─────┴▶ lines: redact ─ escape ─ one newline ─▶ file (rotated) + standard output
//
// # Invariants
//
//   - One Write is one line: whatever foreign text a record holds, no reader sees
//     a second record in it, and no terminal obeys it. Everything that is not
//     printable leaves as \uXXXX.
//
//   - A value given to [Redactor.Add] is in no line written after Add returned,
//     in plain, quoted, URL-encoded or base64 form.
//
//   - Log files are made with mode 0600.
//
//   - A destination that fails does not keep a line from the other one. slog has
//     no way to report it; a full disk shows in the health of the spool, not here.
//
//   - What [Registry.Handler] serves is the Prometheus text format 0.0.4, with HELP and
//     TYPE; a metric with labels has at most 500 series and one for the rest.
//
// Loggers, writers, the Redactor and the Registry may be used concurrently. Close
// what was opened: it waits for a rotated file to be compressed.
//
// Message texts are fixed lower-case events, data goes into attributes, and the
// names of those that more than one package uses are in keys.go.
package telemetry
