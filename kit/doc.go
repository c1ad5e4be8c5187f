// Package kit is what a plugin's developer works with: `stavily plugin` and `stavily
// keys`.
//
// It owns the commands, the templates of a new plugin, the checks beyond the manifest's
// own, and the score card. How plugins are started, confined and spoken to is not here:
// each command opens a [agent.Workbench], which is an agent's plugin host without the
// agent, so what passes here passes there. The orchestrator knows nothing of it; only
// the program stavily adds its commands to the others.
//
//	new ─▶ directory ─▶ validate   manifest and source, nothing is run
//	                 ├▶ run        events, logs, progress and results as they come
//	                 ├▶ test       one trial after another ─▶ card ─▶ exit code
//	                 └▶ pack ─▶ sign
//
// # A test
//
//	manifest · unit tests · sandbox · handshake · schema · commands · time ·
//	runs (the plugin is used as an agent uses it, 1,000 times) · TERM · permissions
//
// A trial that cannot be made because an earlier one failed is skipped, never passed.
// Permissions are tried in the sandbox too: each Python process of the plugin imports
// an observer that writes down what is opened, run and connected to, before it is
// allowed or refused. What other programs and compiled modules do is not seen, and the
// card says so.
//
// # Invariants
//
//   - A plugin that is tried runs confined as on an agent of this host and user; only
//     its unit tests, which its developer runs anyway, run as the developer.
//   - Nothing is written outside of a temporary directory but what a command is for, and
//     nothing is overwritten.
//   - What a plugin says reaches the terminal with its control characters escaped.
package kit
